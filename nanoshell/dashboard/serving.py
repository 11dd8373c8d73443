"""The dashboard in a browser: a server that starts one dashboard for each page, to look at only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nanoshell.errors import NanoshellError

if TYPE_CHECKING:
    from aiohttp import web
    from textual_serve.app_service import AppService
    from textual_serve.server import Server

    from nanoshell.session import Session

LOOPBACK = "127.0.0.1"
PORT = 8000

NEAR_PORTS = 20
"""Among so many ports after one that is taken a free one is looked for."""

END_SECONDS = 5.0
"""A dashboard whose page is gone is killed where it has not ended in so many seconds: it only reads."""

HAND_ON_SECONDS = 1.0
"""For so long what it writes as it ends goes to the page, which may be there to be told that it ends."""

_FOREIGN = re.compile(r'<link[^>]*href="https://[^>]*>')
"""What the library's page asks of other machines, a font: there may be no way to them, or they may listen."""

_HEAD = '<title>nanoshell dashboard</title><link rel="icon" href="data:,"></head>'
"""Names the page, which the library leaves without a name, and says that it has no icon to be asked for."""

_FOCUS = """<script>
  const taking = setInterval(() => {
    const keys = document.querySelector("body.-first-byte .xterm-helper-textarea");
    if (keys) { keys.focus(); clearInterval(taking); }
  }, 100);
</script></body>"""
"""Gives the keys to the page's terminal, once it is connected; else it has them after a click alone."""

Say = Callable[[str], None]


def is_served() -> bool:
    """Return whether this process is a dashboard whose screen is a page of a browser."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith(":WebDriver")


def is_loopback(host: str) -> bool:
    """Return whether ``host`` means this machine, and nothing but it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    session: Session,
    words: Sequence[str],
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    options: Sequence[str] = (),
) -> None:
    """Serve dashboards of the runs that ``words`` name, in `nanoshell dashboard OPTIONS`, until Ctrl-C.

    They only read. Raises `NanoshellError` where textual-serve is not installed, or ``host`` and ``port``
    cannot be listened at.
    """
    command = ["exec", sys.executable, "-P", "-m", "nanoshell", *session.plugins.arguments]
    command += ["dashboard", "--read-only", *options, "--", *words]
    say = session.narrator.note
    server = _server(shlex.join(command), host, port)
    if not is_loopback(host):
        say(f"warning: whoever reaches {host} sees these runs and their texts; there is no password")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, say))


def _server(command: str, host: str, port: int) -> Server:
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError as error:
        raise NanoshellError(
            f"--web needs textual-serve, which is not installed ({error.name} is missing)",
            hint="pip install 'nanoshell[web]'",
        ) from None

    class DeskServer(Server):
        """Answers pages of its own alone: another site that the same browser shows must not read the runs."""

        async def on_startup(self, app: web.Application) -> None:
            pass  # the library's greeting is not ours

        async def handle_index(self, request: web.Request) -> web.StreamResponse:
            self._check(request)
            # A page asks for the rest by the name by which it was asked for itself.
            self.public_url = f"{request.scheme}://{request.host}"
            page: web.StreamResponse = await super().handle_index(request)
            if isinstance(page, web.Response) and page.text is not None:
                text = _FOREIGN.sub("", page.text)
                page.text = text.replace("</head>", _HEAD).replace("</body>", _FOCUS)
            return page

        async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
            self._check(request)
            return await super().handle_websocket(request)

        async def _process_messages(self, websocket: web.WebSocketResponse, app_service: AppService) -> None:
            try:
                await super()._process_messages(websocket, app_service)
            finally:
                await _end(app_service)

        def _check(self, request: web.Request) -> None:
            origin = request.headers.get("Origin")
            named = urlsplit(f"//{request.host}").hostname or ""
            if origin is not None and urlsplit(origin).netloc != request.host:
                raise web.HTTPForbidden(text="a page of another site asks for this one")
            if is_loopback(self.host) and not is_loopback(named):
                raise web.HTTPForbidden(text=f"this is no page of {named}")

    return DeskServer(command, host=host, port=port, title="nanoshell")


async def _end(dashboard: AppService) -> None:
    """End the process of ``dashboard``, whose page is gone, or is closed since it has ended.

    The library then reads no more of what it writes, or waits for a page that takes nothing; and a dashboard
    that waits to be read does not end.
    """
    process, handing_on = dashboard._process, dashboard._task
    if process is None or process.stdout is None or handing_on is None:
        return
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await dashboard.send_meta({"type": "quit"})
                await asyncio.wait([handing_on], timeout=HAND_ON_SECONDS)
                handing_on.cancel()
                await asyncio.wait([handing_on])
                while await process.stdout.read(1 << 16):
                    pass
                await process.wait()
    finally:
        handing_on.cancel()
        if process.returncode is None:
            process.kill()


async def _serve(server: Server, say: Say) -> None:
    from aiohttp import web

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    runner = web.AppRunner(await server._make_app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, server.host, server.port).start()
        except OSError as error:
            free = _free_port(server.host, server.port) if error.errno == errno.EADDRINUSE else None
            unknown = isinstance(error, socket.gaierror)  # its numbers are none of the system's
            why = "no machine of this name is known" if unknown else os.strerror(error.errno or 0)
            raise NanoshellError(
                f"cannot listen at {server.host}:{server.port}: {why}",
                hint=f"--port {free} is free" if free else "choose another --host or --port",
            ) from None
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGTERM, ended.set)
        shown = f"[{server.host}]" if ":" in server.host else server.host
        say(f"the dashboard is at http://{shown}:{server.port} and only reads; Ctrl-C ends it")
        await ended.wait()
    finally:
        await runner.cleanup()


def _free_port(host: str, taken: int) -> int | None:
    """Return the next port after ``taken`` at which ``host`` can be listened at, None where none is near."""
    for port in range(taken + 1, min(taken + 1 + NEAR_PORTS, 65536)):
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
    return None
