"""Requests on forwards."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_name
from covey.model.request import Request
from covey.model.requests.network import parse_network, parse_port

MOST_SOURCES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AddForward(Request, kind="forward.add"):
    """A port of the nodes (`port`: tcp/8080) that leads to an instance. `to_port` 0 is the same port; `network` "" is the instance's only
    one with NAT; `sources` are the addresses and subnets that may use it, () everybody."""

    port: str
    instance: str
    to_port: int = 0
    network: str = ""
    sources: tuple[str, ...] = ()

    def check(self) -> None:
        _, first, last = parse_port(self.port, "port")
        check(first == last, BadInput("one port at a time", "port", "write it like tcp/8080"))
        check_name(self.instance, "instance")
        check(0 <= self.to_port < 65536, BadInput(f"{self.to_port} is no port", "to_port", "between 1 and 65535"))
        if self.network:
            check_name(self.network, "network")
        check(len(self.sources) <= MOST_SOURCES, BadInput(f"at most {MOST_SOURCES} sources", "sources"))
        for source in self.sources:
            parse_network(source, "sources")

    @property
    def title(self) -> str:
        return f"forward add {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveForward(Request, kind="forward.remove"):
    """`forward` is its name: tcp-8080."""

    forward: str

    def check(self) -> None:
        check_name(self.forward, "forward")

    @property
    def title(self) -> str:
        return f"forward remove {self.forward}"
