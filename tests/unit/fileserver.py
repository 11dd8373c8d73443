"""A server of files on this machine that a test lets answer as it likes, and a narrator that listens."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TEXT = "".join(
    f"Line {number}: to be, or not to be — that is the question.\n" for number in range(8000)
).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the server's ``answer``, and notes what was asked."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.answer(self)

    def log_message(self, *arguments: object) -> None:
        pass

    def send(
        self,
        body: bytes,
        *,
        status: int = 200,
        length: int | None = None,
        cut: int | None = None,
        **headers: str,
    ) -> None:
        """Send ``body``, only ``cut`` bytes of it; ``length`` is what is claimed, -1 claims nothing."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True

    def send_part(self, body: bytes, cut: int | None = None) -> None:
        """Send what was asked for with Range, whole where nothing was; ``cut`` bytes of it."""
        asked = self.headers.get("Range")
        if asked is None:
            self.send(body, cut=cut, ETag='"1"')
            return
        assert self.headers.get("If-Range") == '"1"'
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send(body[start:], status=206, cut=cut, ETag='"1"', Content_Range=place)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.answer: Callable[[Handler], None] = lambda handler: handler.send(TEXT)

    def url(self, path: str = "/notes.txt") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


@contextmanager
def serving() -> Iterator[Server]:
    """Yield a server that answers until the block ends."""
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


class Counting:
    """A narrator that keeps what it was told."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int | None]] = []
        self.done = 0

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
        def advance(amount: int) -> None:
            self.done += amount

        self.bars.append((label, total))
        yield advance
