"""Filters as text for nft(8), in a table of the bridge family. Pure: `host.py` applies and compares it.

One packet takes the same few steps whether there are two guests or two hundred: a map leads from the name of the interface to the
chains of its NIC. Names of interfaces are known before there are any, so the rules are, too.

Each NIC has up to four chains: `from-TAP` (what it sends: its own addresses, then the rules for the way out), `to-TAP` (what it
receives, when it has rules), `slow-from-TAP` and `slow-to-TAP` (its limits). A firewall is two chains (`in-ID`, `out-ID`) that those of
NICs jump to, and two sets (`m4-ID`, `m6-ID`) of the addresses of the NICs that have it, for rules that name it as the other side.

What answers is let through without any help of the kernel's connection tracking, which bridges have only with a module of their own: a
TCP packet that does not open a connection; a UDP packet whose opposite was let through within REMEMBERED; ICMP errors and echo
replies. No idle TCP connection is ever forgotten by that, nor by a guest's move to another machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from covey.model.domain import tap_of
from covey.model.filter import IN, OF_FIREWALL, OUT, Filter, Rule

UNSPECIFIED = "0.0.0.0"  # noqa: S104  (of a guest that has no address yet)
REMEMBERED = "3m"
MOST_FLOWS = 262_144
SMALLEST_BURST = 256 * 1024  # a guest hands over up to 64 KiB at once: less than a few of these would let nothing through
LARGEST_BURST = 2**31

_ANSWERS4 = "icmp type { echo-reply, destination-unreachable, time-exceeded, parameter-problem } accept"
_ANSWERS6 = (
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-reply, mld-listener-query,"
    " mld-listener-report, mld-listener-done, nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert,"
    " mld2-listener-report } accept"
)
_LATER_FRAGMENTS = ("ip frag-off & 0x1fff != 0 accept", "frag frag-off != 0 accept")  # of no use without the first
_OVER_ITS_HEAD = "ip frag-off & 0x1fff == 1 ip protocol tcp drop"  # would make an opening of what was none (RFC 3128)
_NOT_OPENING = "tcp flags & (syn | ack) != syn accept"
_FROM_GUEST = "iifname . {ip} saddr . udp sport . {ip} daddr . udp dport"
_TO_GUEST = "oifname . {ip} daddr . udp dport . {ip} saddr . udp sport"
_BLOCK = re.compile(r"^\t(\S[^\n]*) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)


class Script:
    """A transaction of nft's: all of it takes effect at once, or nothing does."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def whole(self, comment: str) -> None:
        """The table anew, with nothing in it but what every one has."""
        self.nothing()
        self._lines.append(f'add table bridge {self._table} {{ comment "{comment}" ; }}')
        for name in ("from", "to", "slow-from", "slow-to"):
            self._lines.append(f"add map bridge {self._table} {name} {{ type ifname : verdict ; }}")
        for family, type in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
            self._lines.append(
                f"add set bridge {self._table} flows{family} {{ type ifname . {type} . inet_service . {type} . inet_service ;"
                f" flags dynamic,timeout ; size {MOST_FLOWS} ; timeout {REMEMBERED} ; }}"
            )
        for name, flow in (("let-out", _FROM_GUEST), ("let-in", _TO_GUEST)):
            updates = [f"update @flows{family} {{ {flow.format(ip=ip)} }}" for family, ip in (("4", "ip"), ("6", "ip6"))]
            self.chain(name, (*updates, "accept"))
        for hook, way, side in (("prerouting", "from", "iifname"), ("postrouting", "to", "oifname")):
            for map, priority in ((way, -200), (f"slow-{way}", -190)):
                base = f"type filter hook {hook} priority {priority} ; policy accept ;"
                self.chain(f"{map}-guests", (f"{side} vmap @{map}",), base)

    def nothing(self) -> None:
        """No table. Deleting an absent one is an error, so it is named first."""
        self._lines += [f"add table bridge {self._table}", f"delete table bridge {self._table}"]

    def firewall(self, id: str, rules: Sequence[Rule]) -> None:
        self._sets((id, *_firewalls_of(rules)))
        for direction in (IN, OUT):
            self.chain(f"{direction}-{id}", _allowing(direction, rules))

    def no_firewall(self, id: str) -> None:
        self._sets((id,))
        for direction in (IN, OUT):
            self.chain(f"{direction}-{id}", ())
            self._lines.append(f"delete chain bridge {self._table} {direction}-{id}")
        for family in ("4", "6"):
            self._lines.append(f"delete set bridge {self._table} m{family}-{id}")

    def filter(self, instance: str, one: Filter, firewalls: Mapping[str, Sequence[Rule]]) -> None:
        """One NIC. `firewalls` are the rules of those that it has."""
        tap = tap_of(instance, one.index)
        self._sets((*one.firewalls, *_firewalls_of(one.rules)))
        for id in one.firewalls:
            self._lines += [f"add chain bridge {self._table} {direction}-{id}" for direction in (IN, OUT)]
        every = [*one.rules, *(rule for id in one.firewalls for rule in firewalls[id])]
        closed_in, closed_out = bool(one.firewalls or one.rules), any(rule.direction == OUT for rule in every)
        comment = f"{instance} {one.index}"
        sends = [*(_guarding(one) if one.guarded else ())]
        if closed_in:
            sends += _ruled(OUT, one, closed_out)
        self._led("from", tap, sends, comment)
        self._led("to", tap, _ruled(IN, one, closed=True) if closed_in else [], comment)
        self._led("slow-from", tap, _limiting(one.limit_out), comment)
        self._led("slow-to", tap, _limiting(one.limit_in), comment)
        for set, address in _members(one):
            self._lines.append(f"add element bridge {self._table} {set} {{ {address} }}")

    def no_filter(self, instance: str, one: Filter) -> None:
        """Whatever there is of one NIC is gone: what is to be deleted is added first, as deleting what is absent is an error."""
        tap = tap_of(instance, one.index)
        for map in ("from", "to", "slow-from", "slow-to"):
            self._led(map, tap, ["accept"], f"{instance} {one.index}")
            self._lines += [
                f'delete element bridge {self._table} {map} {{ "{tap}" }}',
                f"delete chain bridge {self._table} {map}-{tap}",
            ]
        self._sets(one.firewalls)
        for set, address in _members(one):
            self._lines += [f"{verb} element bridge {self._table} {set} {{ {address} }}" for verb in ("add", "delete")]

    def chain(self, name: str, rules: Iterable[str], inside: str = "") -> None:
        """The chain with these rules and no others."""
        self._lines.append(f"add chain bridge {self._table} {name} {{ {inside} }}")
        self._lines.append(f"flush chain bridge {self._table} {name}")
        self._lines += [f"add rule bridge {self._table} {name} {rule}" for rule in rules]

    def _led(self, map: str, tap: str, rules: Sequence[str], comment: str) -> None:
        """The map leads from the interface to a chain of these rules; a NIC without any is not in the map."""
        if rules:
            self.chain(f"{map}-{tap}", rules, f'comment "{comment}" ;')
            self._lines.append(f'add element bridge {self._table} {map} {{ "{tap}" : jump {map}-{tap} }}')

    def _sets(self, firewalls: Iterable[str]) -> None:
        for id in firewalls:
            for family, type in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
                self._lines.append(f"add set bridge {self._table} m{family}-{id} {{ type {type} ; }}")


def _guarding(one: Filter) -> list[str]:
    """What a guest may not pretend to be: another MAC address, another address, a router, a DHCP server, a VLAN."""
    own4, own6 = _of_family(one.addresses, 4), _of_family(one.addresses, 6)
    rules = [
        f"ether saddr != {one.mac} drop",
        "ether type != { ip, arp, ip6 } drop",
        "udp sport { 67, 547 } drop",
        "udp dport { 68, 546 } drop",  # a false server may answer from any port: many clients look at their own only
        "icmpv6 type { nd-router-advert, nd-redirect } drop",
        *_HIDING,
        f"arp saddr ether != {one.mac} drop",
        f"ip saddr {UNSPECIFIED} udp sport 68 udp dport 67 accept",
        "ip6 saddr :: meta l4proto != ipv6-icmp drop",
    ]
    if own4:
        rules += [f"ip saddr != {{ {', '.join(own4)} }} drop", f"arp saddr ip != {{ {', '.join((UNSPECIFIED, *own4))} }} drop"]
    else:
        for gateway in _of_family(one.gateways, 4):
            rules += [f"ip saddr {gateway} drop", f"arp saddr ip {gateway} drop"]
    if own6:
        rules.append(f"ip6 saddr != {{ {', '.join(('::', 'fe80::/10', *own6))} }} drop")
        foreign = " ".join(_target("!=", network) for network in ("fe80::/10", *own6))
        rules += [f"{claim} {foreign} drop" for claim in _CLAIMS]
    else:
        for gateway in _of_family(one.gateways, 6):
            rules += [f"ip6 saddr {gateway} drop", *(f"{claim} {_target('==', gateway)} drop" for claim in _CLAIMS)]
    return rules


# Of a packet in pieces, no rule sees more than is in the first one, and the kernel may put it together behind our back before it goes on
# (br_netfilter, on machines with containers). So its first piece must say what it is (RFC 7112), and no neighbour discovery comes in
# pieces (RFC 6980).
_HIDING = (
    "frag nexthdr { hopopt, ipv6-route, ipv6-frag, ipv6-opts } drop",
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } exthdr frag exists drop",
)

# By these a guest says that an address is its own: by an advertisement, and by asking, without an address yet, whether anybody has it.
_CLAIMS = ("icmpv6 type nd-neighbor-advert", "icmpv6 type nd-neighbor-solicit ip6 saddr ::")


def _target(operator: str, text: str) -> str:
    """A match of a neighbour discovery's target, which this nft has no name for: 8 bytes into the ICMPv6 message (RFC 4861)."""
    network = ipaddress.IPv6Network(text)
    value = int(network.network_address) >> (128 - network.prefixlen)
    return f"@th,64,{network.prefixlen} {operator} {value:#x}"


def _ruled(direction: str, one: Filter, closed: bool) -> list[str]:
    """What goes through one way: neighbour discovery, DHCP and answers always; then what is allowed; nothing else if it is `closed`."""
    let, flow = ("let-in", _TO_GUEST) if direction == IN else ("let-out", _FROM_GUEST)
    if not closed:
        return [f"goto {let}"]
    dhcp = "udp sport { 67, 547 } udp dport { 68, 546 }" if direction == IN else "udp sport { 68, 546 } udp dport { 67, 547 }"
    return [
        "ether type != { ip, ip6 } accept",
        _ANSWERS4,
        _ANSWERS6,
        f"{dhcp} accept",
        _OVER_ITS_HEAD,
        *_LATER_FRAGMENTS,
        _NOT_OPENING,
        f"{flow.format(ip='ip')} @flows4 goto {let}",
        f"{flow.format(ip='ip6')} @flows6 goto {let}",
        *_allowing(direction, one.rules),
        *(f"jump {direction}-{id}" for id in one.firewalls),
        "drop",
    ]


def _allowing(direction: str, rules: Sequence[Rule]) -> list[str]:
    return [f"{match}goto let-{direction}" for rule in rules if rule.direction == direction for match in _matches(rule)]


def _matches(rule: Rule) -> list[str]:
    """The matches of a rule, each with a space behind it: one, or one a family."""
    what = {"any": "", "icmp": "meta l4proto { icmp, ipv6-icmp } "}.get(rule.protocol, f"meta l4proto {rule.protocol} ")
    if rule.ports:
        what = f"{rule.protocol} dport {{ {rule.ports.replace(',', ', ')} }} "
    side = "saddr" if rule.direction == IN else "daddr"
    if not rule.peer:
        return [what]
    if rule.peer.startswith(OF_FIREWALL):
        id = rule.peer.removeprefix(OF_FIREWALL)
        return [f"{what}ip {side} @m4-{id} ", f"{what}ip6 {side} @m6-{id} "]
    return [f"{what}{'ip6' if ':' in rule.peer else 'ip'} {side} {rule.peer} "]


def _limiting(bits: int) -> list[str]:
    if not bits:
        return []
    rate = max(1, bits // 8)
    burst = min(max(rate // 4, SMALLEST_BURST), LARGEST_BURST)
    return [f"limit rate over {rate} bytes/second burst {burst} bytes drop"]


def _firewalls_of(rules: Sequence[Rule]) -> list[str]:
    """Those that rules name as the other side."""
    return [rule.peer.removeprefix(OF_FIREWALL) for rule in rules if rule.peer.startswith(OF_FIREWALL)]


def _members(one: Filter) -> list[tuple[str, str]]:
    """The set and the address of each way by which this NIC is one of those that have a firewall."""
    hosts = [(ipaddress.ip_network(text), text) for text in one.addresses]
    return [(f"m{net.version}-{id}", text) for id in one.firewalls for net, text in hosts if net.num_addresses == 1]


def _of_family(addresses: Sequence[str], version: int) -> list[str]:
    return [text for text in addresses if ipaddress.ip_network(text).version == version]


def parse_blocks(listing: str) -> dict[str, str]:
    """The maps, sets and chains of a table as nft prints it, by their heading; the order in which elements are printed counts for
    nothing, nor does what a set has learnt."""
    return {match[1]: _plain(match[2]) for match in _BLOCK.finditer(listing)}


def _plain(body: str) -> str:
    learns = "flags dynamic" in body

    def sort(match: re.Match[str]) -> str:
        return "" if learns else f"elements = {{ {' , '.join(sorted(part.strip() for part in match[1].split(',')))} }}"

    return " ".join(_ELEMENTS.sub(sort, body).split())


def difference(present: str, wanted: str) -> str:
    """In what two listings of a table differ, as a sentence; "" when they say the same."""
    here, there = parse_blocks(present), parse_blocks(wanted)
    missing = sorted(there.keys() - here.keys())
    foreign = sorted(here.keys() - there.keys())
    changed = sorted(name for name in here.keys() & there.keys() if here[name] != there[name])
    parts = ((missing, "gone"), (changed, "changed"), (foreign, "not of Covey's making"))
    return "; ".join(f"{_named(names)} {what}" for names, what in parts if names)


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
