"""A tokenizer of bytes and a few pairs, small models of random weights, engines that follow a script."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nanoshell.errors import TokenizerError
from nanoshell.generation import native
from nanoshell.generation.engine import Engine
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.plugin.registry import Registry
from nanoshell.tokenizer.base import Tokenizer


class ByteTokenizer:
    """A token for each byte, some pairs, an id for nothing, and two special tokens."""

    name = "bytes"
    fingerprint = "bytes"
    pieces = (b"ab", b"END", b"x E", b"ND.", "é".encode())
    vocab_size = 260 + len(pieces)
    unused_ids = frozenset({256, 257})
    special_tokens: Mapping[str, int] = {"<|endoftext|>": 258, "<|user|>": 259}
    end_of_text = 258

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < 256:
            return bytes([token_id])
        if token_id >= 260:
            return self.pieces[token_id - 260]
        for spelling, special in self.special_tokens.items():
            if special == token_id:
                return spelling.encode()
        raise TokenizerError(f"id {token_id} is no token")

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Any) -> str:
        return b"".join(self.token_bytes(token) for token in ids).decode("utf-8", errors="replace")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return ByteTokenizer()


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return load_plugins(safe=True)


@pytest.fixture(scope="session")
def build(plugins: Plugins, tokenizer: Tokenizer) -> Callable[..., Transformer]:
    """Return a function that builds a model of 2 layers and 32 channels, with other keys of a config."""

    def build(seed: int = 1, **keys: Any) -> Transformer:
        shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "kv_heads": 2, "max_seq_len": 32}
        config = ModelConfig.from_dict({**shape, "vocab_size": tokenizer.vocab_size + 3, **keys})
        return build_model(config, plugins.mixers, seed=seed).eval()

    return build


@pytest.fixture(scope="module")
def model(build: Callable[..., Transformer]) -> Transformer:
    """A model of 32 positions, with three ids more than the tokenizer has."""
    return build()


@pytest.fixture
def engine(model: Transformer, tokenizer: Tokenizer, plugins: Plugins) -> Engine:
    return Engine(model, tokenizer, plugins.samplers)


@pytest.fixture
def with_sampler(
    model: Transformer, tokenizer: Tokenizer
) -> Callable[[Callable[[Tensor, Tensor], Tensor]], Engine]:
    """Return a function that builds an engine whose only sampler is the given step."""

    def build(step: Callable[[Tensor, Tensor], Tensor]) -> Engine:
        registry: Registry[Any] = Registry("sampler")
        options: dict[str, Any] = {"order": 1, "default": 1.0, "neutral": 0.0, "uses": ()}
        registry.add("only", lambda value: step, provider="test", **options)
        return Engine(model, tokenizer, registry)

    return build


@pytest.fixture
def computed() -> Callable[[Transformer], list[tuple[int, int]]]:
    """Return a function that notes, for a model, the shape (rows, tokens) of all that it computes."""

    def watch(model: Transformer) -> list[tuple[int, int]]:
        shapes: list[tuple[int, int]] = []

        def note(module: torch.nn.Module, arguments: Any, output: Tensor) -> None:
            rows, tokens = (*arguments[0].shape, 1)[:2]
            shapes.append((rows, tokens))

        model.embed_tokens.register_forward_hook(note)
        return shapes

    return watch


@pytest.fixture
def scripted(with_sampler: Callable[..., Engine]) -> Callable[..., Engine]:
    """Return a function that builds an engine which forces a script of ids after a prompt of one token.

    A prompt of n tokens begins n - 1 ids later in the script, which is repeated.
    """

    def build(*script: int) -> Engine:
        def force(logits: Tensor, history: Tensor) -> Tensor:
            forced = torch.full_like(logits, -torch.inf)
            forced[0, script[(history.shape[1] - 1) % len(script)]] = 0.0
            return forced

        return with_sampler(force)

    return build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled step's library, built once. Where there is a compiler, it must come out."""
    if native.compiler() is None:
        pytest.skip("there is no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOSHELL_HOME", str(tmp_path_factory.mktemp("compiled")))
        for _attempt in range(3):  # it is polite: on a busy machine its time may be up before it has ended
            build = native.start_build()
            assert build is not None
            build.wait()
            if (path := native.built_file()) is not None:
                break
    assert path is not None
    assert {other.name for other in path.parent.iterdir()} == {path.name, "lock"}
    return path


@pytest.fixture
def installed(library: Path) -> Path:
    """The library in its place in this test's home."""
    folder = native.library_folder()
    folder.mkdir(parents=True)
    return Path(shutil.copy(library, folder))


@pytest.fixture
def compiler(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a script the compiler, which puts ``$LIBRARY`` where ``$OUT`` says."""

    def use(script: str) -> None:
        path = tmp_path / "compiler"
        path.write_text(
            f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nOUT="$2"\nLIBRARY={library}\n{script}\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))

    return use
