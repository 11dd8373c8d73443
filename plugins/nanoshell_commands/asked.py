"""Which of the installed distributions the words of ``plugin install`` mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_PROJECT_FILES = ("pyproject.toml", "setup.py")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2")


def as_path(word: str) -> str:
    """Return ``word`` as a path where it is one: a bare folder would be taken for the name of a package."""
    place, extras = _without_extras(word)
    path = Path(place).expanduser()
    has_project = any((path / file).is_file() for file in _PROJECT_FILES)
    return f"{path.resolve()}{extras}" if has_project else word


def asked_for(distribution: str, words: Sequence[str]) -> bool:
    """Return whether one of ``words`` (requirements, archives, folders, URLs) means ``distribution``.

    A folder and a URL do not tell a name: they are looked up in what the installer noted of the origin.
    """
    origin = _origin(distribution)
    for word in words:
        name, place = _name_and_place(word)
        if _folded(name) == _folded(distribution) or (place and place == origin):
            return True
    return False


def _name_and_place(word: str) -> tuple[str, str]:
    """Return the name that ``word`` tells and the URL or path that it means; "" for what it does not."""
    name, at, url = word.partition(" @ ")
    if at:
        return _without_extras(name.strip())[0], _plain(url)
    if "://" in word:
        egg = re.search(r"#(?:.*&)?egg=([\w.-]+)", word)
        return egg[1] if egg else _name_of_archive(_plain(word)), _plain(word)
    path = Path(_without_extras(word)[0]).expanduser()
    if path.name.lower().endswith(_ARCHIVES) or "/" in word or word.startswith(".") or path.is_absolute():
        return _name_of_archive(path.name), str(path.resolve())
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)", word)
    return found[1] if found else "", ""


def _without_extras(word: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.+?)\s*(\[[^\]]*\])", word)
    return (found[1], found[2]) if found else (word, "")


def _name_of_archive(path: str) -> str:
    """Return the name in a file's: ``some_thing-1.0-py3-none-any.whl``, ``some-thing-1.0.tar.gz``."""
    name = path.rpartition("/")[2]
    for ending in _ARCHIVES:
        if name.lower().endswith(ending):
            stem = name[: -len(ending)]
            return stem.partition("-")[0] if ending == ".whl" else stem.rpartition("-")[0]
    return ""


def _plain(url: str) -> str:
    """Return ``url`` without what belongs to the request alone: ``git+``, a revision, a fragment, a user.

    That of a local file is its path.
    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url.strip())
    scheme, host, path = parts.scheme.rpartition("+")[2], parts.netloc.rpartition("@")[2], parts.path
    if "+" in parts.scheme:
        path = path.partition("@")[0]
    path = unquote(path)
    return str(Path(path).resolve()) if scheme == "file" else f"{scheme}://{host}{path.rstrip('/')}"


def _origin(distribution: str) -> str:
    """Return the URL or path that ``distribution`` was installed from, "" where it came from an index."""
    import json
    from importlib import metadata

    try:
        noted = metadata.distribution(distribution).read_text("direct_url.json")
        return _plain(str(json.loads(noted)["url"])) if noted else ""
    except (metadata.PackageNotFoundError, OSError, ValueError, LookupError, TypeError):
        return ""


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
