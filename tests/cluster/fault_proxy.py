"""A proxy in front of a real API server that drops, delays, duplicates, and answers 410, 429 and 5xx."""

import http.client
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import yaml


class FaultProxy:
    """Plain HTTP on a loopback port; what it does wrong can be changed at any time.

    `answers`: statuses for the next requests, each used once, before anything is passed on; `down`: connections are
    closed unanswered; `drop_after`: watches are cut after so many events, in the middle of a line; `delay`: seconds
    before each event; `twice`: events come twice; `gone`: the next watches end with 410, by status or as an event.
    """

    def __init__(self, kubeconfig):
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._far = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self.answers, self.gone = [], []
        self.down, self.twice = False, False
        self.drop_after, self.delay = None, 0.0
        self.seen = []  # (method, path, status)
        self.lists = self.watches = 0
        self._open = set()
        proxy = self

        class Handler(_Handler):
            pass

        Handler.proxy = proxy
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, path):
        """Write a kubeconfig that leads here; the proxy shows the administrator's certificate."""
        path.write_text(
            yaml.safe_dump(
                {
                    "current-context": "proxied",
                    "clusters": [{"name": "proxied", "cluster": {"server": self.url}}],
                    "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "nobody"}}],
                    "users": [{"name": "nobody", "user": {}}],
                }
            )
        )
        return path

    def cut(self):
        """Cut every open watch."""
        for near in list(self._open):
            with suppress(OSError):  # the other end was quicker
                near.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.down = True
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    def reach(self):
        return http.client.HTTPSConnection(self._far.hostname, self._far.port, context=self._tls, timeout=60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy = None

    def log_message(self, *_):
        pass

    def _serve(self):
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if proxy.down:
            self.close_connection = True
            return
        if proxy.answers:
            self._answer(proxy.answers.pop(0))
            return
        watching = "watch=true" in self.path
        if watching and proxy.gone:
            if proxy.gone.pop(0) == "status":
                self._answer(410)
            else:
                self._begin(200)
                event = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
                self._chunk(json.dumps(event).encode() + b"\n")
                self._chunk(b"")
            return
        far = proxy.reach()
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding", "content-length")
        }
        far.request(self.command, self.path, body or None, headers)
        response = far.getresponse()
        proxy.seen.append((self.command, self.path, response.status))
        if watching and response.status == 200:
            proxy._open.add(self.connection)
            proxy.watches += 1
            self._pass_on_watch(far, response)
            return
        proxy.lists += self.command == "GET"
        content = response.read()
        far.close()
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 (so the library calls them)

    def _pass_on_watch(self, far, response):
        proxy = self.proxy
        self._begin(200)
        passed = 0
        try:
            while line := response.readline():
                time.sleep(proxy.delay)
                if proxy.drop_after is not None and passed >= proxy.drop_after:
                    self._chunk(line[: len(line) // 2])  # torn
                    break
                for _ in range(2 if proxy.twice else 1):
                    self._chunk(line)
                passed += 1
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            proxy._open.discard(self.connection)
            far.close()
            self.close_connection = True

    def _answer(self, status):
        proxy = self.proxy
        proxy.seen.append((self.command, self.path, status))
        content = json.dumps(
            {"kind": "Status", "status": "Failure", "message": f"made up {status}", "code": status}
        ).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _begin(self, status):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, content):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()
