"""forward add, list, info, remove."""

from __future__ import annotations

from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.change import carry_out
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.session import Session
from covey.cli.text import Column, paragraph, plain, timed, when
from covey.cli.verbs import Look, Manner, Noun, changes, lists, name_of
from covey.model.names import check_name

COLUMNS = (
    plain("name"),
    Column("port", ("protocol", "port"), lambda item, now: f"{item['protocol']}/{item['port']}"),
    plain("instance"),
    Column("to", ("addresses", "to_port"), lambda item, now: _to(item)),
    plain("network"),
    Column("from", ("sources",), lambda item, now: ",".join(item["sources"]) or "everybody"),
    timed("created", "created_at"),
)
SHOWN = ("name", "port", "instance", "to", "network", "from")


class Port(click.ParamType[str]):
    """The name of a forward, tcp-8080, also as the port that it is for: tcp/8080."""

    name = "PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return check_name(str(value).replace("/", "-"), "forward")


class Target(click.ParamType[tuple[str, int]]):
    """An instance, and a port of it: web1:80; without the port 0, the same."""

    name = "TARGET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        instance, colon, port = str(value).partition(":")
        check(
            not colon or (port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536),
            BadInput(f"{port[:40]!r} is no port", name_of(param), "write it like web1:80"),
        )
        return check_name(instance, "instance"), int(port) if colon else 0


def _to(item: dict[str, Any]) -> str:
    addresses = [f"[{address}]" if ":" in address else address for address in item["addresses"]]
    return ",".join(f"{address}:{item['to_port']}" for address in addresses) or f"nowhere:{item['to_port']}"


@click.group(cls=Noun)
def command() -> None:
    """Ports of the nodes that lead to instances."""


@command.command("list", examples=["covey forward list", "covey forward list --filter instance=web1"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All forwards."""
    show_list(session, "forwards", look, COLUMNS, SHOWN, "forward")


@command.command("info", examples=["covey forward info tcp/8080", "covey forward info tcp/8080 --json"])
@click.argument("port", type=Port(), metavar="PORT")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, port: str, as_json: bool) -> None:
    """Where a port leads."""
    forward = session.client.get("forwards", port)
    if as_json:
        show_json(forward)
        return
    facts = [
        ("Leads to", f"{forward['instance']} on {forward['network']}: {_to(forward)}"),
        ("For", ", ".join(forward["sources"]) or "everybody who reaches the node"),
        ("Created", when(forward["created_at"])),
    ]
    paragraph(f"{forward['protocol']}/{forward['port']}", facts)


@command.command(
    "add",
    change=True,
    examples=[
        "covey forward add tcp/8080 web1:80",
        "covey forward add tcp/2222 web1:22 --from 192.0.2.0/24 --from 2001:db8::/32",
        "covey forward add udp/53 ns1 --network lan",
    ],
)
@click.argument("port", metavar="PORT")
@click.argument("target", type=Target(), metavar="INSTANCE[:PORT]")
@click.option("--network", metavar="NET", help="By which network the instance is reached. [its only one with NAT]")
@click.option("--from", "sources", multiple=True, metavar="NET/BITS", help="Who may use it; repeatable. [everybody]")
@changes
@click.pass_obj
def add(
    session: Session, /, port: str, target: tuple[str, int], network: str | None, sources: tuple[str, ...], manner: Manner
) -> int:
    """Lead a port of the nodes (PORT: tcp/8080) to an instance on a network with NAT. It follows the instance's address."""
    from covey.client.client import Change

    instance, to_port = target
    body: dict[str, Any] = {"port": port, "instance": instance}
    if to_port:
        body["to_port"] = to_port
    if network:
        body["network"] = network
    if sources:
        body["sources"] = list(sources)
    return carry_out(session, Change("POST", "/v1/forwards", body), manner)


@command.command(
    "remove", change=True, examples=["covey forward remove tcp/8080", "covey forward remove --filter instance=web1 --yes"]
)
@chosen("forward", "instance=web1", click.argument("name", type=Port(), metavar="[PORT]", required=False))
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Lead a port nowhere again. Connections that are open may go on until they end."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("forwards", one))

    return on_chosen(session, "forward", name, filter, manner, removal, destructive=True)
