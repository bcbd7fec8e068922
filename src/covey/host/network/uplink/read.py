"""What a network card carries now. Nothing here changes anything."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from covey.base.errors import NotFound, Refused, check
from covey.model.uplink import FOREVER, Address, Route, Uplink

_ETHERNET = 1  # ARPHRD_ETHER
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL: the addresses once more
_BY_KERNEL = 2  # RTPROT_KERNEL: made anew with the address
_LINK_SCOPE = 253  # RT_SCOPE_LINK
_TICKS_A_SECOND = 100  # USER_HZ
_PORTLESS = ("bridge", "tun", "wireguard", "vxlan", "macvlan", "ipvlan", "dummy")  # kinds of interface that no cable is behind
_IPV6_SETTINGS = ("accept_ra", "autoconf", "addr_gen_mode", "use_tempaddr")
SETTINGS = Path("/proc/sys/net/ipv6/conf")


def read_uplink(kernel: Any, name: str) -> Uplink:
    """Raises NotFound, and Refused for an interface that cannot become a port of a bridge without loss."""
    link = find_link(kernel, name)
    _check_can_be_port(kernel, link)
    index = link["index"]
    return Uplink(
        name=name,
        mac=link.get("address"),
        mtu=link.get("mtu"),
        addresses=tuple(_address(one) for one in kernel.get_addr(index=index) if _is_moved(one)),
        routes=_routes(kernel, index, name),
        ipv6_off=_setting(name, "disable_ipv6") == "1",
        ipv6_settings={key: value for key in _IPV6_SETTINGS if (value := _setting(name, key))},
    )


def find_link(kernel: Any, name: str) -> Any:
    links = {link.get("ifname"): link for link in kernel.get_links()}
    names = ", ".join(sorted(each for each in links if each != "lo")) or "none"
    check(name in links, NotFound("this machine has no such interface", f"interface {name}", f"it has: {names}"))
    return links[name]


def _check_can_be_port(kernel: Any, link: Any) -> None:
    name = link.get("ifname")
    about = f"interface {name}"
    kind = link.get(("linkinfo", "kind")) or ""
    check(link["ifi_type"] == _ETHERNET, Refused("it is no Ethernet interface", about, "a bridge takes Ethernet only"))
    check(kind not in _PORTLESS, Refused(f"it is a {kind}, not a network card", about, "name the card behind it"))
    check(
        not Path("/sys/class/net", name, "phy80211").exists(),
        Refused("it is a wireless card: access points drop what guests send", about, "use a cable, or a network with NAT"),
    )
    master = link.get("master")
    if master:
        other = kernel.get_links(master)[0]
        raise Refused(
            f"it is a port of {other.get('ifname')} already", about, f"take over {other.get('ifname')}, or see: ip link"
        )
    for upper in kernel.get_links():
        if upper.get("link") == link["index"] and upper.get(("linkinfo", "kind")) in ("macvlan", "ipvlan", "macvtap"):
            raise Refused(
                f"{upper.get('ifname')} stands on it, and would be cut off", about, f"ip link del {upper.get('ifname')}"
            )
    for rule in kernel.get_rules(family=socket.AF_INET) + kernel.get_rules(family=socket.AF_INET6):
        if name in (rule.get("FRA_IIFNAME"), rule.get("FRA_OIFNAME")):
            raise Refused("a routing rule names it, and would no longer hold", about, "see: ip rule")


def _is_moved(address: Any) -> bool:
    """All but the link-local address of IPv6, which the kernel makes from the MAC; the bridge has the same."""
    return not (address["family"] == socket.AF_INET6 and address["scope"] == _LINK_SCOPE)


def _address(found: Any) -> Address:
    local = found.get("local") or found.get("address")
    life = found.get("cacheinfo") or {}
    return Address(
        family=found["family"],
        local=local,
        peer=found.get("address") or local,
        prefix=found["prefixlen"],
        broadcast=found.get("broadcast") or "",
        scope=found["scope"],
        flags=found.get("IFA_FLAGS") or 0,
        priority=found.get("IFA_RT_PRIORITY") or 0,
        valid_s=life.get("ifa_valid", FOREVER),
        preferred_s=life.get("ifa_preferred", FOREVER),
    )


def _routes(kernel: Any, index: int, name: str) -> tuple[Route, ...]:
    """Those that must be made again, in an order in which each next hop is reached by one before it."""
    found = [*kernel.get_routes(family=socket.AF_INET), *kernel.get_routes(family=socket.AF_INET6)]
    for route in found:
        hops = [hop["oif"] for hop in route.get("multipath") or ()]
        check(
            index not in hops,
            Refused(f"a route has {name} as one of several ways", f"interface {name}", "take that route out first: ip route"),
        )
    ours = [route for route in found if route.get("oif") == index and route.get("table") != _LOCAL_TABLE]
    kept = [_route(route) for route in ours if route["proto"] != _BY_KERNEL]
    return tuple(sorted(kept, key=lambda route: (bool(route.gateway), -route.prefix)))


def _route(found: Any) -> Route:
    metrics = dict(found.get("metrics", {}).get("attrs", ())) if found.get("metrics") else {}
    return Route(
        family=found["family"],
        destination=found.get("dst") or "",
        prefix=found["dst_len"],
        gateway=_gateway(found),
        source=found.get("prefsrc") or "",
        table=found.get("table"),
        proto=found["proto"],
        scope=found["scope"],
        kind=found["type"],
        flags=found["flags"] & 4,  # RTNH_F_ONLINK; the others say how the route fares
        priority=found.get("priority") or 0,
        tos=found["tos"],
        expires_s=(found.get("cacheinfo") or {}).get("rta_expires", 0) // _TICKS_A_SECOND,
        metrics={key.removeprefix("RTAX_").lower(): value for key, value in metrics.items() if isinstance(value, int)},
    )


def _gateway(found: Any) -> str:
    if found.get("gateway"):
        return str(found.get("gateway"))
    via = found.get("via")  # a next hop of the other family
    return str(via["addr"]) if via else ""


def _setting(name: str, key: str) -> str:
    path = SETTINGS / name / key
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # a kernel without IPv6, or one that does not tell (stable_secret of nobody)
