"""node invite, join, leave: how a machine comes to be a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from covey.base.config import find_file
from covey.base.errors import BadInput, check
from covey.cli.change import GOES_ON, ask, carry_out, check_can_ask, show_plan, terms_of, watch
from covey.cli.session import Session
from covey.cli.text import complain, say
from covey.cli.verbs import DURATION, Manner, Verb, changes, named
from covey.cli.watch import tell_ending


@click.command(
    "invite",
    cls=Verb,
    change=True,
    examples=["covey node invite", "covey node invite --expires 10m", "ssh n2 covey node join $(covey node invite -q)"],
)
@click.option("--expires", type=DURATION, help="How long it is good for. [1h]")
@changes
@click.pass_obj
def invite(session: Session, /, expires: float | None, manner: Manner) -> int:
    """Print one line with which one machine may join: once, and not for long. It is kept nowhere."""
    from covey.client.client import Change

    change = Change("POST", "/v1/node-invitations", {} if expires is None else {"expires_s": expires})
    if manner.dry_run:
        show_plan(session.client.plan(change))
        return 0
    job = session.client.submit(change, terms_of(manner))
    ended = watch(session.client, job, Manner(False, True, True, "", (), False, manner.wait_s))
    if ended is not None and ended["state"] != "succeeded":
        tell_ending(ended)
        return 1
    told: Mapping[str, Any] = job
    print(f"{told['doors'][0]}/{told['fingerprint']}/{told['secret']}")
    if not manner.quiet:
        complain("this is shown once", "on the new machine, as root: covey node join LINE")
    return GOES_ON if ended is None else 0


@click.command(
    "join",
    cls=Verb,
    change=True,
    examples=[
        "covey node join 10.0.0.1:7443/5f3c.../9ab1...",
        "covey node join --name n2 --address 10.0.0.2 --storage-address 10.1.0.2 LINE",
    ],
)
@click.argument("line")
@click.option("--name", metavar="NAME", default="", help="The node's name. [the host's]")
@click.option(
    "--address",
    metavar="ADDRESS[:PORT]",
    default="",
    help="Where this machine listens for the cluster. [the address by which it reaches that; port 7444]",
)
@click.option("--storage-address", metavar="ADDRESS", default="", help="Its address on a second network, for copies.")
@click.option("-n", "--dry-run", is_flag=True, help="Look whether it could join, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def join(session: Session, /, line: str, name: str, address: str, storage_address: str, dry_run: bool, yes: bool) -> int:
    """Make this very machine a node of a cluster. It must be empty, and its Covey must run."""
    from covey.main import joining  # main stands above this floor, but it is this machine that is worked on

    _check_here(session, "covey node join")
    invitation = joining.parse_invitation(line)
    settings, state = find_file("", session.environ), _state(session)
    if dry_run:
        say(joining.look(settings, state, line, name, address))
        return 0
    manner = Manner(False, yes, False, "", (), False, None)
    check_can_ask(manner)
    if not ask(f"this machine becomes a node of the cluster at {invitation.door}: go on?", manner):
        return 1
    membership = joining.join(settings, state, line, name, address, storage_address)
    say(f"this machine is {membership}, and listens for it at {membership.address}")
    say("  the cluster gives it its pools, networks and firewalls now; see, on any node: covey node list")
    return 0


@click.command("leave", cls=Verb, change=True, examples=["covey node leave", "covey node leave --yes"])
@click.option("-n", "--dry-run", is_flag=True, help="Say which cluster it would leave, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def leave(session: Session, /, dry_run: bool, yes: bool) -> int:
    """Have this very machine forget its cluster, after `covey node remove` there. Guests that run here run on."""
    from covey.main import joining

    _check_here(session, "covey node leave")
    settings, state = find_file("", session.environ), _state(session)
    present = joining.present_membership(settings, state)
    if dry_run:
        say(f"this machine would be no more {present}")
        return 0
    manner = Manner(False, yes, False, "", (), False, None)
    check_can_ask(manner)
    if not ask("this machine takes no more orders of its cluster: go on?", manner):
        return 1
    joining.leave(settings, state)
    say(f"this machine is no more {present}")
    return 0


@click.command("remove", cls=Verb, change=True, examples=["covey node remove n2", "covey node remove n2 --dry-run"])
@named("node")
@changes
@click.pass_obj
def remove(session: Session, /, name: str, manner: Manner) -> int:
    """Take a machine that hosts nothing out of the cluster. Its certificate counts no more."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("DELETE", path_of("nodes", name)), manner, destructive=True)


@click.command("clear", cls=Verb, change=True, examples=["covey node clear n1"])
@named("node")
@changes
@click.pass_obj
def clear(session: Session, /, name: str, manner: Manner) -> int:
    """Remove what moved instances left on a node. Done by itself as soon as nobody can need it."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("nodes", name, "clear"), {}), manner)


@click.command("equip", cls=Verb, change=True, examples=["covey node equip n2"])
@named("node")
@changes
@click.pass_obj
def equip(session: Session, /, name: str, manner: Manner) -> int:
    """Give it the pools, networks and firewalls that nodes have. Done by itself when it joins or comes back."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("nodes", name, "equip"), {}), manner)


def _check_here(session: Session, about: str) -> None:
    check(
        not session.options.get("server") and not session.environ.get("COVEY_SERVER"),
        BadInput("it works on the very machine that joins or leaves", about, "run it there, as root"),
    )


def _state(session: Session) -> str | None:
    return session.options.get("state") or session.environ.get("COVEY_STATE") or None
