"""`check_mixer` and `check_feed_forward` pass plain layers, and name the rule that each broken one breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nanoshell import LayerState, ModelConfig, Routing
from nanoshell.testing import check_feed_forward, check_mixer
from nanoshell.testing.layers import FEED_FORWARD_RULES, MIXER_RULES
from tests.unit.testing.broken import assert_told

BUILT: list[object] = []


class Sum(LayerState):
    """What the positions so far add up to, (batch, hidden)."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class RunningSum(nn.Module):
    """A linear map of the sum of all positions so far."""

    name_in_layer = "sum"

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        return Sum(torch.zeros(batch, self.proj.in_features, dtype=dtype, device=device))

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        before = 0 if state is None else state.value[:, None]
        total = before + x.cumsum(1)
        if state is not None:
            state.value.copy_(total[:, -1])
            state.length += x.shape[1]
        mapped: Tensor = self.proj(total)
        return mapped

    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        state.value.add_(x[:, 0])
        mapped: Tensor = self.proj(state.value[:, None])
        return mapped


class NoState(nn.Module):
    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()


class Doubled(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return torch.cat([super().forward(x, state)] * 2, -1)


class Infinite(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return super().forward(x, state) / 0


class Scribbling(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        found = super().forward(x, state)
        x.data.mul_(0.5)
        return found


class BatchNorm(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return super().forward(x, state) + x.cumsum(1).mean(0)


class Idle(RunningSum):
    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__(config, layer_index)
        self.idle = nn.Parameter(torch.ones(3))


class Unseeded(RunningSum):
    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__(config, layer_index)
        BUILT.append(self)
        nn.init.constant_(self.proj.bias, len(BUILT))


class Secretive(RunningSum):
    """Has a weight that no checkpoint holds."""

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__(config, layer_index)
        BUILT.append(self)
        self.secret = 1.0 + len(BUILT)

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return super().forward(x, state) * self.secret


class Double(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return super().forward(x, state).float().to(torch.float64)


class Dotted(RunningSum):
    name_in_layer = "a.b"


class Peeking(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        return super().forward(x, state) + x.sum(1, keepdim=True)


class Moody(RunningSum):
    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        raise NotImplementedError


class Forgetful(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        found = super().forward(x)
        if state is not None:
            state.length += x.shape[1]
        return found


class Uncounted(RunningSum):
    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        found = super().forward(x, state)
        if state is not None:
            state.length = 0
        return found


class SharedSum(Sum):
    def rows(self, rows: Any) -> Any:
        copied = super().rows(rows)
        copied.value = self.value[: len(rows)]
        return copied


class Shared(RunningSum):
    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        return SharedSum(super().new_state(batch, max_positions, dtype, device).value)


class LyingSum(Sum):
    def rewind(self, length: int) -> bool:
        self.length = length
        return True


class Lying(RunningSum):
    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> Any:
        return LyingSum(super().new_state(batch, max_positions, dtype, device).value)


class WrongStep(RunningSum):
    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        return super().step(x, state, positions) * 1.01


class CountingStep(RunningSum):
    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        state.length += 1
        return super().step(x, state, positions)


class ReplacingStep(RunningSum):
    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        state.value = state.value.clone()
        return super().step(x, state, positions)


BROKEN_MIXERS: list[tuple[str, Any]] = [
    ("builds", NoState),
    ("builds", lambda config, index: print),
    ("shape", Doubled),
    ("finite", Infinite),
    ("arguments", Scribbling),
    ("rows", BatchNorm),
    ("gradients", Idle),
    ("seed", Unseeded),
    ("weights", Secretive),
    ("bfloat16", Double),
    ("name", Dotted),
    ("causal", Peeking),
    ("state", Moody),
    ("pieces", Forgetful),
    ("length", Uncounted),
    ("copies", Shared),
    ("rewind", Lying),
    ("step", WrongStep),
    ("step in place", CountingStep),
    ("step in place", ReplacingStep),
]


class Relu(nn.Module):
    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.proj(x).relu()
        return mapped


class Mixing(Relu):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean(1, keepdim=True)


class OtherStep(Relu):
    prepared = 1.0

    def prepare_step(self) -> None:
        self.prepared = 2.0

    def step(self, x: Tensor) -> Tensor:
        return self(x) * self.prepared


class Preparing(OtherStep):
    prepared = 0.0

    def prepare_step(self) -> None:
        self.prepared = 1.0


class Routed(Relu):
    def take_routing(self) -> Routing | None:
        return Routing(torch.tensor(1.0), torch.tensor([3]))


BROKEN_FEED_FORWARDS: list[tuple[str, Any]] = [
    ("positions", Mixing),
    ("step", OtherStep),
    ("routing", Routed),
]


def test_layers_that_keep_every_rule() -> None:
    check_mixer(RunningSum)
    check_feed_forward(Relu)
    check_feed_forward(Preparing)


def test_keys_reach_the_layer() -> None:
    seen: list[ModelConfig] = []

    def build(config: ModelConfig, index: int) -> RunningSum:
        seen.append(config)
        return RunningSum(config, index)

    check_mixer(build, hidden_size=8, mixer="sum", layer_options={"sum": {"speed": 3}})
    assert seen[0].hidden_size == 8
    assert seen[0].layer_options == {"sum": {"speed": 3}}


def test_the_random_state_stays_as_it_was() -> None:
    before = torch.random.get_rng_state()
    check_mixer(RunningSum)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("rule", "factory"), BROKEN_MIXERS)
def test_a_broken_mixer_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_mixer(factory), rule, MIXER_RULES)


@pytest.mark.parametrize(("rule", "factory"), BROKEN_FEED_FORWARDS)
def test_a_broken_feed_forward_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_feed_forward(factory), rule, FEED_FORWARD_RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN_MIXERS} == set(MIXER_RULES)
    assert {rule for rule, _ in BROKEN_FEED_FORWARDS} == set(FEED_FORWARD_RULES) - set(MIXER_RULES) | {"step"}
