"""network add, list, info, modify, remove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.change import carry_out
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.session import Session
from covey.cli.text import NONE, Column, paragraph, plain, timed, when
from covey.cli.verbs import Look, Manner, Noun, changes, lists, named

COLUMNS = (
    plain("name"),
    plain("type"),
    plain("bridge"),
    Column("subnet", ("subnet", "subnet6"), lambda item, now: _both(item["subnet"], item["subnet6"])),
    Column("gateway", ("gateway", "gateway6"), lambda item, now: _both(item["gateway"], item["gateway6"])),
    Column("pool", ("pool_first", "pool_last", "pool6_first", "pool6_last"), lambda item, now: _pools(item)),
    plain("used", "addresses_used", right=True),
    plain("nat"),
    plain("nat6"),
    plain("uplink"),
    plain("dns"),
    plain("reserved"),
    plain("host_ports"),
    plain("forwards"),
    plain("notes"),
    Column("users", ("users",), lambda item, now: str(len(item["users"])), right=True),
    timed("created", "created_at"),
    plain("id"),
)
SHOWN = ("name", "type", "bridge", "subnet", "gateway", "used", "users")


def _both(four: str, six: str) -> str:
    return ",".join(filter(None, (four, six))) or NONE


def _pools(item: dict[str, Any]) -> str:
    return _both(*(f"{item[f'pool{x}_first']}-{item[f'pool{x}_last']}" if item[f"pool{x}_first"] else "" for x in ("", "6")))


@click.group(cls=Noun)
def command() -> None:
    """Networks that instances are on."""


@command.command("list", examples=["covey network list", "covey network list --columns name,subnet,dns"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All networks."""
    show_list(session, "networks", look, COLUMNS, SHOWN, "network")


@command.command("info", examples=["covey network info lan", "covey network info lan --json"])
@named("network")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """Its addresses, and who is on it."""
    network = session.client.get("networks", name)
    if as_json:
        show_json(network)
        return
    facts = [
        ("Type", _TYPES[network["type"]]),
        ("Bridge", network["bridge"]),
        ("Uplink", network["uplink"]),
        *_links(network),
        *_families(network),
        ("Reserved", ", ".join(network["reserved"])),
        ("In use", f"{network['addresses_used']} of its addresses"),
        ("Name servers", ", ".join(network["dns"])),
        (
            "Of the node",
            "" if network["type"] == "adopted" else f"guests reach {', '.join(network['host_ports']) or 'nothing'} and ping",
        ),
        ("Forwards", ", ".join(network["forwards"])),
        ("Notes", network["notes"]),
        ("Created", when(network["created_at"])),
        ("Used by", ", ".join(network["users"]) or "nobody"),
    ]
    paragraph(str(network["name"]), facts)


def _families(network: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is to say of each family of addresses that the network has."""
    for family in ("", "6"):
        if network[f"subnet{family}"]:
            gateway = network[f"gateway{family}"]
            yield f"IPv{family or '4'}", f"{network[f'subnet{family}']}, {f'gateway {gateway}' if gateway else 'no gateway'}"
            first, last = network[f"pool{family}_first"], network[f"pool{family}_last"]
            yield "  to guests", f"{first} to {last}" if first else "only what is asked for"
            yield "  outside", "hidden behind the node" if network[f"nat{family}"] else ""


def _links(network: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The nodes that have it otherwise than usual, or not at all."""
    for link in network["links"]:
        if not link["bridge"]:
            yield f"On {link['node']}", "not at all"
        elif link["missing"]:
            yield f"On {link['node']}", f"not now: {link['missing']}"
        elif (link["bridge"], link["uplink"]) != (network["bridge"], network["uplink"]):
            yield f"On {link['node']}", link["bridge"] if network["type"] == "adopted" else f"uplink {link['uplink']}"


def _wishes(links: Sequence[str]) -> list[dict[str, str]]:
    """NODE=INTERFACE as the API takes it. Raises BadInput."""
    pairs = [link.partition("=") for link in links]
    for node, _, interface in pairs:
        check(node and interface, BadInput(f"{node!r} says no link", "--link", "write it like n2=br1, n3=none or n3=usual"))
    return [{"node": node, "interface": interface} for node, _, interface in pairs]


_TYPES = {
    "nat": "nat: guests reach the outside, and are reached by forwards alone",
    "routed": "routed: guests are reached by their own addresses",
    "isolated": "isolated: no way out",
    "adopted": "adopted: a bridge of the site's",
}


@command.command(
    "add",
    change=True,
    examples=[
        "covey network add lan --subnet 10.77.0.0/24",
        "covey network add lab --subnet 10.8.0.0/24 --no-nat --dns 10.8.0.2",
        "covey network add dmz --subnet 10.9.0.0/24 --pool-first 10.9.0.100",
        "covey network add both --subnet 10.7.0.0/24 --subnet6 fd00:7::/64 --nat6",
        "covey network add six --subnet6 2001:db8:6::/64",
        "covey network add site --type adopted --bridge br0",
        "covey network add wan --type adopted --bridge br0 --link n2=br1 --link n3=none",
        "covey network add lab --type isolated --subnet 10.8.0.0/24",
        "covey network add pub --type routed --subnet 192.0.2.0/24 --uplink eth0 \\",
        "    --pool-first 192.0.2.20 --pool-last 192.0.2.29  # covey network add",
    ],
)
@named("network")
@click.option(
    "--type",
    "type_",
    type=click.Choice(["nat", "routed", "isolated", "adopted"]),
    help="What guests reach. [nat, or routed when nothing is hidden]",
)
@click.option("--subnet", metavar="NET/BITS", help="Its IPv4 network; this, --subnet6 or both.")
@click.option("--gateway", metavar="ADDRESS", help="What guests send by; the bridge's own address. [the first]")
@click.option("--pool-first", metavar="ADDRESS", help="First IPv4 address given to guests. [the next]")
@click.option("--pool-last", metavar="ADDRESS", help="Last IPv4 address given to guests. [its last]")
@click.option("--no-nat", is_flag=True, help="Leave guests' IPv4 addresses as they are on the way out.")
@click.option("--subnet6", metavar="NET/BITS", help="Its IPv6 network.")
@click.option("--gateway6", metavar="ADDRESS", help="The same of IPv6. [the subnet's first]")
@click.option("--pool6-first", metavar="ADDRESS", help="First IPv6 address given to guests. [the next]")
@click.option("--pool6-last", metavar="ADDRESS", help="Last IPv6 address given to guests. [the subnet's last]")
@click.option("--nat6", is_flag=True, help="Hide guests' IPv6 addresses behind the node's, too (NAT66).")
@click.option("--dns", multiple=True, metavar="ADDRESS", help="Name server that guests use; repeatable.")
@click.option("--bridge", metavar="NAME", help="The bridge's name on every node. [cv- and the name]")
@click.option("--uplink", metavar="NAME", help="Where the node answers for guests of a routed network.")
@click.option("--link", multiple=True, metavar="NODE=NAME", help="That node's own bridge or uplink, or none; repeatable.")
@click.option("--reserve", multiple=True, metavar="RANGE", help="Not given out by itself: ADDRESS or FIRST-LAST; repeatable.")
@click.option("--allow-host", multiple=True, metavar="PORT", help="Port of the node that guests reach: tcp/22; repeatable.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@changes
@click.pass_obj
def add(session: Session, /, name: str, type_: str | None, no_nat: bool, manner: Manner, **wishes: Any) -> int:
    """Make a network: a bridge on each node, with addresses for guests.

    Types: `nat` hides guests behind their node; `routed` leaves them their addresses (with --uplink, of a subnet that the site has there,
    for which the node then answers); `isolated` has no way out; `adopted` is a bridge that is there already, such as br0 on the site's LAN,
    which Covey never changes.
    """
    from covey.client.client import Change

    wishes["reserved"], wishes["host_ports"] = wishes.pop("reserve"), wishes.pop("allow_host")
    links = _wishes(wishes.pop("link"))
    body = {
        "name": name,
        **({"links": links} if links else {}),
        **{key: _plain(value) for key, value in wishes.items() if value not in (None, False, ())},
    }
    if type_:
        body["type"] = type_
    if no_nat:
        body["nat"] = False
    return carry_out(session, Change("POST", "/v1/networks", body), manner)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@command.command(
    "modify",
    change=True,
    examples=[
        "covey network modify lan --dns 10.77.0.2 --dns 9.9.9.9",
        "covey network modify lan --reserve 10.77.0.5 --reserve 10.77.0.100-10.77.0.120",
        "covey network modify lan --release 10.77.0.5 --pool-last 10.77.0.199",
        "covey network modify lan --allow-host udp/53 --deny-host tcp/22",
        "covey network modify site --link n2=br1 --link n3=none --link n4=usual",
    ],
)
@named("network")
@click.option("--dns", multiple=True, metavar="ADDRESS", help="All name servers that guests use from now on; repeatable.")
@click.option("--no-dns", is_flag=True, help="Guests are told no name server.")
@click.option("--pool-first", metavar="ADDRESS", help="First IPv4 address given to guests.")
@click.option("--pool-last", metavar="ADDRESS", help="Last IPv4 address given to guests.")
@click.option("--pool6-first", metavar="ADDRESS", help="First IPv6 address given to guests.")
@click.option("--pool6-last", metavar="ADDRESS", help="Last IPv6 address given to guests.")
@click.option("--reserve", multiple=True, metavar="RANGE", help="Give ADDRESS or FIRST-LAST out by hand only; repeatable.")
@click.option("--release", multiple=True, metavar="RANGE", help="Take a reservation back; repeatable.")
@click.option("--allow-host", multiple=True, metavar="PORT", help="Let guests reach this port of the node; repeatable.")
@click.option("--deny-host", multiple=True, metavar="PORT", help="Do not let them any more; repeatable.")
@click.option("--link", multiple=True, metavar="NODE=NAME", help="That node's bridge or uplink, none, or usual; repeatable.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@changes
@click.pass_obj
def modify(session: Session, /, name: str, dns: tuple[str, ...], no_dns: bool, manner: Manner, **wishes: Any) -> int:
    """Change what may change while guests are on it. Guests keep the addresses that they have."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    check(not (dns and no_dns), BadInput("name servers or none?", "--no-dns", "leave one out"))
    links = _wishes(wishes.pop("link"))
    body = {key: _plain(value) for key, value in wishes.items() if value not in (None, ())}
    if dns or no_dns:
        body["dns"] = list(dns)
    if links:
        body["links"] = links
    check(body, BadInput("nothing is asked for", "network modify", "say what to change: covey network modify --help"))
    return carry_out(session, Change("PATCH", path_of("networks", name), body), manner)


@command.command("remove", change=True, examples=["covey network remove lab", "covey network remove lab --yes"])
@chosen("network")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Remove a network that nobody uses. An adopted bridge stays."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("networks", one))

    return on_chosen(session, "network", name, filter, manner, removal, destructive=True)
