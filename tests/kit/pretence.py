"""What a guest may send, being who it is, and what it may not: each frame by the claim that it makes.

All go to everybody, so that whoever listens on the same bridge hears what passes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kit.frames import (
    FRAGMENT,
    ICMP6,
    LLDP,
    NA,
    NS,
    OPTIONS,
    REDIRECT,
    UDP,
    arp,
    ether,
    fragments,
    icmp6,
    ip4,
    ip6,
    options,
    router_advertisement,
    udp,
    vlan,
)

ROUTER = "fe80::1"  # as which a guest poses


@dataclass(frozen=True, slots=True)
class Station:
    """Whoever is on a network, by its addresses."""

    mac: str
    ip: str
    ip6: str

    @property
    def solicited(self) -> str:
        """The group at which its neighbours ask for it."""
        return f"ff02::1:ff00:{self.ip6.rpartition(':')[2]}"


def spoofed(me: Station, other: Station, gateway: Station, nobody: Station) -> dict[str, bytes]:
    """`other` and `gateway` are there, `nobody` is not."""
    mac = me.mac
    return {
        "another MAC address": ip4(nobody.mac, me.ip, other.ip, UDP, udp(1000, 2000)),
        "another IPv4 address": ip4(mac, nobody.ip, other.ip, UDP, udp(1000, 2000)),
        "the gateway's IPv4 address": ip4(mac, gateway.ip, other.ip, UDP, udp(1000, 2000)),
        "no IPv4 address, other than for DHCP": ip4(mac, "0.0.0.0", other.ip, UDP, udp(1000, 2000)),
        "an ARP answer for another's address": arp(mac, mac, gateway.ip, other.ip, answer=True),
        "an ARP answer with another's MAC address": arp(mac, nobody.mac, me.ip, other.ip, answer=True),
        "a gratuitous ARP for another's address": arp(mac, mac, other.ip, other.ip),
        "a gratuitous ARP for the gateway's address": arp(mac, mac, gateway.ip, gateway.ip),
        "another IPv6 address": ip6(mac, nobody.ip6, other.ip6, UDP, udp(1000, 2000)),
        "no IPv6 address, other than for discovery": ip6(mac, "::", other.ip6, UDP, udp(1000, 2000)),
        "a neighbour's advertisement of another's address": ip6(mac, me.ip6, "ff02::1", ICMP6, icmp6(NA, other.ip6, me.ip6)),
        "a claim of another's address before it is used": ip6(
            mac, "::", other.solicited, ICMP6, icmp6(NS, other.ip6, "::", other.solicited)
        ),
        "a router's advertisement": ip6(mac, ROUTER, "ff02::1", ICMP6, router_advertisement(ROUTER, mac)),
        "a router's advertisement behind a header of options": ip6(
            mac, ROUTER, "ff02::1", OPTIONS, options(ICMP6) + router_advertisement(ROUTER, mac)
        ),
        "a claim of another's address behind a header of options": ip6(
            mac, me.ip6, "ff02::1", OPTIONS, options(ICMP6) + icmp6(NA, other.ip6, me.ip6)
        ),
        "a router's redirection": ip6(mac, ROUTER, other.ip6, ICMP6, icmp6(REDIRECT, me.ip6, ROUTER, other.ip6)),
        "a DHCP server's answer": ip4(mac, me.ip, "255.255.255.255", UDP, udp(67, 68)),
        "a DHCPv6 server's answer": ip6(mac, me.ip6, other.ip6, UDP, udp(547, 546)),
        "a DHCP server's answer from another port": ip4(mac, me.ip, "255.255.255.255", UDP, udp(1067, 68)),
        "a DHCPv6 server's answer from another port": ip6(mac, me.ip6, other.ip6, UDP, udp(1547, 546)),
        "a frame with a VLAN tag": vlan(ip4(mac, me.ip, other.ip, UDP, udp(1000, 2000))),
        "a spoofed frame hidden behind a VLAN tag": vlan(ip4(mac, gateway.ip, other.ip, UDP, udp(1001, 2000))),
        "a protocol that is neither IP nor ARP": ether(mac, LLDP, b"x"),
    }


def in_pieces(me: Station, other: Station) -> dict[str, tuple[bytes, bytes]]:
    """What no rule would see in either of two fragments. The first one may not pass."""
    advertisement = options(ICMP6) + router_advertisement(ROUTER, me.mac)
    claim = icmp6(NA, other.ip6, me.ip6, owner=me.mac)
    return {
        "a router's advertisement behind a header of options": _in_pieces(me.mac, ROUTER, OPTIONS, advertisement),
        "an advertisement of another's address": _in_pieces(me.mac, me.ip6, ICMP6, claim),
    }


def _in_pieces(mac: str, sender: str, next: int, whole: bytes) -> tuple[bytes, bytes]:
    first, second = (ip6(mac, sender, "ff02::1", FRAGMENT, part) for part in fragments(next, whole, 8))
    return first, second


def proper(me: Station, other: Station) -> dict[str, bytes]:
    mac = me.mac
    return {
        "its own IPv4 address": ip4(mac, me.ip, other.ip, UDP, udp(1000, 2000)),
        "its own IPv6 address": ip6(mac, me.ip6, other.ip6, UDP, udp(1000, 2000)),
        "a link-local address": ip6(mac, "fe80::c0ff:7eff:fe00:11", "ff02::1", UDP, udp(1000, 2000)),
        "an ARP request": arp(mac, mac, me.ip, other.ip),
        "an ARP probe": arp(mac, mac, "0.0.0.0", me.ip),
        "an ARP answer": arp(mac, mac, me.ip, other.ip, answer=True),
        "a DHCP client's question": ip4(mac, "0.0.0.0", "255.255.255.255", UDP, udp(68, 67)),
        "a question for a neighbour": ip6(mac, me.ip6, other.solicited, ICMP6, icmp6(NS, other.ip6, me.ip6, other.solicited)),
        "its own advertisement": ip6(mac, me.ip6, "ff02::1", ICMP6, icmp6(NA, me.ip6, me.ip6)),
        "its own link-local advertisement": ip6(mac, "fe80::7", "ff02::1", ICMP6, icmp6(NA, "fe80::7", "fe80::7")),
        "a claim of its own address": ip6(mac, "::", me.solicited, ICMP6, icmp6(NS, me.ip6, "::", me.solicited)),
    }
