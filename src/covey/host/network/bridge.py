"""Networks of guests on this machine: a bridge and a table of packet rules each. The only place that talks netlink.

What is ours is known by its tag: a bridge's alias (`ip link` shows it) and a table's comment say `covey NETWORK-ID
JOB`. There is no list on the side: what is there is read from the kernel each time, so a reboot, `nft flush ruleset`
or a deleted bridge is found by `networks` and repaired by `ensure_network`.

Several Coveys may live on one machine: the tag ends with the id of the node whose Covey made the thing, and what
another made is foreign. An adopted bridge is the owner's: it carries no tag, gets no rules, and is only looked at.

Forwarding is one switch for each family and the whole machine. It is turned on with the first network that needs it and
stays on when the last one goes: others may rely on it by then. On a bridge IPv6 is off unless the machine has an address
there: it never listens to advertisements of guests, and sends none, as guests are configured statically; among
themselves guests may use IPv6 on any network.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError
from pyroute2.netns import setns

from covey.base.errors import StepFailed, Unavailable
from covey.base.run import run
from covey.host.network import links, nft, routes, switches
from covey.host.network.check import check_network
from covey.model.names import check_tag
from covey.model.network import Arrival, FoundNetwork, Interfaces, Network

NFT_TIMEOUT_S = 30.0  # a machine with a large rule set and no idle processor
_NO_ACCESS = (errno.EPERM, errno.EACCES)
_READINGS = 5  # attempts to read a list of interfaces that changes while it is read

Result = TypeVar("Result")


class HostNetworks:
    """The networks of this machine, or of the network namespace `netns` (a name under /run/netns). `owner` is this node's id."""

    def __init__(self, netns: str | None = None, owner: str = "") -> None:
        self._netns = None if netns is None else Path("/run/netns") / netns
        self._owner = owner
        self._changing = asyncio.Lock()  # one change at a time: two networks may not both find a subnet free

    async def ensure_network(self, network: Network, job: str) -> None:
        check_network(network)
        check_tag(job, network)
        async with self._changing:
            bridge = await self._in_kernel(network, lambda kernel: links.ensure_bridge(kernel, network, job, self._owner))
            if not network.adopted:
                await self._ensure_rules(network, bridge.job)

    async def ensure_joined(self, network: Network, taps: tuple[str, ...]) -> None:
        check_network(network)
        async with self._changing:
            await self._in_kernel(network, lambda kernel: links.join(kernel, network, taps))

    async def ensure_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        check_network(replace(network, routes=addresses))
        async with self._changing:
            await self._in_kernel(network, lambda kernel: links.route_to(kernel, network, addresses))

    async def ensure_not_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        check_network(replace(network, routes=addresses))
        async with self._changing:
            await self._in_kernel(network, lambda kernel: links.route_no_more(kernel, network, addresses))

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        check_network(network)
        if network.adopted:
            return
        async with self._changing:
            table = (await self._tables(network)).get(nft.table_of(network.id), "")
            # The bridge goes first: a bridge without rules would be open to its neighbours, rules without a bridge do
            # nothing.
            gone = await self._in_kernel(network, lambda kernel: links.ensure_no_bridge(kernel, network, job, self._owner))
            id, made_by = nft.parse_tag(table, self._owner)
            if gone and id and job in ("", made_by):
                await self._nft(("-f", "-"), network, nft.render_removal(network.id))

    async def announce(self, arrivals: tuple[Arrival, ...]) -> None:
        await self._in_kernel("announcing", lambda kernel: links.announce(kernel, arrivals))

    async def interfaces(self) -> Interfaces:
        return await self._in_kernel("interfaces", links.own_interfaces)

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        records = {network.id: network for network in wanted}
        async with self._changing:  # or a bridge may go while it is looked at
            seen = await self._in_kernel("networks", lambda kernel: _see(kernel, wanted, self._owner))
            tables = await self._tables("networks")
        found = [_compare(bridge, records.get(bridge.network), seen, tables) for bridge in seen.bridges if bridge.network]
        here = {bridge.network for bridge in seen.bridges}
        tags = [nft.parse_tag(table, self._owner) for table in tables.values()]
        left = [
            FoundNetwork(network, "", job, intact=False, why="rules without a bridge")
            for network, job in tags
            if network and network not in here
        ]
        adopted = [_compare_adopted(network, bridge) for network, bridge in seen.adopted]
        return (*found, *left, *adopted)

    async def _ensure_rules(self, network: Network, job: str) -> None:
        wanted = nft.render_table(network, job, self._owner)
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
    except OSError as error:
        raise Unavailable(f"a frame could not be sent: {error.strerror}", object, "is the interface up? see: ip link") from error


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the kernel has of networks, rules apart."""

    bridges: tuple[links.Bridge, ...]  # that Covey made
    adopted: tuple[tuple[Network, links.Bridge], ...]  # records with the bridge that is there for them
    forwarded: frozenset[int]
    unanswered: dict[str, tuple[str, ...]]  # network id -> routes that its uplink does not answer for
    owner: str


def _see(kernel: Any, wanted: tuple[Network, ...], owner: str) -> _Seen:
    pairs = ((network, links.find_bridge(kernel, network.bridge)) for network in wanted if network.adopted)
    return _Seen(
        tuple(links.read_bridges(kernel, owner)),
        tuple((network, bridge) for network, bridge in pairs if bridge),
        switches.forwarded(),
        {network.id: routes.unanswered(kernel, network) for network in wanted},
        owner,
    )


def _compare_adopted(network: Network, bridge: links.Bridge) -> FoundNetwork:
    why = "" if bridge.is_up else "the bridge is down"
    return FoundNetwork(network.id, bridge.name, "", intact=not why, why=why)


def _compare(bridge: links.Bridge, network: Network | None, seen: _Seen, tables: dict[str, str]) -> FoundNetwork:
    """The bridge beside its record: `why` names everything that differs."""
    if network is None:
        return FoundNetwork(bridge.network, bridge.name, bridge.job, intact=False, why="no record to compare it with")
    wanted = check_network(network)
    table = tables.get(nft.table_of(network.id), "")
    rules = nft.render_table(network, bridge.job, seen.owner)
    forwarding = links.wanted_forwarding(network)
    missing = set(network.routes) - bridge.routed
    silent = sorted(set(seen.unanswered.get(network.id, ())) - missing)
    faults = (
        (bridge.name != network.bridge, f"the bridge is called {bridge.name}, not {network.bridge}"),
        (
            not bridge.as_made or bridge.ipv6 != links.wanted_ipv6(network),
            "the bridge is down, or its settings were changed",
        ),
        (bridge.addresses != wanted, f"its addresses are {_listed(bridge.addresses)}, not {_listed(wanted)}"),
        (4 in forwarding and 4 not in seen.forwarded, "this machine does not forward: net.ipv4.ip_forward is 0"),
        (6 in forwarding and 6 not in seen.forwarded, "this machine does not forward: net.ipv6.conf.all.forwarding is 0"),
        (not table, "its packet rules are gone"),
        (table and not nft.same_rules(table, rules), "its packet rules were changed"),
        (missing, f"no route leads to {_listed(sorted(missing))}"),
        (bridge.routed - set(network.routes), f"routes lead to no guest: {_listed(sorted(bridge.routed - set(network.routes)))}"),
        (silent, f"{network.uplink} does not answer for {_listed(silent)}"),
    )
    why = "; ".join(text for is_wrong, text in faults if is_wrong)
    return FoundNetwork(bridge.network, bridge.name, bridge.job, intact=not why, why=why)


def _listed(things: Iterable[object]) -> str:
    return " and ".join(map(str, things)) or "none"
