"""Batches of windows from a stream of tokens: shuffled anew each epoch, resumable, split by document.

The training tokens are read as a ring: its end joins its beginning, which is a document boundary like any
other. In each epoch a grid of windows is laid on the ring from a fresh random start, so that a document is
cut at other places every time, and the windows come in a fresh random order. A window holds ``seq_len + 1``
tokens (inputs and their targets, shifted by one) and the next one starts ``seq_len`` further on: every
training token is a target at least once in an epoch, and fewer than ``seq_len`` of them twice.

With ``shuffle="documents"`` the documents, too, stand on the ring in a fresh random order in each epoch. A
model of few documents would else learn which one comes after which, lean on that, and fail when it is asked
for one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nanoshell.data.turns import Turns
from nanoshell.errors import DataError

_BLOCK = 1 << 22
_SPLIT, _EPOCH = 1, 2
_STATE_FORMAT = 1

IGNORED = -100
"""The target that counts for nothing."""

Spans = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of tokens as a model trains on them: ``inputs`` and ``targets``, int64 (rows, positions).

    ``targets`` are the ids that come after the inputs, `IGNORED` where one does not count. ``starts`` (rows,)
    are the places in the token file of the first inputs, where the loader tells them.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    starts: NDArray[np.int64] | None = None

    @property
    def num_targets(self) -> int:
        """How many targets count."""
        return int((self.targets != IGNORED).sum())


class TokenLoader:
    """Cuts ``tokens``, shape ``(tokens,)`` and possibly a map of a file, into batches.

    With ``val_fraction`` about that share of the tokens is held out, in whole documents (each ends with
    ``end_of_text``) chosen by ``seed``. A single document is cut instead: its end is held out (``split`` says
    "tail"). The same arguments give the same batches. An epoch's order takes 4 bytes for each of its windows.
    ``shuffle`` is ``windows``, or ``documents`` for both. With ``turns`` (of ``tokens``) only
    the assistant's tokens are targets that count. Raises `DataError` where the training tokens do not fill
    one window, and where none that is trained on, or held out, is the assistant's.
    """

    split: Literal["none", "documents", "tail"]

    def __init__(
        self,
        tokens: NDArray[Any],
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        val_fraction: float = 0.0,
        end_of_text: int,
        shuffle: Literal["windows", "documents"] = "windows",
        turns: Turns | None = None,
    ) -> None:
        _check_settings(seq_len, batch_size, val_fraction)
        self.seq_len = seq_len
        self.batch_size = batch_size
        self.seed = seed
        self.val_fraction = val_fraction
        self._tokens = tokens
        self._turns = turns
        if val_fraction:
            train, held_out, self.split = _split(tokens, val_fraction, seed, end_of_text)
        else:
            train, held_out, self.split = _whole(len(tokens)), _whole(0), "none"
        self._train = _Stream(tokens, train, turns)
        self._documents = _cut(train, _document_ends(tokens, end_of_text)) if shuffle == "documents" else None
        self._val = _Stream(tokens, held_out, turns)
        if self.num_train_tokens < seq_len + 1:
            raise _too_short(self)
        if turns is not None:
            _check_turns(turns, train, held_out)
        self._epoch = 0
        self._position = 0
        self._order, self._start = self._lay_out(0)

    @property
    def num_train_tokens(self) -> int:
        return len(self._train)

    @property
    def num_val_tokens(self) -> int:
        return len(self._val)

    @property
    def windows_per_epoch(self) -> int:
        """How many windows cover the training tokens once."""
        return -(-self.num_train_tokens // self.seq_len)

    @property
    def epoch(self) -> float:
        """Windows drawn so far, divided by the windows of one epoch."""
        return self._epoch + self._position / self.windows_per_epoch

    def next_batch(self) -> Batch:
        """Return the next ``batch_size`` windows of ``seq_len``; a batch runs on into the next epoch.

        With turns, a batch may hold no target that counts; every epoch holds some.
        """
        starts = np.empty(self.batch_size, dtype=np.int64)
        filled = 0
        while filled < self.batch_size:
            if self._position == self.windows_per_epoch:
                self._epoch += 1
                self._position = 0
                self._order, self._start = self._lay_out(self._epoch)
            drawn = self._order[self._position : self._position + self.batch_size - filled]
            starts[filled : filled + len(drawn)] = drawn.astype(np.int64) * self.seq_len + self._start
            filled += len(drawn)
            self._position += len(drawn)
        return self._train.batch(starts, self.seq_len)

    def validation_batches(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield the held-out tokens in order, each but the first as a target once, always the same batches.

        Shapes are ``(batch, seq_len)``, fewer rows in the last; what is left over comes at the end as one
        shorter window, ``(1, rest)``.
        """
        rows = batch_size or self.batch_size
        full = max(self.num_val_tokens - 1, 0) // self.seq_len
        for first in range(0, full, rows):
            starts = np.arange(first, min(first + rows, full), dtype=np.int64) * self.seq_len
            yield self._val.batch(starts, self.seq_len)
        rest = self.num_val_tokens - full * self.seq_len
        if rest > 1:
            yield self._val.batch(np.array([full * self.seq_len]), rest - 1)

    def sample_batches(self, limit: int, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield windows of all tokens that hold about ``limit`` targets, evenly spread, always the same.

        With turns, each holds a target that counts.
        """
        rows = batch_size or self.batch_size
        count, most = max(1, limit // self.seq_len), len(self._tokens) - self.seq_len - 1
        if self._turns is None:
            starts = np.linspace(0, most, count).astype(np.int64)
        else:
            starts = np.clip(self._turns.spread(count) - (self.seq_len + 1) // 2, 0, most)
        starts = np.unique(starts)
        stream = _Stream(self._tokens, _whole(len(self._tokens)), self._turns)
        for first in range(0, len(starts), rows):
            yield stream.batch(starts[first : first + rows], self.seq_len)

    def state_dict(self) -> dict[str, int]:
        """Return the exact position, as values that JSON can hold, and what it is a position in."""
        return {
            "format": _STATE_FORMAT,
            "epoch": self._epoch,
            "position": self._position,
            "seed": self.seed,
            "seq_len": self.seq_len,
            "num_train_tokens": self.num_train_tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken: the next batch is the one that would have followed.

        Another batch size may go on from the same window. Raises `DataError` where the position belongs to
        other tokens, another seed or another window length.
        """
        if state.get("format") != _STATE_FORMAT:
            raise DataError(
                f"the data position has format {state.get('format')}, this version reads {_STATE_FORMAT}",
                hint="continue with the version of nanoshell that wrote it",
            )
        mine = self.state_dict()
        for key in ("seed", "seq_len", "num_train_tokens"):
            if state[key] != mine[key]:
                raise DataError(
                    f"the saved data position is of other batches: {key} was {state[key]}, is {mine[key]}",
                    hint="resume with the data and settings of the run, or start a new run",
                )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= self.windows_per_epoch:
            raise DataError(
                f"the saved data position, window {position:,} of epoch {epoch:,}, does not exist",
                hint="resume from another checkpoint",
            )
        self._epoch, self._position = epoch, position
        self._order, self._start = self._lay_out(epoch)

    def _lay_out(self, epoch: int) -> tuple[NDArray[np.uint32], int]:
        """Return the order of the windows of ``epoch``, and where on the ring the grid starts.

        Where documents are shuffled, this lays them on the ring.
        """
        random = _random(self.seed, _EPOCH, epoch)
        start = int(random.integers(self.num_train_tokens))
        order = np.arange(self.windows_per_epoch, dtype=np.uint32)
        random.shuffle(order)
        if self._documents is not None:
            self._train = _Stream(self._tokens, random.permutation(self._documents), self._turns)
        return order, start


class _Stream:
    """The tokens inside ``spans`` ((spans, 2), start and end), one after the other, read as a ring.

    With ``turns`` only targets inside them count, wherever the spans stand.
    """

    def __init__(self, tokens: NDArray[Any], spans: Spans, turns: Turns | None) -> None:
        self._tokens = tokens
        self._turns = turns
        lengths = spans[:, 1] - spans[:, 0]
        self._ends = np.cumsum(lengths)
        # Position p of the stream lies in the file at p + shift of the span that holds it.
        self._shift = spans[:, 1] - self._ends
        self._length = int(self._ends[-1]) if len(spans) else 0

    def __len__(self) -> int:
        return self._length

    def batch(self, starts: NDArray[np.int64], seq_len: int) -> Batch:
        """Return windows of ``seq_len`` inputs from each of ``starts``, and their targets."""
        positions = (starts[:, None] + np.arange(seq_len + 1)) % self._length
        places = positions + self._shift[np.searchsorted(self._ends, positions, side="right")]
        windows = np.asarray(self._tokens[places], dtype=np.int64)
        inputs, targets = windows[:, :-1].copy(), windows[:, 1:].copy()
        if self._turns is not None:
            targets[~self._turns.contain(places[:, 1:])] = IGNORED
        return Batch(inputs, targets, places[:, 0])


def _random(seed: int, purpose: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed & (1 << 64) - 1, purpose, number])


def _whole(length: int) -> Spans:
    return np.array([[0, length]], dtype=np.int64)


def _split(
    tokens: NDArray[Any], fraction: float, seed: int, end_of_text: int
) -> tuple[Spans, Spans, Literal["documents", "tail"]]:
    """Return the spans to train on and those to hold out."""
    ends = _document_ends(tokens, end_of_text)
    if len(ends) < 2:
        cut = len(tokens) - max(round(len(tokens) * fraction), 1)
        return _whole(cut), np.array([[cut, len(tokens)]], dtype=np.int64), "tail"
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    target = fraction * len(tokens)
    # A document longer than the whole share would starve the training side; if all are, take the shortest.
    candidates = np.flatnonzero(lengths <= max(target, int(lengths.min())))
    _random(seed, _SPLIT, 0).shuffle(candidates)
    sums = np.cumsum(lengths[candidates])
    count = int(np.abs(sums - target).argmin()) + 1
    held_out = np.zeros(len(ends), dtype=np.bool_)
    held_out[candidates[: min(count, len(ends) - 1)]] = True
    return _merge(starts, ends, ~held_out), _merge(starts, ends, held_out), "documents"


def _document_ends(tokens: NDArray[Any], end_of_text: int) -> NDArray[np.int64]:
    """Return where documents end (one past the end-of-text id), also where the last one lacks that id."""
    found = [
        np.flatnonzero(tokens[start : start + _BLOCK] == end_of_text) + (start + 1)
        for start in range(0, len(tokens), _BLOCK)
    ]
    ends = np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)
    if len(tokens) and (len(ends) == 0 or ends[-1] != len(tokens)):
        ends = np.append(ends, len(tokens))
    return ends


def _merge(starts: NDArray[np.int64], ends: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Spans:
    """Return the spans of the chosen documents, neighbours joined."""
    edges = np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))
    first, past = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return np.stack([starts[first], ends[past - 1]], axis=1).astype(np.int64)


def _cut(spans: Spans, ends: NDArray[np.int64]) -> Spans:
    """Return the whole documents, which end at ``ends``, inside ``spans``; ``spans`` where there is none."""
    starts = np.concatenate([[0], ends[:-1]])
    inside = np.minimum(np.searchsorted(spans[:, 1], ends), len(spans) - 1)
    whole = (spans[inside, 0] <= starts) & (ends <= spans[inside, 1])
    return np.stack([starts[whole], ends[whole]], axis=1).astype(np.int64) if whole.any() else spans


def _check_settings(seq_len: int, batch_size: int, val_fraction: float) -> None:
    if seq_len < 1 or batch_size < 1:
        raise DataError(
            f"windows of {seq_len} tokens in batches of {batch_size} cannot be cut",
            hint="both must be at least 1",
        )
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction is {val_fraction}", hint="it must be at least 0 and below 1")


def _length(spans: Spans) -> int:
    return int((spans[:, 1] - spans[:, 0]).sum())


def _check_turns(turns: Turns, train: Spans, held_out: Spans) -> None:
    if not turns.count(train):
        raise DataError(
            "trainer.loss_on is assistant, and every turn of the assistant is held out",
            hint="use more conversations, or lower trainer.val_fraction",
        )
    targets = held_out.copy()
    targets[0, 0] += 1  # nothing stands before the first token to predict it from
    if _length(held_out) and not turns.count(targets):
        raise DataError(
            "trainer.loss_on is assistant, and what is held out holds no turn of the assistant",
            hint="raise trainer.val_fraction, or use 0 and hold out nothing",
        )


def _too_short(loader: TokenLoader) -> DataError:
    window = loader.seq_len + 1
    held = f" ({loader.num_val_tokens:,} more are held out)" if loader.num_val_tokens else ""
    longest = loader.num_train_tokens - 1
    advice = f"use seq_len {longest} or less, or more text" if longest >= 1 else "use more text"
    return DataError(
        f"the data has {loader.num_train_tokens:,} tokens to train on{held}, and one window of seq_len "
        f"{loader.seq_len:,} takes {window:,}",
        hint=advice + ("; a smaller val_fraction leaves more" if held else ""),
    )
