"""covey up: hands over to the program itself."""

from __future__ import annotations

from pathlib import Path

import click

from covey.base.errors import BadInput, check
from covey.cli.session import Session
from covey.cli.verbs import Verb


@click.command(
    "up",
    cls=Verb,
    examples=[
        "covey up",
        "covey up --state /srv/covey --listen 0.0.0.0:7443",
        "covey up --state /tmp/trial --hosts fake",
    ],
)
@click.option("--state", metavar="DIR", help="Where it keeps everything. [COVEY_STATE; /var/lib/covey]")
@click.option("--hosts", type=click.Choice(["real", "fake"]), default="real", help="Real machines, or pretended ones. [real]")
@click.option("--netns", metavar="NAME", default="", help="Network namespace of bridges and guests. [the machine's own]")
@click.option("--listen", metavar="HOST:PORT", default="", help="Come in over TLS here, too. [the socket only]")
@click.pass_obj
def command(session: Session, /, state: str | None, hosts: str, netns: str, listen: str) -> int:
    """Run Covey on this machine, in the foreground, until Ctrl-C. Guests run on afterwards."""
    from covey.client.door import DEFAULT_STATE, find_door
    from covey.main import up  # main stands above this floor: only this verb is the program itself, not a client of it

    directory = state or session.options.get("state") or session.environ.get("COVEY_STATE") or DEFAULT_STATE
    find_door({}, {"state": str(Path(directory).absolute())})  # else nobody could come in
    check(
        hosts == "fake" or not netns or Path("/run/netns", netns).exists(),
        BadInput("there is no network namespace of that name", f"--netns {netns}", f"make it: ip netns add {netns}"),
    )
    return up(directory, hosts, netns, listen)
