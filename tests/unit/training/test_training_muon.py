"""Muon: its step by the formula in float64, beside torch's own, what it takes for matrices, exact resume."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from nanoshell.errors import ConfigError
from nanoshell.model.transformer import build_model
from nanoshell.training import muon as module
from nanoshell.training.config import TrainerConfig
from nanoshell.training.muon import COEFFICIENTS, Muon, MuonOptions, hidden_matrices, muon, orthogonalise
from nanoshell.training.optimizer import VOCABULARY_PARAMETERS, set_learning_rate

SHAPES = [(4, 4), (6, 3), (3, 6), (4, 4)]
HYBRID = {
    "model_num_layers": 5,
    "model_hidden_size": 16,
    "model_mixer": ["attention", "mamba3", "mla", "mamba2", "mamba1"],
    "model_feed_forward": ["moe", "none", "swiglu", "relu2", "none"],
    "model_mamba2_num_heads": 4,
    "model_mamba2_head_dim": 8,
    "model_mamba2_state_size": 8,
    "model_mamba3_enabled": True,
    "model_mamba3_mimo_rank": 2,
    "model_kv_latent_dim": 8,
    "model_d_rope": 4,
    "model_num_experts": 4,
    "model_experts_per_tok": 1,
    "model_router_bias": True,
}


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def give_gradients(matrices: list[nn.Parameter], step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator, dtype=torch.float64).to(matrix.dtype)
    return [matrix.grad.clone() for matrix in matrices if matrix.grad is not None]


def by_formula(gradient: Tensor, iterations: int) -> Tensor:
    """Return what the iteration makes of the singular values, one at a time."""
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    values = values / values.square().sum().sqrt()
    first, third, fifth = COEFFICIENTS
    for _ in range(iterations):
        values = first * values + third * values**3 + fifth * values**5
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", ["rms", "spectral"])
def test_its_steps_are_those_of_the_formula(nesterov: bool, scale: str) -> None:
    matrices = parameters()
    options = MuonOptions.model_validate(
        {"momentum": 0.9, "nesterov": nesterov, "scale": scale, "iterations": 4}
    )
    optimizer = Muon(matrices, [], lr=0.1, weight_decay=0.3, options=options)
    expected = [matrix.detach().clone() for matrix in matrices]
    momenta = [torch.zeros_like(matrix) for matrix in expected]
    for step in range(3):
        for index, gradient in enumerate(give_gradients(matrices, step)):
            momenta[index] = 0.9 * momenta[index] + 0.1 * gradient
            ahead = 0.9 * momenta[index] + 0.1 * gradient if nesterov else momenta[index]
            rows, columns = gradient.shape
            far = 0.2 * max(rows, columns) ** 0.5 if scale == "rms" else max(1, rows / columns) ** 0.5
            expected[index] = expected[index] * (1 - 0.1 * 0.3) - 0.1 * far * by_formula(ahead, 4)
        optimizer.step()
    for matrix, wanted in zip(matrices, expected, strict=True):
        torch.testing.assert_close(matrix.detach(), wanted, rtol=1e-9, atol=1e-11)


@given(
    st.integers(1, 3),
    st.integers(1, 24),
    st.integers(1, 24),
    st.floats(-6, 6),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_singular_values_come_near_one_and_directions_stay(
    number: int, rows: int, columns: int, power: float, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, rows, columns, generator=generator, dtype=torch.float64)
    left, values, right = torch.linalg.svd(drawn, full_matrices=False)
    spread = torch.logspace(0, -1.7, values.shape[-1], dtype=torch.float64).expand_as(values)
    given_matrices = (left * spread[:, None]) @ right * 10.0**power
    found = orthogonalise(given_matrices.to(dtype)).double()
    inside = left.mT @ found @ right.mT
    diagonal = inside.diagonal(dim1=-2, dim2=-1)
    seen = spread / spread.square().sum(-1, keepdim=True).sqrt() > 0.01
    low, high = (0.6, 1.25) if dtype != torch.bfloat16 else (0.4, 1.4)
    assert bool(((diagonal[seen] > low) & (diagonal[seen] < high)).all())
    if dtype == torch.float64:
        rest = inside - torch.diag_embed(diagonal)
        torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-7)


def test_a_matrix_without_a_gradient_rests_and_zeros_stay_zeros() -> None:
    assert not orthogonalise(torch.zeros(2, 3, 5)).any()
    matrices = parameters(torch.float32)
    before = [matrix.detach().clone() for matrix in matrices]
    give_gradients(matrices, 0)
    matrices[0].grad = None
    optimizer = Muon(matrices, [], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert torch.equal(matrices[0].detach(), before[0])
    assert not any(
        torch.equal(matrix.detach(), old) for matrix, old in zip(matrices[1:], before[1:], strict=True)
    )
    assert set(optimizer.state) == set(matrices[1:])


@pytest.mark.parametrize(("scale", "theirs"), [("rms", "match_rms_adamw"), ("spectral", "original")])
def test_it_is_torchs_muon_where_that_computes_alike(scale: str, theirs: str) -> None:
    ours, others = parameters(torch.float32), parameters(torch.float32)
    options = MuonOptions.model_validate({"scale": scale, "precision": "bfloat16"})
    optimizer = Muon(ours, [], lr=0.05, weight_decay=0.2, options=options)
    reference = torch.optim.Muon(others, lr=0.05, weight_decay=0.2, adjust_lr_fn=theirs)
    for step in range(4):
        before = [matrix.detach().clone() for matrix in others]
        give_gradients(ours, step)
        give_gradients(others, step)
        optimizer.step()
        reference.step()
        for mine, its, start in zip(ours, others, before, strict=True):
            moved = (its.detach() - start).norm()
            assert float((mine.detach() - its.detach()).norm()) < 0.03 * (step + 1) * float(moved)
            theirs_momentum = reference.state[its]["momentum_buffer"]
            torch.testing.assert_close(optimizer.state[mine]["momentum"], theirs_momentum)


def test_it_does_not_matter_how_many_are_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for elements in (1, 1 << 24):
        monkeypatch.setattr(module, "STACKED_ELEMENTS", elements)
        matrices = parameters()
        optimizer = Muon(matrices, [], lr=0.1)
        for step in range(2):
            give_gradients(matrices, step)
            optimizer.step()
        found.append([matrix.detach() for matrix in matrices])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_matrices_between_channels_are_its_and_all_else_is_adamws(lab: Any) -> None:
    model = build_model(lab.config(**HYBRID).model, lab.plugins.mixers, seed=0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    chosen = {names[id(parameter)] for parameter in hidden_matrices(model)}
    routers = {f"{name}.weight" for name in linear if name.endswith(".router.gate")}
    assert len(routers) == 1
    assert chosen == {f"{name}.weight" for name in linear} - VOCABULARY_PARAMETERS - routers
    assert any(".experts.3." in name for name in chosen)
    assert not any(part in name for name in chosen for part in ("conv", "A_log", "norm", "bias"))
    assert {len(parameter.shape) for parameter in hidden_matrices(model)} == {2}
    trainer = TrainerConfig(learning_rate=0.01, weight_decay=0.2)
    optimizer = muon(model, trainer)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    moved, *rest = optimizer.param_groups
    assert {names[id(parameter)] for parameter in moved["params"]} == chosen
    decays = {names[id(parameter)]: group["weight_decay"] for group in rest for parameter in group["params"]}
    assert decays[routers.pop()] == 0.2
    assert decays["embed_tokens.weight"] == decays["norm.weight"] == 0.0
    assert all(group["lr"] == 0.01 for group in optimizer.param_groups)


def test_the_rest_moves_as_with_adamw_alone() -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.LayerNorm(4))

    trainer = TrainerConfig(learning_rate=0.05, betas=(0.8, 0.9), epsilon=1e-6, weight_decay=0.1)
    ours, theirs = net(), net()
    optimizer = muon(ours, trainer)
    embedding, _, *rest = theirs.parameters()
    groups = [{"params": [embedding], "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, 0.05, (0.8, 0.9), 1e-6)
    for step in range(3):
        for model in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
        reference.step()
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter, theirs.get_parameter(name)) == (name != "1.weight")


def test_the_schedule_scales_both_rates() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4, bias=False))
    trainer = TrainerConfig(learning_rate=0.01, optimizer_options={"matrix_rate": 0.02})
    optimizer = muon(model, trainer)
    for rate in (0.01, 0.002):
        set_learning_rate(optimizer, rate, 0.01)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2 * rate, rate])


def test_a_state_that_was_kept_decides_its_precision_again() -> None:
    def build(precision: str) -> tuple[list[nn.Parameter], Muon]:
        matrices = parameters(torch.float32)
        vector = nn.Parameter(torch.ones(3))
        options = MuonOptions.model_validate({"precision": precision})
        return [*matrices, vector], Muon(matrices, [{"params": [vector]}], lr=0.1, options=options)

    all_of_them, optimizer = build("bfloat16")
    give_gradients(all_of_them, 0)
    optimizer.step()
    others, another = build("float32")
    another.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        for parameter, value in zip(others, all_of_them, strict=True):
            parameter.copy_(value)
    for each in (all_of_them, others):
        give_gradients(each, 1)
    optimizer.step()
    another.step()
    assert another.param_groups[0]["precision"] == "bfloat16"
    assert all(torch.equal(mine, its) for mine, its in zip(others, all_of_them, strict=True))
    assert MuonOptions().precision == "auto"
    assert build("auto")[1].param_groups[0]["precision"] in ("float32", "bfloat16")


@pytest.mark.parametrize(
    "keys",
    [
        {"model_qk_norm": True, "model_norm_weight": False, "weight_decay": 0.1, "gradient_accumulation": 2},
        {"softmax": "sampled", "sampled_negatives": 6, "model_tie_embeddings": True},
        {**HYBRID, "model_dropout": 0.1, "optimizer_options": {"precision": "float32"}},
    ],
    ids=["plain", "sampled", "hybrid"],
)
def test_resuming_is_exact(lab: Any, keys: dict[str, Any]) -> None:
    resumed = lab.resumed(lab.config(optimizer="muon", **keys))
    assert isinstance(resumed.optimizer, Muon)


def test_it_learns(lab: Any) -> None:
    config = lab.config(optimizer="muon", max_steps=60, model_qk_norm=True)
    trainer = lab.trainer(config, lab.corpus(tokens=97, ids=14))
    losses = [trainer.update().loss for _ in range(60)]
    quarters = [sum(losses[start : start + 15]) / 15 for start in range(0, 60, 15)]
    assert all(later < earlier for earlier, later in pairwise(quarters))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentun": 0.9}, r"trainer\.optimizer_options: unknown key 'momentun'; did you mean 'momentum'"),
        ({"momentum": 1.0}, r"'momentum' is 1\.0, but it must be less than 1"),
        ({"iterations": 0}, "'iterations' is 0, but it must be at least 1"),
        ({"scale": "spectrum"}, "'scale' is 'spectrum', but it must be one of 'rms' or 'spectral'"),
        ({"matrix_rate": 0}, "'matrix_rate' is 0, but it must be greater than 0"),
    ],
)
def test_options_that_it_does_not_know(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        muon(nn.Linear(2, 2), TrainerConfig(optimizer_options=options))
