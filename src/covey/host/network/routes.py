"""Routes to single guests, and the answers given for them on an uplink (proxy ARP and NDP). Both carry our protocol number as their tag."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from covey.base.errors import Refused, require
from covey.host.network import announce, switches
from covey.model.network import Network

PROTOCOL = 199  # 0xc7; whose a route is: ip-route(8), "protocol"
_PROXY = 8  # NTF_PROXY, rtnetlink(7)
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


def routed(kernel: Any, bridge: int) -> frozenset[str]:
    """The addresses that lead to the bridge with this index one by one, by our doing."""
    return frozenset(
        str(ipaddress.ip_address(route.get("dst")))
        for family in _FAMILIES.values()
        for route in kernel.get_routes(family=family, oif=bridge)
        if route["proto"] == PROTOCOL
    )


def unanswered(kernel: Any, network: Network) -> tuple[str, ...]:
    """The network's routes that its uplink does not answer for."""
    if not network.uplink:
        return ()
    uplinks = kernel.link_lookup(ifname=network.uplink)
    deaf = not switches.answers_for_others(network.uplink)
    return tuple(
        address
        for address in network.routes
        if not uplinks or (deaf and ":" in address) or not _is_answered(kernel, uplinks[0], address)
    )


def ensure_exactly(kernel: Any, network: Network, bridge: int) -> None:
    """The network's routes are there, and no other of ours on its bridge. Raises Refused when the uplink is not there."""
    ensure_not_routed(kernel, network, bridge, tuple(routed(kernel, bridge) - set(network.routes)))
    ensure_routed(kernel, network, bridge, network.routes)


def ensure_routed(kernel: Any, network: Network, bridge: int, addresses: tuple[str, ...]) -> None:
    """Raises Refused when the uplink is not there."""
    uplink = find_uplink(kernel, network)
    present = routed(kernel, bridge)
    new = []
    for address in addresses:
        version = ipaddress.ip_address(address).version
        if address not in present:
            kernel.route("replace", dst=_whole(address), oif=bridge, proto=PROTOCOL, family=_FAMILIES[version])
        if uplink and version == 6:
            switches.ensure_answering_for_others(network.uplink)
        if uplink and not _is_answered(kernel, uplink, address):
            kernel.neigh("replace", dst=address, ifindex=uplink, family=_FAMILIES[version], flags=_PROXY, protocol=PROTOCOL)
            new.append(address)
    if new:  # another node may have answered for it until now
        announce.on_uplink(kernel, uplink, new)


def answered(kernel: Any, bridge: int, addresses: tuple[str, ...]) -> dict[int, list[str]]:
    """Those of the addresses that this machine leads to the bridge with this index and answers for elsewhere, by the index of that uplink."""
    led = routed(kernel, bridge).intersection(addresses)
    uplinks = [link["index"] for link in kernel.get_links() if led and link.get(("linkinfo", "kind")) != "tun"]
    found = {uplink: [address for address in sorted(led) if _is_answered(kernel, uplink, address)] for uplink in uplinks}
    return {uplink: there for uplink, there in found.items() if there}


def ensure_not_routed(kernel: Any, network: Network, bridge: int, addresses: tuple[str, ...]) -> None:
    """Also when bridge (0) or uplink are gone."""
    uplinks = kernel.link_lookup(ifname=network.uplink) if network.uplink else []
    present = routed(kernel, bridge) if bridge else ()
    for address in addresses:
        family = _FAMILIES[ipaddress.ip_address(address).version]
        if address in present:
            kernel.route("del", dst=_whole(address), oif=bridge, proto=PROTOCOL, family=family)
        for uplink in uplinks:
            if _is_answered(kernel, uplink, address):
                kernel.neigh("del", dst=address, ifindex=uplink, family=family, flags=_PROXY)


def find_uplink(kernel: Any, network: Network) -> int:
    """The index of the uplink, 0 when the network has none. Raises Refused when it is not there."""
    if not network.uplink:
        return 0
    found = kernel.link_lookup(ifname=network.uplink)
    index: int = require(
        found[0] if found else None,
        Refused(f"its uplink {network.uplink} is not on this machine", network, "see: ip link; name the one that is"),
    )
    return index


def _is_answered(kernel: Any, uplink: int, address: str) -> bool:
    family = _FAMILIES[ipaddress.ip_address(address).version]
    try:
        return bool(kernel.neigh("get", dst=address, ifindex=uplink, family=family, flags=_PROXY))
    except NetlinkError as error:
        if error.code in _GONE:
            return False
        raise


def _whole(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
