"""instance start, stop, reboot, reset."""

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
        "covey instance start web1 --iso rescue",
        "covey instance start --filter 'state=stopped tag=web' -y",
    ],
)
@chosen
@click.option("--iso", metavar="IMAGE", help="Boot from this ISO, this once: at its next start it is out again.")
@wait_option
@changes
@click.pass_obj
def start(session: Session, /, name: str | None, filter: str, iso: str | None, wait: str | None, manner: Manner) -> int:
    """Start it."""
    body = {**_waiting(wait), **({"iso": iso} if iso else {})}
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "start", body=body))


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


def _waiting(wait: str | None) -> dict[str, Any]:
    return {"wait_ready": True} if wait else {}


def _graceful(now: bool, timeout: float | None) -> dict[str, Any]:
    check(not (now and timeout is not None), BadInput("either at once or within a time", "--now", "leave out --timeout"))
    if now:
        return {"graceful_s": 0.0}
    return {} if timeout is None else {"graceful_s": timeout}
