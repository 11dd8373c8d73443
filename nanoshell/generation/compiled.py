"""The compiled step: loaded or built behind the stream, and used as soon as it is there.

It never stands in the way: until it is ready, and wherever it cannot be had, decoding goes on in eager torch.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from nanoshell.generation import native
from nanoshell.generation.builder import LOG
from nanoshell.generation.layout import arrange_for_decoding, arrange_in_rows
from nanoshell.generation.program import DTYPES, MAX_ROWS, Program, can_compile
from nanoshell.model.cache import Cache
from nanoshell.model.transformer import Transformer

WORTHWHILE_SECONDS = 1.0
"""Eager decoding after which ``auto`` calls the compiler; it takes about three seconds, once on a machine."""
KEPT_PROGRAMS = 4
NO_COMPILER = f"no C++ compiler was found ({', '.join(native.COMPILERS)}, or what CXX names)"

_log = logging.getLogger(__name__)


class CompiledStep:
    """The step of ``model``, compiled where that can be had. With ``lay_out`` weights lie as it reads best.

    ``mode`` is ``auto`` (what is on disk is used; it is built when decoding has taken a while), ``on`` (the
    first step waits until it is built) or ``off``. Attention and SwiGLU in float32 or bfloat16 on the
    processor are compiled whole, the large products of other kinds one by one. Elsewhere nothing is compiled.
    ``reason`` tells why steps are not compiled, empty where they are; ``in_use`` whether the last one was.
    """

    def __init__(self, model: Transformer, mode: str = "auto", *, lay_out: bool = True) -> None:
        self.mode = mode
        self._model = model
        self.in_use = False
        self.reason = "it is turned off" if mode == "off" else _why_not(model)
        self._possible = self._may_build = not self.reason
        self._allowance = WORTHWHILE_SECONDS if mode == "auto" else 0.0
        self._build: native.Build | None = None
        self._kernels: native.Kernels | None = None
        self._programs: list[tuple[weakref.ref[Cache], Program]] = []
        # Whoever looks on by hooks sees the modules at work, which a compiled step does not call.
        self._hooks = [
            hooks
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        if self._take_from_disk():
            return
        if lay_out:
            arrange_for_decoding(model)
        if self._possible and native.compiler() is None:
            self._may_build = False
            self.reason = NO_COMPILER
        elif self._possible:
            self.reason = "it is not built yet; auto does that when replies have taken a while"

    @property
    def ready(self) -> bool:
        """Whether steps are compiled from now on."""
        return self._kernels is not None

    @property
    def can_build(self) -> bool:
        """Whether it is not there, and can be built or is being built."""
        return self._may_build or self._build is not None

    def build(self) -> bool:
        """Build it now where that can be done, wait for it, and return whether steps are compiled now."""
        if self._may_build:
            self._start()
        if self._build is not None:
            self._build.wait()
            self._take_built()
        return self.ready

    def step(self, ids: Sequence[int], cache: Cache, positions: Sequence[int]) -> Tensor | None:
        """Return logits (rows, vocab), float32, after one more id of each row; None where it must be eager.

        As `Transformer.step`, it leaves the counting to `Cache.advance`.
        """
        if self.mode == "on" and self.can_build:
            self.build()
        elif self._build is not None and self._build.finished():
            self._take_built()
        logits = self._compiled_step(ids, cache, positions)
        self.in_use = logits is not None
        return logits

    def count(self, seconds: float) -> None:
        """Take note of ``seconds`` of eager decoding; when they are many enough, start the compiler."""
        self._allowance -= seconds
        if self._may_build and self._allowance <= 0:
            self._start()

    def forget(self) -> None:
        """Let go of the memory of caches, and of weights that may have been replaced."""
        self._programs = []

    def _compiled_step(self, ids: Sequence[int], cache: Cache, positions: Sequence[int]) -> Tensor | None:
        if self._kernels is None or cache.batch > MAX_ROWS or any(self._hooks):
            return None
        config = self._model.config
        if max(positions) >= min(cache.max_positions, config.max_seq_len) or max(ids) >= config.vocab_size:
            return None  # eager torch says what is wrong
        if min(*ids, *positions) < 0 or not len(ids) == len(positions) == cache.batch:
            return None
        program = self._program(self._kernels, cache)
        if program is None:
            return None
        return program.run(torch.tensor(ids, device="cpu"), torch.tensor(positions, device="cpu"))

    def _start(self) -> None:
        self._may_build = False  # a compiler that fails once fails again
        self._build = native.start_build()
        self.reason = (
            "the compiler is at work" if self._build else f"{native.library_folder()} cannot be used"
        )

    def _take_built(self) -> None:
        self._build = None
        if not self._take_from_disk():
            self.reason = f"the C++ compiler failed; see {native.library_folder() / LOG}"

    def _take_from_disk(self) -> bool:
        """Go over to the library on disk, and say whether there is one."""
        kernels = native.load() if self._possible else None
        if kernels is None:
            return False
        arrange_in_rows(self._model)
        self._may_build = False
        self.reason = ""
        self._kernels = kernels  # last: another thread may be decoding
        return True

    def _program(self, kernels: native.Kernels, cache: Cache) -> Program | None:
        for known, program in self._programs:
            if known() is cache:
                return program
        if reason := _why_not(self._model):  # it has been moved or cast since
            self._kernels, self.reason = None, reason
            return None
        try:
            program = Program(kernels, self._model, cache)
        except Exception as error:  # an unforeseen layer: whatever it is, torch can do it
            _log.debug("the step cannot be compiled: %r", error)
            self._kernels = None
            self.reason = f"a layer is unforeseen: {error!r}"
            return None
        # A program keeps the memory of its cache: those whose cache is gone go first, then the oldest.
        alive = [kept for kept in self._programs if kept[0]() is not None]
        self._programs = [*alive[-KEPT_PROGRAMS + 1 :], (weakref.ref(cache), program)]
        return program


def _why_not(model: Transformer) -> str:
    """Return why no step of ``model`` can be compiled, empty where it can."""
    weight = model.embed_tokens.weight
    if weight.device.type != "cpu":
        return f"it is for the processor, and the model computes on {weight.device.type}"
    if weight.dtype not in DTYPES:
        names = [str(dtype).removeprefix("torch.") for dtype in (*DTYPES, weight.dtype)]
        return f"it is for {' and '.join(names[:-1])}, and the model computes in {names[-1]}"
    return "" if can_compile(model) else "a layer of the model cannot be put into it"
