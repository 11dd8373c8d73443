"""Decoding speed beside transformers' ``generate``: same weights, same prompt, greedy, batch 1, in one run.

    python benchmarks/decode.py [--shape nano|small|all] [--tokens 64] [--rounds 3] [--threads N]

Times depend on the machine; the ratio travels. Needs the test extra (transformers).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from nanoshell.generation.engine import Engine, GenerationRequest
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.bpe import cl100k_base

SHAPES = {
    "nano": ModelConfig(
        name="26M", hidden_size=128, num_layers=4, num_heads=4, intermediate_size=512, max_seq_len=512
    ),
    "small": ModelConfig(
        name="162M", hidden_size=640, num_layers=8, num_heads=10, intermediate_size=1728, max_seq_len=512
    ),
}
PROMPT_TOKENS = 32


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
    )
    renamed = {
        name if name.startswith("lm_head") else f"model.{name}": tensor
        for name, tensor in model.state_dict().items()
    }
    llama.load_state_dict(renamed, strict=not config.tie_embeddings)
    return llama.eval()


def seconds(work: Callable[[], Any]) -> float:
    """Return how long ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(config: ModelConfig, tokens: int, rounds: int) -> None:
    """Time both in turn and print tokens a second and their ratio."""
    plugins = load_plugins(safe=True)
    tokenizer = cl100k_base()
    model = build_model(config, plugins.mixers, seed=0)
    llama = llama_of(model)
    engine = Engine(model, tokenizer, plugins.samplers)
    prompt = torch.randint(100_000, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()

    def ours(**sampling: float) -> Callable[[], Any]:
        request = GenerationRequest(prompt, tokens, sampling, seed=0, allow_special=True)
        return lambda: list(engine.generate(request))

    def theirs(**options: Any) -> Callable[[], Any]:
        ids = torch.tensor([prompt])
        return lambda: llama.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            pad_token_id=0, eos_token_id=None, **options,
        )  # fmt: skip

    pairs = {
        "greedy": (ours(temperature=0, top_p=1), theirs(do_sample=False)),
        "temperature 0.7, top-k 50, top-p 0.9": (
            ours(temperature=0.7, top_k=50, top_p=0.9),
            theirs(do_sample=True, temperature=0.7, top_k=50, top_p=0.9),
        ),
    }
    parameters = model.parameter_split().total or 0
    print(f"{config.name}: {parameters / 1e6:.0f}M parameters, float32, {torch.get_num_threads()} threads")
    for name, (our_work, their_work) in pairs.items():
        our_work(), their_work()
        timed = [(seconds(our_work), seconds(their_work)) for _ in range(rounds)]
        our_rate = tokens / statistics.median(pair[0] for pair in timed)
        their_rate = tokens / statistics.median(pair[1] for pair in timed)
        print(
            f"  {name:38} nanoshell {our_rate:6.1f} tokens/s   transformers {their_rate:6.1f} tokens/s   "
            f"ratio {our_rate / their_rate:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="nano")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    for name, config in SHAPES.items():
        if arguments.shape in (name, "all"):
            compare(config, arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
