"""The contract of a sampler: a step from logits to logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, name_of

if TYPE_CHECKING:
    from torch import Tensor

    from nanoshell.generation.sampling import LogitsProcessor

RULES = MappingProxyType(
    {
        "builds": "factory(value, **uses) returns a step: float32 logits (batch, vocab), ids (batch, seq)",
        "shape": "the logits that it returns have the shape and the dtype of those that it was given",
        "numbers": "no logit that it returns is NaN or plus infinity",
        "forbidden": "a logit of minus infinity stays minus infinity: what is forbidden stays forbidden",
        "choice": "at least one token is left to choose from",
        "arguments": "it leaves its arguments alone: logits and history are as they were",
        "rows": "a row does not depend on what other rows stand beside it",
        "own": "two steps of one factory do not share what they have seen: each reply has one of its own",
        "history": "a prompt of one token is enough of a history, and a long one is not too much",
    }
)
VOCABULARY = 50
_REPLY = 6


def check_sampler(
    factory: Callable[..., LogitsProcessor],
    value: float,
    *,
    uses: Mapping[str, Any] | None = None,
    leaves_some: bool = True,
    vocabulary: int | None = None,
) -> None:
    """Check the step that ``factory(value, **uses)`` builds, on logits of ``vocabulary`` tokens.

    ``uses`` are the values of the settings that it uses, by name; with a ``tokenizer`` among them the
    vocabulary is its own, else one of 50. A sampler that may forbid every token by what it means says
    ``leaves_some=False``. Call it for each kind of value: the default, the bounds.
    """
    import torch

    contract = Contract("sampler", name_of(factory), RULES)
    used = dict(uses or {})
    tokenizer = used.get("tokenizer")
    size: int = vocabulary or (tokenizer.vocab_size if tokenizer is not None else VOCABULARY)

    def build() -> LogitsProcessor:
        with contract.keeping("builds", f"factory({value!r})"):
            step = factory(value, **used)
        contract.must("builds", callable(step), f"it returned {step!r}")
        return step

    for case, logits in _cases(size):
        for length in (1, 5, 200):
            generator = torch.Generator().manual_seed(length)
            history = torch.randint(size, (logits.shape[0], length), generator=generator)
            _check_step(contract, build, logits, history, f"{case} logits, {length} ids", leaves_some)
    _check_replies(contract, build, size)


def _cases(vocabulary: int) -> Iterator[tuple[str, Tensor]]:
    """Yield logits (batch, vocab) of many kinds, each with what they are."""
    import torch

    random = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(0))
    yield "ordinary", 3 * random
    yield "large", 1e4 * random
    yield "equal", torch.zeros(2, vocabulary)
    cut = 3 * random.clone()
    cut[:, ::3] = -math.inf
    yield "partly forbidden", cut
    single = torch.full((2, vocabulary), -math.inf)
    single[0, 7], single[1, 0] = 1.5, -20.0
    yield "single", single


def _check_step(
    contract: Contract,
    build: Callable[[], LogitsProcessor],
    logits: Tensor,
    history: Tensor,
    case: str,
    leaves_some: bool,
) -> None:
    import torch

    given, seen = logits.clone(), history.clone()
    with contract.keeping("history" if history.shape[1] != 5 else "builds", f"a step ({case})"):
        result = build()(logits, history)
    contract.must("shape", isinstance(result, torch.Tensor), f"{case}: it returned {type(result).__name__}")
    same = result.shape == given.shape and result.dtype == given.dtype
    contract.must("shape", same, f"{case}: {result.dtype} of {tuple(result.shape)}")
    unchanged = torch.equal(logits, given) and torch.equal(history, seen)
    contract.must("arguments", unchanged, f"{case}: they were changed")
    bad = result.isnan() | result.isposinf()
    contract.must("numbers", not bad.any(), f"{case}: {int(bad.sum())} of them")
    freed = given.isneginf() & ~result.isneginf()
    contract.must("forbidden", not freed.any(), f"{case}: {int(freed.sum())} came back")
    left = (~result.isneginf()).any(-1)
    contract.must("choice", left.all() or not leaves_some, f"{case}: a row is minus infinity throughout")
    for row in range(len(given)):
        alone = build()(given[row : row + 1], seen[row : row + 1])
        close = torch.allclose(alone[0].float(), result[row].float(), rtol=1e-4, atol=1e-4)
        contract.must("rows", close, f"{case}: row {row} alone gives other logits")


def _check_replies(contract: Contract, build: Callable[[], LogitsProcessor], vocabulary: int) -> None:
    """Go through a reply alone, then beside another one, which must not change it."""
    import torch

    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(_REPLY, vocabulary, generator=generator)
    history = torch.randint(vocabulary, (1, 4 + _REPLY), generator=generator)
    other = history.flip(1)

    def reply(step: LogitsProcessor, beside: LogitsProcessor | None = None) -> list[Tensor]:
        results = []
        for at in range(_REPLY):
            if beside is not None:
                beside(-logits[at : at + 1], other[:, : 4 + at])
            results.append(step(logits[at : at + 1], history[:, : 4 + at]))
        return results

    with contract.keeping("own", "going through a reply"):
        alone, together = reply(build()), reply(build(), beside=build())
    for at, (before, after) in enumerate(zip(alone, together, strict=True)):
        contract.must("own", torch.equal(before, after), f"token {at} changed when another reply was written")
