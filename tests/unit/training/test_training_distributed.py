"""Two processes make the updates of one: losses, gradients, routers, masks, and checkpoints both ways."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from torch.distributed import TCPStore

from nanoshell.data.loader import Batch
from nanoshell.errors import ConfigError
from nanoshell.plugin.manager import Plugins
from nanoshell.training.distributed import Placement, check_rows, placement
from nanoshell.training.numerics import Numerics
from nanoshell.training.team import _divided, share_of
from tests.unit.training.conftest import Lab
from tests.unit.training.pair import Case, run_case

EXPERTS = {
    "model_feed_forward": ["swiglu", "moe"],
    "model_num_experts": 6,
    "model_experts_per_tok": 1,
    "model_intermediate_size": 16,
    "model_router_bias": True,
    "load_balance_alpha": 0.05,
    "router_bias_rate": 0.01,
}
SLOW = {"learning_rate": 3e-3, "max_steps": 40}
CASES = {
    "dense": Case({**SLOW, "gradient_accumulation": 2}, 20),
    "sampled": Case(
        {**SLOW, "sampled_negatives": 4, "gradient_accumulation": 3, "batch_size": 2}, 20, "sampled"
    ),
    "uneven": Case({**SLOW, "batch_size": 3}, 6),
    "masked": Case({**SLOW, "batch_size": 4, "gradient_accumulation": 1}, 6, masked=True),
    "masked, sampled": Case({**SLOW, "batch_size": 3, "sampled_negatives": 4}, 6, "sampled", masked=True),
    "experts": Case({**SLOW, **EXPERTS, "batch_size": 2, "gradient_accumulation": 2}, 8),
    "few tokens": Case({**SLOW, **EXPERTS, "batch_size": 2, "seq_len": 2, "load_balance_alpha": 0}, 8),
}
DROPOUT = {**SLOW, "model_dropout": 0.3, "gradient_accumulation": 2}


def without(facts: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != key}


def corpus_of(lab: Lab) -> Path:
    return lab.corpus(tokens=1200, ids=14)


def pair(lab: Lab, plugins_dir: Path, cases: dict[str, Case]) -> list[dict[str, Any]]:
    """Return what both processes of a pair told of ``cases``."""
    # The store lives here, as torchrun's does, so that nobody else can take its port in between.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    job = {"folder": str(lab.folder), "plugins_dir": str(plugins_dir), "corpus": str(corpus_of(lab))}
    job_path = lab.folder / "job.json"
    job_path.write_text(
        json.dumps({**job, "cases": {name: dataclasses.asdict(case) for name, case in cases.items()}})
    )
    root = Path(__file__).parents[3]
    processes = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": store.port}
        place |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": True}
        environment = {**os.environ, **{name: str(value) for name, value in place.items()}}
        command = [sys.executable, "-m", "tests.unit.training.pair", str(job_path)]
        # A file, unlike a pipe, never fills: neither process waits until what it says is read.
        with (lab.folder / f"errors-{rank}").open("wb") as errors:
            processes.append(subprocess.Popen(command, cwd=root, env=environment, stderr=errors))
    codes = [process.wait() for process in processes]
    assert codes == [0, 0], [(lab.folder / f"errors-{rank}").read_text() for rank in range(2)]
    return [json.loads((lab.folder / f"told-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, plugins: Plugins, plugins_dir: Path
) -> tuple[Lab, dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """What one process told of all cases, and what each of two did. They are started once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        lab = Lab(tmp_path_factory.mktemp("pair"), plugins)
        corpus = corpus_of(lab)
        alone = {name: run_case(lab, corpus, case) for name, case in CASES.items()}
        whole = dataclasses.replace(CASES["dense"], steps=8, saved="of-one")
        alone["saved by one"] = run_case(lab, corpus, whole)
        cases = {
            **CASES,
            "restored by two": dataclasses.replace(
                CASES["dense"], steps=8, restored=str(lab.folder / "of-one")
            ),
            "saved by two": dataclasses.replace(whole, saved="of-two"),
            "dropout": Case(DROPOUT, 4, saved="dropped"),
            "noisy": Case(SLOW, 3, noisy=True),
            "dropout, restored": Case(DROPOUT, 4, restored=str(lab.folder / "dropped")),
        }
        return lab, alone, pair(lab, plugins_dir, cases)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, told: Any) -> None:
    _, alone, (first, second) = told
    assert [without(facts, "seed") for facts in first[name]] == [
        without(facts, "seed") for facts in second[name]
    ]
    for one, two in zip(alone[name], first[name], strict=True):
        assert (one["step"], one["tokens"], one["epoch"]) == (two["step"], two["tokens"], two["epoch"])
        for key in ("loss", "grad_norm"):
            assert two[key] == pytest.approx(one[key], rel=1e-5), (name, one["step"], key)
        assert two["weights"] == pytest.approx(one["weights"], rel=1e-4, abs=1e-3)
    assert len({facts["weights"] for facts in first[name]}) == len(first[name]), "something is learnt"


def test_the_load_of_experts_is_that_of_all_processes(told: Any) -> None:
    _, alone, (first, _) = told
    for name in ("experts", "few tokens"):
        for one, two in zip(alone[name], first[name], strict=True):
            assert two["expert_load"]["1"] == pytest.approx(one["expert_load"][1])
    for one, two in zip(alone["experts"], first["experts"], strict=True):
        assert two["balance_loss"] == pytest.approx(one["balance_loss"], rel=1e-5)
    assert any(0.0 in facts["expert_load"]["1"] for facts in first["few tokens"]), "an idle expert"


def test_a_checkpoint_of_two_goes_on_in_one_and_the_other_way(told: Any) -> None:
    lab, alone, (first, _) = told
    case = dataclasses.replace(CASES["dense"], steps=8, restored=str(lab.folder / "of-two"))
    expected = [facts["loss"] for facts in alone["saved by one"]]
    assert [facts["loss"] for facts in first["saved by two"]] == pytest.approx(expected, rel=1e-5)
    again = [facts["loss"] for facts in run_case(lab, corpus_of(lab), case)]
    assert again == pytest.approx(expected[8:], rel=1e-5)
    assert [facts["loss"] for facts in first["restored by two"]] == pytest.approx(expected[8:], rel=1e-5)


def test_dropout_differs_between_processes_and_is_drawn_anew_after_a_resume(told: Any) -> None:
    _, _, (first, second) = told
    for mine, other in zip(first["dropout"], second["dropout"], strict=True):
        assert mine["seed"] != other["seed"]
    assert len({facts["seed"] for facts in first["dropout"] + second["dropout"]}) == 16
    assert first["dropout"][4:] == first["dropout, restored"], "bit for bit"


def test_an_optimizer_that_draws_random_numbers_draws_the_same_in_each_process(told: Any) -> None:
    _, _, (first, second) = told
    assert [facts["weights"] for facts in first["noisy"]] == [facts["weights"] for facts in second["noisy"]]


@given(rows=st.integers(1, 7), batches=st.integers(1, 6), size=st.integers(1, 8))
def test_every_row_has_one_process(rows: int, batches: int, size: int) -> None:
    numbers = np.arange(rows * batches).reshape(batches, rows, 1)
    whole = [Batch(part, part) for part in numbers]
    shares = [share_of(whole, rank, size) for rank in range(size)]
    assert np.concatenate([batch.inputs for share in shares for batch in share]).flatten().tolist() == list(
        range(rows * batches)
    )
    counts = [sum(len(batch.inputs) for batch in share) for share in shares]
    assert max(counts) - min(counts) <= 1
    assert all(0 < len(batch.inputs) <= rows for share in shares for batch in share)
    if batches % size == 0:
        assert all(len(batch.inputs) == rows for share in shares for batch in share)
    if rows * batches < size:
        with pytest.raises(ConfigError, match=f"{size} processes cannot share an update of {rows * batches}"):
            check_rows(rows * batches, size)
    else:
        check_rows(rows * batches, size)


def test_a_place_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert placement() is None
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for name, value in said.items():
        assert placement() is None
        monkeypatch.setenv(name, value)
    assert placement() == Placement(5, 8, 1, 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert placement() == Placement(5, 8, 1, 4, attempt=2)
    monkeypatch.setenv("RANK", "five")
    assert placement() is None


def test_threads_are_divided_among_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanoshell.training.team.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone = Numerics("cpu", "float32", "full", 8)
    assert _divided(alone, 1, 1) is alone
    four = _divided(alone, 4, 4)
    assert (four.processes, four.threads) == (4, 2)
    assert _divided(four, 1, 1) == alone
    assert _divided(alone, 16, 16).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr("nanoshell.training.team.available_cores", lambda: 3)
    assert _divided(alone, 4, 4).threads == 3, "torchrun, or whoever set it, has divided them"


def test_numerics_from_before_there_were_processes_are_those_of_one() -> None:
    old = {"device": "cpu", "dtype": "float32", "softmax": "full", "threads": 2}
    assert Numerics.from_dict(old, "x").processes == 1
    assert Numerics.from_dict({**old, "processes": 4}, "x").to_dict()["processes"] == 4
