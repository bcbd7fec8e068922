"""The kernel's switches under /proc/sys/net: forwarding, and IPv6 of one interface. They belong to the network namespace of the thread."""

from __future__ import annotations

from pathlib import Path

_FORWARDING = {4: Path("/proc/sys/net/ipv4/ip_forward"), 6: Path("/proc/sys/net/ipv6/conf/all/forwarding")}
_IPV6 = Path("/proc/sys/net/ipv6/conf")
_NOT_AN_INTERFACE = ("all", "default")
IPV6_ON, IPV6_OFF = "on", "off"


def forwarded() -> frozenset[int]:
    """The families that this machine forwards. A kernel without IPv6 has no such switch."""
    return frozenset(version for version, switch in _FORWARDING.items() if switch.exists() and _read(switch) == "1")


def ensure_forwarding(version: int) -> None:
    """A machine that begins to forward IPv6 stops to listen to router advertisements, unless accept_ra is 2: those interfaces that did
    listen go on."""
    if version in forwarded():
        return
    if version == 6:
        for settings in _IPV6.iterdir():
            listens = settings / "accept_ra"
            if settings.name not in _NOT_AN_INTERFACE and _read(listens) == "1":
                listens.write_text("2")
    _FORWARDING[version].write_text("1")


def ipv6_of(interface: str) -> str:
    """on (and deaf to advertisements), off, or listening."""
    settings = _IPV6 / interface
    if not settings.exists() or _read(settings / "disable_ipv6") == "1":
        return IPV6_OFF
    return IPV6_ON if _read(settings / "accept_ra") == "0" else "listening"


def ensure_ipv6(interface: str, wanted: str) -> None:
    """An interface that speaks IPv6 has an address of its own and takes nobody's word for another."""
    if ipv6_of(interface) != wanted:
        (_IPV6 / interface / "accept_ra").write_text("0")
        (_IPV6 / interface / "disable_ipv6").write_text("0" if wanted == IPV6_ON else "1")


def answers_for_others(interface: str) -> bool:
    """Whether the interface answers IPv6 neighbour solicitations for the addresses that it is told of. For IPv4 no switch is needed."""
    switch = _IPV6 / interface / "proxy_ndp"
    return not switch.exists() or _read(switch) == "1"


def ensure_answering_for_others(interface: str) -> None:
    if not answers_for_others(interface):
        (_IPV6 / interface / "proxy_ndp").write_text("1")


def _read(switch: Path) -> str:
    return switch.read_text().strip()
