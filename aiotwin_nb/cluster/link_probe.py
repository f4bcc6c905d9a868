"""How fast bytes go from one pod to another. Runs inside pods, as text handed to `python3 -c`: standard library only.

    serve PORT                               take whatever is sent, and say when it has all arrived
    send MB REPEATS FILE NAME=HOST:PORT…     send MB to each, REPEATS times; {name: [seconds, …]} as JSON into FILE

Seconds are from the first byte sent until the receiver has said that the last one has arrived; connecting is not in it.
"""

import json
import socket
import socketserver
import struct
import sys
import time
from pathlib import Path

CHUNK = bytes(1 << 20)
PATIENCE = 30.0  # seconds for a receiver to be there


class Receiver(socketserver.StreamRequestHandler):
    """Each message is its length in 8 bytes and that many bytes; the answer is one byte."""

    def handle(self) -> None:
        """Take messages until the sender closes."""
        buffer = bytearray(len(CHUNK))
        while head := self.rfile.read(8):
            left = struct.unpack("!Q", head)[0]
            while left:
                got = self.rfile.readinto(memoryview(buffer)[: min(left, len(buffer))])
                if not got:
                    return
                left -= got
            self.wfile.write(b"\1")


def serve(port: int) -> None:
    """Receive, from any number of senders, until the process is ended."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("", port), Receiver) as server:
        server.serve_forever()


def send(host: str, port: int, size: int, repeats: int) -> list[float]:
    """Seconds that each of some messages of `size` bytes takes; one before them opens the way and is not counted."""
    with _connected(host, port) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [_send(link, size) for _ in range(repeats + 1)][1:]


def _send(link: socket.socket, size: int) -> float:
    began = time.perf_counter()
    link.sendall(struct.pack("!Q", size))
    for start in range(0, size, len(CHUNK)):
        link.sendall(memoryview(CHUNK)[: min(len(CHUNK), size - start)])
    if link.recv(1) != b"\1":
        raise ConnectionError("the receiver ended")
    return time.perf_counter() - began


def _connected(host: str, port: int) -> socket.socket:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main(arguments: list[str]) -> None:
    """Serve or send."""
    if arguments[0] == "serve":
        serve(int(arguments[1]))
        return
    megabytes, repeats, file, *receivers = arguments[1:]
    found = {}
    for receiver in receivers:
        name, _, address = receiver.partition("=")
        host, _, port = address.rpartition(":")
        found[name] = send(host, int(port), int(float(megabytes) * 10**6), int(repeats))
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
