"""lab up, down, status, shell, cut, heal, kill, pause, resume, power: nodes on this machine alone, by the program itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from covey.base.errors import BadInput, CoveyError, Refused, check
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import paragraph, plural, say
from covey.cli.verbs import Noun, Number

if TYPE_CHECKING:
    from covey.lab.layout import Lab, LabNode, Segment

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
SIGNALS = ("KILL", "TERM", "STOP", "CONT")


@dataclass(frozen=True, slots=True)
class Place:
    """Which lab, and where it is kept."""

    name: str
    parent: Path

    def load(self) -> Lab:
        """Raises NotFound, and whatever keeps this machine from having labs."""
        from covey.lab.record import load_lab

        self.check()
        return load_lab(self.name, self.parent)

    def check(self) -> None:
        """Raises BadInput, Refused, Unavailable."""
        from covey.lab.lab import check_machine
        from covey.lab.layout import check_place

        check_place(self.name, self.parent)
        check_machine()
        os.umask(0o022)  # as a machine begins, and as a node shall: QEMU's user must get through what is made

    def alone(self) -> AbstractContextManager[None]:
        from covey.lab.record import alone

        return alone(self.parent / self.name)


def of_a_lab(function: F) -> F:
    """Decorator: which lab is meant, handed on as `place`."""

    @click.pass_obj
    @click.option("--name", metavar="LAB", help="Which lab, if there are several. [trial]")
    @click.option("--dir", "parent", metavar="DIR", help="Where labs are kept. [COVEY_LAB_DIR; /var/lib/covey-lab]")
    def call(session: Session, /, name: str | None, parent: str | None, **kwargs: Any) -> Any:
        check(find_spec("covey.lab"), Refused("there is no lab in the package covey-node", "covey lab", "install covey"))
        from covey.lab.layout import PARENT, USUAL_NAME

        chosen = parent or session.environ.get("COVEY_LAB_DIR") or str(PARENT)
        return function(place=Place(name or USUAL_NAME, Path(chosen).absolute()), **kwargs)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    wrapped: Any = call
    wrapped.__click_params__ = [*getattr(function, "__click_params__", []), *wrapped.__click_params__]
    result: F = wrapped
    return result


def of_a_network(function: F) -> F:
    """Decorator: which of the two networks, and between whom."""
    wrapped: Any = function
    for option in (
        click.option("--replication", is_flag=True, help="In the replication network, not the first one."),
        click.option("--from", "peer", metavar="NODE", help="Between these two nodes only."),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


@click.group(cls=Noun)
def command() -> None:
    """Whole clusters on this machine alone, to try and to break.

    Each node has namespaces of its own (network, mounts, processes, host name), and in them its own Covey and libvirtd.
    """


@command.command(
    "up",
    change=True,
    examples=[
        "covey lab up",
        "covey lab up --nodes 5 --name five",
        "covey lab up --accelerator tcg --dir /srv/labs",
        "covey lab up --nodes 3 --dry-run",
    ],
)
@click.option("--nodes", type=Number(1, 40), metavar="N", help="How many; a lab can grow. [as many as it has; 3]")
@click.option("--accelerator", type=click.Choice(["auto", "kvm", "tcg"]), help="How guests are run. [auto]")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be made and make nothing.")
@of_a_lab
def up(place: Place, nodes: int | None, accelerator: str | None, dry_run: bool) -> int:
    """Make a lab, or whatever it lacks.

    All its nodes run then and are of one cluster, which the first has made. What is cut stays cut."""
    place.check()
    if dry_run:
        return _show_plan(_wanted(place, nodes, accelerator))
    began = time.monotonic()
    with place.alone():
        lab = _wanted(place, nodes, accelerator)
        from covey.lab.lab import up

        _run(up(lab, lambda done: say(f"{time.monotonic() - began:5.1f} s  {done}")))
    option = _options(place)
    say(f"{lab}: {plural(lab.count, 'node')} in {time.monotonic() - began:.1f} s; it is kept below {lab.directory}")
    say(f"  look:  covey lab status{option}")
    say(f"  in:    covey lab shell n1{option}")
    return 0


def _wanted(place: Place, nodes: int | None, accelerator: str | None) -> Lab:
    """The lab as it shall be: as it is, but for what was said."""
    from covey.lab.layout import USUAL_COUNT, Lab
    from covey.lab.record import find_lab

    found = find_lab(place.name, place.parent)
    if found is None:
        return Lab(place.name, place.parent, nodes or USUAL_COUNT, accelerator or "auto")
    count = nodes or found.count
    hint = f"remove it and make it anew: covey lab down{_options(place)}"
    check(count >= found.count, Refused(f"it has {plural(found.count, 'node')}, and can only grow", found, hint))
    return replace(found, count=count, accelerator=accelerator or found.accelerator)


def _show_plan(lab: Lab) -> int:
    from covey.lab.lab import what_up_does

    steps = _run(what_up_does(lab))
    for number, step in enumerate(steps, 1):
        say(f"  {number:>2}  {step.says}")
    say(f"{lab}: {plural(len(steps), 'step')}; it would be kept below {lab.directory}")
    return 0


def _options(place: Place) -> str:
    """What must be said for that lab to be meant, with a blank before."""
    from covey.lab.layout import PARENT, USUAL_NAME

    said = [f"--name {place.name}"] if place.name != USUAL_NAME else []
    return "".join(f" {option}" for option in (*said, *([f"--dir {place.parent}"] if place.parent != PARENT else [])))


@command.command(
    "down",
    change=True,
    examples=["covey lab down", "covey lab down --name five", "covey lab down --dry-run"],
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be removed and remove nothing.")
@of_a_lab
def down(place: Place, dry_run: bool) -> int:
    """Remove a lab with all that is in it, disks too. It asks nothing, and works on one half made as well."""
    from covey.lab.lab import down, what_down_does
    from covey.lab.layout import Lab

    place.check()
    lab = Lab(place.name, place.parent, 1)  # what is there is looked for, whatever was once asked for
    there = what_down_does(lab)
    if dry_run or not there:
        for line in there:
            say(f"  {line}")
        say(f"{lab}: {'would be gone then' if there else 'nothing of it is there'}")
        return 0
    with place.alone():
        _run(down(lab))
    say(f"{lab}: nothing is left of it")
    return 0


@command.command("status", examples=["covey lab status", "covey lab status --name five", "covey lab status --json"])
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@of_a_lab
def status(place: Place, as_json: bool) -> int:
    """Its nodes as they are now.

    Power, links, processes (with the machine's numbers of them), and what each Covey says."""
    from covey.lab.lab import look

    lab = place.load()
    nodes = _run(look(lab))
    if as_json:
        show_json({"name": lab.name, "directory": str(lab.directory), "nodes": nodes})
        return 0
    say(f"{lab}: {plural(lab.count, 'node')} below {lab.directory}")
    for node in nodes:
        facts = [(name.capitalize(), _link(link)) for name, link in node["networks"].items()]
        paragraph(f"{node['name']}  {node['power']}", [*facts, ("Processes", _processes(node)), ("Covey", _covey(node))])
    return 0


def _link(link: dict[str, Any]) -> str:
    state = "cut" if link["cut"] else {"up": "up", "absent": "no link"}.get(link["link"], link["link"])
    apart = f", cut from {' '.join(link['cut_from'])}" if link["cut_from"] else ""
    return f"{link['address']}, {state}{apart}"


def _processes(node: dict[str, Any]) -> str:
    """agent 812, controller 813 (stopped); without what only holds the others together."""
    mark = {False: "", True: " (stopped)" if node["power"] != "paused" else ""}
    shown = [each for each in node["processes"] if each["name"] not in ("init", "keeper")]
    return ", ".join(f"{each['name']} {each['pid']}{mark[each['stopped']]}" for each in shown)


def _covey(node: dict[str, Any]) -> str:
    """node n2 of cluster trial; n1 sees it: ready"""
    return "; ".join(part for part in (node["covey"], f"seen by n1: {node['seen']}" if node["seen"] else "") if part)


@command.command(
    "shell",
    examples=["covey lab shell n1", "covey lab shell n2 -- covey status", "covey lab shell n1 -- ping -c 3 n2"],
)
@click.argument("node")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@of_a_lab
def shell(place: Place, node: str, words: tuple[str, ...]) -> None:
    """Become a shell on a node, or a command there.

    `covey` there is the node's own. Nodes know each other by name."""
    from covey.lab.node import way_in

    argv = way_in(place.load().node(node), words or (os.environ.get("SHELL", "/bin/bash"),))
    os.execvp(argv[0], argv)  # noqa: S606  (no shell of ours: this process is to be it)


@command.command(
    "cut",
    examples=["covey lab cut n1", "covey lab cut n1 --from n2", "covey lab cut n3 --replication"],
)
@click.argument("node")
@of_a_network
@of_a_lab
def cut(place: Place, node: str, peer: str | None, replication: bool) -> int:
    """Pull a node's cable. With --from, keep two nodes from hearing each other, while others hear both."""
    from covey.lab.lab import cut

    return _change(place, node, peer, replication, cut, "is cut off")


@command.command(
    "heal",
    examples=["covey lab heal n1", "covey lab heal n1 --from n2", "covey lab heal n3 --replication"],
)
@click.argument("node")
@of_a_network
@of_a_lab
def heal(place: Place, node: str, peer: str | None, replication: bool) -> int:
    """Undo `cut`. Without --from, all that was cut of the node in that network."""
    from covey.lab.lab import heal

    return _change(place, node, peer, replication, heal, "is no longer cut off")


Change = Callable[["Lab", "LabNode", "Segment", "LabNode | None"], Coroutine[Any, Any, "Lab"]]


def _change(place: Place, node: str, peer: str | None, replication: bool, change: Change, says: str) -> int:
    from covey.lab.lab import segment_of

    place.load()  # before the lock: that would make a directory
    with place.alone():
        lab, segment = place.load(), segment_of(replication)
        _run(change(lab, lab.node(node), segment, lab.node(peer) if peer else None))
    say(f"{node} {says}{f' from {peer}' if peer else ''} ({segment.name})")
    return 0


@command.command(
    "kill",
    examples=["covey lab kill n1 controller", "covey lab kill n2 4711", "covey lab kill n1 libvirtd --signal STOP"],
)
@click.argument("node")
@click.argument("process")
@click.option("--signal", "word", type=click.Choice(SIGNALS), default="KILL", help="What it is sent. [KILL]")
@of_a_lab
def kill(place: Place, node: str, process: str, word: str) -> int:
    """Kill a process of a node.

    By a name or number that `lab status` shows: up, agent, controller, libvirtd, guest, ..."""
    from covey.lab.lab import kill

    check(process != "init", BadInput("that is the node itself", "PROCESS", f"covey lab power {node} off"))
    lab = place.load()
    for each in kill(lab.node(node), process, signal.Signals[f"SIG{word}"]):
        say(f"{node}: {each.name} {each.pid} got SIG{word}")
    return 0


@command.command("pause", examples=["covey lab pause n1"])
@click.argument("node")
@of_a_lab
def pause(place: Place, node: str) -> int:
    """Stop every process of a node where it stands.

    Guests too, until `lab resume`. Its links stay up."""
    from covey.lab.lab import pause_node

    _run(pause_node(place.load().node(node)))
    say(f"{node} stands still")
    return 0


@command.command("resume", examples=["covey lab resume n1"])
@click.argument("node")
@of_a_lab
def resume(place: Place, node: str) -> int:
    """Let a paused node go on."""
    from covey.lab.lab import resume_node

    _run(resume_node(place.load().node(node)))
    say(f"{node} goes on")
    return 0


@command.command("power", examples=["covey lab power n1 off", "covey lab power n1 on"])
@click.argument("node")
@click.argument("state", type=click.Choice(["off", "on"]))
@of_a_lab
def power(place: Place, node: str, state: str) -> int:
    """Pull a node's plug: everything in it is dead at once. Or give it power, and wait until its Covey answers."""
    from covey.lab.lab import power

    place.load()
    with place.alone():
        lab = place.load()
        _run(power(lab, lab.node(node), state == "on"))
    say(f"{node} is {state}")
    return 0


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Of several failures at once the first is told."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        refusals, bugs = group.split(CoveyError)
        if refusals is None or bugs is not None:
            raise
        raise next(error for error in refusals.exceptions if isinstance(error, CoveyError)) from group
