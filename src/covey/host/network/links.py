"""The bridges of this machine, by netlink: making, reading and removing them."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from covey.base.errors import Refused, require
from covey.host.network import announce as announcing
from covey.host.network import nft, routes, switches
from covey.host.network.check import Interface, check_network
from covey.model.network import Arrival, Interfaces, Network

_UP = 1  # IFF_UP, netdevice(7)
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL, rtnetlink(7): the addresses once more
_HALF_OF_EVERYTHING = 1  # prefix length: default routes, also in two halves as VPNs write them, are no use of a subnet
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_DAD = 2  # IFA_F_NODAD, rtnetlink(7): usable at once, also while no guest is on the bridge
_GLOBAL = 0  # RT_SCOPE_UNIVERSE: link-local addresses of IPv6 are the kernel's own affair
_MEND = "covey cluster verify --fix"
_ALIAS = re.compile(r"covey ([0-9a-f-]{36}) ([A-Za-z0-9._:=/-]{1,63})(?: ([0-9a-f-]{36}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that Covey made, or adopted, as the kernel has it. `network` and `job` are "" when making it was cut short before the tag,
    and for one of the machine's owner."""

    index: int
    name: str
    network: str
    job: str
    is_up: bool
    as_made: bool  # up, in our group, no spanning tree, no forwarding delay
    ipv6: str  # as switches.ipv6_of
    addresses: tuple[Interface, ...]
    ports: tuple[str, ...]  # names of the interfaces on it
    routed: frozenset[str]  # single addresses that lead to it


def ensure_bridge(kernel: Any, network: Network, job: str, owner: str) -> Bridge:
    """The bridge as wanted, made by `job` unless it was there; an adopted one as it is. Raises Refused for a foreign interface, a subnet in
    use, and a bridge to adopt that is not there."""
    if network.adopted:
        return _adopted(kernel, network)
    _refuse_foreign(kernel, network, owner)
    routes.find_uplink(kernel, network)
    _refuse_overlap(kernel, network)
    if not kernel.link_lookup(ifname=network.bridge):
        kernel.link(
            "add",
            ifname=network.bridge,
            kind="bridge",
            group=nft.GROUP,
            # An address of its own: the kernel would change it with each port, and guests would lose their gateway
            # for a while.
            address="02:c0:7e:" + secrets.token_bytes(3).hex(":"),
        )
    index = kernel.link_lookup(ifname=network.bridge)[0]
    bridge = read_bridge(kernel, index)
    if not bridge.network:
        kernel.link("set", index=index, ifalias=f"covey {network.id} {job} {owner}".rstrip())
    switches.ensure_ipv6(
        network.bridge, wanted_ipv6(network)
    )  # before it is up, so that it never has an address that it should not
    if not bridge.as_made:
        kernel.link("set", index=index, kind="bridge", br_stp_state=0)
        kernel.link("set", index=index, kind="bridge", br_forward_delay=0)  # refused while the spanning tree is on
        kernel.link("set", index=index, group=nft.GROUP)
        kernel.link("set", index=index, state="up")
    _ensure_addresses(kernel, read_bridge(kernel, index), check_network(network))  # IPv6 that went off took its addresses along
    for version in wanted_forwarding(network):
        switches.ensure_forwarding(version)
    routes.ensure_exactly(kernel, network, index)
    return read_bridge(kernel, index)


def _adopted(kernel: Any, network: Network) -> Bridge:
    """The bridge of the machine's owner. Raises Refused when it is none, or one that Covey made for another network."""
    found = kernel.link_lookup(ifname=network.bridge)
    link = kernel.get_links(found[0])[0] if found else None
    if link is None or link.get(("linkinfo", "kind")) != "bridge":
        what = "it is no bridge" if link else "there is none"
        raise Refused(
            f"cannot adopt {network.bridge}: {what}", network, "make the bridge in the machine's own network configuration first"
        )
    if _ALIAS.fullmatch(link.get("ifalias") or ""):
        raise Refused(f"cannot adopt {network.bridge}: Covey made it", network, "put guests on that network instead")
    bridge = read_bridge(kernel, found[0])
    if not bridge.is_up:
        raise Refused(f"cannot adopt {network.bridge}: it is down", network, f"ip link set {network.bridge} up")
    return bridge


def wanted_ipv6(network: Network) -> str:
    return switches.IPV6_ON if any(own.version == 6 for own in check_network(network)) else switches.IPV6_OFF


def wanted_forwarding(network: Network) -> tuple[int, ...]:
    """The families that the machine must forward for this network."""
    return () if network.adopted or network.isolated else tuple(family.version for family in network.families)


def join(kernel: Any, network: Network, taps: tuple[str, ...]) -> None:
    (bridge,) = kernel.link_lookup(ifname=network.bridge)
    for tap in taps:
        for index in kernel.link_lookup(ifname=tap):
            kernel.link("set", index=index, master=bridge)


def route_to(kernel: Any, network: Network, addresses: tuple[str, ...]) -> None:
    """Raises Refused when the bridge, or the uplink, is not there."""
    found = kernel.link_lookup(ifname=network.bridge)
    index = require(found[0] if found else None, Refused(f"its bridge {network.bridge} is not there", network, _MEND))
    routes.ensure_routed(kernel, network, index, addresses)


def route_no_more(kernel: Any, network: Network, addresses: tuple[str, ...]) -> None:
    """Also when the bridge is gone: its routes went with it, the answers on the uplink did not."""
    found = kernel.link_lookup(ifname=network.bridge)
    routes.ensure_not_routed(kernel, network, found[0] if found else 0, addresses)


def _ensure_addresses(kernel: Any, bridge: Bridge, wanted: tuple[Interface, ...]) -> None:
    """The bridge has these addresses and no other: an older one would keep a subnet that the record no longer names."""
    for address in bridge.addresses:
        if address not in wanted:
            kernel.addr("del", index=bridge.index, address=str(address.ip), prefixlen=address.network.prefixlen)
    for address in wanted:
        if address not in bridge.addresses:
            flags = {"flags": _NO_DAD} if address.version == 6 else {}
            kernel.addr("add", index=bridge.index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)


def _refuse_foreign(kernel: Any, network: Network, owner: str) -> None:
    """Raises Refused when the bridge's name is taken, or the network is here by another name (P4)."""
    for link in kernel.get_links():
        name, (id, _), half_made = link.get("ifname"), _tag(link, owner), _is_half_made(link)
        if name == network.bridge and id != network.id and not half_made:
            whose = f"is the bridge of network {id}" if id else "was not made by Covey"
            raise Refused(
                f"the interface {name} {whose}",
                network,
                f"give the network another bridge, adopt this one, or see: ip link show {name}",
            )
        if name != network.bridge and id == network.id:
            raise Refused(f"its bridge is here already, by the name {name}", network, f"the record says {network.bridge}")


def _refuse_overlap(kernel: Any, network: Network) -> None:
    """Raises Refused when another interface has, or a route leads to, addresses of the subnet. An uplink may."""
    mine = (network.bridge, *((network.uplink,) if network.uplink else ()))
    for wanted in network.families:
        for what, used, interface in _subnets_in_use(kernel, wanted.version):
            if interface not in mine and used.overlaps(wanted.subnet):
                raise Refused(
                    f"the subnet {wanted.subnet} is in use on this machine: {interface or 'no interface'} has the {what} {used}",
                    network,
                    "choose another subnet, or see: ip route",
                )


def _subnets_in_use(kernel: Any, version: int) -> Iterator[tuple[str, Any, str]]:
    """Addresses and routes of this machine in one family: what it is, the subnet, the interface ("" for a route that leads
    nowhere)."""
    names = {link["index"]: link.get("ifname") for link in kernel.get_links()}
    family = _FAMILIES[version]
    for address in kernel.get_addr(family=family):
        if address["scope"] == _GLOBAL:
            yield "address", _interface(address).network, names.get(address["index"], "")
    for route in kernel.get_routes(family=family):
        if route.get("table") == _LOCAL_TABLE or route["dst_len"] <= _HALF_OF_EVERYTHING:
            continue
        network = ipaddress.ip_network(f"{route.get('dst')}/{route['dst_len']}")
        if not (network.is_link_local or network.is_multicast):
            hops = route.get("multipath") or ({"oif": route.get("oif")},)
            yield "route", network, names.get(hops[0]["oif"], "")


def _interface(address: Any) -> Interface:
    return ipaddress.ip_interface(f"{address.get('local') or address.get('address')}/{address['prefixlen']}")


def ensure_no_bridge(kernel: Any, network: Network, job: str, owner: str) -> bool:
    """The network's bridge is gone, unless it is not that job's. Returns whether it is. Raises Refused while guests
    are on it."""
    for bridge in read_bridges(kernel, owner):
        unfinished = not bridge.network and bridge.name == network.bridge  # of a job that was cut short
        if bridge.network != network.id and not unfinished:
            continue
        if job and bridge.job not in ("", job):
            return False
        if bridge.ports:
            raise Refused(
                f"{', '.join(bridge.ports)} still on the bridge {bridge.name}",
                network,
                "stop the guests on this network first",
            )
        routes.ensure_not_routed(kernel, network, bridge.index, tuple(bridge.routed))
        kernel.link("del", index=bridge.index)
    return True


def announce(kernel: Any, arrivals: tuple[Arrival, ...]) -> None:
    """Raises OSError when an interface is down."""
    for arrival in arrivals:
        found = kernel.link_lookup(ifname=arrival.tap)
        master = kernel.get_links(found[0])[0].get("master") if found else None
        if master:
            _announce(kernel, kernel.get_links(master)[0], arrival)


def _announce(kernel: Any, bridge: Any, arrival: Arrival) -> None:
    announcing.on_bridge(bridge.get("ifname"), arrival.mac, arrival.addresses)
    if _tag(bridge)[0]:  # not so on a bridge of the site's, whose gateway is another machine
        announcing.to_guest(arrival.tap, bridge.get("address"), [str(own.ip) for own in _own(kernel, bridge["index"])])
        for uplink, addresses in routes.answered(kernel, bridge["index"], arrival.addresses).items():
            announcing.on_uplink(kernel, uplink, addresses)


def _own(kernel: Any, index: int) -> tuple[Interface, ...]:
    """The addresses of an interface, without those that the kernel gives itself."""
    addresses = [found for family in _FAMILIES.values() for found in kernel.get_addr(family=family, index=index)]
    return tuple(_interface(found) for found in addresses if found["scope"] == _GLOBAL)


def own_interfaces(kernel: Any) -> Interfaces:
    """What is the machine's own: guests' interfaces, and bridges of any Covey, are not."""
    found = [
        link
        for link in kernel.get_links()
        if link.get(("linkinfo", "kind")) != "tun" and not _ALIAS.fullmatch(link.get("ifalias") or "")
    ]
    bridges = [link for link in found if link.get(("linkinfo", "kind")) == "bridge" and link["flags"] & _UP]
    return Interfaces(_names(found), _names(bridges))


def _names(links: list[Any]) -> tuple[str, ...]:
    return tuple(sorted(link.get("ifname") for link in links))


def read_bridges(kernel: Any, owner: str) -> list[Bridge]:
    """Every bridge that this Covey made, finished or not, in the order in which they were made."""
    links = kernel.get_links()
    return [read_bridge(kernel, link["index"]) for link in links if _tag(link, owner)[0] or _is_half_made(link)]


def find_bridge(kernel: Any, name: str) -> Bridge | None:
    """The bridge of that name, whoever made it."""
    found = kernel.link_lookup(ifname=name)
    is_bridge = bool(found) and kernel.get_links(found[0])[0].get(("linkinfo", "kind")) == "bridge"
    return read_bridge(kernel, found[0]) if is_bridge else None


def read_bridge(kernel: Any, index: int) -> Bridge:
    link = kernel.get_links(index)[0]
    network, job = _tag(link)
    settings = [
        link.get("group"),
        *(link.get(("linkinfo", "data", key)) for key in ("br_stp_state", "br_forward_delay")),
    ]
    is_up = bool(link["flags"] & _UP)
    return Bridge(
        index=index,
        name=link.get("ifname"),
        network=network,
        job=job,
        is_up=is_up,
        as_made=is_up and settings == [nft.GROUP, 0, 0],
        ipv6=switches.ipv6_of(link.get("ifname")),
        addresses=_own(kernel, index),
        ports=tuple(port.get("ifname") for port in kernel.get_links() if port.get("master") == index),
        routed=routes.routed(kernel, index),
    )


def _tag(link: Any, owner: str = "") -> tuple[str, str]:
    """Network id and job of a bridge made by Covey, ("", "") of anything else: with `owner`, also of one that another Covey made."""
    match = _ALIAS.fullmatch(link.get("ifalias") or "")
    is_ours = match and link.get(("linkinfo", "kind")) == "bridge" and not (owner and match[3] and match[3] != owner)
    return (match[1], match[2]) if match and is_ours else ("", "")


def _is_half_made(link: Any) -> bool:
    """A bridge that the kernel made for us and that we did not live to tag: the group is given with the birth, the
    alias after it."""
    return (
        link.get(("linkinfo", "kind")) == "bridge"
        and link.get("group") == nft.GROUP
        and not link.get("ifalias")
        and not link["flags"] & _UP
    )
