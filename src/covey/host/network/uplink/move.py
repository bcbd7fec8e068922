"""Moves what a card carries to a bridge and back. Each may be repeated, and finishes what a killed one left half done."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from covey.base.errors import Refused, check
from covey.host.network.uplink.read import SETTINGS, find_link
from covey.host.network.uplink.wire import announce
from covey.model.uplink import FOREVER, Address, Route, Uplink

GROUP = 49279  # 0xc07f; interface group of a bridge made here, given with its birth: its tag (P4)
ALIAS = "covey uplink"  # the same for people
_NO_DAD = 2  # IFA_F_NODAD: this very machine had the address a moment ago
_TENTATIVE = 0x40 | 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED: a state, not a wish
_PERMANENT = 0x80  # IFA_F_PERMANENT: follows from the lifetime


def check_bridge_is_free(kernel: Any, bridge: str) -> None:
    """Raises Refused when the name is taken."""
    taken = kernel.link_lookup(ifname=bridge)
    check(not taken, Refused("there is an interface of that name", f"bridge {bridge}", "choose another name, such as br1"))


def take_over(kernel: Any, uplink: Uplink, bridge: str) -> None:
    """The card is a port of the bridge, which is made, has the card's MAC and MTU, and carries all that the card carried."""
    card = find_link(kernel, uplink.name)["index"]
    index = _ensure_bridge(kernel, uplink, bridge)
    v4 = [address for address in uplink.addresses if address.family == socket.AF_INET]
    v6 = [address for address in uplink.addresses if address.family == socket.AF_INET6]
    for address in v4:  # on both for a moment: never on none
        _add_address(kernel, index, address)
    kernel.link("set", index=card, master=index)
    for address in v4:
        _remove_address(kernel, card, address)
    _switch_ipv6(uplink.name, off=True)
    for address in v6:
        _add_address(kernel, index, address)
    _ensure_routes(kernel, index, uplink.routes)
    announce(bridge, uplink.mac, uplink.addresses)


def give_back(kernel: Any, uplink: Uplink, bridge: str) -> None:
    """The card is as it was, whatever became of it meanwhile; the bridge is gone, if it was made here."""
    card = find_link(kernel, uplink.name)
    made = [link["index"] for link in kernel.get_links() if link.get("ifname") == bridge and _is_ours(link)]
    index = card["index"]
    for address in uplink.addresses:
        if address.family == socket.AF_INET:
            _add_address(kernel, index, address)
    if card.get("master") in made:
        kernel.link("set", index=index, master=0)
    for each in made:
        kernel.link("del", index=each)
    kernel.link("set", index=index, state="up")
    _switch_ipv6(uplink.name, off=uplink.ipv6_off)
    for address in uplink.addresses:
        if address.family == socket.AF_INET6:
            _add_address(kernel, index, address)
    _ensure_routes(kernel, index, uplink.routes)
    announce(uplink.name, uplink.mac, uplink.addresses)


def _ensure_bridge(kernel: Any, uplink: Uplink, bridge: str) -> int:
    if not kernel.link_lookup(ifname=bridge):
        kernel.link("add", ifname=bridge, kind="bridge", group=GROUP, address=uplink.mac, br_stp_state=0)
    index: int = kernel.link_lookup(ifname=bridge)[0]
    kernel.link("set", index=index, ifalias=ALIAS, mtu=uplink.mtu)
    kernel.link("set", index=index, kind="bridge", br_forward_delay=0)
    for key, value in uplink.ipv6_settings.items():
        _write(SETTINGS / bridge / key, value)
    if uplink.ipv6_off:
        _switch_ipv6(bridge, off=True)
    kernel.link("set", index=index, state="up")
    return index


def _is_ours(link: Any) -> bool:
    return bool(link.get(("linkinfo", "kind")) == "bridge" and link.get("group") == GROUP)


def _switch_ipv6(name: str, off: bool) -> None:
    _write(SETTINGS / name / "disable_ipv6", "1" if off else "0")


def _write(path: Path, value: str) -> None:
    if path.exists():  # a kernel without IPv6 has none
        path.write_text(value)


def _add_address(kernel: Any, index: int, address: Address) -> None:
    wanted: dict[str, Any] = {
        "index": index,
        "family": address.family,
        "prefixlen": address.prefix,
        "address": address.peer,
        "scope": address.scope,
        "IFA_FLAGS": address.flags & ~(_TENTATIVE | _PERMANENT),
    }
    if address.family == socket.AF_INET:
        wanted["local"] = address.local
    else:
        wanted["IFA_FLAGS"] |= _NO_DAD
        if address.peer != address.local:
            wanted["local"] = address.local
    if address.broadcast:
        wanted["broadcast"] = address.broadcast
    if address.priority:
        wanted["IFA_RT_PRIORITY"] = address.priority
    if address.valid_s != FOREVER:
        wanted["IFA_CACHEINFO"] = {"ifa_valid": address.valid_s, "ifa_preferred": address.preferred_s}
    with _unless(errno.EEXIST):
        kernel.addr("add", **wanted)


def _remove_address(kernel: Any, index: int, address: Address) -> None:
    with _unless(errno.EADDRNOTAVAIL):
        kernel.addr("del", index=index, address=address.local, prefixlen=address.prefix, family=address.family)


def _ensure_routes(kernel: Any, index: int, routes: tuple[Route, ...]) -> None:
    for route in routes:
        kernel.route("replace", **_wanted(index, route))


def _wanted(index: int, route: Route) -> dict[str, Any]:
    any_of_family = "0.0.0.0" if route.family == socket.AF_INET else "::"  # noqa: S104  (a destination)
    wanted: dict[str, Any] = {
        "family": route.family,
        "dst": f"{route.destination or any_of_family}/{route.prefix}",
        "oif": index,
        "table": route.table,
        "proto": route.proto,
        "scope": route.scope,
        "type": route.kind,
        "tos": route.tos,
        "flags": route.flags,
    }
    if route.gateway:
        family = ipaddress.ip_address(route.gateway).version
        same = (family == 4) == (route.family == socket.AF_INET)
        wanted["gateway" if same else "via"] = (
            route.gateway if same else {"family": socket.AF_INET6 if family == 6 else socket.AF_INET, "addr": route.gateway}
        )
    if route.source:
        wanted["prefsrc"] = route.source
    if route.priority:
        wanted["priority"] = route.priority
    if route.expires_s:
        wanted["expires"] = route.expires_s
    if route.metrics:
        wanted["metrics"] = dict(route.metrics)
    return wanted


@contextmanager
def _unless(code: int) -> Iterator[None]:
    """The kernel's refusal that says that it is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.code != code:
            raise
