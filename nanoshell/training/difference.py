"""What is different from when a run began: its config, its data. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.data.source import DataSource, RemoteSource
from nanoshell.errors import CheckpointError, ConfigError, NanoshellError
from nanoshell.training.settable import WRITTEN_MEANWHILE

if TYPE_CHECKING:
    from nanoshell.data.corpus import Corpus
    from nanoshell.plugin.manager import Plugins
    from nanoshell.training.config import RunConfig

CHANGEABLE = WRITTEN_MEANWHILE | {
    "checkpoint_dir",
    "device",
    "gradient_checkpointing",
    "log_interval",
    "target_device",
}
"""Keys of the trainer that may differ on resume: they change neither the batches nor the updates."""

_STAMPED_FILES = 1000
_HASHED_BYTES = 16 << 20
_HASH_LETTERS = 12


@dataclass(frozen=True)
class Difference:
    """What one thing was, and what it is now."""

    what: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.now}"


def listed(differences: Sequence[Difference]) -> str:
    """Return all of them as a text that follows a colon, with the space: several have a line each."""
    if len(differences) == 1:
        return f" {differences[0]}"
    return "".join(f"\n  {difference}" for difference in differences)


def config_differences(before: RunConfig, now: RunConfig) -> list[Difference]:
    """Return every key whose value differs and that decides batches, updates or the model."""
    then, wanted = before.to_dict(), now.to_dict()
    return [
        difference
        for section in ("model", "trainer")
        for key in {**then[section], **wanted[section]}
        if not (section == "trainer" and key in CHANGEABLE)
        for difference in _differing(f"{section}.{key}", then[section].get(key), wanted[section].get(key))
    ]


def _differing(key: str, before: Any, now: Any) -> Iterator[Difference]:
    """Yield what differs between two values of ``key``; of two mappings, the keys within."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for inner in {**before, **now}:
            yield from _differing(f"{key}.{inner}", before.get(inner), now.get(inner))
    elif before != now:
        yield Difference(key, before, now)


def check_forced(
    differences: Sequence[Difference], config: RunConfig, checkpoint: Path | None, plugins: Plugins
) -> None:
    """Raise `ConfigError` where the weights of ``checkpoint`` cannot become those of ``config``.

    torch is asked where a key of the model is among ``differences``.
    """
    of_model = [difference for difference in differences if difference.what.startswith("model.")]
    if any(difference.what == "model.tokenizer" for difference in of_model):
        raise ConfigError(
            f"--force cannot give a model another tokenizer:{listed(of_model)}",
            hint="its ids would mean other texts: start a new run",
        )
    if checkpoint is None or not of_model:
        return
    import torch

    from nanoshell.model.transformer import Transformer
    from nanoshell.model.weights import WEIGHTS, read_tensors

    try:
        with torch.device("meta"):
            tensors = Transformer(config.model, plugins.mixers).state_dict()
        read_tensors(checkpoint / WEIGHTS, {name: tuple(value.shape) for name, value in tensors.items()})
    except CheckpointError as error:
        raise ConfigError(
            f"--force cannot change the shape of a model:{listed(of_model)}",
            hint=f"start a new run ({error.message})",
        ) from error


def describe_source(source: DataSource, tokens: Path) -> dict[str, Any]:
    """Return what tells later whether ``source``, whose ids are in ``tokens``, has changed, and where.

    What a source far away holds is not looked at.
    """
    stat = tokens.stat()
    described: dict[str, Any] = {"tokens": [stat.st_size, stat.st_mtime_ns]}
    if isinstance(source, RemoteSource):
        return described
    labels = source.info().files
    files = [Path(label) for label in labels[:_STAMPED_FILES]]
    small = sum(file.stat().st_size for file in files if file.is_file()) <= _HASHED_BYTES
    stamps = {str(file): _stamp(file, small) for file in files if file.is_file()}
    return {**described, "fingerprint": source.fingerprint(), "files": stamps}


def _stamp(file: Path, small: bool) -> str:
    stat = file.stat()
    if small:
        return f"{stat.st_size} bytes, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:_HASH_LETTERS]}"
    return f"{stat.st_size} bytes, modified {stat.st_mtime_ns}"


def source_changed(source: DataSource, described: Mapping[str, Any]) -> bool:
    """Whether ``source`` is another than `describe_source` saw; False where that cannot be told."""
    then = described.get("fingerprint")
    if then is None or isinstance(source, RemoteSource):
        return False
    try:
        return bool(source.fingerprint() != then)
    except (NanoshellError, OSError):
        return False


def corpus_differences(
    before: Corpus, now: Corpus, then: Mapping[str, Any], today: Mapping[str, Any]
) -> list[Difference]:
    """Return what differs between two corpora, whose sources were described as ``then`` and ``today``."""
    facts = [
        Difference("source", before.spec, now.spec),
        Difference("tokens", before.num_tokens, now.num_tokens),
        Difference("documents", before.num_documents, now.num_documents),
        Difference("sha256", before.sha256[:_HASH_LETTERS], now.sha256[:_HASH_LETTERS]),
    ]
    found = [fact for fact in facts if fact.before != fact.now]
    old, new = then.get("files") or {}, today.get("files") or {}
    if before.spec != now.spec or not old or not new:
        return found
    files = [
        Difference(name, old.get(name, "not there"), new.get(name, "not there"))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return files + found
