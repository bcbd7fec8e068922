"""What a network must be before a machine is asked for it: what passes here is safe in a rule, a tag and a path."""

from __future__ import annotations

import ipaddress
import re

from covey.base.errors import BadInput, check
from covey.model.names import check_uuid
from covey.model.network import Network

_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", re.ASCII)
_TAKEN = ("lo", "all", "default")  # the loopback, and names with a meaning of their own under /proc/sys/net


def check_network(network: Network) -> ipaddress.IPv4Interface:
    """The bridge's own address with its prefix. Raises BadInput when id, bridge, subnet or gateway are not what they
    should be."""
    check(
        check_uuid(network.id, network) == network.id,
        BadInput(f"{network.id!r} is not a UUID in lower case", network),
    )
    check(
        _BRIDGE.fullmatch(network.bridge) and network.bridge not in _TAKEN,
        BadInput(f"{network.bridge[:80]!r} cannot name a bridge", network, "use at most 15 letters, digits, '.', '_' and '-'"),
    )
    subnet = _parse_subnet(network)
    try:
        gateway = ipaddress.IPv4Address(network.gateway)
    except ValueError as error:
        raise BadInput(f"{network.gateway[:80]!r} is not an IPv4 address", network, "write it like 10.77.0.1") from error
    check(
        gateway in subnet and gateway not in (subnet.network_address, subnet.broadcast_address),
        BadInput(f"the gateway {gateway} is not a host's address in {subnet}", network, "choose the first of the subnet"),
    )
    return ipaddress.IPv4Interface(f"{gateway}/{subnet.prefixlen}")


def _parse_subnet(network: Network) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(network.subnet)
    except ValueError as error:
        raise BadInput(f"{network.subnet[:80]!r} is not an IPv4 subnet", network, "write it like 10.77.0.0/24") from error
    check(
        str(subnet) == network.subnet and 8 <= subnet.prefixlen <= 30,
        BadInput(f"{network.subnet} is not a subnet of 2 to 16 million hosts", network, "write it like 10.77.0.0/24"),
    )
    check(
        not (subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet.is_unspecified),
        BadInput(f"{subnet} is not for hosts", network, "choose a private subnet, such as 10.77.0.0/24"),
    )
    return subnet
