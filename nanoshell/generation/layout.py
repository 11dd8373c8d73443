"""How weights lie in memory while a model decodes."""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
from collections.abc import Iterator, Sequence

import psutil
import torch
from torch import Tensor, nn

from nanoshell.model.transformer import Transformer

LARGE = 1 << 20
"""Matrices below 4 MiB stay in a processor's cache, where their layout does not matter."""

LINE = 64
"""Bytes of a line of a processor's cache, at which matrices begin."""


def arrange_for_decoding(model: Transformer) -> None:
    """Store the large float32 matrices of ``model`` column by column, where they are on the processor.

    Decoding multiplies each matrix with one vector, as fast as memory can be read. For a matrix with more
    rows than columns (above all the head) PyTorch's product reads columns two to four times faster. Values,
    shapes and names stay what they are; products with many vectors take as long as before.
    """
    tall = [weight for weight in _matrices(model) if weight.shape[0] >= weight.shape[1]]
    large = [weight for weight in tall if weight.numel() >= LARGE and weight.is_contiguous()]
    _move([weight for weight in large if weight.dtype == torch.float32], by_columns=True)


def arrange_in_rows(model: Transformer) -> None:
    """Store the matrices that a step reads row by row, as the compiled step does, one behind the other."""
    _move(_matrices(model), by_columns=False)


@contextlib.contextmanager
def products_for_rows(weight: Tensor) -> Iterator[None]:
    """Compute the products of a few rows with matrices such as ``weight`` by the faster of torch's two ways.

    In bfloat16 on a processor, oneDNN takes tens of microseconds to set up a product, and reads large
    matrices at half the speed of torch's own loops. For many rows it is far better: only here it is left out.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        yield
        return
    _one_dnn.leave_out()
    try:
        yield
    finally:
        _one_dnn.bring_back()


class _OneDnn:
    """The process's switch of oneDNN: the last of the threads that leave it out sets it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._without = 0
        self._before = True

    def leave_out(self) -> None:
        with self._lock:
            if not self._without:
                self._before = torch._C._get_mkldnn_enabled()
                torch._C._set_mkldnn_enabled(False)
            self._without += 1

    def bring_back(self) -> None:
        with self._lock:
            self._without -= 1
            if not self._without:
                torch._C._set_mkldnn_enabled(self._before)


_one_dnn = _OneDnn()


def _move(weights: Sequence[Tensor], *, by_columns: bool) -> None:
    """Copy those of ``weights`` that are on the processor behind one another, row by row or by columns.

    Where the system has them, into pages of 2 MiB: a processor foresees no reading beyond a page, and those
    of 4 KiB cost a third of the bandwidth. It is a copy in memory of its own, also where the weights were
    pages of a file; where it would take more than half of what is free, rows stay where they are.
    """
    weights = [weight for weight in weights if weight.device.type == "cpu"]
    with torch.inference_mode(False), torch.no_grad():  # else they could not be trained any more
        block = _large_pages(sum(_padded(weight) for weight in weights))
        start = 0
        for weight in weights:
            wanted = weight.data.t() if by_columns else weight.data
            if block is None:
                moved = wanted.contiguous()
            else:
                place = torch.frombuffer(block, dtype=weight.dtype, count=weight.numel(), offset=start)
                moved = place.view(wanted.shape).copy_(wanted)
                start += _padded(weight)
            weight.data = moved.t() if by_columns else moved


def _matrices(model: Transformer) -> list[Tensor]:
    """Return the matrices of which a step reads all, each once, in the order of reading."""
    # Feed-forwards that prepare for steps have laid their weights out themselves.
    prepared = {
        part
        for module in model.modules()
        if hasattr(module, "prepare_step") and module is not model
        for part in module.modules()
    }
    read = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and module not in prepared
    ]
    return read if model.lm_head is not None else [*read, model.embed_tokens.weight]


def _padded(tensor: Tensor) -> int:
    return math.ceil(tensor.nbytes / LINE) * LINE


def _large_pages(size: int) -> mmap.mmap | None:
    """Return memory of ``size`` bytes in pages of 2 MiB, None where there is none to be had."""
    if not size or not hasattr(mmap, "MADV_HUGEPAGE") or 2 * size > psutil.virtual_memory().available:
        return None
    try:
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # the system was built without them, or has no memory left
        return None
    return block
