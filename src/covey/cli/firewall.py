"""firewall list, info, add, modify, remove."""

from __future__ import annotations

from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.change import carry_out
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.rules import RULE, rule_text
from covey.cli.session import Session
from covey.cli.text import Column, paragraph, plain, timed, when
from covey.cli.verbs import Look, Manner, Noun, changes, lists, named

COLUMNS = (
    plain("name"),
    Column("rules", ("rules",), lambda item, now: "; ".join(map(rule_text, item["rules"])) or "none: nothing comes in"),
    Column("users", ("users",), lambda item, now: str(len(item["users"])), right=True),
    plain("notes"),
    timed("created", "created_at"),
    plain("id"),
)
SHOWN = ("name", "users", "rules")


@click.group(cls=Noun)
def command() -> None:
    """Firewalls: rules (a security group) that NICs and instances have in common."""


@command.command("list", examples=["covey firewall list", "covey firewall list --columns name,users"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All firewalls."""
    show_list(session, "firewalls", look, COLUMNS, SHOWN, "firewall")


@command.command("info", examples=["covey firewall info web", "covey firewall info web --json"])
@named("firewall")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """Its rules, and who has it."""
    firewall = session.client.get("firewalls", name)
    if as_json:
        show_json(firewall)
        return
    rules = [rule_text(rule) for rule in firewall["rules"]] or ["none: nothing comes in"]
    facts = [("Allows" if number == 0 else "", rule) for number, rule in enumerate(rules)]
    facts += [("Used by", ", ".join(firewall["users"]) or "nobody"), ("Notes", firewall["notes"])]
    paragraph(str(firewall["name"]), [*facts, ("Created", when(firewall["created_at"]))])


@command.command(
    "add",
    change=True,
    examples=[
        "covey firewall add web --rule 'in tcp 80,443' --rule 'in icmp'",
        "covey firewall add db --rule 'in tcp 5432 from firewall:web'",
        "covey firewall add quiet --rule 'out udp 53 to 10.77.0.1'",
    ],
)
@named("firewall")
@click.option("--rule", "rules", type=RULE, multiple=True, metavar="RULE", help="Something that is allowed. Repeatable.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@changes
@click.pass_obj
def add(session: Session, /, name: str, rules: tuple[dict[str, str], ...], notes: str | None, manner: Manner) -> int:
    """Make rules to give to NICs and instances.

    What has a firewall lets in only what a rule of it allows, and what answers. With a rule for the way out, only what such a rule
    allows goes out, too. A rule is in|out, then any, tcp, udp or icmp, ports, and from (in) or to (out) an address, a network,
    firewall:NAME or any.
    """
    from covey.client.client import Change

    body: dict[str, Any] = {"name": name, "rules": list(rules)}
    if notes is not None:
        body["notes"] = notes
    return carry_out(session, Change("POST", "/v1/firewalls", body), manner)


@command.command(
    "modify",
    change=True,
    examples=["covey firewall modify web --rule 'in tcp 80,443'", "covey firewall modify web --notes 'ask anna first'"],
)
@named("firewall")
@click.option("--rule", "rules", type=RULE, multiple=True, metavar="RULE", help="Its rules from now on. Repeatable.")
@click.option("--no-rule", is_flag=True, help="No rules from now on: nothing comes in.")
@click.option("--notes", metavar="TEXT", help="Its notes from now on.")
@changes
@click.pass_obj
def modify(
    session: Session, /, name: str, rules: tuple[dict[str, str], ...], no_rule: bool, notes: str | None, manner: Manner
) -> int:
    """Give it other rules. They hold at once for all that have it."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    check(not (rules and no_rule), BadInput("either rules or none", "--no-rule", "leave one out"))
    body: dict[str, Any] = {}
    if rules or no_rule:
        body["rules"] = list(rules)
    if notes is not None:
        body["notes"] = notes
    check(body, BadInput("nothing is to be changed", "firewall modify", "say what: --rule, --no-rule or --notes"))
    return carry_out(session, Change("PATCH", path_of("firewalls", name), body), manner)


@command.command(
    "remove", change=True, examples=["covey firewall remove web", "covey firewall remove --filter 'name=lab-*' --yes"]
)
@chosen("firewall")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Remove a firewall that nobody has."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("firewalls", one))

    return on_chosen(session, "firewall", name, filter, manner, removal, destructive=True)
