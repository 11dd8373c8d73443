"""The training step by ``torch.compile``: prepared beside the training, tried, measured, and kept if it pays.

torch cannot compile in one thread while another computes, so a process of its own compiles the layers first
and leaves what the compiler made in a cache; this process finds it there, in seconds in place of minutes.
Layers are compiled one by one, so that equal ones share a program and the loss stays as it is. Without a
compiler, and wherever anything fails, training goes on uncompiled.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from nanoshell.errors import StorageError
from nanoshell.files import explain_storage
from nanoshell.model.mixer import Router
from nanoshell.model.transformer import Layer
from nanoshell.paths import cache_dir, private_folder

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer
    from nanoshell.plugin.manager import Plugins

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
COMPILERS = ("c++", "g++", "clang++")
MEASURED_STEPS = 5
"""Steps of each kind whose median times are compared."""
WORTHWHILE = 1.03
"""How many times as fast compiled steps must be to be kept."""

_WORDS = 200

Shape = tuple[int, ...]


class StepCompiler:
    """Compiles the layers of ``model`` behind its training, for micro-batches of ``shape`` (rows, positions).

    ``trial`` computes the gradient of one batch and leaves everything as it was; it may raise. ``command``
    reads ``order``, which together with the shape is what `warm_up` needs to know. Call `took` after each
    update, and compute the training loss and its gradient inside of `applied`, the trial's too.
    """

    def __init__(
        self,
        model: Transformer,
        shape: Shape,
        trial: Callable[[], None],
        command: Sequence[str],
        order: dict[str, Any],
    ) -> None:
        self._parts = compiled_parts(model)
        self._shape = shape
        self._trial = trial
        self._compiled: list[Callable[..., Any]] = []
        self._turn = False
        self._times: dict[bool, list[float]] = {False: [], True: []}
        self._began = time.perf_counter()
        self._seconds = 0.0
        self._device = model.embed_tokens.weight.device.type
        self._build: _Build | None = None
        self._state = "waiting"
        self._command, self._order = command, order

    @contextlib.contextmanager
    def applied(self, shape: Shape) -> Iterator[None]:
        """Let the layers be the compiled ones, where there are any for ``shape``, while the block runs."""
        if not self._turn or shape != self._shape:
            yield
            return
        for part, forward in zip(self._parts, self._compiled, strict=True):
            part.forward = forward
        try:
            yield
        finally:
            for part in self._parts:
                del part.forward

    def took(self, seconds: float) -> dict[str, Any] | None:
        """Take note of an update of ``seconds`` and go on; return the fields of an event where there is news.

        They are ``used``, ``message`` and, once it was measured, ``speedup`` and ``seconds``: how long the
        compiler was at work beside, and training stood still.
        """
        match self._state:
            case "waiting":
                return self._start()
            case "building" if self._build is not None and self._build.finished():
                return self._end_build()
            case "measuring":
                self._times[self._turn].append(seconds)
                if len(self._times[False]) >= MEASURED_STEPS:
                    return self._judge()
                self._turn = not self._turn
        return None

    def close(self) -> None:
        """End the process that compiles, where there is one."""
        if self._build is not None:
            self._build.end()
        self._build = None

    def _start(self) -> dict[str, Any] | None:
        reason = why_not(self._device)
        if not self._parts:
            reason = "no layer can be compiled"
        if reason:
            return self._give_up(reason)
        try:
            use_cache()
            self._build = _Build(self._command, json.dumps({**self._order, "shape": self._shape}))
        except (OSError, StorageError) as error:
            return self._give_up(f"the compiler cannot be started: {error}")
        self._state = "building"
        return None

    def _end_build(self) -> dict[str, Any] | None:
        assert self._build is not None
        failure = self._build.failure()
        self._build = None
        return self._try_out() if failure is None else self._give_up(f"the compiler failed: {failure}")

    def _try_out(self) -> dict[str, Any] | None:
        """Go over to compiled layers, which takes a moment in which no step is done."""
        began = time.perf_counter()
        try:
            self._compiled, self._turn = compile_parts(self._parts), True
            self._trial()
        except Exception as error:
            self._turn = False
            return self._give_up(f"the compiler failed: {_first_words(error)}")
        self._seconds = time.perf_counter() - began
        self._state = "measuring"  # steps take turns: what else the machine does then weighs on both
        return None

    def _judge(self) -> dict[str, Any]:
        self._state = "done"
        speedup = statistics.median(self._times[False]) / statistics.median(self._times[True])
        used = self._turn = speedup >= WORTHWHILE
        ratio = f"{speedup:.2f} times as fast (measured)"
        message = f"the step is compiled: {ratio}" if used else f"not compiled: it would be {ratio}"
        return {
            "used": used,
            "message": message,
            "speedup": round(speedup, 3),
            "seconds": round(time.perf_counter() - self._began, 1),
            "paused_seconds": round(self._seconds, 1),
        }

    def _give_up(self, reason: str) -> dict[str, Any]:
        self._state = "done"
        return {"used": False, "message": f"not compiled: {reason}"}


class _Build:
    """The process that compiles: ``command``, told ``order`` on its standard input."""

    def __init__(self, command: Sequence[str], order: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            text=True,
            start_new_session=True,
        )
        stdin = cast(Any, self._process.stdin)
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(order)
        # What this process will need of the compiler is loaded meanwhile: it takes seconds.
        self._loader = threading.Thread(target=_load_compiler, name="load compiler", daemon=True)
        self._loader.start()

    def finished(self) -> bool:
        return self._process.poll() is not None and not self._loader.is_alive()

    def failure(self) -> str | None:
        """Return in a few words why it failed, None where it did not."""
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        if self._process.returncode == 0:
            return None
        return " ".join(said[-1:])[:_WORDS] or f"exit code {self._process.returncode}"

    def end(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)  # the compiler has children
            self._process.wait()
        self._said.close()


def why_not(device: str) -> str:
    """Return why nothing can be compiled for ``device``, empty where it can."""
    asked = os.environ.get("CXX", "")
    if not any(shutil.which(name) for name in ((asked,) if asked else COMPILERS)):
        return f"no C++ compiler was found ({', '.join(COMPILERS)}, or what CXX names)"
    if device not in ("cpu", "cuda"):
        return f"device '{device}' is not one that is compiled for"
    return ""


def use_cache() -> None:
    """Keep what the compiler makes in our cache folder, unless the user has named another.

    Raises `StorageError`.
    """
    if CACHE_VARIABLE not in os.environ:
        folder = cache_dir() / "inductor"
        with explain_storage(folder):
            private_folder(folder)
        os.environ[CACHE_VARIABLE] = str(folder)


def compiled_parts(model: nn.Module) -> list[nn.Module]:
    """Return the modules of ``model`` that are compiled: whole layers where no expert is chosen in them.

    How many tokens an expert gets is another number in each step, so of layers with a router it is the mixer.
    """
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    return [
        layer.mixer_module if isinstance(layer.feed_forward_module, Router) else layer for layer in layers
    ]


def compile_parts(parts: Sequence[nn.Module]) -> list[Callable[..., Any]]:
    """Return the compiled ``forward`` of each of ``parts``; the work is done at their first call."""
    from torch._inductor import config

    config.compile_threads = 1  # a pool of processes takes longer to start than it saves
    return [torch.compile(part.forward, dynamic=False) for part in parts]


def _load_compiler() -> None:
    with contextlib.suppress(Exception):
        import torch._dynamo
        import torch._inductor.compile_fx  # noqa: F401


def _first_words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_WORDS].rstrip(": ")


def warm_up(order: dict[str, Any], plugins: Plugins) -> None:
    """Compile the layers that ``order`` describes, for their side effect: the compiler's cache.

    It holds ``model`` (a `ModelConfig` as a mapping), ``shape``, ``device``, ``dtype`` and ``threads``.
    """
    from nanoshell.model.backend import choose_backend
    from nanoshell.model.config import NO_FEED_FORWARD, ModelConfig

    with contextlib.suppress(OSError):
        os.nice(10)
    torch.set_num_threads(int(order["threads"]))
    device = choose_backend(order["device"], plugins.backends).device()
    config = ModelConfig.from_dict(order["model"], "the order to compile")
    dtype: torch.dtype = getattr(torch, order["dtype"])
    mixers = plugins.mixers
    for index, (mixer, feed_forward) in first_of_each(config.layer_kinds):
        layer = Layer(
            config,
            mixers.get(mixer)(config, index),
            None if feed_forward == NO_FEED_FORWARD else mixers.get(feed_forward)(config, index),
        )
        for part in compiled_parts(nn.ModuleList([layer.to(device).train()])):
            (forward,) = compile_parts([part])
            x = torch.randn(*order["shape"], config.hidden_size, device=device, requires_grad=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                output: Tensor = forward(x)
            output.sum().backward()  # type: ignore[no-untyped-call]


def first_of_each(kinds: Sequence[Any]) -> list[tuple[int, Any]]:
    """Return the index of the first of each of ``kinds``, with it."""
    return [(index, kind) for index, kind in enumerate(kinds) if kind not in kinds[:index]]


def run_warm_up(plugins: Plugins) -> int:
    """Do `warm_up` as standard input says, and return the exit code of the process."""
    use_cache()
    try:
        warm_up(json.loads(sys.stdin.read()), plugins)
    except Exception as error:
        print(_first_words(error), file=sys.stderr)
        return 1
    return 0


def warm_up_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that does `run_warm_up`, with the program's ``arguments``."""
    return [sys.executable, "-P", "-m", "nanoshell", *arguments, "train", "--warm-up"]
