"""instance exec, set-password, set-ssh-keys: within the guest, by its own agent."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.instance.noun import command
from covey.cli.instance.wishes import keys_of
from covey.cli.session import Session
from covey.cli.text import complain, say
from covey.cli.verbs import DURATION, named

KILLED = 128  # and the signal's number: the status of a command that a signal ended, as shells have it


@command.command(
    "exec",
    examples=["covey instance exec web1 -- systemctl is-active ssh", "covey instance exec web1 --timeout 10m -- apt-get update"],
)
@named("instance")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option("--timeout", type=DURATION, help="How long it may take before it is killed. [30s]")
@click.pass_obj
def exec_(session: Session, /, name: str, argv: tuple[str, ...], timeout: float | None) -> int:
    """Run a command in the guest, as root, and exit with its status. What it printed comes when it has ended, 1 MiB at most of each
    stream. No shell comes between, and nothing is typed in. Needs qemu-guest-agent in the guest."""
    seconds = 30.0 if timeout is None else timeout
    ended = session.client.in_guest(name, "run", {"argv": list(argv), "timeout_s": seconds}, seconds)
    for stream, text in ((sys.stdout, ended["stdout"]), (sys.stderr, ended["stderr"])):
        stream.flush()
        stream.buffer.write(base64.b64decode(text))
        stream.flush()
    if ended["cut"]:
        complain("covey: it printed more than 1 MiB: the rest was left out", "let it write into a file in the guest")
    return KILLED + int(ended["signal"]) if ended["signal"] else int(ended["status"])


@command.command(
    "set-password", examples=["covey instance set-password web1 root", "pwgen 20 1 | covey instance set-password web1 anna"]
)
@named("instance")
@click.argument("user")
@click.pass_obj
def set_password(session: Session, /, name: str, user: str) -> int:
    """Set a user's password in the guest. It is asked for, or read from the first line of standard input; it is kept nowhere. Needs
    qemu-guest-agent in the guest."""
    session.client.in_guest(name, "password", {"user": user, "password": _password(user)})
    say(f"the password of {user} in {name} is set")
    return 0


def _password(user: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"New password of {user}", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    check(line, BadInput("standard input is empty", "set-password", "give the password on its first line"))
    return line


@command.command(
    "set-ssh-keys",
    examples=["covey instance set-ssh-keys web1 root id.pub", "covey instance set-ssh-keys web1 root id.pub --reset"],
)
@named("instance")
@click.argument("user")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--reset", is_flag=True, help="Take away all other keys of the user.")
@click.pass_obj
def set_ssh_keys(session: Session, /, name: str, user: str, files: tuple[str, ...], reset: bool) -> int:
    """Let a user of the guest log in by the public keys in these files, now. Needs qemu-guest-agent in the guest."""
    keys: list[Any] = [key for file in files for key in keys_of(file)]
    session.client.in_guest(name, "ssh-keys", {"user": user, "keys": keys, "reset": reset})
    say(
        f"{user} in {name} has {len(keys)} SSH key{'' if len(keys) == 1 else 's'} more"
        if not reset
        else f"the SSH keys of {user} in {name} are set"
    )
    return 0
