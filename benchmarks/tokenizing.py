"""Tokenizing beside tiktoken, splintr and the Hugging Face library: same documents, same ids, in one run.

    python benchmarks/tokenizing.py [--file TEXT] [--megabytes 24] [--rounds 5]

(A script named tokenize.py would stand before the module of that name that Python itself imports.)
The documents are passages of TEXT in random order, a few thousand characters each. What is timed: all of them
to ids in memory, for us in arrays with end-of-text ids between them, as a corpus is written, for peers in the
lists that they return. The ids are compared. Contenders take turns, each in a process of its own; medians are
shown, as megabytes of text a second and as a ratio to the first of the table with as many threads. Times
depend on the machine; ratios travel. splintr is left out where it is not installed; "nanoshell+splintr" is
our path with the tokenizer that our plugin registers, and returns arrays as ours does.

Three tables: cl100k_base; 1,024 byte pairs trained on TEXT; its characters.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from nanoshell.chat.template import RoleTemplate
from nanoshell.data.encoding import encode_all
from nanoshell.data.source import Document
from nanoshell.testing import plugins_with
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.bpe import PATTERN, RANK_FILE, cl100k_base
from nanoshell.tokenizer.making import ONIGURUMA_PATTERN, make_char, train_bpe
from nanoshell.tokenizer.store import find_tokenizer
from nanoshell.tokenizer.trained import TrainedBpe

Encode = Callable[[list[str]], Any]
SHAKESPEARE = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare.txt"
BPE_IDS = 1024
PLUGIN = "nanoshell+splintr"
TABLES = {
    "cl100k_base": ("tiktoken", "nanoshell", "splintr", PLUGIN),
    "1,024 byte pairs": ("tokenizers", "nanoshell"),
    "characters": ("dictionary", "nanoshell"),
}


def documents_of(text: str, megabytes: float) -> list[str]:
    """Return about so many megabytes of documents, each of one to forty passages, the same every time."""
    chance = random.Random(3)
    passages = text.split("\n\n")
    documents: list[str] = []
    size = 0
    while size < megabytes * 1e6:
        documents.append("\n\n".join(chance.choices(passages, k=chance.randrange(1, 40))))
        size += len(documents[-1])
    return documents


def tokenizer_of(table: str, text: str) -> Tokenizer:
    """Return our tokenizer of a table."""
    if table == "characters":
        return make_char("char", [text])
    return cl100k_base() if table == "cl100k_base" else train_bpe("bpe", [text], BPE_IDS)


def ours(tokenizer: Tokenizer, threads: int) -> Encode:
    """Return the path of a corpus: documents to arrays, by as many threads."""

    def encode(texts: list[str]) -> np.ndarray:
        documents = (Document(text=text) for text in texts)
        parts = encode_all(documents, tokenizer, RoleTemplate(), workers=threads)
        return np.concatenate([part.train for part in parts])

    return encode


def peer(name: str, tokenizer: Tokenizer, threads: int) -> Encode | None:
    """Return what ``name`` encodes documents with, None where it is not installed."""
    if name == "tiktoken":
        import tiktoken
        import tiktoken.load

        ranks = tiktoken.load.load_tiktoken_bpe(str(RANK_FILE))
        encoding = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
        return partial(encoding.encode_ordinary_batch, num_threads=threads)
    if name in ("splintr", PLUGIN):
        if importlib.util.find_spec("splintr") is None:
            return None
        if name == PLUGIN:
            return ours(tokenizer, threads)
        import splintr

        return splintr.Tokenizer.from_pretrained("cl100k_base").encode_batch
    if name == "tokenizers":
        assert isinstance(tokenizer, TrainedBpe)
        return huggingface(tokenizer)
    table = {tokenizer.decode([token_id]): token_id for token_id in range(tokenizer.vocab_size)}
    return lambda texts: [[table[character] for character in text] for text in texts]


def huggingface(tokenizer: TrainedBpe) -> Encode:
    """Return the encoding of the library ``tokenizers`` with the same merges."""
    from tokenizers import Regex, Tokenizer as Library, models, pre_tokenizers

    alphabet = bytes_alphabet()
    spelled = ["".join(alphabet[byte] for byte in tokenizer.token_bytes(i)) for i in range(BPE_IDS - 4)]
    merges = [(spelled[left], spelled[right]) for left, right in tokenizer.merges]
    library = Library(models.BPE(vocab={text: index for index, text in enumerate(spelled)}, merges=merges))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ONIGURUMA_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return lambda texts: [encoding.ids for encoding in library.encode_batch_fast(texts)]


def bytes_alphabet() -> list[str]:
    """Return how the library spells each byte (GPT-2's table)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(value) if value in printable else chr(next(others)) for value in range(256)]


def serve(pipe: Connection, table: str, name: str, threads: int, text: str, megabytes: float) -> None:
    """Encode once for the ids' hash, and then as often as asked, answering with seconds."""
    texts = documents_of(text, megabytes)
    tokenizer = tokenizer_of(table, text)
    if name == PLUGIN and importlib.util.find_spec("splintr") is not None:
        tokenizer = find_tokenizer("splintr", plugins_with().tokenizers)
    encode = ours(tokenizer, threads) if name == "nanoshell" else peer(name, tokenizer, threads)
    if encode is None:
        pipe.send(None)
        return
    ids = encode(texts)
    if name not in ("nanoshell", PLUGIN):
        end = [tokenizer.end_of_text]
        ids = np.concatenate([np.array([*part, *end], dtype="<u4") for part in ids])
    pipe.send(hashlib.sha256(np.ascontiguousarray(ids, dtype="<u4").tobytes()).hexdigest())
    del ids
    while pipe.recv():
        start = time.perf_counter()
        encode(texts)
        pipe.send(time.perf_counter() - start)


def start(*arguments: Any) -> tuple[Connection, str | None]:
    """Start a contender and return the pipe to it and the hash of its ids, None where it is not installed."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    threads = str(arguments[2])
    os.environ.update(RAYON_NUM_THREADS=threads, TOKENIZERS_PARALLELISM="true")
    context.Process(target=serve, args=(other, *arguments), daemon=True).start()
    return pipe, pipe.recv()


def compare(table: str, text: str, megabytes: float, rounds: int, all_threads: list[int]) -> None:
    """Print the table of one tokenizer."""
    started = {
        (name, threads): start(table, name, threads, text, megabytes)
        for threads in all_threads
        for name in TABLES[table]
        if name != "dictionary" or threads == 1
    }
    hashes = {found for _, found in started.values() if found is not None}
    assert len(hashes) == 1, f"contenders disagree about the ids of {table}"
    pipes = {key: pipe for key, (pipe, found) in started.items() if found is not None}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in pipes}
    for _ in range(rounds):
        for key, pipe in pipes.items():
            pipe.send(True)
            seconds[key].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    size = sum(len(document.encode()) for document in documents_of(text, megabytes)) / 1e6
    print(f"\n{table}: {size:.1f} MB of text, ids equal")
    print(f"{'':>18} {'threads':>7} {'MB/s':>8} {'ratio':>7} {'worst–best':>15}")
    first = TABLES[table][0]
    for (name, threads), times in seconds.items():
        base = seconds.get((first, threads)) or seconds[first, 1]
        ratio = statistics.median(base) / statistics.median(times)
        spread = f"{size / max(times):.1f}–{size / min(times):.1f}"
        print(f"{name:>18} {threads:>7} {size / statistics.median(times):>8.1f} {ratio:>7.2f} {spread:>15}")
    if ("splintr", 1) not in seconds and table == "cl100k_base":
        print("splintr is not installed: pip install splintr-rs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=SHAKESPEARE)
    parser.add_argument("--megabytes", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        parser.error(f"there is no {arguments.file}: name a text with --file")
    text = arguments.file.read_text("utf-8")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for table in TABLES:
        compare(table, text, arguments.megabytes, arguments.rounds, [1, min(2, cores)])


if __name__ == "__main__":
    main()
