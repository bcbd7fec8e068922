"""The packet rules of one network, as text for nft(8). Pure: `bridge.py` applies and compares it.

Each network has a table of its own, so that making or removing one never touches another's rules. A drop is final
whichever table says it; an accept is not: a table of somebody else's that drops forwarded packets (Docker's,
firewalld's) also drops those of guests.

What guests may do:
- within their network, anything (that is bridged; the rule is for machines that pass bridged packets through
  netfilter);
- towards another network of Covey's, nothing but what is forwarded: all our bridges are in the interface group GROUP,
  and each table drops what comes from one into its own. So the rules of a network need not know which others there are;
- towards the outside, anything; behind the machine's own address with `nat` (IPv4) and `nat6` (IPv6). With either of
  them only replies come back in, of both families, and forwarded ports: those of the network's entrances, and what the
  machine's owner forwards by a DNAT rule of his own. Without, the network is routed and open in both directions. An
  isolated network has no outside;
- towards the machine itself: ping and what IPv6 needs between neighbours, replies, the name servers that they are told
  if the machine is one, and the network's host ports. All else is dropped.

A forwarded port is led to the guest wherever it is knocked at: from outside, from guests (also of the same network:
then the machine's address stands for the guest's, so that replies come back this way), and from the machine itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from covey.host.network.check import check_network
from covey.model.names import check_tag
from covey.model.network import Entrance, Network

GROUP = 49278  # 0xc07e; the interface group of all bridges that Covey makes
_TABLE = re.compile(r"^table inet (covey-\S+) \{\n.*?^\}$", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r'comment "covey (\S+) (\S+?)(?: (\S+))?"')


def table_of(network_id: str) -> str:
    return f"covey-{network_id}"


def render_table(network: Network, job: str, owner: str = "") -> str:
    """The table of a network whose bridge was made by `job` on the node with the id `owner`, spelled as `nft --stateless list table`
    prints it, so that what a machine has can be compared with it. Raises BadInput rather than let anything into a rule that is not
    an address, a port or a plain name."""
    check_network(network)
    check_tag(job, network)
    chains = [
        _chain("input", "type filter hook input priority filter; policy accept;", _input(network)),
        _chain("forward", "type filter hook forward priority filter; policy accept;", _forward(network)),
    ]
    entrances = [rule for entrance in network.entrances for rule in _entrance(entrance)]
    if entrances:
        knocks = [f"fib daddr type local {rule}" for rule in entrances]
        own = [f"fib daddr type local {rule}" for entrance in network.entrances for rule in _own_entrance(entrance)]
        chains.append(_chain("prerouting", "type nat hook prerouting priority dstnat; policy accept;", knocks))
        chains.append(_chain("output", "type nat hook output priority -100; policy accept;", own))
    if network.type == "nat":
        chains.append(_chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;", _postrouting(network)))
    body = "\n\n".join(chains)
    tag = f"covey {network.id} {job} {owner}".rstrip()
    return f'table inet {table_of(network.id)} {{\n\tcomment "{tag}"\n\n{body}\n}}\n'


def _input(network: Network) -> list[str]:
    """What guests reach of the machine."""
    bridge = f'iifname "{network.bridge}"'
    servers = [ipaddress.ip_address(server) for server in network.dns]
    asked = [(name, [s for s in servers if s.version == version]) for name, version in (("ip", 4), ("ip6", 6))]
    return [
        f'{bridge} ct state established,related accept comment "replies"',
        f"{bridge} meta l4proto {{ icmp, ipv6-icmp }} accept",
        *(
            f"{bridge} {name} daddr {_set(map(str, sorted(some)))} meta l4proto {{ tcp, udp }} th dport 53 accept"
            for name, some in asked
            if some
        ),
        *(f"{bridge} {port.replace('/', ' dport ')} accept" for port in network.host_ports),
        f'{bridge} drop comment "the machine itself"',
    ]


def _forward(network: Network) -> list[str]:
    bridge = network.bridge
    within = f'iifname "{bridge}" oifname "{bridge}" accept comment "within the network"'
    others = f'iifgroup {GROUP} oifname "{bridge}" drop comment "from another network of Covey"'
    if network.isolated:
        return [within, f'iifname "{bridge}" drop comment "no way out"', f'oifname "{bridge}" drop comment "no way in"']
    replies = f'oifname "{bridge}" ct state established,related accept comment "replies"'
    if network.type == "routed":
        return [within, replies, others]
    return [
        within,
        replies,
        f'oifname "{bridge}" ct status dnat accept comment "forwarded ports"',
        others,
        f'oifname "{bridge}" drop comment "hidden behind the machine"',
    ]


def _entrance(entrance: Entrance) -> list[str]:
    """The rules that lead a port to its guest, one a family, without the condition that it is the machine's own address."""
    rules = []
    for family, version, address in (("ip", 4, entrance.address), ("ip6", 6, entrance.address6)):
        sources = [subnet for subnet in map(ipaddress.ip_network, entrance.sources) if subnet.version == version]
        if address and (sources or not entrance.sources):
            spelled = [str(s.network_address) if s.prefixlen == s.max_prefixlen else str(s) for s in sorted(sources)]
            by = f"{family} saddr {_set(spelled)} " if sources else ""
            rules.append(f"{by}{_dnat(entrance, family, address)}")
    return rules


def _own_entrance(entrance: Entrance) -> list[str]:
    """For what the machine itself sends: it may use any port that it forwards, save on its loopback, from where nothing is routed."""
    sides = (("ip", "127.0.0.0/8", entrance.address), ("ip6", "::1", entrance.address6))
    return [f"{family} daddr != {loopback} {_dnat(entrance, family, to)}" for family, loopback, to in sides if to]


def _dnat(entrance: Entrance, family: str, address: str) -> str:
    host = f"[{address}]" if family == "ip6" else address
    return f"{entrance.protocol} dport {entrance.port} dnat {family} to {host}:{entrance.to_port}"


def _set(items: Iterable[str]) -> str:
    """One item as it is, several as an anonymous set."""
    listed = list(items)
    return listed[0] if len(listed) == 1 else f"{{ {', '.join(listed)} }}"


def _postrouting(network: Network) -> list[str]:
    """The rules that hide guests behind the machine's own address, of each family that is to be hidden; and those that make the machine
    stand between two guests, when one comes by a forwarded port."""
    bridge = network.bridge
    families = (("ip", network.subnet, network.nat), ("ip6", network.subnet6, network.nat6))
    hidden = [
        f'oifname != "{bridge}" {family} saddr {subnet} {family} daddr != {subnet} masquerade'
        for family, subnet, nat in families
        if subnet and nat
    ]
    between = [
        f'oifname "{bridge}" {family} saddr {subnet} ct status dnat masquerade' for family, subnet, _ in families if subnet
    ]
    return hidden + (between if network.entrances else [])


def _chain(name: str, hook: str, rules: list[str]) -> str:
    return "\n".join((f"\tchain {name} {{", f"\t\t{hook}", *(f"\t\t{rule}" for rule in rules), "\t}"))


def render_replacement(table: str, network_id: str) -> str:
    """The transaction that puts `table` in the place of whatever the network had: all of it or nothing takes effect."""
    return f"{render_removal(network_id)}{table}"


def render_removal(network_id: str) -> str:
    """The transaction that leaves nothing of the network. It names the table first because deleting an absent one is
    an error."""
    name = table_of(network_id)
    return f"table inet {name} {{\n}}\ndelete table inet {name}\n"


def parse_tables(listing: str) -> dict[str, str]:
    """Our tables among what `nft --stateless list ruleset inet` printed, by name."""
    return {match[1]: match[0] for match in _TABLE.finditer(listing)}


def parse_tag(table: str, owner: str = "") -> tuple[str, str]:
    """Network id and job in a table's comment; ("", "") when it is not ours: it carries none, or that of another node's Covey."""
    match = _TAG.search(table)
    return (match[1], match[2]) if match and not (owner and match[3] and match[3] != owner) else ("", "")


def same_rules(one: str, other: str) -> bool:
    """Whether two listings of a table say the same; white space differs between versions of nft."""
    return one.split() == other.split()
