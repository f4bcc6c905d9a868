"""How a service is run: limits and addresses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import NamedTuple

from aiotwin_nb.errors import InvalidInput


class Address(NamedTuple):
    """Where is listened; port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def parse(cls, text: str, option: str) -> Address:
        """Read HOST:PORT ([HOST]:PORT for IPv6); raises InvalidInput that names the option."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise InvalidInput(f"{option} {text!r}: must be HOST:PORT, such as 127.0.0.1:8000; port 0 is any free one")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """As a URL."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """Limits of a service. Times are in seconds but for `batch_ms`.

    `max_inputs`: of a request, and of a batch. `batch_ms`: how long the first input of a batch waits for others.
    `max_waiting`: inputs that may wait; above, requests are refused (503). `body_seconds`, `answer_seconds`: for a
    body to come and an answer to be made. `drain`: from /ready's 503 to the end of listening. `follow`: between two
    looks for a newer checkpoint.
    """

    max_inputs: int = 64
    batch_ms: float = 2.0
    max_waiting: int = 1024
    body_seconds: float = 10.0
    answer_seconds: float = 10.0
    drain: float = 2.0
    follow: float = 0.5

    def __post_init__(self) -> None:
        for each in fields(self):
            value, zero = getattr(self, each.name), each.name in ("batch_ms", "drain")
            if not (value >= 0 if zero else value > 0) or value == float("inf"):
                raise InvalidInput(f"{each.name}: {value} is not allowed; it must be {'0 or more' if zero else '> 0'}")
        if self.max_waiting < self.max_inputs:
            raise InvalidInput(f"max_waiting: {self.max_waiting} is below max_inputs, {self.max_inputs}")
