"""node prepare: hands over to the program itself, for it works where there is no Covey to ask yet."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from covey.base.config import find_file
from covey.base.errors import BadInput, check
from covey.base.units import humane_duration
from covey.cli.change import ask, check_can_ask
from covey.cli.findings import counted, show_findings, status_of
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import complain, paragraph, plural, say
from covey.cli.verbs import DURATION, Manner, Verb

if TYPE_CHECKING:
    from covey.host.network.uplink.takeover import Intent, Takeovers
    from covey.model.preflight import Finding
    from covey.model.uplink import Takeover

WINDOW_S = 60.0
_LONGEST_WINDOW_S = 3600.0
_LOOK_EVERY_S = 0.2


@click.command(
    "prepare",
    cls=Verb,
    change=True,
    examples=[
        "covey node prepare",
        "covey node prepare --bridge br0 --nic eth0 --dry-run",
        "covey node prepare --bridge br0 --nic eth0",
        "covey node prepare --confirm",
    ],
)
@click.option(
    "--accelerator", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", help="What guests shall run under. [auto]"
)
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@click.option("--bridge", metavar="NAME", default="", help="Make this bridge, with --nic as its port and its addresses.")
@click.option("--nic", metavar="NAME", default="", help="The network card for --bridge.")
@click.option("--confirm-within", type=DURATION, default=WINDOW_S, help="Go back unless confirmed within so long. [60s]")
@click.option("--confirm", is_flag=True, help="From a new connection: the bridge works, and stays.")
@click.option("--roll-back", is_flag=True, help="Go back to the card as it was, now.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be changed and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is confirmed or rolled back.")
@click.pass_obj
def prepare(
    session: Session,
    /,
    accelerator: str,
    as_json: bool,
    bridge: str,
    nic: str,
    confirm_within: float,
    confirm: bool,
    roll_back: bool,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
) -> int:
    """Look whether this machine is fit to be a node; make its network card a bridge's port. It needs no running Covey.

    Without options it only looks, which takes some seconds, and exits with 4 when there is an error; warnings alone are 0."""
    from covey.main.prepare import look, takeovers  # main stands above this floor, but there is no server to ask here

    _check_options(session, bridge, nic, confirm, roll_back, confirm_within)
    if not (bridge or nic or confirm or roll_back):
        return _look(look(_state(session), accelerator), as_json)
    work = takeovers(_state(session))
    if confirm:
        return _confirm(work)
    if roll_back:
        done = work.roll_back("it was asked for")
        say(f"rolled back: {done.uplink.name} is as it was, {done.bridge} is gone")
        return 0
    intent = work.plan(nic, bridge)
    _show(intent)
    manner = Manner(dry_run, yes, quiet=False, reason="", after=(), no_wait=no_wait, wait_s=None)
    if dry_run:
        return 0
    check_can_ask(manner)
    if not ask(f"it goes back by itself unless confirmed within {humane_duration(confirm_within)}: go on?", manner):
        return 1
    return _take_over(session, work, intent, confirm_within, no_wait)


def _check_options(session: Session, bridge: str, nic: str, confirm: bool, roll_back: bool, window_s: float) -> None:
    about = "covey node prepare"
    check(
        not session.options.get("server") and not session.environ.get("COVEY_SERVER"),
        BadInput("it works on the very machine that it prepares", "--server", "run it there, as root"),
    )
    check(
        sum((bool(bridge or nic), confirm, roll_back)) <= 1,
        BadInput("say one thing: a bridge to make, --confirm or --roll-back", about, f"{about} --help"),
    )
    check(bool(bridge) == bool(nic), BadInput("a bridge and its card go together", about, "--bridge br0 --nic eth0"))
    check(
        1 <= window_s <= _LONGEST_WINDOW_S,
        BadInput("between a second and an hour is what can be waited for", "--confirm-within", "leave it out for 60s"),
    )


def _look(findings: tuple[Finding, ...], as_json: bool) -> int:
    lines = [asdict(finding) for finding in findings]
    if as_json:
        show_json(lines)
    else:
        show_findings(lines)
        say(f"{plural(len(lines), 'check')}: {counted(lines)}")
    return status_of(lines)


def _state(session: Session) -> str:
    """The state directory that `covey up` would take."""
    from covey.main.prepare import state_directory

    named = session.options.get("state") or session.environ.get("COVEY_STATE")
    return state_directory(find_file("", session.environ), named or None)


def _confirm(work: Takeovers) -> int:
    from covey.main.prepare import confirm

    done, left = confirm(work)
    say(f"confirmed: {done.uplink.name} is a port of {done.bridge}, from now on at every boot")
    if left:
        say(f"  but {left}")
    return 0


def _again(session: Session, option: str) -> str:
    """The command that ends it, as it must be typed."""
    named = session.options.get("state") or session.environ.get("COVEY_STATE")
    return f"covey {f'--state {_state(session)} ' if named else ''}node prepare {option}"


def _show(intent: Intent) -> None:
    uplink = intent.uplink
    moved = [f"{address}" for address in uplink.addresses]
    routes = [f"{route}" for route in uplink.routes]
    answers = ", ".join(f"{gateway} answers, and must again" for gateway in intent.answering)
    paragraph(
        f"{uplink.name} becomes the port of a new bridge {intent.bridge}:",
        [
            ("Addresses", f"{', '.join(moved) or 'none'}: move to {intent.bridge}"),
            ("Routes", f"{', '.join(routes) or 'none'}: move to {intent.bridge}"),
            ("Bridge", f"MAC {uplink.mac} and MTU {uplink.mtu}, both the card's; no spanning tree"),
            ("Gateway", answers or "none that answers: nothing tells that the bridge works but you"),
            ("At boot", f"by {intent.keeper}; on confirmation these lines change:"),
        ],
    )
    for line in _differences(intent):
        say(f"    {line}")


def _differences(intent: Intent) -> Iterator[str]:
    for file in intent.files:
        before, after = (file.before or "").splitlines(), (file.after or "").splitlines()
        old = file.path if file.before is not None else "(none)"
        yield from difflib.unified_diff(before, after, old, file.path, n=0, lineterm="")


def _take_over(session: Session, work: Takeovers, intent: Intent, window_s: float, no_wait: bool) -> int:
    from covey.main.prepare import take_over

    taken = take_over(work, intent, window_s)
    until = time.strftime("%H:%M:%S", time.localtime(taken.until))
    say(f"{taken.uplink.name} is a port of {taken.bridge} now. Confirm before {until}, from a NEW connection:")
    say(f"  {_again(session, '--confirm')}")
    return 0 if no_wait else _await_end(work, taken)


def _await_end(work: Takeovers, taken: Takeover) -> int:
    while (now := work.now()) is not None and not now.is_over:
        time.sleep(_LOOK_EVERY_S)
    if now is not None and now.state == "confirmed":
        say(f"confirmed: {taken.bridge} stays, from now on at every boot")
        return 0
    complain(f"rolled back: {now.why if now else 'the machine was started anew'}; {taken.uplink.name} is as it was")
    return 1
