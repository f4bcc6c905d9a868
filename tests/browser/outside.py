"""What tries to leave the machine: every attempt is written down and none gets through.

Processes are sent to a proxy on loopback that refuses and records. So is the browser; but a browser has business of its
own (completion of forms, lists of bad sites), so what its pages ask for is recorded from the pages.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Outside:
    """The attempts so far, and what sends traffic to the proxy."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._attempts: list[str] = []

    def record(self, attempt: str) -> None:
        """Keep an attempt: a URL, or a request's first line as the proxy got it, `CONNECT host:443 HTTP/1.1`."""
        self._attempts.append(attempt)

    def watch(self, context: BrowserContext) -> None:
        """Record what the pages of a context ask for, other than of loopback."""
        context.on("request", lambda request: self._page_asks(request.url))
        context.on("page", self._watch_sockets)

    def take(self) -> list[str]:
        """Return what was attempted since the last call; taken attempts fail no test."""
        taken, self._attempts = self._attempts, []
        return taken

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make processes (requests, urllib, Go, gRPC) use the proxy for all but loopback."""
        away = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), self.url)
        stay = {"no_proxy": ",".join(LOOPBACK)}
        lower = {**away, **stay}
        return {**lower, **{name.upper(): value for name, value in lower.items()}}

    @property
    def browser_flag(self) -> str:
        """Chromium then sends all but loopback to the proxy."""
        return f"--proxy-server={self.url}"

    def _watch_sockets(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._page_asks(socket.url))

    def _page_asks(self, url: str) -> None:
        host = urlsplit(url).hostname  # none in data:, blob: (Chromium's have no host of their own) and file:
        if host and host not in LOOPBACK:
            self.record(url)


@contextmanager
def outside_recorded() -> Iterator[Outside]:
    """Run the proxy while the block lasts."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refuse) as server:
        server.daemon_threads = True
        server.outside = Outside(server.server_address[1])
        threading.Thread(target=server.serve_forever, name="outside", daemon=True).start()
        try:
            yield server.outside
        finally:
            server.shutdown()


class _Refuse(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        request_line = self.rfile.readline(4096).decode("latin-1").strip()
        if request_line:  # an empty one is a connection opened in advance and not used
            self.server.outside.record(request_line)
            self.wfile.write(b"HTTP/1.1 403 Refused by the tests\r\n\r\n")
