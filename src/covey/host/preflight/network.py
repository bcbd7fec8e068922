"""Judges network cards, bridges, routes and name servers by what was found of them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from covey.model.preflight import ERROR, OK, WARNING, Card, Finding, Heard

SLOW = 1000  # Mbit/s
USUAL_MTU = 1500
_SHOWN = 4  # neighbours by name; of more, the number


def judge_network(cards: Sequence[Card], heard: Mapping[str, Heard]) -> Iterator[Finding]:
    for card in cards:
        if card.kind != "bridge":
            yield judge_card(card, _of_the_address(card, cards), heard)
    yield judge_bridges(cards)
    yield judge_route(cards, heard)


def _of_the_address(card: Card, cards: Sequence[Card]) -> Card:
    """The interface that has the card's addresses: its bridge or bond, if it is a port."""
    return next((other for other in cards if other.name == card.master), card)


def judge_card(card: Card, holder: Card, heard: Mapping[str, Heard]) -> Finding:
    about = f"nic {card.name}"
    where = f"port of {card.master}" if card.master else ", ".join(card.addresses) or "no address"
    what = ", ".join(filter(None, (_speed(card), where, f"MTU {card.mtu}" if card.mtu != USUAL_MTU else "")))
    if not card.is_up or not card.carrier:
        state = "no cable, or nobody at its other end" if card.is_up else "it is down"
        severity = WARNING if card.addresses or card.master else OK
        return Finding(
            severity, about, f"{what}: {state}", "", f"ip link set {card.name} up; see to the cable" if severity != OK else ""
        )
    on_link = _together(heard.get(card.name, Heard()), heard.get(holder.name, Heard()))
    what = f"{what}; {_who(on_link)}"
    strangers = _strangers(holder, on_link)
    if strangers and holder.gateways and not on_link.answering:
        why = f"who is heard on this link has other addresses: {', '.join(strangers[:_SHOWN])}"
        return Finding(
            ERROR,
            about,
            f"{what}: {holder.addresses[0]} is not of this network",
            why,
            "mend the address, or plug it in elsewhere",
        )
    if card.speed and card.speed < SLOW and not card.kind:
        return Finding(WARNING, about, what, "it is slow for disks of guests that move", "see to the cable and the switch")
    return Finding(OK, about, what)


def _speed(card: Card) -> str:
    if not card.speed:
        return ""
    return f"{card.speed // 1000} Gbit/s" if card.speed % 1000 == 0 else f"{card.speed} Mbit/s"


def _together(one: Heard, other: Heard) -> Heard:
    return Heard(
        tuple(dict.fromkeys((*one.neighbours, *other.neighbours))),
        tuple(dict.fromkeys((*one.switches, *other.switches))),
        tuple(dict.fromkeys((*one.answering, *other.answering))),
    )


def _who(heard: Heard) -> str:
    if not heard.neighbours:
        neighbours = "nobody heard"
    elif len(heard.neighbours) <= _SHOWN:
        neighbours = f"heard {', '.join(heard.neighbours)}"
    else:
        neighbours = f"heard {', '.join(heard.neighbours[:_SHOWN])} and {len(heard.neighbours) - _SHOWN} more"
    return f"{neighbours}; at {', '.join(heard.switches)}" if heard.switches else neighbours


def _strangers(card: Card, heard: Heard) -> list[str]:
    """Neighbours by IPv4, when none of them is in any network of the card; empty as soon as one is."""
    own = [ipaddress.IPv4Interface(address).network for address in card.addresses if ":" not in address]
    others = [ipaddress.IPv4Address(one) for one in heard.neighbours if ":" not in one]
    if not own or any(one in network for one in others for network in own):
        return []
    return [str(one) for one in others if not one.is_link_local]


def judge_bridges(cards: Sequence[Card]) -> Finding:
    ports = {card.master: card for card in cards if card.kind != "bridge" and card.master}
    bridges = [card for card in cards if card.kind == "bridge" and card.name in ports]
    if bridges:
        told = ", ".join(f"{bridge.name} with {ports[bridge.name].name} in it" for bridge in bridges)
        return Finding(OK, "bridge", told)
    able = [card for card in cards if card.kind != "bridge" and card.carrier and not card.master]
    spare = next((card.name for card in sorted(able, key=lambda card: not card.gateways)), "NIC")
    why = "guests can be reached from the LAN only through port forwards and NAT"
    return Finding(WARNING, "bridge", "none has a network card in it", why, f"covey node prepare --bridge br0 --nic {spare}")


def judge_route(cards: Sequence[Card], heard: Mapping[str, Heard]) -> Finding:
    ways = [(gateway, card) for card in cards for gateway in card.gateways]
    if not ways:
        return Finding(
            WARNING,
            "default route",
            "there is none",
            "images from the network cannot be fetched",
            "ip route add default via GATEWAY",
        )
    silent = [
        f"{gateway} by {card.name}"
        for gateway, card in ways
        if ":" not in gateway and gateway not in heard.get(card.name, Heard()).answering
    ]
    told = ", ".join(f"{gateway} by {card.name}" for gateway, card in ways)
    if silent:
        why = "it is down, or not on this link: a wrong address, subnet or cable"
        return Finding(
            ERROR, "default route", f"the gateway {', '.join(silent)} does not answer ARP", why, "ip route; ip neigh; ip addr"
        )
    return Finding(OK, "default route", told)


def judge_names(servers: Sequence[str], answering: Sequence[str]) -> Finding:
    if not servers:
        return Finding(
            WARNING, "name servers", "none is configured", "images by URL cannot be fetched", "write one into /etc/resolv.conf"
        )
    silent = [server for server in servers if server not in answering]
    if len(silent) == len(servers):
        return Finding(WARNING, "name servers", f"none answers: {', '.join(servers)}", "", "see: /etc/resolv.conf")
    if silent:
        return Finding(
            WARNING,
            "name servers",
            f"{', '.join(silent)} does not answer",
            f"{', '.join(answering)} does",
            "see: /etc/resolv.conf",
        )
    return Finding(OK, "name servers", f"{', '.join(servers)}: answer")


def judge_kinds(missing: Sequence[str]) -> Iterator[Finding]:
    """What the kernel must be able to make. Without VLANs all else works."""
    needed = [kind for kind in missing if kind != "vlan"]
    if needed:
        why = "its modules are missing"
        yield Finding(
            ERROR,
            "kernel",
            f"it makes no {' and no '.join(needed)}",
            why,
            "install Debian's kernel: apt install linux-image-amd64",
        )
    if "vlan" in missing:
        yield Finding(WARNING, "kernel", "it makes no VLANs", "the module 8021q is missing", "needed for tagged networks only")
    if not missing:
        yield Finding(OK, "kernel", "makes bridges, taps and VLANs")
