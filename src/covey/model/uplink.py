"""What a network card carries (addresses, routes), and the taking over of one as a bridge's port."""

from __future__ import annotations

from dataclasses import dataclass, replace

FOREVER = 2**32 - 1  # seconds: of an address that does not expire

# States of a takeover. It is over in the last three.
CHANGING, WAITING, CONFIRMING = "changing", "waiting", "confirming"
CONFIRMED, ROLLED_BACK = "confirmed", "rolled-back"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface, as rtnetlink(7) tells it."""

    family: int
    local: str
    peer: str  # the same as `local`, save on a point-to-point link
    prefix: int
    broadcast: str
    scope: int
    flags: int
    priority: int  # metric of the route that the kernel makes for it
    valid_s: int
    preferred_s: int

    def __str__(self) -> str:
        return f"{self.local}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route through an interface that somebody other than the kernel made."""

    family: int
    destination: str  # "" for the default route
    prefix: int
    gateway: str
    source: str
    table: int
    proto: int
    scope: int
    kind: int
    flags: int
    priority: int
    tos: int
    expires_s: int
    metrics: dict[str, int]

    def __str__(self) -> str:
        to = f"{self.destination}/{self.prefix}" if self.destination else "default"
        return f"{to} via {self.gateway}" if self.gateway else to


@dataclass(frozen=True, slots=True)
class Uplink:
    """A network card and all that it carries."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    ipv6_off: bool
    ipv6_settings: dict[str, str]  # of /proc/sys/net/ipv6/conf

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(route.gateway for route in self.routes if not route.destination and route.gateway))

    @property
    def timeless(self) -> Uplink:
        """Itself without what runs down by itself: lifetimes."""
        return replace(
            self,
            addresses=tuple(replace(address, valid_s=0, preferred_s=0) for address in self.addresses),
            routes=tuple(replace(route, expires_s=0) for route in self.routes),
        )


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file before and after; None for one that is not there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Takeover:
    """One taking over, from before the first change until it is confirmed or rolled back. Kept in a file, durably."""

    bridge: str
    uplink: Uplink
    keeper: str  # what configures the network of this machine at boot
    files: tuple[FileChange, ...]  # written on confirmation only: a reboot before it ends in the old state
    boot_id: str
    deadline: float  # by CLOCK_BOOTTIME
    until: float  # the same by the wall clock, for people
    window_s: float
    state: str
    changer: int = 0  # pid of the process that works on it
    changer_began: int = 0  # and its start, in clock ticks: a pid alone may be another's by now
    why: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in (CONFIRMED, ROLLED_BACK)
