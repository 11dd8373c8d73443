"""What was computed for earlier replies: a prompt that begins as they do costs its new tokens alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor

from nanoshell.model.cache import Cache, LayerState

KEPT = 2
"""Caches that an engine keeps: that of a conversation, and that of a sample drawn beside it."""

NewCache = Callable[[int], Cache]


@dataclass
class Mark:
    """Copies of those states that cannot look back, as they were at position ``length``; None for others."""

    length: int
    states: list[LayerState | None]


@dataclass(eq=False)
class Prefix:
    """A cache of one row with the ``ids`` that it has seen.

    Whoever took it from a `PrefixStore` has it alone, and puts it back only when nothing was cut short in the
    middle of the model, where some layers have seen more than others.
    """

    cache: Cache
    ids: list[int]
    mark: Mark | None = None

    def usable(self, prompt: Sequence[int]) -> int:
        """Return how many of the first ids of ``prompt`` need not be computed; its last one always is."""
        pairs = zip(self.ids, prompt[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if shared == len(self.ids) or looks_back(self.cache):
            return shared
        return self.mark.length if self.mark is not None and self.mark.length <= shared else 0

    def set_mark(self) -> None:
        """Remember where the cache stands, if it has states that cannot look back later."""
        if self.cache.has_rows and not looks_back(self.cache):
            copies = [None if _looks_back(state) else state.rows([0]) for state in self.cache.states]
            self.mark = Mark(self.cache.length, copies)

    def go_back(self, length: int) -> None:
        """Forget all positions from ``length`` on, which `usable` has returned."""
        if length != self.cache.length:
            for index, state in enumerate(self.cache.states):
                copy = self.mark.states[index] if self.mark is not None else None
                if copy is not None and not _looks_back(state):
                    _restore(state, copy)
                elif state is not None:
                    state.rewind(length)
            self.cache.length = length
        del self.ids[length:]

    def move(self, roomy: Cache) -> bool:
        """Go over to ``roomy``, an empty cache of another size, and say whether that could be done."""
        pairs = list(zip(self.cache.states, roomy.states, strict=True))
        if not all(_move(old, new) for old, new in pairs):
            return False
        roomy.length = self.cache.length
        self.cache = roomy
        return True


class PrefixStore:
    """The caches of the last replies, the newest first. Threads may share one."""

    def __init__(self) -> None:
        self._kept: list[Prefix] = []

    def put(self, prefix: Prefix) -> None:
        """Keep ``prefix``, and let go of the oldest."""
        self._kept.insert(0, prefix)
        del self._kept[KEPT:]

    def take(self, prompt: Sequence[int], room: int, new_cache: NewCache, *, exactly: bool) -> Prefix | None:
        """Return the kept cache that spares most of ``prompt``, gone back to where they part; else None.

        It has room for ``room`` positions, or more where not ``exactly``. One that shares less than half of
        the prompt, and of what it holds, is left for those who may yet go on with it.
        """
        found = max(list(self._kept), key=lambda kept: kept.usable(prompt), default=None)
        if found is None:
            return None
        try:
            self._kept.remove(found)
        except ValueError:  # another thread was faster
            return None
        length = found.usable(prompt)
        if not length or 2 * length < min(len(prompt), len(found.ids)):
            self.put(found)
            return None
        found.go_back(length)
        size = found.cache.max_positions
        fits = size == room if exactly else size >= room
        return found if fits or found.move(new_cache(room)) else None

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()


def looks_back(cache: Cache) -> bool:
    """Return whether every layer can forget its last positions."""
    return all(_looks_back(state) for state in cache.states)


def _looks_back(state: object) -> bool:
    return state is None or (isinstance(state, LayerState) and type(state).rewind is not LayerState.rewind)


def _restore(state: LayerState, copy: LayerState) -> None:
    """Make ``state`` what ``copy`` is, its tensors in place."""
    for name, value in vars(copy).items():
        if isinstance(value, Tensor):
            getattr(state, name).copy_(value)
        else:
            setattr(state, name, value)


def _move(old: object, new: object) -> bool:
    """Copy what ``old`` has seen into ``new``, a state for another number of positions, if that is safe.

    Where a dimension differs, it is that of the positions, and they begin at its start. A state that holds
    more than tensors is not known well enough.
    """
    if old is None and new is None:
        return True
    if not isinstance(old, LayerState) or not isinstance(new, LayerState):
        return False
    sources, targets = old.tensors(), new.tensors()
    if vars(old).keys() - sources.keys() - {"length"} or sources.keys() != targets.keys():
        return False
    for name, target in targets.items():
        both = zip(target.shape, sources[name].shape, strict=True)
        region = tuple(slice(min(sizes)) for sizes in both)
        target[region] = sources[name][region]
    new.length = old.length
    return True
