"""Decoding speed beside transformers and llama.cpp: same weights, same prompt, greedy, batch 1, in one run.

    python benchmarks/decode.py [--shape nano|small|all] [--dtype f32|bf16|all] [--tokens 128] [--rounds 5]
                                [--threads N]

A reply is timed whole: a prompt of 32 tokens and the new tokens. GB/s counts what a token must read, every
matrix once; the share is that of the bandwidth with which PyTorch sums 1 GB. Times depend on the machine;
ratios travel. Contenders take turns, each in a process of its own: ours with threads that sleep while they
wait, as the program sets it, peers with what is set where they come from. Medians are shown. Needs the test
extra (transformers), and for llama.cpp ``pip install llama-cpp-python gguf``; it gets float16 where we have
bfloat16.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from llama_cpp_peer import LlamaCpp, write_gguf

from nanoshell.generation import native
from nanoshell.generation.engine import Engine, GenerationRequest
from nanoshell.model.cache import Cache
from nanoshell.model.config import ModelConfig
from nanoshell.model.parameters import parameter_split
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.bpe import cl100k_base

SHAPES = {
    "nano": ModelConfig(
        name="26M", hidden_size=128, num_layers=4, num_heads=4, intermediate_size=512, max_seq_len=2048
    ),
    "small": ModelConfig(
        name="162M", hidden_size=640, num_layers=8, num_heads=10, intermediate_size=1728, max_seq_len=2048
    ),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
OURS = {"eager": "off", "compiled": "auto"}
KINDS = (*OURS, "transformers", "llama.cpp")
PROMPT_TOKENS = 32
PREFILL_TOKENS = 1024

Reply = Callable[[list[int], int], Any]


@dataclass
class Peer:
    """Someone who continues a prompt by so many tokens; ``cache_bytes`` is memory for each cached token."""

    name: str
    reply: Reply
    cache_bytes: float


class Contender:
    """A `Peer` in a process of its own. ``name`` is empty where it is not installed."""

    def __init__(self, kind: str, config: ModelConfig, dtype: torch.dtype) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        before = os.environ.get("OMP_WAIT_POLICY")
        if kind in OURS and before is None:
            os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        arguments = (other, kind, config, dtype, torch.get_num_threads())
        context.Process(target=serve, args=arguments, daemon=True).start()
        if before is None:
            os.environ.pop("OMP_WAIT_POLICY", None)
        self.name, self.cache_bytes = self._pipe.recv()
        self.seconds: list[float] = []
        self.prefill_seconds: list[float] = []

    def time(self, prompt: list[int], tokens: int) -> float:
        """Return how long a reply of ``tokens`` takes."""
        self._pipe.send((prompt, tokens))
        taken: float = self._pipe.recv()
        return taken

    def end(self) -> None:
        """Let the process end."""
        self._pipe.send(None)


def serve(pipe: Connection, kind: str, config: ModelConfig, dtype: torch.dtype, threads: int) -> None:
    """Be a contender's process: tell who it is, then take the time of each reply that is asked for."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        try:
            peer = peer_of(kind, config, dtype, Path(folder))
        except ImportError:
            pipe.send(("", 0.0))
            return
    pipe.send((peer.name, peer.cache_bytes))
    while (asked := pipe.recv()) is not None:
        pipe.send(seconds(partial(peer.reply, *asked)))


def peer_of(kind: str, config: ModelConfig, dtype: torch.dtype, folder: Path) -> Peer:
    """Return the peer ``kind``; all have the same weights. Raises `ImportError` where it is not installed."""
    if kind in OURS:
        return ours(config, dtype, OURS[kind])
    model = build_model(config, load_plugins(safe=True).mixers, seed=0).to(dtype)
    if kind == "transformers":
        return theirs(model)
    return llama_cpp_of(model, folder, half=dtype is torch.bfloat16)


def llama_of(model: Transformer) -> Any:
    """Return transformers' Llama with the weights of ``model``."""
    config = model.config
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.feed_forward_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            max_position_embeddings=config.max_seq_len,
            rms_norm_eps=config.rms_norm_eps,
            tie_word_embeddings=config.tie_embeddings,
        )
    ).to(model.embed_tokens.weight.dtype)
    renamed = {
        name if name.startswith("lm_head") else f"model.{name}": tensor
        for name, tensor in model.state_dict().items()
    }
    llama.load_state_dict(renamed, strict=not config.tie_embeddings)
    return llama.eval()


def ours(config: ModelConfig, dtype: torch.dtype, compiled: str) -> Peer:
    """Return our engine, the step compiled or not, on weights of its own that are drawn from seed 0."""
    plugins = load_plugins(safe=True)
    model = build_model(config, plugins.mixers, seed=0).to(dtype)
    engine = Engine(model, cl100k_base(), plugins.samplers, compile=compiled)

    def reply(prompt: list[int], tokens: int) -> list[int]:
        engine.forget()
        request = GenerationRequest(prompt, tokens, {"temperature": 0}, seed=0, allow_special=True)
        return [token.id for token in engine.generate(request)]

    name = "nanoshell, compiled" if engine.compiled.ready else "nanoshell, eager"
    return Peer(name, reply, cache_bytes(model.new_cache(1, 256)))


def cache_bytes(cache: Cache) -> float:
    """Return the bytes of ``cache`` for each of its positions."""
    return sum(t.nbytes for state in cache.states for t in state.tensors().values()) / cache.max_positions


def theirs(model: Transformer) -> Peer:
    """Return transformers' ``generate`` on the weights of ``model``."""
    llama = llama_of(model)

    def reply(prompt: list[int], tokens: int) -> Any:
        ids = torch.tensor([prompt])
        return llama.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            pad_token_id=0, eos_token_id=None, do_sample=False,
        )  # fmt: skip

    return Peer("transformers", reply, cache_bytes(model.new_cache(1, 256)))


def llama_cpp_of(model: Transformer, folder: Path, half: bool) -> Peer:
    """Return llama.cpp on the weights of ``model``. Raises `ImportError` where it is not installed."""
    path = folder / "model.gguf"
    write_gguf(model, path, half=half)
    peer = LlamaCpp(path, PREFILL_TOKENS + PROMPT_TOKENS)
    config = model.config
    size = 2 * 2 * config.num_layers * config.num_kv_heads * config.head_dim
    return Peer(f"llama.cpp ({'f16' if half else 'f32'})", peer.reply, size)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bandwidth() -> float:
    """Return the bytes a second with which PyTorch sums 1 GB, at best."""
    block = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    numbers = torch.frombuffer(block, dtype=torch.float32).fill_(1)
    return numbers.nbytes / min(seconds(numbers.sum) for _ in range(5))


def compare(config: ModelConfig, dtype: torch.dtype, tokens: int, rounds: int) -> None:
    """Time all in turn, and print a table."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(100_000, (PREFILL_TOKENS,), generator=generator).tolist()
    started = [Contender(kind, config, dtype) for kind in KINDS]
    runners = [contender for contender in started if contender.name]
    for runner in runners:
        runner.time(prompt[:PROMPT_TOKENS], 8)
    best = bandwidth()
    for _ in range(rounds):
        for runner in runners:
            runner.seconds.append(runner.time(prompt[:PROMPT_TOKENS], tokens))
            runner.prefill_seconds.append(runner.time(prompt, 1))
        best = max(best, bandwidth())
    for runner in runners:
        runner.end()
    split = parameter_split(config)
    total = split.total or 0
    read = (total - split.embedding) * dtype.itemsize
    print(
        f"\n{config.name}: {total / 1e6:.0f}M parameters, {dtype}, {torch.get_num_threads()} threads; "
        f"a token reads {read / 1e6:.0f} MB, memory gives {best / 1e9:.1f} GB/s"
    )
    rates = {runner.name: tokens / statistics.median(runner.seconds) for runner in runners}
    peers = [name for name in rates if not name.startswith("nanoshell")]
    heads = "".join(f"  / {name:16}" for name in peers)
    print(f"  {'':20} tokens/s   GB/s  share{heads}  prefill/s  cache B/token")
    for runner in runners:
        rate = rates[runner.name]
        ratios = "".join(f"  {rate / rates[name]:<18.2f}" for name in peers)
        prefill = PREFILL_TOKENS / statistics.median(runner.prefill_seconds)
        print(
            f"  {runner.name:20} {rate:8.1f} {rate * read / 1e9:6.1f} {rate * read / best:6.0%}{ratios}"
            f"  {prefill:9.0f}  {runner.cache_bytes:13.0f}"
        )


def compile_now() -> None:
    """Build the compiled step where it is not on disk yet, and wait for it."""
    if native.load() is None and (build := native.start_build()):
        started = time.perf_counter()
        while not build.finished():
            time.sleep(0.05)
        print(f"the step was compiled in {time.perf_counter() - started:.1f} s; it is kept for the next time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--dtype", choices=[*DTYPES, "all"], default="all")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    compile_now()
    for shape, config in SHAPES.items():
        for name, dtype in DTYPES.items():
            if arguments.shape in (shape, "all") and arguments.dtype in (name, "all"):
                compare(config, dtype, arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
