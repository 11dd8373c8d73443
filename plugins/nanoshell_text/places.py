"""The sources ``tiny-shakespeare`` and ``url``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from nanoshell import DataError, checked_url
from nanoshell_text.source import InternetText, Place

SHAKESPEARE_URLS = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "https://cdn.jsdelivr.net/gh/karpathy/char-rnn@master/data/tinyshakespeare/input.txt",
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
_SHA256 = re.compile(r"[0-9a-f]{64}")


def shakespeare(rest: str) -> InternetText:
    """Return Tiny Shakespeare. Raises `DataError` where a part of it is asked for."""
    if rest:
        raise DataError(f"tiny-shakespeare has no part '{rest}'", hint="write: tiny-shakespeare")
    return InternetText(
        Place(
            spec="tiny-shakespeare",
            kind="internet",
            summary="40,000 lines of Shakespeare's plays (Karpathy 2015)",
            urls=SHAKESPEARE_URLS,
            label="tinyshakespeare.txt",
            sha256=SHAKESPEARE_SHA256,
            num_bytes=SHAKESPEARE_BYTES,
        )
    )


def address(rest: str) -> InternetText:
    """Return the text at ``ADDRESS[#sha256=…]``, asking whether it is there unless it is in the cache.

    The hash is that of the bytes as they are served: what ``sha256sum`` says of the file, compressed or not.
    Raises `DataError`, `NetworkError`.
    """
    location, mark, fragment = rest.partition("#")
    url = checked_url(location)
    name, _, pinned = fragment.partition("=")
    pinned = pinned.lower()
    if mark and (name.lower() != "sha256" or not _SHA256.fullmatch(pinned)):
        raise DataError(
            f"'#{fragment}' pins nothing",
            hint="write #sha256= and the 64 hexadecimal digits that sha256sum gives, or leave it out",
        )
    parts = urlsplit(url)
    return InternetText(
        Place(
            spec=f"url:{location}" + (f"#sha256={pinned}" if pinned else ""),
            kind="internet",
            summary=f"a text from {parts.hostname}",
            urls=(url,),
            label=_label(unquote(parts.path, errors="replace")) or str(parts.hostname),
            sha256=pinned,
        )
    ).check()


def _label(path: str) -> str:
    """Return the name of the file at the end of ``path``, as messages show it: it may come from anybody."""
    name = PurePosixPath(path.removesuffix("/")).name.removesuffix(".gz")
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name
    )
