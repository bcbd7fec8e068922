"""What interfaces a machine has, and who is heard on their links. Nothing here changes anything."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from covey.host.network.kernel import netlink
from covey.host.network.uplink.wire import sender_of, who_answers
from covey.model.preflight import Card, Heard

LISTEN_S = 3.0
GATEWAY_WITHIN_S = 1.5
_ETHERNET, _UP = 1, 1  # ARPHRD_ETHER, IFF_UP
_LINK_SCOPE = 253
_ALIVE = 0x02 | 0x04 | 0x08 | 0x10  # NUD_REACHABLE, STALE, DELAY, PROBE: has answered
_SOL_PACKET, _ADD_MEMBERSHIP, _MULTICAST = 263, 1, 0  # packet(7)
_EVERYTHING = 3  # ETH_P_ALL
_ARP, _LLDP = 0x0806, 0x88CC
_LLDP_GROUP = bytes.fromhex("0180c200000e")
_PORT_ID, _PORT_TEXT, _SYSTEM = 2, 4, 5  # TLVs of IEEE 802.1AB
_CARDS = ("eth", "en")  # names of cards
_PASSED_OVER = ("tun", "veth", "vxlan", "dummy", "ifb", "wireguard")


def cards() -> tuple[Card, ...]:
    """All interfaces on which something real may be: no taps of guests, no loopback."""
    with netlink("this machine") as kernel:
        links = {link["index"]: link for link in kernel.get_links()}
        addresses = list(kernel.get_addr())
        routes = [*kernel.get_routes(family=socket.AF_INET), *kernel.get_routes(family=socket.AF_INET6)]
    names = {index: link.get("ifname") for index, link in links.items()}
    return tuple(_card(link, names, addresses, routes) for link in links.values() if _is_real(link))


def _is_real(link: Any) -> bool:
    """A pair of veth is as a rule a guest's; in a container it is the only card, and is called like one."""
    kind = link.get(("linkinfo", "kind")) or ""
    return link["ifi_type"] == _ETHERNET and (
        kind not in _PASSED_OVER or (kind == "veth" and link.get("ifname").startswith(_CARDS))
    )


def _card(link: Any, names: dict[int, str], addresses: list[Any], routes: list[Any]) -> Card:
    index, name = link["index"], link.get("ifname")
    return Card(
        name=name,
        kind=link.get(("linkinfo", "kind")) or "",
        mac=link.get("address"),
        mtu=link.get("mtu"),
        is_up=bool(link["flags"] & _UP),
        carrier=link.get("carrier") == 1,
        speed=_speed(name),
        master=names.get(link.get("master") or 0, ""),
        addresses=tuple(
            f"{one.get('local') or one.get('address')}/{one['prefixlen']}"
            for one in addresses
            if one["index"] == index and one["scope"] != _LINK_SCOPE
        ),
        gateways=tuple(
            str(route.get("gateway"))
            for route in routes
            if route["dst_len"] == 0 and route.get("oif") == index and route.get("gateway")
        ),
    )


def _speed(name: str) -> int:
    try:
        return max(0, int(Path("/sys/class/net", name, "speed").read_text()))
    except (OSError, ValueError):
        return 0  # no cable, or a driver that does not know


def hear(found: Sequence[Card], within_s: float = LISTEN_S) -> dict[str, Heard]:
    """Who is on the links of these cards: the kernel's memory, what is said within some seconds, and gateways that answer ARP."""
    said = _listen([card.name for card in found if card.is_up and card.carrier], within_s)
    remembered = _remembered()
    heard = {}
    for card in found:
        own = {address.partition("/")[0] for address in card.addresses}
        neighbours, switches = said.get(card.name, (set[str](), set[str]()))
        answering = _answering(card)
        everybody = (neighbours | remembered.get(card.name, set()) | set(answering)) - own
        heard[card.name] = Heard(tuple(sorted(everybody, key=_in_order)), tuple(sorted(switches)), answering)
    return heard


def _in_order(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)


def _answering(card: Card) -> tuple[str, ...]:
    gateways = [gateway for gateway in card.gateways if ":" not in gateway]
    sources = [address.partition("/")[0] for address in card.addresses if ":" not in address]
    if not gateways or not card.carrier:
        return ()
    return tuple(who_answers(card.name, card.mac, sources, gateways, GATEWAY_WITHIN_S))


def _remembered() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with netlink("this machine") as kernel:
        names = {link["index"]: link.get("ifname") for link in kernel.get_links()}
        for one in kernel.get_neighbours():
            if one["state"] & _ALIVE and one.get("lladdr") and one.get("dst"):
                found.setdefault(names.get(one["ifindex"], ""), set()).add(str(one.get("dst")))
    return found


def _listen(names: Sequence[str], within_s: float) -> dict[str, tuple[set[str], set[str]]]:
    """Per interface: addresses that speak ARP, and what switches say of themselves."""
    heard: dict[str, tuple[set[str], set[str]]] = {name: (set(), set()) for name in names}
    deadline = time.monotonic() + within_s
    with _sockets(names) as ears:
        while ears and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(ears), [], [], left)
            for ear in ready:
                frame = ear.recv(2048)
                neighbours, switches = heard[ears[ear]]
                sender = sender_of(frame)
                if sender and any(sender[1]):
                    neighbours.add(socket.inet_ntoa(sender[1]))
                if frame[12:14] == struct.pack("!H", _LLDP) and (told := parse_lldp(frame[14:])):
                    switches.add(told)
    return heard


@contextlib.contextmanager
def _sockets(names: Sequence[str]) -> Iterator[dict[socket.socket, str]]:
    with contextlib.ExitStack() as stack:
        ears = {}
        for name in names:
            ear = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING)))
            ear.bind((name, _EVERYTHING))
            membership = struct.pack("iHH8s", socket.if_nametoindex(name), _MULTICAST, 6, _LLDP_GROUP)
            ear.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)  # until it is closed
            ears[ear] = name
        yield ears


def parse_lldp(data: bytes) -> str:
    """Which port of which switch a frame of LLDP is from: "sw1 port 12"; "" for what is none."""
    told: dict[int, str] = {}
    while len(data) >= 2:
        (head,) = struct.unpack("!H", data[:2])
        kind, length = head >> 9, head & 0x1FF
        if kind == 0:
            break
        value = data[2 : 2 + length]
        told.setdefault(kind, _port_id(value) if kind == _PORT_ID else _printable(value))
        data = data[2 + length :]
    port = told.get(_PORT_ID) or told.get(_PORT_TEXT, "")
    return f"{told.get(_SYSTEM) or 'a switch'} port {port}" if port else ""


def _port_id(value: bytes) -> str:
    """The first byte says what it is: 3 a MAC address, others text."""
    return value[1:].hex(":") if value[:1] == b"\x03" else _printable(value[1:])


def _printable(value: bytes) -> str:
    return "".join(c for c in value.decode(errors="replace") if c.isprintable())[:64]
