"""The contract of a data source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nanoshell.chat.template import ROLES
from nanoshell.data.source import DataSource, Document, SourceInfo
from nanoshell.errors import NanoshellError
from nanoshell.testing.contract import Contract, name_of, shown

RULES = MappingProxyType(
    {
        "opens": "factory(rest) returns an object with spec, info, fingerprint, token_file and documents",
        "spec": "spec is the text by which a user names the source, and what it names is the same source",
        "info": "info() returns a SourceInfo with this spec, a kind, a summary, files, and a size or None",
        "fingerprint": "fingerprint() is a text that stays the same while the documents do",
        "documents": "documents() yields at least one Document with one of text, messages and ids",
        "text": "a document's text can be written as UTF-8",
        "messages": "a document's messages have a known role and a text as their content",
        "ids": "a document's ids are whole numbers of one dimension, none of them negative",
        "ends": "the last document does not continue, unless it is ids: more of it must follow",
        "again": "documents() gives the same documents every time, also after a reader that stopped early",
        "token_file": "token_file() returns None, or the path of a .bin that exists",
        "refuses": "what cannot be opened or read is a NanoshellError that says why",
    }
)


def check_source(
    factory: Callable[[str], DataSource], rest: str = "", *, refuses: Iterable[str] = (), limit: int = 1000
) -> None:
    """Check the source that ``factory(rest)`` opens, by its first ``limit`` documents.

    ``refuses`` are texts in place of ``rest`` that name nothing: opening or reading them must fail well.
    """
    contract = Contract("data source", name_of(factory), RULES)
    with contract.keeping("opens", f"factory({rest!r})"):
        source = factory(rest)
    wanted = ("spec", "info", "fingerprint", "token_file", "documents")
    missing = [name for name in wanted if not hasattr(source, name)]
    contract.must("opens", not missing, f"it has no {', '.join(missing)}")
    _check_words(contract, source)
    _check_documents(contract, source, limit)
    _check_spec(contract, factory, source, rest)
    for wrong in refuses:
        with contract.refusing("refuses", f"factory({wrong!r}) and reading it", NanoshellError):
            list(islice(factory(wrong).documents(), limit))


def _check_words(contract: Contract, source: DataSource) -> None:
    contract.must("spec", isinstance(source.spec, str) and source.spec, f"spec is {source.spec!r}")
    with contract.keeping("info", "info()"):
        info = source.info()
    contract.must("info", isinstance(info, SourceInfo), f"it returned {shown(info)}")
    contract.must("info", info.spec == source.spec, f"its spec is {info.spec!r}, not {source.spec!r}")
    texts = [info.kind, info.summary, *info.files, *info.notes]
    contract.must(
        "info", all(isinstance(text, str) for text in texts) and info.kind and info.summary, shown(info)
    )
    size = info.num_bytes
    contract.must("info", size is None or (isinstance(size, int) and size >= 0), f"num_bytes is {size!r}")
    with contract.keeping("fingerprint", "fingerprint()"):
        first, second = source.fingerprint(), source.fingerprint()
    contract.must("fingerprint", isinstance(first, str) and first, f"it is {first!r}")
    contract.must("fingerprint", first == second, f"first {first!r}, then {second!r}")
    with contract.keeping("token_file", "token_file()"):
        tokens = source.token_file()
    contract.must("token_file", tokens is None or Path(tokens).is_file(), f"it returned {tokens!r}")


def _check_documents(contract: Contract, source: DataSource, limit: int) -> None:
    with contract.keeping("documents", "documents()"):
        found = list(islice(source.documents(), limit))
    contract.must("documents", found, "there is none")
    for number, document in enumerate(found):
        _check_document(contract, document, f"document {number}")
    if len(found) < limit:
        unfinished = found[-1].continues and found[-1].ids is None
        contract.must("ends", not unfinished, f"the last of {len(found)} continues")
    with contract.keeping("again", "reading one document, and then all"):
        stopped = source.documents()
        next(iter(stopped))
        if hasattr(stopped, "close"):
            stopped.close()
        again = list(islice(source.documents(), limit))
    contract.must("again", len(again) == len(found), f"{len(found)} documents, then {len(again)}")
    for number, (before, after) in enumerate(zip(found, again, strict=True)):
        contract.must("again", _same(before, after), f"document {number} was another one the second time")


def _check_document(contract: Contract, document: Any, where: str) -> None:
    contract.must("documents", isinstance(document, Document), f"{where} is {shown(document)}")
    filled = [bool(document.text), bool(document.messages), document.ids is not None]
    contract.must("documents", sum(filled) <= 1, f"{where} has more than one of text, messages and ids")
    contract.must("text", isinstance(document.text, str), f"the text of {where} is {shown(document.text)}")
    with contract.keeping("text", f"encoding {where}"):
        document.text.encode("utf-8")
    for message in document.messages:
        known = getattr(message, "role", None) in ROLES and isinstance(message.content, str)
        contract.must("messages", known, f"{where} has {shown(message)}; roles are {', '.join(ROLES)}")
    if document.ids is not None:
        import numpy as np

        ids = np.asarray(document.ids)
        fine = ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer) and not (ids < 0).any()
        contract.must("ids", fine, f"those of {where} are {ids.dtype} of shape {ids.shape}")


def _same(one: Document, other: Document) -> bool:
    import numpy as np

    if one.ids is None or other.ids is None:
        if one.ids is not other.ids:
            return False
    elif not np.array_equal(one.ids, other.ids):
        return False
    fields = ("text", "messages", "origin", "special", "continues")
    return all(getattr(one, field) == getattr(other, field) for field in fields)


def _check_spec(
    contract: Contract, factory: Callable[[str], DataSource], source: DataSource, rest: str
) -> None:
    """Open what ``spec`` says, as `open_source` does: behind its name, or all of it where it is a path."""
    spec = source.spec
    behind = spec.partition(":")[2] if ":" in spec else spec if rest else ""
    with contract.keeping("spec", f"factory({behind!r}), which spec {spec!r} stands for,"):
        other = factory(behind)
    contract.must("spec", other.spec == spec, f"opened anew, {spec!r} calls itself {other.spec!r}")
    before, after = source.fingerprint(), other.fingerprint()
    contract.must("fingerprint", before == after, f"opened anew it was {after!r}, not {before!r}")
