"""The contracts of layer kinds: a mixer works over positions, a feed-forward over channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, name_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nanoshell.model.config import ModelConfig

_BOTH = {
    "builds": "factory(config, layer_index) returns a torch.nn.Module with what its kind needs",
    "shape": "forward maps (batch, seq, hidden) to the same shape and dtype",
    "finite": "what it returns is finite",
    "arguments": "it leaves its input alone",
    "rows": "a row of the batch does not depend on those beside it",
    "gradients": "every parameter that wants a gradient gets one, and so does the input",
    "seed": "new weights are drawn from torch's random state: equal seeds give equal layers",
    "weights": "all that it has learnt is in its state_dict, which another one of it can load",
    "bfloat16": "it computes in bfloat16 as well",
    "name": "name_in_layer, where there is one, is a name for parameters: a word without dots",
}
MIXER_RULES = MappingProxyType(
    {
        **_BOTH,
        "causal": "no position sees a later one",
        "state": "new_state(batch, max_positions, dtype, device) returns a new state before position 0",
        "pieces": "a sequence in pieces of any size gives, with a state, what the whole gives",
        "length": "a LayerState counts in its length the positions that forward has seen",
        "copies": "rows of a LayerState are copies: going on with one leaves the other as it was",
        "rewind": "where rewind(length) says that it forgot what came later, it has",
        "step": "step gives what forward gives for one position, wherever each row stands",
        "step in place": "step changes the state's tensors in place and leaves its length alone",
    }
)
FEED_FORWARD_RULES = MappingProxyType(
    {
        **_BOTH,
        "positions": "each position is computed by itself",
        "step": "step, where there is one, gives what forward gives for one position, after prepare_step",
        "routing": "a Router's take_routing gives the Routing of the last forward pass in training, once",
    }
)
POSITIONS = 12
_SHAPE = {"hidden_size": 32, "num_layers": 1, "num_heads": 4, "vocab_size": 97, "max_seq_len": 32}


def check_mixer(factory: Callable[[ModelConfig, int], Any], **keys: Any) -> None:
    """Check the mixer that ``factory(config, 0)`` builds, in float64.

    ``keys`` are keys of ``model:`` beside a width of 32 and 4 heads; ``layer_options`` need ``mixer``, too.
    """
    import torch

    contract = Contract("mixer", name_of(factory), MIXER_RULES)
    with torch.random.fork_rng(devices=[]):
        module, x = _check_module(contract, factory, keys, ("forward", "new_state"))
        with torch.no_grad():
            whole = module(x)
            changed = x.clone()
            changed[:, POSITIONS // 2 :] += 1
            early = (module(changed) - whole)[:, : POSITIONS // 2].abs().amax((0, 2))
            seen = [at for at, change in enumerate(early.tolist()) if change > 1e-6]
            at = POSITIONS // 2
            contract.must("causal", not seen, f"with a change at position {at}, position {seen[:1]} changed")
            _check_state(contract, module, x, whole)
            if hasattr(module, "step"):
                _check_step(contract, module, x, whole)


def check_feed_forward(factory: Callable[[ModelConfig, int], Any], **keys: Any) -> None:
    """Check the feed-forward that ``factory(config, 0)`` builds, in float64; ``keys`` as in `check_mixer`."""
    import torch

    contract = Contract("feed-forward", name_of(factory), FEED_FORWARD_RULES)
    with torch.random.fork_rng(devices=[]):
        module, x = _check_module(contract, factory, keys, ("forward",))
        with torch.no_grad():
            whole = module(x)
            alone = torch.cat([module(x[:, at : at + 1]) for at in range(POSITIONS)], 1)
            contract.must("positions", _close(alone, whole), "a position alone gives another result")
            if hasattr(module, "step"):
                if hasattr(module, "prepare_step"):
                    module.prepare_step()
                with contract.keeping("step", "step"):
                    step = module.step(x[:, :1])
                contract.must("step", _close(step, whole[:, :1]), "the results differ")
        if hasattr(module, "take_routing"):
            _check_routing(contract, module, x)


def _config(keys: dict[str, Any]) -> ModelConfig:
    from nanoshell.model.config import ModelConfig

    return ModelConfig.from_dict({**_SHAPE, **keys}, "keys of the check")


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether both are equal up to the rounding of constants that a layer keeps in float32."""
    import torch

    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _check_module(
    contract: Contract,
    factory: Callable[[ModelConfig, int], Any],
    keys: dict[str, Any],
    wanted: Sequence[str],
) -> tuple[Any, Tensor]:
    """Check what both kinds owe, and return a module and an input (3, positions, hidden), in float64."""
    import torch
    from torch import nn

    config = _config(keys)

    def build() -> nn.Module:
        torch.manual_seed(7)
        with contract.keeping("builds", "factory(config, 0)"):
            made = factory(config, 0)
        contract.must("builds", isinstance(made, nn.Module), f"it returned {type(made).__name__}")
        missing = [name for name in wanted if not callable(getattr(made, name, None))]
        contract.must("builds", not missing, f"it has no {', '.join(missing)}")
        return made.double().eval()  # type: ignore[no-any-return]

    module, twin = build(), build()
    name = getattr(module, "name_in_layer", "word")
    contract.must("name", isinstance(name, str) and name.isidentifier(), f"it is {name!r}")
    pairs = zip(module.state_dict().values(), twin.state_dict().values(), strict=True)
    contract.must("seed", all(torch.equal(one, other) for one, other in pairs), "two of one seed differ")
    _wake(module)
    x = torch.randn(3, POSITIONS, config.hidden_size, dtype=torch.float64)
    given = x.clone()
    with torch.no_grad(), contract.keeping("shape", "forward"):
        whole = module(x)
    fine = isinstance(whole, torch.Tensor) and whole.shape == x.shape and whole.dtype == x.dtype
    found = f"{whole.dtype} of {tuple(whole.shape)}" if isinstance(whole, torch.Tensor) else repr(whole)
    contract.must("shape", fine, f"{found} for {x.dtype} of {tuple(x.shape)}")
    contract.must("finite", whole.isfinite().all(), "it is not")
    contract.must("arguments", torch.equal(x, given), "forward changed it")
    with torch.no_grad():
        alone = torch.cat([module(row[None]) for row in x])
    contract.must("rows", _close(alone, whole), "a row alone gives another result")
    _check_weights(contract, module, build(), x, whole)
    _check_gradients(contract, module, x)
    _check_bfloat16(contract, build(), x)
    return module, x


def _wake(module: nn.Module) -> None:
    """Move all weights a little: outputs that start at zero would hide every mistake behind them."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def _check_weights(contract: Contract, module: nn.Module, other: nn.Module, x: Tensor, whole: Tensor) -> None:
    import torch

    with contract.keeping("weights", "load_state_dict"), torch.no_grad():
        other.load_state_dict(module.state_dict())
        loaded = other(x)
    contract.must(
        "weights", _close(loaded, whole), "with the same state_dict another one gives another result"
    )


def _check_gradients(contract: Contract, module: nn.Module, x: Tensor) -> None:
    import torch

    leaf = x.clone().requires_grad_()
    with contract.keeping("gradients", "backward"):
        torch.autograd.backward((module(leaf) * torch.randn_like(x)).sum())
    idle = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    contract.must("gradients", not idle, f"none for {', '.join(idle[:3])}")
    contract.must("gradients", leaf.grad is not None, "none for the input")
    module.zero_grad()


def _check_bfloat16(contract: Contract, module: nn.Module, x: Tensor) -> None:
    import torch

    with contract.keeping("bfloat16", "forward"), torch.no_grad():
        found = module.bfloat16()(x.bfloat16())
    fine = found.dtype == torch.bfloat16 and found.isfinite().all()
    contract.must(
        "bfloat16", fine, f"it gives {found.dtype}, {'finite' if found.isfinite().all() else 'not finite'}"
    )


def _new_state(contract: Contract, module: Any, x: Tensor) -> Any:
    with contract.keeping("state", "new_state"):
        return module.new_state(len(x), POSITIONS, x.dtype, x.device)


def _check_state(contract: Contract, module: Any, x: Tensor, whole: Tensor) -> None:
    import torch

    from nanoshell.model.cache import LayerState

    for cuts in ((1, 2, 5), (4, 8), (3,), tuple(range(1, POSITIONS)), (POSITIONS - 1,)):
        bounds = [0, *cuts, POSITIONS]
        state = _new_state(contract, module, x)
        with contract.keeping("pieces", f"pieces cut at {list(cuts)}"):
            parts = [module(x[:, a:b], state) for a, b in pairwise(bounds)]
        contract.must("pieces", _close(torch.cat(parts, 1), whole), f"cut at {list(cuts)} they differ")
        if isinstance(state, LayerState):
            contract.must("length", state.length == POSITIONS, f"{state.length} after {POSITIONS} positions")
    if isinstance(state, LayerState):
        _check_rows(contract, module, x, whole)


def _check_rows(contract: Contract, module: Any, x: Tensor, whole: Tensor) -> None:
    import torch

    half = POSITIONS // 2
    state = _new_state(contract, module, x)
    module(x[:, :half], state)
    with contract.keeping("copies", "rows([2, 0])"):
        picked = state.rows([2, 0])
        swapped = module(x[[2, 0], half:], picked)
    contract.must("copies", _close(swapped, whole[[2, 0], half:]), "rows 2 and 0 go on otherwise than before")
    rest = module(x[:, half:], state)
    contract.must("copies", _close(rest, whole[:, half:]), "the state has changed with its copy")
    state = _new_state(contract, module, x)
    module(torch.cat([x[:, :half], x[:, half : half + 2] + 1], 1), state)
    with contract.keeping("rewind", f"rewind({half})"):
        forgot = state.rewind(half)
    if forgot:
        rest = module(x[:, half:], state)
        contract.must("rewind", _close(rest, whole[:, half:]), "what came later still shows")


def _check_step(contract: Contract, module: Any, x: Tensor, whole: Tensor) -> None:
    """Let the three rows stand at 2, 5 and 7, and take four positions of each."""
    import torch

    from nanoshell.model.cache import LayerState

    lengths = [2, 5, 7]
    states = [_new_state(contract, module, x[:1]) for _ in lengths]
    for row, (length, state) in enumerate(zip(lengths, states, strict=True)):
        module(x[row : row + 1, :length], state)
    if all(isinstance(state, LayerState) for state in states):
        with contract.keeping("copies", "join"):
            state = states[0].join(states[1:])
    elif all(state is None for state in states):
        state = None
    else:
        lengths, state = [4] * len(x), _new_state(contract, module, x)
        module(x[:, :4], state)
    positions = torch.tensor(lengths)
    rows = torch.arange(len(x))
    before = dict(state.tensors()) if isinstance(state, LayerState) else {}
    counted = getattr(state, "length", None)
    for _ in range(4):
        with contract.keeping("step", f"step at {positions.tolist()}"):
            found = module.step(x[rows, positions][:, None], state, positions)
        fine = _close(found, whole[rows, positions][:, None])
        contract.must("step", fine, f"at positions {positions.tolist()} the results differ")
        positions = positions + 1
    if isinstance(state, LayerState):
        same = all(tensor is before.get(name) for name, tensor in state.tensors().items())
        contract.must("step in place", same, "a tensor was replaced")
        contract.must("step in place", state.length == counted, f"length went to {state.length}")


def _check_routing(contract: Contract, module: Any, x: Tensor) -> None:
    from nanoshell.model.mixer import Routing

    module.train()(x)
    with contract.keeping("routing", "take_routing"):
        routing, again = module.take_routing(), module.take_routing()
    module.eval()
    contract.must("routing", isinstance(routing, Routing), f"it returned {routing!r}")
    contract.must("routing", again is None, "it returned one a second time")
