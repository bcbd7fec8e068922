"""covey up: hands over to the program itself."""

from __future__ import annotations

from pathlib import Path

import click

from covey.base.config import find_file
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
        "covey up --config trial.toml",
    ],
)
@click.option("--config", metavar="FILE", help="Settings for all that is not said here. [COVEY_CONFIG; /etc/covey/covey.toml]")
@click.option("--state", metavar="DIR", help="Where it keeps everything. [COVEY_STATE; /var/lib/covey]")
@click.option("--hosts", type=click.Choice(["real", "fake"]), help="Real machines, or pretended ones. [real]")
@click.option("--netns", metavar="NAME", help="Network namespace of bridges and guests. [the machine's own]")
@click.option("--listen", metavar="HOST:PORT", help="Come in over TLS here, too. [the socket only]")
@click.pass_obj
def command(
    session: Session, /, config: str | None, state: str | None, hosts: str | None, netns: str | None, listen: str | None
) -> int:
    """Run Covey on this machine, in the foreground, until Ctrl-C. Guests run on afterwards."""
    from covey.client.door import find_door
    from covey.main import choose, up  # main stands above this floor: only this verb is the program itself, not a client of it

    directory = state or session.options.get("state") or session.environ.get("COVEY_STATE") or None
    file = find_file(config or "", session.environ)
    choices = choose(file, state=directory, hosts=hosts, netns=netns, listen=listen)
    find_door({}, {"state": str(choices.state)})  # else nobody could come in
    check(
        choices.hosts == "fake" or not choices.netns or Path("/run/netns", choices.netns).exists(),
        BadInput(
            "there is no network namespace of that name", f"--netns {choices.netns}", f"make it: ip netns add {choices.netns}"
        ),
    )
    return up(choices)
