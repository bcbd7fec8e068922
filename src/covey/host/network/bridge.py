"""Networks of guests on this machine: a bridge and a table of packet rules each. The only place that talks netlink.

What is ours is known by its tag: a bridge's alias (`ip link` shows it) and a table's comment say `covey NETWORK-ID
JOB`. There is no list on the side: what is there is read from the kernel each time, so a reboot, `nft flush ruleset`
or a deleted bridge is found by `networks` and repaired by `ensure_network`.

Forwarding (net.ipv4.ip_forward) is one switch for the whole machine. It is turned on with the first network and stays
on when the last one goes: others may rely on it by then. IPv6 is off on the bridges: the machine neither listens to
router advertisements of guests nor routes for them; among themselves guests may use it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError
from pyroute2.netns import setns

from covey.base.errors import Refused, StepFailed, Unavailable
from covey.base.run import run
from covey.host.network import nft
from covey.host.network.check import check_network
from covey.model.names import check_tag
from covey.model.network import FoundNetwork, Network

NFT_TIMEOUT_S = 30.0  # a machine with a large rule set and no idle processor
_NO_ACCESS = (errno.EPERM, errno.EACCES)
_UP = 1  # IFF_UP, netdevice(7)
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL, rtnetlink(7): the addresses once more
_HALF_OF_EVERYTHING = 1  # prefix length: default routes, also in two halves as VPNs write them, are no use of a subnet
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_ALIAS = re.compile(r"covey ([0-9a-f-]{36}) ([A-Za-z0-9._:=/-]{1,63})", re.ASCII)
_READINGS = 5  # attempts to read a list of interfaces that changes while it is read

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that Covey made, as the kernel has it. `network` and `job` are "" when making it was cut short before
    the tag."""

    index: int
    name: str
    network: str
    job: str
    as_made: bool  # up, in our group, no spanning tree, no forwarding delay, no IPv6
    addresses: tuple[ipaddress.IPv4Interface, ...]
    ports: tuple[str, ...]  # names of the interfaces on it


class HostNetworks:
    """The networks of this machine, or of the network namespace `netns` (a name under /run/netns)."""

    def __init__(self, netns: str | None = None) -> None:
        self._netns = None if netns is None else Path("/run/netns") / netns
        self._changing = asyncio.Lock()  # one change at a time: two networks may not both find a subnet free

    async def ensure_network(self, network: Network, job: str) -> None:
        check_network(network)
        check_tag(job, network)
        async with self._changing:
            bridge = await self._in_kernel(network, lambda kernel: _ensure_bridge(kernel, network, job))
            await self._ensure_rules(network, bridge.job)

    async def ensure_joined(self, network: Network, taps: tuple[str, ...]) -> None:
        check_network(network)
        async with self._changing:
            await self._in_kernel(network, lambda kernel: _join(kernel, network, taps))

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        check_network(network)
        async with self._changing:
            table = (await self._tables(network)).get(nft.table_of(network.id), "")
            # The bridge goes first: a bridge without rules would be open to its neighbours, rules without a bridge do
            # nothing.
            gone = await self._in_kernel(network, lambda kernel: _ensure_no_bridge(kernel, network, job))
            if gone and table and job in ("", nft.parse_tag(table)[1]):
                await self._nft(("-f", "-"), network, nft.render_removal(network.id))

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        records = {network.id: network for network in wanted}
        async with self._changing:  # or a bridge may go while it is looked at
            bridges, forwards = await self._in_kernel("networks", _read)
            tables = await self._tables("networks")
        found = [_compare(bridge, records.get(bridge.network), forwards, tables) for bridge in bridges if bridge.network]
        here = {bridge.network for bridge in bridges}
        tags = [nft.parse_tag(table) for table in tables.values()]
        left = [
            FoundNetwork(network, "", job, intact=False, why="rules without a bridge")
            for network, job in tags
            if network and network not in here
        ]
        return tuple(found + left)

    async def _ensure_rules(self, network: Network, job: str) -> None:
        wanted = nft.render_table(network, job)
        present = (await self._tables(network)).get(nft.table_of(network.id), "")
        if not nft.same_rules(present, wanted):
            await self._nft(("-f", "-"), network, nft.render_replacement(wanted, network.id))

    async def _tables(self, object: object) -> dict[str, str]:
        """The text of our tables, by name."""
        return nft.parse_tables(await self._nft(("--stateless", "list", "ruleset", "inet"), object))

    async def _nft(self, arguments: tuple[str, ...], object: object, stdin: str = "") -> str:
        # A subprocess starts in the namespace of the event loop's thread, so it has to enter ours by itself.
        enter = () if self._netns is None else ("nsenter", f"--net={self._netns}")
        done = await run(
            (*enter, "nft", *arguments),
            timeout_s=NFT_TIMEOUT_S,
            stdin=stdin.encode(),
            object=object,
            hint="" if stdin else "does the kernel know nftables? try: nft list ruleset",
        )
        return done.text

    async def _in_kernel(self, object: object, work: Callable[[Any], Result]) -> Result:
        """Do `work` with a netlink socket, in a thread that lives in our namespace and ends with it: a namespace is a
        property of threads, for netlink sockets and /proc/sys alike. A cancelled caller still waits for it
        (milliseconds), so that nothing happens after an undo has begun."""
        with ThreadPoolExecutor(max_workers=1) as thread:
            return await asyncio.get_running_loop().run_in_executor(thread, self._work, object, work)

    def _work(self, object: object, work: Callable[[Any], Result]) -> Result:
        with _kernel_errors(object):
            if self._netns is not None:
                # Without `libc` it is looked for by running ldconfig.
                setns(str(self._netns), flags=0, libc=ctypes.CDLL(None, use_errno=True))
            with IPRoute() as kernel:
                for _ in range(_READINGS - 1):
                    try:
                        return work(kernel)
                    except NetlinkDumpInterrupted:
                        continue  # an interface came or went meanwhile; all work here may be repeated
                return work(kernel)


@contextmanager
def _kernel_errors(object: object) -> Iterator[None]:
    """The kernel's refusals as errors of ours."""
    try:
        yield
    except NetlinkError as error:
        if error.code in _NO_ACCESS:
            raise Unavailable("this process may not change the network", object, "run it as root") from error
        raise StepFailed(f"the kernel refused the change: {error.args[1]}", object, "see: dmesg") from error
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is not there", object, "was the network namespace removed?") from error
    except PermissionError as error:
        raise Unavailable("this process may not change the network", object, "run it as root") from error


def _ensure_bridge(kernel: Any, network: Network, job: str) -> Bridge:
    """The bridge as wanted, made by `job` unless it was there. Raises Refused for a foreign interface or a subnet in
    use."""
    _refuse_foreign(kernel, network)
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
    bridge = _bridge(kernel, index)
    if not bridge.network:
        kernel.link("set", index=index, ifalias=f"covey {network.id} {job}")
    if not _ipv6_is_off(network.bridge):
        _ipv6_switch(network.bridge).write_text("1")  # before it is up, so that it never has an address
    if not bridge.as_made:
        kernel.link("set", index=index, kind="bridge", br_stp_state=0)
        kernel.link("set", index=index, kind="bridge", br_forward_delay=0)  # refused while the spanning tree is on
        kernel.link("set", index=index, group=nft.GROUP)
        kernel.link("set", index=index, state="up")
    _ensure_address(kernel, bridge, check_network(network))
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1")
    return _bridge(kernel, index)


def _join(kernel: Any, network: Network, taps: tuple[str, ...]) -> None:
    (bridge,) = kernel.link_lookup(ifname=network.bridge)
    for tap in taps:
        for index in kernel.link_lookup(ifname=tap):
            kernel.link("set", index=index, master=bridge)


def _ensure_address(kernel: Any, bridge: Bridge, wanted: ipaddress.IPv4Interface) -> None:
    """The bridge has this address and no other: an older one would keep a subnet that the record no longer names."""
    for address in bridge.addresses:
        if address != wanted:
            kernel.addr("del", index=bridge.index, address=str(address.ip), prefixlen=address.network.prefixlen)
    if wanted not in bridge.addresses:
        kernel.addr("add", index=bridge.index, address=str(wanted.ip), prefixlen=wanted.network.prefixlen)


def _ipv6_is_off(bridge: str) -> bool:
    switch = _ipv6_switch(bridge)
    return not switch.exists() or switch.read_text().strip() == "1"  # a kernel without IPv6 has no such file


def _ipv6_switch(bridge: str) -> Path:
    return Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6")


def _refuse_foreign(kernel: Any, network: Network) -> None:
    """Raises Refused when the bridge's name is taken, or the network is here by another name (P4)."""
    for link in kernel.get_links():
        name, (owner, _), half_made = link.get("ifname"), _tag(link), _is_half_made(link)
        if name == network.bridge and owner != network.id and not half_made:
            whose = f"is the bridge of network {owner}" if owner else "was not made by Covey"
            raise Refused(
                f"the interface {name} {whose}",
                network,
                f"give the network another bridge, or see: ip link show {name}",
            )
        if name != network.bridge and owner == network.id:
            raise Refused(f"its bridge is here already, by the name {name}", network, f"the record says {network.bridge}")


def _refuse_overlap(kernel: Any, network: Network) -> None:
    """Raises Refused when another interface has, or a route leads to, addresses of the subnet."""
    subnet = check_network(network).network
    for what, used, interface in _subnets_in_use(kernel):
        if interface != network.bridge and used.overlaps(subnet):
            raise Refused(
                f"the subnet {subnet} is in use on this machine: {interface or 'no interface'} has the {what} {used}",
                network,
                "choose another subnet, or see: ip route",
            )


def _subnets_in_use(kernel: Any) -> Iterator[tuple[str, ipaddress.IPv4Network, str]]:
    """Addresses and routes of this machine: what it is, the subnet, the interface ("" for a route that leads
    nowhere)."""
    names = {link["index"]: link.get("ifname") for link in kernel.get_links()}
    for address in kernel.get_addr(family=socket.AF_INET):
        network = ipaddress.IPv4Interface(f"{address.get('local') or address.get('address')}/{address['prefixlen']}").network
        yield "address", network, names.get(address["index"], "")
    for route in kernel.get_routes(family=socket.AF_INET):
        if route.get("table") == _LOCAL_TABLE or route["dst_len"] <= _HALF_OF_EVERYTHING:
            continue
        network = ipaddress.IPv4Network(f"{route.get('dst')}/{route['dst_len']}")
        hops = route.get("multipath") or ({"oif": route.get("oif")},)
        yield "route", network, names.get(hops[0]["oif"], "")


def _ensure_no_bridge(kernel: Any, network: Network, job: str) -> bool:
    """The network's bridge is gone, unless it is not that job's. Returns whether it is. Raises Refused while guests
    are on it."""
    for bridge in _bridges(kernel):
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
        kernel.link("del", index=bridge.index)
    return True


def _read(kernel: Any) -> tuple[list[Bridge], bool]:
    """Our bridges, and whether this machine forwards."""
    return _bridges(kernel), _FORWARDING.read_text().strip() == "1"


def _bridges(kernel: Any) -> list[Bridge]:
    """Every bridge that Covey made, finished or not, in the order in which they were made."""
    return [_bridge(kernel, link["index"]) for link in kernel.get_links() if _tag(link)[0] or _is_half_made(link)]


def _bridge(kernel: Any, index: int) -> Bridge:
    link = kernel.get_links(index)[0]
    network, job = _tag(link)
    settings = [
        link.get("group"),
        *(link.get(("linkinfo", "data", key)) for key in ("br_stp_state", "br_forward_delay")),
    ]
    is_up = bool(link["flags"] & _UP)
    addresses = kernel.get_addr(family=socket.AF_INET, index=index)
    return Bridge(
        index=index,
        name=link.get("ifname"),
        network=network,
        job=job,
        as_made=is_up and settings == [nft.GROUP, 0, 0] and _ipv6_is_off(link.get("ifname")),
        addresses=tuple(ipaddress.IPv4Interface(f"{found.get('local')}/{found['prefixlen']}") for found in addresses),
        ports=tuple(port.get("ifname") for port in kernel.get_links() if port.get("master") == index),
    )


def _tag(link: Any) -> tuple[str, str]:
    """Network id and job of a bridge made by Covey, ("", "") of anything else."""
    match = _ALIAS.fullmatch(link.get("ifalias") or "")
    return (match[1], match[2]) if match and link.get(("linkinfo", "kind")) == "bridge" else ("", "")


def _is_half_made(link: Any) -> bool:
    """A bridge that the kernel made for us and that we did not live to tag: the group is given with the birth, the
    alias after it."""
    return (
        link.get(("linkinfo", "kind")) == "bridge"
        and link.get("group") == nft.GROUP
        and not link.get("ifalias")
        and not link["flags"] & _UP
    )


def _compare(bridge: Bridge, network: Network | None, forwards: bool, tables: dict[str, str]) -> FoundNetwork:
    """The bridge beside its record: `why` names everything that differs."""
    if network is None:
        return FoundNetwork(bridge.network, bridge.name, bridge.job, intact=False, why="no record to compare it with")
    wanted = check_network(network)
    table = tables.get(nft.table_of(network.id), "")
    faults = (
        (bridge.name != network.bridge, f"the bridge is called {bridge.name}, not {network.bridge}"),
        (not bridge.as_made, "the bridge is down, or its settings were changed"),
        (
            bridge.addresses != (wanted,),
            f"its addresses are {', '.join(map(str, bridge.addresses)) or 'none'}, not {wanted}",
        ),
        (not forwards, "this machine does not forward: net.ipv4.ip_forward is 0"),
        (not table, "its packet rules are gone"),
        (table and not nft.same_rules(table, nft.render_table(network, bridge.job)), "its packet rules were changed"),
    )
    why = "; ".join(text for is_wrong, text in faults if is_wrong)
    return FoundNetwork(bridge.network, bridge.name, bridge.job, intact=not why, why=why)
