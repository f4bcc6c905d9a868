"""`aiotwin proxy` as a process of its own."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aiotwin_nb.cli import main


@pytest.fixture
def instance():
    """A plain instance in a thread; /slow is answered when `release` is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == "/slow":
                server.asked.set()
                server.release.wait(30)
            body = b"hello"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.release = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@contextmanager
def command(*options):
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotwin_nb", "proxy", *options, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def ask(url, host="svc"):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=30) as answer:
        return answer.read()


@pytest.mark.slow
def test_it_passes_on_and_on_sigterm_lets_requests_end(instance, tmp_path):
    file = tmp_path / "services.yaml"
    url = f"http://127.0.0.1:{instance.server_port}"
    file.write_text(f"services: {{svc: {{instances: [{{id: a, url: '{url}', node: n1}}]}}}}")
    options = ("--services", str(file), "--policy", "round_robin", "--node", "n1")
    with command("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options) as (process, said):
        assert said["policy"] == "round_robin"
        assert ask(said["url"] + "/") == b"hello"
        assert json.loads(ask(said["admin"] + "/stats"))["services"]["svc"]["requests"] == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(said["url"], host="other")
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ask(said["url"] + "/slow")))
        asking.start()
        assert instance.asked.wait(30)
        process.send_signal(signal.SIGTERM)
        port = int(said["url"].rpartition(":")[2])
        end = time.monotonic() + 30
        while _listens(port):
            assert time.monotonic() < end
        instance.release.set()
        asking.join(30)
        assert answers == [b"hello"]
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(instance, tmp_path):
    file = tmp_path / "services.yaml"
    url = f"http://127.0.0.1:{instance.server_port}"
    file.write_text(f"services: {{svc: {{instances: [{{id: a, url: '{url}', node: n1}}]}}}}")
    with command("--listen", "127.0.0.1:0", "--services", str(file), "--policy", "round_robin") as (process, said):
        with socket.create_connection(("127.0.0.1", int(said["url"].rpartition(":")[2]))) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: svc\r\n\r\n")
            assert instance.asked.wait(30)
            process.send_signal(signal.SIGTERM)
            while _listens(int(said["url"].rpartition(":")[2])):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert "1 connections were cut off" in process.stderr.read()


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "round_robbin"], "unknown balancing policy 'round_robbin'"),
        (["--services", "none.yaml"], "none.yaml: No such file"),
        (["--drain", "-1"], "--drain -1: must be 0 or more"),
        (["--listen", "192.0.2.1:80"], "cannot listen at 192.0.2.1:80"),
        (["--admin", "192.0.2.1:80"], "cannot listen at 192.0.2.1:80"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(options, said, tmp_path, capsys):
    file = tmp_path / "services.yaml"
    file.write_text("services: {}")
    given = ["--listen", "127.0.0.1:0", "--services", str(file), "--policy", "round_robin", *options]
    assert main(["proxy", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("address", ["8080", ":8080", "localhost:", "localhost:99999", "localhost:http"])
def test_an_address_is_host_and_port(address, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["proxy", "--listen", address, "--services", "x", "--policy", "round_robin"])
    assert ended.value.code == 2
    assert "must look like HOST:PORT" in capsys.readouterr().err


def test_the_proxy_needs_none_of_the_large_packages():
    code = (
        "import sys, aiotwin_nb.inference.proxy;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'torch', 'pandas', 'flwr', 'wandb', 'numpy', 'scipy', 'pydantic', 'matplotlib', 'IPython', 'kubernetes'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
