"""node list, info, modify, ping; and the verbs of other modules."""

from __future__ import annotations

from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.base.units import humane_duration
from covey.cli.change import carry_out
from covey.cli.draining import drain, evacuate, undrain
from covey.cli.joining import clear, equip, invite, join, leave, remove
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.prepare import prepare
from covey.cli.session import Session
from covey.cli.text import NONE, Column, paragraph, plain, plural, say, since, size, sized, spoken_size, timed, when
from covey.cli.verbs import Look, Manner, Name, Noun, changes, lists, named

COLUMNS = (
    plain("name"),
    plain("answers"),
    plain("instances", right=True),
    plain("cpus", right=True),
    Column(
        "cpu", ("cpu_percent", "answers"), lambda item, now: _when_answering(item, f"{item['cpu_percent']:.0f} %"), right=True
    ),
    Column("load", ("load1", "answers"), lambda item, now: _when_answering(item, f"{item['load1']:.2f}"), right=True),
    sized("memory"),
    sized("free", "memory_free"),
    sized("promised", "memory_promised"),
    Column(
        "uptime", ("uptime_s", "answers"), lambda item, now: _when_answering(item, humane_duration(item["uptime_s"])), right=True
    ),
    plain("kernel"),
    plain("hypervisor"),
    plain("hostname"),
    plain("address"),
    plain("storage_address"),
    plain("state"),
    timed("drained", "drained_at"),
    plain("drain_reason"),
    timed("created", "created_at"),
    plain("notes"),
    plain("id"),
)
SHOWN = ("name", "answers", "instances", "cpus", "cpu", "load", "memory", "free", "promised", "uptime")


def _when_answering(item: dict[str, Any], text: str) -> str:
    return text if item["answers"] else NONE


def _drained(node: dict[str, Any]) -> str:
    """That it hosts nothing new, since when, and why."""
    if not node["drained_at"]:
        return ""
    return f"drained since {when(node['drained_at'])}{': ' if node['drain_reason'] else ''}{node['drain_reason']}, "


@click.group(cls=Noun)
def command() -> None:
    """The machines."""


@command.command("list", examples=["covey node list", "covey node list --columns name,kernel,hypervisor"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All nodes, with how busy they are."""
    show_list(session, "nodes", look, COLUMNS, SHOWN, "node")


@command.command("info", examples=["covey node info n1", "covey node info n1 --json"])
@named("node")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """What it is, what it has and what is promised of it."""
    answer = session.client.answer("nodes", name)
    node = answer.json()
    if as_json:
        show_json(node)
        return
    if node["answers"]:
        state = "" if node["state"] == "ready" else f"{node['state']}, "
        head = f"{state}{_drained(node)}answers, up {humane_duration(node['uptime_s'])}, {plural(node['instances'], 'instance')}"
    else:
        head = f"does not answer{', last heard of ' + since(node['as_of'], answer.at or 0.0) + ' ago' if node['as_of'] else ''}"
    rooms = [
        (
            f"Pool {room['pool']}",
            f"{size(room['free'])} of {size(room['size'])} free, {size(room['promised'])} promised"
            + (f", {size(room['claimed'])} claimed by running jobs" if room["claimed"] else ""),
        )
        for room in node["pools"]
    ]
    memory = (
        f"{spoken_size(node['memory'])}, {spoken_size(node['memory_free'])} free, {spoken_size(node['memory_promised'])} promised"
    )
    facts = [
        ("CPUs", f"{node['cpus']}, {node['cpu_percent']:.0f} % busy, load {node['load1']:.2f}" if node["answers"] else ""),
        ("Memory", memory if node["answers"] else ""),
        *rooms,
        ("Hypervisor", node["hypervisor"]),
        ("Kernel", node["kernel"]),
        ("Boot", node["boot_id"]),
        ("Address", node["address"]),
        ("For storage", node["storage_address"]),
        ("Joined", when(node["created_at"])),
        ("Notes", node["notes"]),
    ]
    paragraph(f"{node['name']}  {head}", facts)
    for problem in node.get("problems", []):
        say(f"  Problem: {problem}")


@command.command(
    "modify",
    change=True,
    examples=[
        "covey node modify n1 --notes 'rack 4, top'",
        "covey node modify n2 --name db-host",
        "covey node modify n2 --address 10.0.5.2",
        "covey node modify n2 --storage-address 10.1.0.2",
    ],
)
@named("node")
@click.option("--name", "new_name", type=Name("node"), help="Its name from now on.")
@click.option("--address", metavar="ADDRESS[:PORT]", help="Where the cluster reaches it from now on.")
@click.option("--storage-address", metavar="ADDRESS", help="Its address on a second network, for copies; or none.")
@click.option("--notes", metavar="TEXT", help="Its notes from now on.")
@changes
@click.pass_obj
def modify(session: Session, /, name: str, new_name: str | None, manner: Manner, **wishes: str | None) -> int:
    """Change its name, where it is reached, or its notes.

    Its agent listens at a new address before it stops to listen at the old one. A machine whose address was changed by hand, and that no
    longer answers, is looked for at the new one.
    """
    from covey.client.client import Change
    from covey.client.connection import path_of

    body = {key: value for key, value in (("name", new_name), *wishes.items()) if value is not None}
    check(body, BadInput("nothing is asked for", "node modify", "say what to change: covey node modify --help"))
    if body.get("storage_address") == "none":
        body["storage_address"] = ""
    return carry_out(session, Change("PATCH", path_of("nodes", name), body), manner)


@command.command("ping", change=True, examples=["covey node ping n1"])
@named("node")
@changes
@click.pass_obj
def ping(session: Session, /, name: str, manner: Manner) -> int:
    """See that it carries out steps: a job that changes nothing."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("nodes", name, "ping"), {}), manner)


for verb in (prepare, invite, join, leave, remove, equip, clear, drain, evacuate, undrain):
    command.add_command(verb)
