"""instance start, stop, reboot, reset, modify."""

from __future__ import annotations

from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import DURATION, Manner, changes

wait_option = click.option("--wait", type=click.Choice(["ready"]), help="Done only when the guest reports that it is ready.")


@command.command(
    "start",
    change=True,
    examples=[
        "covey instance start web1",
        "covey instance start web1 --wait ready",
        "covey instance start --filter 'state=stopped tag=web' -y",
    ],
)
@chosen
@wait_option
@changes
@click.pass_obj
def start(session: Session, /, name: str | None, filter: str, wait: str | None, manner: Manner) -> int:
    """Start it."""
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "start", body=_waiting(wait)))


@command.command(
    "stop",
    change=True,
    examples=[
        "covey instance stop web1",
        "covey instance stop web1 --timeout 10m",
        "covey instance stop --filter tag=lab --now -y",
    ],
)
@chosen
@click.option("--now", is_flag=True, help="Cut it at once: what the guest has not written is lost.")
@click.option("--timeout", type=DURATION, help="How long it may take to shut down before it is cut. [2m]")
@changes
@click.pass_obj
def stop(session: Session, /, name: str | None, filter: str, now: bool, timeout: float | None, manner: Manner) -> int:
    """Shut it down: asked first, cut when it does not obey in time."""
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "stop", body=_graceful(now, timeout)))


@command.command(
    "reboot",
    change=True,
    examples=["covey instance reboot web1", "covey instance reboot web1 --timeout 30s --wait ready"],
)
@chosen
@click.option("--now", is_flag=True, help="Cut it at once: what the guest has not written is lost.")
@click.option("--timeout", type=DURATION, help="How long it may take to shut down before it is cut. [2m]")
@wait_option
@changes
@click.pass_obj
def reboot(
    session: Session, /, name: str | None, filter: str, now: bool, timeout: float | None, wait: str | None, manner: Manner
) -> int:
    """Stop it and start it anew, with what was changed meanwhile."""
    body = {**_graceful(now, timeout), **_waiting(wait)}
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "reboot", body=body))


@command.command("reset", change=True, examples=["covey instance reset web1", "covey instance reset web1 --yes"])
@chosen
@changes
@click.pass_obj
def reset(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Cut it and start it at once, as its reset button would. What the guest has not written is lost."""
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "reset", body={}), destructive=True)


@command.command(
    "modify",
    change=True,
    examples=[
        "covey instance modify web1 --tag web --tag stage",
        "covey instance modify web1 --notes 'ask anna first'",
        "covey instance modify web1 --no-tag",
    ],
)
@chosen
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Its tags from now on. Repeatable.")
@click.option("--no-tag", is_flag=True, help="No tags from now on.")
@click.option("--notes", metavar="TEXT", help="Its notes from now on.")
@changes
@click.pass_obj
def modify(
    session: Session,
    /,
    name: str | None,
    filter: str,
    tags: tuple[str, ...],
    no_tag: bool,
    notes: str | None,
    manner: Manner,
) -> int:
    """Change its tags and notes."""
    check(not (tags and no_tag), BadInput("either tags or none", "--no-tag", "leave one out"))
    body: dict[str, Any] = {}
    if tags or no_tag:
        body["tags"] = list(tags)
    if notes is not None:
        body["notes"] = notes
    check(body, BadInput("nothing is to be changed", "instance modify", "say what: --tag, --no-tag or --notes"))
    return on_instances(session, name, filter, manner, lambda one: to_instance("PATCH", one, body=body))


def _waiting(wait: str | None) -> dict[str, Any]:
    return {"wait_ready": True} if wait else {}


def _graceful(now: bool, timeout: float | None) -> dict[str, Any]:
    check(not (now and timeout is not None), BadInput("either at once or within a time", "--now", "leave out --timeout"))
    if now:
        return {"graceful_s": 0.0}
    return {} if timeout is None else {"graceful_s": timeout}
