"""One file over http: a connection that can go on where it broke off, and what has been received so far."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Self

from nanoshell.errors import DataError
from nanoshell.version import __version__

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
_BLOCK = 1 << 16
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31
"""`zlib` then expects gzip's header and checksum."""
_ENCODINGS = ("", "identity", "gzip", "x-gzip")
_NO_SUCH_PART = 416
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Absent(Exception):
    """The server has answered that there is no such file, or not for us: the message and its ``status``."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Broken(Exception):
    """The server was not reached, or the connection broke; ``final`` says that another attempt is vain."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Connection:
    """A request for ``url`` and its answer; `open` it, or `go_on` from a byte, then read `blocks`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.total: int | None = None
        self.content_type = ""
        self._validator = ""
        self._answer: Any = None
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the server."""
        if self._answer is not None:
            with contextlib.suppress(OSError):
                self._answer.close()
            self._answer = None

    def open(self, start: int = 0) -> int:
        """Ask for the bytes from ``start`` on; return where the answer begins. Raises `Absent`, `Broken`."""
        self.close()
        headers = {"User-Agent": f"nanoshell/{__version__}", "Accept-Encoding": "identity"}
        if start and self._validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": self._validator}
        try:
            self._answer = _request(self.url, headers)
        except Absent as error:
            if error.status != _NO_SUCH_PART:
                raise
            self._validator = ""  # the next attempt asks for the whole
            raise Broken("the server does not go on where it stopped") from error
        found: Mapping[str, str] = self._answer.headers
        if found.get("Content-Encoding", "identity").lower() not in _ENCODINGS:
            raise Absent(f"the server sends it compressed by {found['Content-Encoding']}, which is not read")
        self._at = start if self._answer.status == 206 and _begins_at(found, start) else 0
        if self._answer.status == 206 and not self._at:
            self._validator = ""
            raise Broken("the server answered with another part than was asked for")
        length = found.get("Content-Length") or ""
        self.total = self._at + int(length) if length.isdecimal() else None
        self.content_type = (found.get("Content-Type") or "").lower()
        etag = found.get("ETag") or ""
        self._validator = etag if etag and not etag.startswith("W/") else found.get("Last-Modified") or ""
        return self._at

    def go_on(self, start: int, restart: Callable[[], None]) -> None:
        """Have an answer that goes on at ``start``, or one from the first byte, after calling ``restart``."""
        if (self._answer is None or self._at != start) and self.open(start) != start:
            restart()

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the answer. Raises `Broken` where it ends before its end."""
        from http.client import HTTPException

        while True:
            try:
                block = self._answer.read(_BLOCK)
            except (OSError, HTTPException) as error:
                self.close()
                raise _broken(error) from error
            if not block:
                break
            self._at += len(block)
            yield block
        at, total = self._at, self.total
        self.close()
        if total is not None and at < total:
            raise Broken(f"the connection broke off after {at:,} of {total:,} bytes")


class Received:
    """The bytes of a file as they come, hashed as served and as kept, plain where they were compressed."""

    def __init__(self, file: IO[bytes], limit: int, url: str) -> None:
        self._file = file
        self._limit = limit
        self._url = url
        self.restart()

    def restart(self) -> None:
        """Forget everything: the server begins anew."""
        self._file.seek(0)
        self._file.truncate()
        self.served_bytes = 0
        self._kept_bytes = 0
        self._served, self._kept = hashlib.sha256(), hashlib.sha256()
        self._head = b""
        self._gzip: Any = None
        self._plain = False

    def add(self, block: bytes) -> None:
        """Take the next bytes. Raises `DataError` where they cannot be decompressed, or are too many."""
        self.served_bytes += len(block)
        self._served.update(block)
        if self._plain:
            self._keep(block)
            return
        if self._gzip is None:
            block = self._head + block
            if len(block) < len(_GZIP):
                self._head = block
                return
            self._head, self._plain = b"", not block.startswith(_GZIP)
            if self._plain:
                self._keep(block)
                return
            self._gzip = zlib.decompressobj(_GZIP_FORMAT)
        self._decompress(block)

    def _decompress(self, block: bytes) -> None:
        """Keep what ``block`` unpacks to; a file may be several gzip files behind each other."""
        try:
            while block:
                if self._gzip.eof:
                    block = block.lstrip(b"\0")  # padding
                    if not block:
                        break
                    self._gzip = zlib.decompressobj(_GZIP_FORMAT)
                self._keep(self._gzip.decompress(block, _BLOCK))
                block = self._gzip.unconsumed_tail or self._gzip.unused_data
        except zlib.error as error:
            raise self._damaged(str(error)) from error

    def _keep(self, data: bytes) -> None:
        self._kept_bytes += len(data)
        if self._kept_bytes > self._limit:
            raise DataError(
                f"{self._url} is larger than {self._limit / 2**30:g} GiB",
                hint="fetch it by another program (curl -O), and name the file: such texts stream",
            )
        self._file.write(data)
        self._kept.update(data)

    def finish(self) -> tuple[str, str]:
        """Return the SHA-256 as served and as kept. Raises `DataError` where compressed bytes are missing."""
        if self._head:
            self._keep(self._head)
            self._head = b""
        if self._gzip is not None:
            self._keep(self._gzip.flush())
            if not self._gzip.eof:
                raise self._damaged("its end is missing")
        return self._served.hexdigest(), self._kept.hexdigest()

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"{self._url} is compressed by gzip, and damaged: {reason}",
            hint="the file is broken on the server, too; look for another copy",
        )


def _request(url: str, headers: dict[str, str]) -> Any:
    """Return the answer to a request for ``url``. Raises `Absent` and `Broken`."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(
            self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Request | None:
            scheme = newurl.partition(":")[0].lower()
            if scheme != "https" and (scheme != "http" or url.startswith("https:")):
                raise Absent(f"the server points to {scheme}:, which is less safe than what was asked for")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    try:
        return build_opener(Redirects()).open(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        told = f"the server answers {error.code} {error.reason}".rstrip()
        if error.code in _TRY_AGAIN:
            raise Broken(told) from error
        raise Absent(told, error.code) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> Broken:
    """Return ``error`` in plain words."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, socket.gaierror):
        return Broken("the host is not known here; is there a network?", final=True)
    if isinstance(reason, TimeoutError):
        return Broken(f"nothing has come for {TIMEOUT:g} s")
    if isinstance(reason, ConnectionRefusedError):
        return Broken("the server takes no connection", final=True)
    if type(reason).__name__ == "SSLCertVerificationError":
        return Broken(f"its certificate is not trusted: {getattr(reason, 'verify_message', '')}", final=True)
    if type(reason).__name__ == "IncompleteRead":
        return Broken("the connection broke off")
    if isinstance(reason, OSError) and reason.strerror:
        return Broken(reason.strerror)
    return Broken(str(reason) or type(reason).__name__, final=isinstance(reason, ValueError))


def _begins_at(headers: Mapping[str, str], start: int) -> bool:
    return (headers.get("Content-Range") or "").replace(" ", "").startswith(f"bytes{start}-")
