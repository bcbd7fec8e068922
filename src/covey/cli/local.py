"""local list, start, stop, check-config: what needs no controller."""

from __future__ import annotations

import sys
import time

import click

from covey.base.config import find_file, known_keys, read_settings, render, values_of
from covey.base.errors import BadInput, check
from covey.cli.change import ask, check_can_ask
from covey.cli.lists import choose, names_of, show_items, show_json
from covey.cli.session import Session
from covey.cli.text import Column, complain, plain, plural, say
from covey.cli.verbs import DURATION, Look, Manner, Noun, lists

COLUMNS: tuple[Column, ...] = (
    plain("name"),
    plain("state"),
    plain("reason"),
    plain("generation", right=True),
    plain("pid", right=True),
    plain("disks", right=True),
    plain("uuid"),
)
SHOWN = ("name", "state", "generation", "pid", "uuid")
USUAL_STOP_S = 120.0


@click.group(cls=Noun)
def command() -> None:
    """This machine alone, without its controller."""


@command.command(
    "list",
    examples=["covey local list", "covey local list --filter state=running", "covey local list --json"],
)
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """What is defined on this machine, as its agent alone knows it."""
    from covey.main import local  # main stands above this floor, but it is this machine that is worked on

    chosen = choose(COLUMNS, look, SHOWN)
    here = local.look(*_where(session, "covey local list"))
    items = local.rows(here, look.filter)
    led = "a leader leads this machine: covey instance list" if here.is_led else "no leader listens"
    show_items(items, time.time(), look, chosen, "guest", lambda shown: f"{plural(len(shown), 'guest')}; {led}")


@command.command(
    "start",
    change=True,
    examples=[
        "covey local start web1",
        "covey local start web1 --yes --runs-nowhere-else --reason 'n2 is dead'",
    ],
)
@click.argument("name", metavar="INSTANCE")
@click.option("--runs-nowhere-else", is_flag=True, help="Say that it surely runs on no other machine; asked for otherwise.")
@click.option("--reason", metavar="TEXT", default="", help="Why; told to the next leader.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; with --runs-nowhere-else where there are other nodes.")
@click.pass_obj
def start(session: Session, /, name: str, runs_nowhere_else: bool, reason: str, dry_run: bool, yes: bool) -> int:
    """Start a guest of this machine though nobody leads. The next leader is told, and has it run from then on.

    Two runs of one instance on the same disks destroy its data: no machine can know alone that no other runs it.
    """
    from covey.main import local

    where = _where(session, "covey local start")
    here = local.look(*where)
    guest = here.find(name)
    if guest.state == "running":
        say(f"{guest.title} runs already")
        return 0
    if dry_run:
        unsure = "" if here.is_alone else "; first you would have to say that it runs nowhere else"
        say(f"{guest.title} would be started here as generation {guest.generation + 1}{unsure}")
        return 0
    manner = Manner(False, yes, False, reason, (), False, None)
    check(
        not yes or here.is_alone or runs_nowhere_else,
        BadInput(
            "there are other nodes, on which it may run", f"instance {guest.title}", "if it surely does not: --runs-nowhere-else"
        ),
    )
    check_can_ask(manner)
    is_known = here.is_alone or runs_nowhere_else
    if not (ask(f"start {guest.title} here: go on?", manner) if is_known else _typed(guest.title)):
        return 1
    after = local.start(*where, guest.instance, reason, nowhere_else=True)
    say(f"{after.title} runs as process {after.pid}, generation {after.generation}; the next leader is told")
    return 0


@command.command(
    "stop",
    change=True,
    examples=["covey local stop web1", "covey local stop web1 --now --yes", "covey local stop web1 --timeout 5m"],
)
@click.argument("name", metavar="INSTANCE")
@click.option("--now", is_flag=True, help="Cut it off, without asking the guest.")
@click.option("--timeout", "graceful_s", type=DURATION, help="How long it may take to shut down; then it is cut. [2m]")
@click.option("--reason", metavar="TEXT", default="", help="Why; told to the next leader.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def stop(session: Session, /, name: str, now: bool, graceful_s: float | None, reason: str, dry_run: bool, yes: bool) -> int:
    """Stop a guest of this machine though nobody leads. The next leader is told, and leaves it down."""
    from covey.main import local

    check(not (now and graceful_s), BadInput("either now or in time", "--timeout", "leave one out"))
    where = _where(session, "covey local stop")
    guest = local.look(*where).find(name)
    if dry_run:
        say(f"{guest.title} is {guest.state}; it would be stopped, and the next leader told to leave it down")
        return 0
    manner = Manner(False, yes, False, reason, (), False, None)
    check_can_ask(manner)
    if not ask(f"stop {guest.title}, which is {guest.state}: go on?", manner):
        return 1
    wait_s = 0.0 if now else USUAL_STOP_S if graceful_s is None else graceful_s
    after = local.stop(*where, guest.instance, reason, wait_s)
    say(f"{after.title} is {after.state}; the next leader is told to leave it down")
    return 0


def _typed(title: str) -> bool:
    """Whether the person types the name of what surely runs nowhere else."""
    say(f"If {title} runs on another machine, to start it here destroys its data. This machine cannot know.")
    sys.stdout.flush()
    print(f"Type {title} if it surely runs nowhere else: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() == title:
        return True
    complain("nothing was changed")
    return False


def _where(session: Session, about: str) -> tuple[str, str | None]:
    """The settings file and the state directory of this machine's Covey."""
    check(
        not session.options.get("server") and not session.environ.get("COVEY_SERVER"),
        BadInput("it works on this very machine", about, "run it there, as root"),
    )
    return find_file("", session.environ), session.options.get("state") or session.environ.get("COVEY_STATE") or None


@command.command(
    "check-config",
    examples=["covey local check-config", "covey local check-config --file new.toml", "covey local check-config --json"],
)
@click.option("-f", "--file", metavar="FILE", help="The file to look at. [COVEY_CONFIG; /etc/covey/covey.toml]")
@click.option("--json", "as_json", is_flag=True, help="What holds, as a JSON object; durations in seconds.")
@click.pass_obj
def check_config(session: Session, /, file: str | None, as_json: bool) -> None:
    """Whether the settings file is sound, and what holds with it. Exits with 2 when it is not."""
    found = find_file(file or "", session.environ)
    values = values_of(read_settings(found))
    if as_json:
        show_json({"file": found, **values})
        return
    say(f"{found}: sound" if found else "there is no settings file: the defaults hold")
    usual = values_of(read_settings(""))
    for key in known_keys():
        own = values[key.name] != usual[key.name]
        say(f"  {key.name:<18} {render(values[key.name]) if own else render(key.default) + '  (default)'}")
