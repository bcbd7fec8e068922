"""instance add: one by options, many by a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.change import carry_out
from covey.cli.instance.noun import command
from covey.cli.instance.platform import platform_options
from covey.cli.instance.wishes import body_of
from covey.cli.session import Session
from covey.cli.verbs import DURATION, SIZE, Manner, Number, changes, named


@command.command(
    "add",
    change=True,
    examples=[
        "covey instance add web1 --image debian-12 --memory 2G --cpus 2 --disk 20G",
        "covey instance add db1 --image debian-12 --disk 20G --disk 100G,pool=hdd",
        "covey instance add web2 --image debian-12 --ssh-key id.pub --wait ready",
        "covey instance add old1 --iso rescue --disk 8G --nic none --no-start",
        "covey instance add -f many.yaml",
    ],
)
@named("instance", required=False)
@click.option("-f", "--file", metavar="FILE", help="Add many: a YAML list, a mapping each (see above). - is standard input.")
@click.option("--node", metavar="NODE", help="Where it is to be. [where most memory is free]")
@click.option("--cpus", type=Number(1), metavar="N", help="Processors. [the cluster's default]")
@click.option("--memory", type=SIZE, help="Memory. [the cluster's default]")
@click.option("--max-cpus", type=Number(1), metavar="N", help="Up to how many CPUs it can grow while it runs. [no growth]")
@click.option("--max-memory", type=SIZE, help="Up to how much memory it can grow while it runs. [no growth]")
@click.option("--machine", metavar="TYPE", help="Its machine type, such as pc-q35-7.2. [the cluster's default]")
@platform_options
@click.option("--image", metavar="IMAGE", help="Golden image that its first disk is made from.")
@click.option("--iso", metavar="IMAGE", help="Image in its CD-ROM drive.")
@click.option(
    "--disk",
    multiple=True,
    metavar="DISK",
    help="SIZE[,pool=POOL][,format=qcow2|raw]; repeatable. [one as large as the image, none without an image]",
)
@click.option("--network", multiple=True, metavar="NET", help="A NIC on this network; repeatable. [the only one, or default]")
@click.option(
    "--nic",
    multiple=True,
    metavar="NIC",
    help="NET[,mac=MAC][,address=auto|none|IPV4][,address6=auto|none|IPV6]; repeatable. `none` alone: no NIC at all.",
)
@click.option("--firewall", multiple=True, metavar="FIREWALL", help="A firewall that all its NICs have; repeatable.")
@click.option("--uuid", metavar="UUID", help="Its UUID. [drawn]")
@click.option("--ssh-key", multiple=True, metavar="FILE", help="Public keys that may log in as root; repeatable.")
@click.option("--user-data", metavar="FILE", help="cloud-init user-data; - is standard input. Kept as a secret.")
@click.option("--tag", multiple=True, metavar="TAG", help="A tag; repeatable.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@click.option("--owner", metavar="TEXT", help="Whose it is.")
@click.option("--protected", is_flag=True, help="Refuse to remove it, its disks, or what is on them.")
@click.option("--no-start", is_flag=True, help="Make it, but do not start it.")
@click.option("--wait", type=click.Choice(["ready"]), help="Done only when the guest reports that it is ready.")
@click.option("--timeout", type=DURATION, help="How long it may take to become ready. [10m]")
@changes
@click.pass_obj
def add(session: Session, /, name: str | None, file: str | None, manner: Manner, no_start: bool, **wishes: Any) -> int:
    """Make an instance and start it.

    A file for -f holds a YAML list with a mapping for each instance. Its keys are the options of this page without dashes in front (name, node,
    cpus, memory, max-cpus, max-memory, machine, firmware, cpu-model, boot, raw-xml, image, iso, disk, network, nic, firewall, uuid, ssh-key, user-data, tag, notes, owner, protected, start, wait, timeout); what may be repeated here
    is a list there. All are checked before the first is made: one bad entry, and none is.
    """
    if file is not None:
        given = [key for key, value in {**wishes, "no_start": no_start, "name": name}.items() if value]
        check(not given, BadInput("everything is said in the file", f"--file with {given[0] if given else ''}", "leave one out"))
        from covey.cli.instance.many import add_many

        return add_many(session, file, manner)
    check(name, BadInput("the name is missing", "instance add", "covey instance add NAME, or -f FILE for many"))
    from covey.client.client import Change

    body = body_of({**wishes, "name": name, "start": not no_start}, Path())
    return carry_out(session, Change("POST", "/v1/instances", body), manner)
