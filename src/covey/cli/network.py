"""network add, list, info, remove."""

from __future__ import annotations

from typing import Any

import click

from covey.cli.change import carry_out
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.session import Session
from covey.cli.text import Column, paragraph, plain, timed, when
from covey.cli.verbs import Look, Manner, Noun, changes, lists, named

COLUMNS = (
    plain("name"),
    plain("bridge"),
    plain("subnet"),
    plain("gateway"),
    Column("pool", ("pool_first", "pool_last"), lambda item, now: f"{item['pool_first']}-{item['pool_last']}"),
    plain("used", "addresses_used", right=True),
    plain("nat"),
    plain("dns"),
    Column("users", ("users",), lambda item, now: str(len(item["users"])), right=True),
    timed("created", "created_at"),
    plain("id"),
)
SHOWN = ("name", "bridge", "subnet", "gateway", "used", "nat", "users")


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
        ("Bridge", network["bridge"]),
        ("Subnet", f"{network['subnet']}, gateway {network['gateway']}"),
        ("Guests", f"{network['pool_first']} to {network['pool_last']}, {network['addresses_used']} in use"),
        ("To the outside", "by NAT" if network["nat"] else "no NAT: routed by the site"),
        ("Name servers", ", ".join(network["dns"])),
        ("Created", when(network["created_at"])),
        ("Used by", ", ".join(network["users"]) or "nobody"),
    ]
    paragraph(str(network["name"]), facts)


@command.command(
    "add",
    change=True,
    examples=[
        "covey network add lan --subnet 10.77.0.0/24",
        "covey network add lab --subnet 10.8.0.0/24 --no-nat --dns 10.8.0.2",
        "covey network add dmz --subnet 10.9.0.0/24 --pool-first 10.9.0.100",
    ],
)
@named("network")
@click.option("--subnet", required=True, metavar="NET/BITS", help="Its IPv4 network.")
@click.option("--gateway", metavar="ADDRESS", help="The bridge's own address. [the subnet's first]")
@click.option("--pool-first", metavar="ADDRESS", help="First address given to guests. [the next]")
@click.option("--pool-last", metavar="ADDRESS", help="Last address given to guests. [the subnet's last]")
@click.option("--no-nat", is_flag=True, help="Leave guests' addresses as they are on the way out.")
@click.option("--dns", multiple=True, metavar="ADDRESS", help="Name server that guests use; repeatable.")
@click.option("--bridge", metavar="NAME", help="The bridge's name on every node. [cv- and the name]")
@changes
@click.pass_obj
def add(session: Session, /, name: str, no_nat: bool, dns: tuple[str, ...], manner: Manner, **wishes: Any) -> int:
    """Make a network: a bridge on each node, with addresses for guests."""
    from covey.client.client import Change

    body = {"name": name, **{key: value for key, value in wishes.items() if value is not None}}
    if no_nat:
        body["nat"] = False
    if dns:
        body["dns"] = list(dns)
    return carry_out(session, Change("POST", "/v1/networks", body), manner)


@command.command("remove", change=True, examples=["covey network remove lab", "covey network remove lab --yes"])
@named("network")
@changes
@click.pass_obj
def remove(session: Session, /, name: str, manner: Manner) -> int:
    """Remove a network that nobody uses."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("DELETE", path_of("networks", name)), manner, destructive=True)
