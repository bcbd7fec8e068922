"""What a network must be before a machine is asked for it: what passes here is safe in a rule, a tag and a path."""

from __future__ import annotations

import ipaddress
import re

from covey.base.errors import BadInput, check
from covey.model.names import check_uuid
from covey.model.network import Address, Network, Subnet, is_special

_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", re.ASCII)
_PORT = re.compile(r"(tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?", re.ASCII)
_TAKEN = ("lo", "all", "default")  # the loopback, and names with a meaning of their own under /proc/sys/net


Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def check_interface_name(name: str, object: object) -> None:
    """Raises BadInput for what cannot be the name of a bridge (or of a card that becomes its port)."""
    check(
        _BRIDGE.fullmatch(name) and name not in _TAKEN,
        BadInput(f"{name[:80]!r} cannot name a bridge", object, "use at most 15 letters, digits, '.', '_' and '-'"),
    )


def check_network(network: Network) -> tuple[Interface, ...]:
    """The bridge's own addresses with their prefixes. Raises BadInput when id, bridge, subnets or gateways are not what they should
    be."""
    check(
        check_uuid(network.id, network) == network.id,
        BadInput(f"{network.id!r} is not a UUID in lower case", network),
    )
    check_interface_name(network.bridge, network)
    if network.uplink:
        check_interface_name(network.uplink, network)
    check(
        network.subnet or network.subnet6 or network.adopted or network.isolated,
        BadInput("it has no subnet", network, "write one like 10.77.0.0/24"),
    )
    _check_words(network)
    sides = ((network.subnet, network.gateway, _subnet4), (network.subnet6, network.gateway6, _subnet6))
    parsed = [(parse(network, subnet), gateway) for subnet, gateway, parse in sides if subnet]
    for _, gateway in parsed:
        if gateway:
            _plain_address(network, gateway)
    own = [_own(network, subnet, gateway) for subnet, gateway in parsed]
    return () if network.adopted else tuple(interface for interface in own if interface)


def _subnet4(network: Network, text: str) -> Subnet:
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is not an IPv4 subnet", network, "write it like 10.77.0.0/24") from error
    check(
        str(subnet) == text and 8 <= subnet.prefixlen <= 30,
        BadInput(f"{text} is not a subnet of 2 to 16 million hosts", network, "write it like 10.77.0.0/24"),
    )
    return subnet


def _subnet6(network: Network, text: str) -> Subnet:
    try:
        subnet = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is not an IPv6 subnet", network, "write it like fd00:77::/64") from error
    check(
        str(subnet) == text and "%" not in text and 16 <= subnet.prefixlen <= 126,
        BadInput(f"{text} is not a subnet between /16 and /126", network, "write it like fd00:77::/64"),
    )
    return subnet


def _own(network: Network, subnet: Subnet, gateway_text: str) -> Interface | None:
    """The bridge's own address of one family. It is in the subnet, with the subnet's prefix; or, on a network with a route for each
    guest, an address by itself."""
    check(
        not (subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet.is_unspecified or subnet.is_link_local),
        BadInput(f"{subnet} is not for hosts", network, "choose a private subnet, such as 10.77.0.0/24 or fd00:77::/64"),
    )
    if not gateway_text and (network.isolated or network.adopted):
        return None
    gateway = _plain_address(network, gateway_text)
    per_guest = network.type == "routed" and (bool(network.uplink) or gateway not in subnet)
    check(
        gateway.version == subnet.version and (per_guest or gateway in subnet) and not is_special(subnet, gateway),
        BadInput(f"the gateway {gateway} is not a host's address in {subnet}", network, "choose the first of the subnet"),
    )
    check(
        not (gateway.is_loopback or gateway.is_multicast or gateway.is_unspecified),
        BadInput(f"{gateway} cannot be a gateway", network, "choose the first of the subnet"),
    )
    prefix = gateway.max_prefixlen if network.is_per_guest else subnet.prefixlen
    return ipaddress.ip_interface(f"{gateway}/{prefix}")


def _plain_address(network: Network, text: str) -> Address:
    """An address in its one spelling, without a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is not an address", network, "write it like 10.77.0.1 or fd00:77::1") from error
    check(str(address) == text and "%" not in text, BadInput(f"{text[:80]!r} is not an address's one spelling", network))
    return address


def _check_words(network: Network) -> None:
    """What else gets into rules and routes: addresses, ports, and what may use them."""
    for address in (*network.dns, *network.routes):
        _plain_address(network, address)
    for port in network.host_ports:
        check(_PORT.fullmatch(port), BadInput(f"{port[:40]!r} is no port", network, "write it like tcp/22"))
    for entrance in network.entrances:
        check(
            entrance.protocol in ("tcp", "udp") and 0 < entrance.port < 65536 and 0 < entrance.to_port < 65536,
            BadInput(f"{entrance.protocol[:10]}/{entrance.port} cannot be forwarded", network),
        )
        for address, version in ((entrance.address, 4), (entrance.address6, 6)):
            check(not address or _plain_address(network, address).version == version, BadInput(f"{address!r} is amiss", network))
        for source in entrance.sources:
            _check_source(network, source)


def _check_source(network: Network, text: str) -> None:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is not a subnet", network) from error
    check(str(subnet) == text and "%" not in text, BadInput(f"{text[:80]!r} is not a subnet's one spelling", network))
