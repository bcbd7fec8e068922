"""nic list, add, modify, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from covey.base.errors import BadInput, check
from covey.base.units import humane_rate
from covey.cli.change import carry_out
from covey.cli.lists import names_of, show_parts
from covey.cli.rules import RULE, rule_text
from covey.cli.session import Session
from covey.cli.text import NONE, Column, plain
from covey.cli.verbs import RATE, Look, Manner, Noun, Number, changes, lists, named

COLUMNS = (
    plain("instance"),
    plain("nic", "index", right=True),
    plain("network"),
    plain("mac"),
    Column(
        "address", ("address", "address6"), lambda item, now: ",".join(filter(None, (item["address"], item["address6"]))) or NONE
    ),
    Column("link", ("up",), lambda item, now: "up" if item["up"] else "down"),
    Column("spoofing", ("guarded",), lambda item, now: "deny" if item["guarded"] else "allow"),
    plain("also"),
    Column("limit_in", ("limit_in",), lambda item, now: _limit(item["limit_in"]), right=True),
    Column("limit_out", ("limit_out",), lambda item, now: _limit(item["limit_out"]), right=True),
    plain("firewalls"),
    Column("rules", ("rules",), lambda item, now: "; ".join(map(rule_text, item["rules"])) or NONE),
    plain("node"),
    plain("tap"),
)
SHOWN = ("instance", "nic", "network", "mac", "address", "link", "spoofing")
F = TypeVar("F", bound=Callable[..., Any])
INDEX = Number(0, 1000)
LINK, SPOOFING = click.Choice(["up", "down"]), click.Choice(["deny", "allow"])


def settings(function: F) -> F:
    """Decorator: the options that a NIC is made and changed with."""
    wrapped: Any = function
    for option in (
        click.option("--no-rule", is_flag=True, help="No rules of its own."),
        click.option("--rule", "rules", type=RULE, multiple=True, metavar="RULE", help="A rule of its own. Repeatable."),
        click.option("--no-firewall", is_flag=True, help="No firewalls, save those of the instance."),
        click.option("--firewall", "firewalls", multiple=True, metavar="FIREWALL", help="A firewall it has. Repeatable."),
        click.option("--limit-out", type=RATE, metavar="RATE", help="What it may send, such as 100M (bits a second); 0: any."),
        click.option("--limit-in", type=RATE, metavar="RATE", help="What it may receive, likewise."),
        click.option("--no-also", is_flag=True, help="No further addresses."),
        click.option("--also", multiple=True, metavar="ADDRESS", help="Another address or network that is its own. Repeatable."),
        click.option("--spoofing", type=SPOOFING, help="Whether it may send from any address, as a router does. [deny]"),
        click.option("--link", type=LINK, help="Whether its cable is in. [up]"),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


@click.group(cls=Noun)
def command() -> None:
    """NICs of instances. `covey instance info NAME` shows them with their numbers."""


def _limit(bits: int) -> str:
    return humane_rate(bits) if bits else NONE


@command.command("list", examples=["covey nic list web1", "covey nic list --filter 'network=lan address=10.77.0.*'"])
@named("instance", required=False)
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, name: str | None, look: Look) -> None:
    """NICs of one instance, or of all."""
    show_parts(session, "nics", name, look, COLUMNS, SHOWN, "NIC")


@command.command(
    "add",
    change=True,
    examples=[
        "covey nic add web1",
        "covey nic add web1 --network lab --address 10.8.0.7",
        "covey nic add web1 --network lab --address none --link down",
        "covey nic add fw1 --network dmz --spoofing allow",
    ],
)
@named("instance")
@click.option("--network", metavar="NETWORK", help="Which network it is on. [the only one, or default]")
@click.option("--mac", metavar="MAC", help="Its MAC address. [drawn]")
@click.option("--address", metavar="ADDRESS", help="Its IPv4 address, auto or none. [auto: from the network's pool]")
@click.option("--address6", metavar="ADDRESS", help="Its IPv6 address, likewise. [auto]")
@settings
@changes
@click.pass_obj
def add(session: Session, /, name: str, manner: Manner, **wishes: Any) -> int:
    """Give an instance one more NIC, running or not."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("instances", name, "nics"), _body(**wishes)), manner)


@command.command(
    "modify",
    change=True,
    examples=[
        "covey nic modify web1 0 --link down",
        "covey nic modify web1 0 --network lab",
        "covey nic modify web1 1 --address 10.77.0.9 --also 10.77.0.64/28",
        "covey nic modify web1 0 --limit-in 100M --limit-out 20M",
        "covey nic modify web1 0 --firewall web --rule 'in tcp 22 from 10.9.0.5'",
    ],
)
@named("instance")
@click.argument("index", type=INDEX)
@click.option("--network", metavar="NETWORK", help="Move it to this network.")
@click.option("--address", metavar="ADDRESS", help="Its IPv4 address from now on, auto or none.")
@click.option("--address6", metavar="ADDRESS", help="Its IPv6 address from now on, auto or none.")
@settings
@changes
@click.pass_obj
def modify(session: Session, /, name: str, index: int, manner: Manner, **wishes: Any) -> int:
    """Change a NIC, while the instance runs, too. What the guest itself is set to is the guest's affair."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    body = _body(**wishes)
    check(body, BadInput("nothing is to be changed", "nic modify", "say what: --link down, --network NETWORK, ..."))
    return carry_out(session, Change("PATCH", path_of("instances", name, "nics", index), body), manner)


@command.command("remove", change=True, examples=["covey nic remove web1 1", "covey nic remove web1 1 --yes"])
@named("instance")
@click.argument("index", type=INDEX)
@changes
@click.pass_obj
def remove(session: Session, /, name: str, index: int, manner: Manner) -> int:
    """Take a NIC out, of the running guest, too. Its addresses are free again."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("DELETE", path_of("instances", name, "nics", index)), manner, destructive=True)


def _body(link: str | None, spoofing: str | None, **wishes: Any) -> dict[str, Any]:
    """What was said; of what may be repeated, nothing said is nothing changed, and --no-... is none."""
    lists = {name: (wishes.pop(name), wishes.pop(f"no_{name.removesuffix('s')}")) for name in ("also", "firewalls", "rules")}
    body: dict[str, Any] = {key: value for key, value in wishes.items() if value is not None}
    for name, (given, none) in lists.items():
        check(not (given and none), BadInput("either some or none", f"--no-{name.removesuffix('s')}", "leave one out"))
        if given or none:
            body[name] = list(given)
    if link is not None:
        body["up"] = link == "up"
    if spoofing is not None:
        body["guarded"] = spoofing == "deny"
    return body
