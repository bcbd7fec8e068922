"""The packet rules of one network, as text for nft(8). Pure: `bridge.py` applies and compares it.

Each network has a table of its own, so that making or removing one never touches another's rules. A drop is final
whichever table says it; an accept is not: a table of somebody else's that drops forwarded packets (Docker's,
firewalld's) also drops those of guests.

What guests may do:
- within their network, anything (that is bridged; the rule is for machines that pass bridged packets through
  netfilter);
- towards another network of Covey's, nothing: all our bridges are in the interface group GROUP, and each table drops
  what comes from one into its own. So the rules of a network need not know which others there are;
- towards the outside, anything, behind the machine's own address with `nat`; then only replies come back in, and what
  the machine's owner forwards by a DNAT rule. Without `nat`, the network is routed and open in both directions;
- towards the machine itself, what the machine's own input rules allow: there are none here.
"""

from __future__ import annotations

import re

from covey.host.network.check import check_network
from covey.model.names import check_tag
from covey.model.network import Network

GROUP = 49278  # 0xc07e; the interface group of all bridges that Covey makes
_TABLE = re.compile(r"^table inet (covey-\S+) \{\n.*?^\}$", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r'comment "covey (\S+) (\S+)"')


def table_of(network_id: str) -> str:
    return f"covey-{network_id}"


def render_table(network: Network, job: str) -> str:
    """The table of a network whose bridge was made by `job`, spelled as `nft --stateless list table` prints it, so
    that what a machine has can be compared with it. Raises BadInput rather than let anything into a rule that is not
    an address or a plain name."""
    check_network(network)
    check_tag(job, network)
    bridge = network.bridge
    forward = [
        f'iifname "{bridge}" oifname "{bridge}" accept comment "within the network"',
        f'iifgroup {GROUP} oifname "{bridge}" drop comment "from another network of Covey"',
    ]
    chains = []
    if network.nat:
        forward += [
            f'oifname "{bridge}" ct state established,related accept comment "replies"',
            f'oifname "{bridge}" ct status dnat accept comment "forwarded here by the owner of the machine"',
            f'oifname "{bridge}" drop comment "hidden behind the machine"',
        ]
        masquerade = f'oifname != "{bridge}" ip saddr {network.subnet} ip daddr != {network.subnet} masquerade'
        chains.append(_chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;", [masquerade]))
    chains.insert(0, _chain("forward", "type filter hook forward priority filter; policy accept;", forward))
    body = "\n\n".join(chains)
    return f'table inet {table_of(network.id)} {{\n\tcomment "covey {network.id} {job}"\n\n{body}\n}}\n'


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


def parse_tag(table: str) -> tuple[str, str]:
    """Network id and job in a table's comment; ("", "") when it carries none, that is when it is not ours."""
    match = _TAG.search(table)
    return (match[1], match[2]) if match else ("", "")


def same_rules(one: str, other: str) -> bool:
    """Whether two listings of a table say the same; white space differs between versions of nft."""
    return one.split() == other.split()
