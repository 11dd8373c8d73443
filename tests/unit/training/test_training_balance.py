"""Training of routers: what is added to the loss, what is told, and how the load of experts evens out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nanoshell.data.loader import IGNORED
from nanoshell.model.mixer import Router
from nanoshell.model.moe import MixtureOfExperts
from nanoshell.plugin.manager import load_plugins
from nanoshell.training.balance import Routers
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import run_worker

EXPERTS = {
    "model_feed_forward": ["swiglu", "moe"],
    "model_num_experts": 4,
    "model_intermediate_size": 16,
}
LATENT = {"model_kv_latent_dim": 8, "model_q_latent_dim": 8, "model_d_rope": 4}
FULL = {
    **LATENT,
    "model_num_experts": 4,
    "model_experts_per_tok": 1,
    "model_shared_expert_enabled": True,
    "model_router_bias": True,
    "model_intermediate_size": 16,
    "model_dropout": 0.2,
    "gradient_accumulation": 2,
    "load_balance_alpha": 0.01,
    "router_bias_rate": 0.01,
}


def mixtures_of(trainer: Trainer) -> list[MixtureOfExperts]:
    found: list[Any] = [module for module in trainer.model.modules() if isinstance(module, MixtureOfExperts)]
    return found


def bias_of(mixture: MixtureOfExperts) -> Tensor:
    assert mixture.router.bias is not None
    return mixture.router.bias


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_mean_balance_loss_is_added_by_the_share_of_the_targets(
    lab: Any, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    """Two micro-batches of unequal numbers of targets, two layers with routers."""
    config = lab.config(
        **{**EXPERTS, "model_feed_forward": "moe"},
        batch_size=2,
        gradient_accumulation=2,
        load_balance_alpha=alpha,
        max_grad_norm=0,
    )
    trainer = lab.trainer(config, lab.corpus())
    trainer.model.double()
    batches = [trainer.loader.next_batch() for _ in range(2)]
    batches[0].targets[:, 2:] = IGNORED
    feed = iter(batches)
    monkeypatch.setattr(trainer.loader, "next_batch", lambda: next(feed))
    loss, balance = torch.zeros(()).double(), torch.zeros(()).double()
    loads = torch.zeros(2, 4)
    for batch, share in zip(batches, (4 / 20, 16 / 20), strict=True):
        logits = trainer.model(torch.from_numpy(batch.inputs)).flatten(0, 1)
        targets = torch.from_numpy(batch.targets).flatten()
        loss = loss + F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / 20
        for index, mixture in enumerate(mixtures_of(trainer)):
            routing = mixture.take_routing()
            assert routing is not None
            balance = balance + share * routing.balance_loss / 2
            loads[index] += routing.load
    parameters = dict(trainer.model.named_parameters())
    expected = torch.autograd.grad(loss + alpha * balance, list(parameters.values()), allow_unused=True)
    seen: dict[str, Tensor | None] = {}
    monkeypatch.setattr(
        trainer.optimizer, "step", lambda: seen.update({name: p.grad for name, p in parameters.items()})
    )
    result = trainer.update()
    assert result.loss == pytest.approx(float(loss.detach()), rel=1e-6), "the cross-entropy alone"
    assert result.balance_loss == pytest.approx(float(balance.detach()), rel=1e-9)
    for (name, gradient), wanted in zip(seen.items(), expected, strict=True):
        ours, theirs = (value if value is not None else torch.zeros(()) for value in (gradient, wanted))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9, msg=name, check_dtype=False)
    assert list(result.expert_load) == [0, 1]
    for shares, load in zip(result.expert_load.values(), loads, strict=True):
        assert shares == pytest.approx((load / load.sum()).tolist())


def test_without_routers_nothing_is_told(lab: Any) -> None:
    result = lab.trainer(lab.config(), lab.corpus()).update()
    assert (result.balance_loss, result.expert_load) == (None, {})


def test_the_weight_of_the_loss_where_the_config_says_nothing(lab: Any) -> None:
    assert lab.config().balance_alpha == 0.01
    assert lab.config(**EXPERTS, model_router_bias=True).balance_alpha == 0.0
    assert lab.config(load_balance_alpha=0).balance_alpha == 0.0
    assert lab.config(load_balance_alpha=0.5, **EXPERTS, model_router_bias=True).balance_alpha == 0.5
    assert "load_balance_alpha" not in lab.config(load_balance_alpha=0.5).trainer.unused_keys()


@pytest.mark.parametrize(
    ("keys", "evens_out"),
    [
        ({"load_balance_alpha": 0}, False),
        ({"load_balance_alpha": 0.5}, True),
        ({"model_router_bias": True, "router_bias_rate": 0.01}, True),
        ({"model_router_bias": True, "router_bias_rate": 0.01, "model_router_score": "sigmoid"}, True),
        ({"model_router_bias": True, "router_bias_rate": 0}, False),
    ],
    ids=["nothing", "loss", "bias", "bias of a sigmoid", "a bias that stays"],
)
def test_a_skewed_router_evens_out_in_60_steps(lab: Any, keys: dict[str, Any], evens_out: bool) -> None:
    config = lab.config(
        **EXPERTS, **keys, model_experts_per_tok=1, max_steps=60, schedule="constant", learning_rate=3e-3
    )
    trainer = lab.trainer(config, lab.corpus())
    mixture = mixtures_of(trainer)[0]
    # All tokens have one direction in common, and one expert's score is high along it.
    trainer.model.layers[1].post_attention_layernorm.register_forward_hook(lambda *call: call[2] + 0.5)
    with torch.no_grad():
        mixture.router.gate.weight[2] += 0.1
    loads = [trainer.update().expert_load[1] for _ in range(60)]
    assert loads[0][2] > 0.9, "it was skewed"
    most = np.mean(loads[-20:], 0).max()
    assert most < 0.4 if evens_out else most > 0.9


def test_the_bias_follows_every_update_and_none_that_diverged(lab: Any) -> None:
    config = lab.config(**{**FULL, "model_dropout": 0.0})
    trainer = lab.trainer(config, lab.corpus())
    for mixture in mixtures_of(trainer):
        assert not bias_of(mixture).any()
    result = trainer.update()
    for index, mixture in enumerate(mixtures_of(trainer)):
        shares = torch.tensor(result.expert_load[index])
        torch.testing.assert_close(bias_of(mixture), 0.01 * (0.25 - shares).sign())
    before = [bias_of(mixture).clone() for mixture in mixtures_of(trainer)]
    with torch.no_grad():
        trainer.model.norm.weight[0] = math.nan
    assert trainer.update().diverged
    after = [bias_of(mixture) for mixture in mixtures_of(trainer)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_evaluating_leaves_no_routing_behind(lab: Any) -> None:
    trainer = lab.trainer(lab.config(**EXPERTS, val_fraction=0.2), lab.corpus())
    trainer.evaluate()
    assert mixtures_of(trainer)[0].take_routing() is None
    result = trainer.update()
    assert sum(result.expert_load[1]) == pytest.approx(1.0)


# Going on exactly


CASES: dict[str, dict[str, Any]] = {
    "latents, one expert and a shared one, bias": {},
    "two experts a token, loss": {"model_experts_per_tok": 2, "model_router_bias": False},
    "sampled": {"softmax": "sampled", "sampled_negatives": 3},
    "attention beside latents": {"model_mixer": ["attention", "mla"], "model_feed_forward": "moe"},
    "a hybrid with Mamba-2": {
        "model_mamba_layers": [0],
        "model_mamba2_head_dim": 8,
        "model_mamba2_state_size": 8,
        "model_mamba2_chunk_size": 4,
    },
    "momentum": {"optimizer": "sgd"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
}


@pytest.mark.parametrize("keys", CASES.values(), ids=CASES.keys())
def test_going_on_gives_the_same_bits_as_never_having_stopped(lab: Any, keys: dict[str, Any]) -> None:
    resumed = lab.resumed(lab.config(**{**FULL, **keys}))
    if resumed.model.config.router_bias:
        assert float(lab.weights(resumed)["layers.1.moe.router.bias"].abs().max()) > 0


def test_an_expert_that_no_token_was_sent_to_is_resumed_without_a_state(lab: Any) -> None:
    """AdamW knows nothing of it: not in the update, the norm, the checkpoint, nor after going on."""
    config = lab.config(**{**FULL, "router_bias_rate": 0.0, "model_dropout": 0.0})

    def build() -> Trainer:
        trainer = lab.trainer(config, lab.corpus())
        for mixture in mixtures_of(trainer):
            bias_of(mixture)[3] = -9.0
        assert isinstance(trainer, Trainer)
        return trainer

    def lift(trainer: Trainer) -> None:
        for mixture in mixtures_of(trainer):
            bias_of(mixture).copy_(torch.tensor([0.0, 0.0, 0.0, 9.0]))

    straight, stopped = build(), build()
    first = lab.weights(straight)
    for trainer in (straight, stopped):
        for _ in range(4):
            assert trainer.update().expert_load[0][3] == 0.0
    idle = {name for name in first if ".experts.3." in name}
    for name, value in lab.weights(straight).items():
        assert torch.equal(value, first[name]) == (name in idle or name.endswith("router.bias")), name
    resumed = lab.trainer(config, lab.corpus())
    resumed.restore(lab.save(stopped))
    parameters = dict(resumed.model.named_parameters())
    assert all(parameters[name] not in resumed.optimizer.state for name in idle)
    for trainer in (straight, resumed):
        lift(trainer)
    again = [(lab.facts(straight.update()), lab.facts(resumed.update())) for _ in range(3)]
    assert all(one == other for one, other in again)
    assert again[0][0]["expert_load"][0][3] == 1.0, "it has all tokens now"
    assert all(parameters[name] in resumed.optimizer.state for name in idle)
    assert lab.same_bits(lab.weights(resumed), lab.weights(straight))


# A run, and third parties


def test_step_events_tell_balance_and_load(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(**FULL, max_steps=3), lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    steps = lab.events(run, "step")
    assert len(steps) == 3
    for event in steps:
        assert 0.5 < event["balance_loss"] <= 4.0
        assert list(event["expert_load"]) == ["0", "1"]
        assert all(sum(shares) == pytest.approx(1, abs=1e-3) for shares in event["expert_load"].values())
    dense = lab.prepare(lab.request(lab.config(max_steps=1), lab.corpus()))
    run_worker(dense, lab.plugins)
    assert not {"balance_loss", "expert_load"} & set(lab.events(dense, "step")[0])


ALTERNATING = '''
"""A router of a stranger: tokens take turns, and a number says how badly."""

from nanoshell import hookimpl


def build(config, layer_index):
    import torch
    from torch import nn

    import nanoshell

    class Alternating(nn.Module):
        name_in_layer = "turns"

        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3))
            self.slope = nn.Parameter(torch.ones(()))
            self.told, self.moved = None, []

        def forward(self, x):
            if self.training:
                load = torch.tensor([x.shape[1] - 2.0, 2.0, 0.0])
                self.told = nanoshell.Routing(self.slope * 3, load)
            return self.experts[0](x)

        def take_routing(self):
            told, self.told = self.told, None
            return told

        def balance(self, load, rate):
            self.moved.append((load.tolist(), rate))

    return Alternating()


@hookimpl
def register_mixers(register):
    register("turns", build, kind="feed_forward")
'''


def test_routers_of_third_parties_are_trained_alike(lab: Any, tmp_path: Path, plugins_dir: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "turns.py").write_text(ALTERNATING)
    (folder / "letters.py").write_text((plugins_dir / "letters.py").read_text())
    lab.plugins = load_plugins(plugins_dir=folder, only=["letters", "turns"], strict=True)
    config = lab.config(
        model_feed_forward=["turns", "swiglu"],
        optimizer="sgd",
        learning_rate=0.01,
        schedule="constant",
        warmup_steps=0,
        max_grad_norm=0,
        gradient_accumulation=2,
        load_balance_alpha=0.5,
        router_bias_rate=0.125,
    )
    trainer = lab.trainer(config, lab.corpus())
    router: Any = trainer.model.layers[0].feed_forward_module
    assert isinstance(router, Router)
    result = trainer.update()
    assert result.balance_loss == pytest.approx(3.0)
    assert result.expert_load == {0: [0.75, 0.25, 0.0]}
    assert router.moved == [([12.0, 4.0, 0.0], 0.125)]
    assert float(router.slope.detach()) == pytest.approx(1 - 0.01 * 0.5 * 3)


def test_the_load_of_one_update_is_forgotten_in_the_next(lab: Any) -> None:
    trainer = lab.trainer(lab.config(**EXPERTS), lab.corpus())
    routers = Routers(trainer.model)
    assert routers.take(1.0) is None
    for _ in range(2):
        routers.begin()
        trainer.model(torch.randint(20, (2, 8)))
        part = routers.take(0.25)
        assert part is not None
        assert routers.balance_loss == pytest.approx(float(part.detach()))
        assert sum(routers.shares[1]) == pytest.approx(1.0)
    routers.begin()
    assert (routers.balance_loss, routers.shares) == (None, {})
