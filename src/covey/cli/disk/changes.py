"""disk add, flatten, grow, remove, restore."""

from __future__ import annotations

import click

from covey.base.errors import NotFound, require
from covey.base.units import parse_size
from covey.cli.change import carry_out
from covey.cli.disk.noun import INDEX, command
from covey.cli.session import Session
from covey.cli.verbs import RELATIVE_SIZE, SIZE, Manner, Name, changes, named


@command.command(
    "add",
    change=True,
    examples=["covey disk add web1 50G", "covey disk add web1 50G --pool ssd --format raw"],
)
@named("instance")
@click.argument("size", type=SIZE)
@click.option("--pool", metavar="POOL", help="Where it is kept. [as the cluster chooses]")
@click.option("--format", type=click.Choice(["qcow2", "raw"]), help="How it is kept. [the pool's]")
@changes
@click.pass_obj
def add(session: Session, /, name: str, size: int, pool: str | None, format: str | None, manner: Manner) -> int:
    """Give an instance one more disk."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    wish = {"size": size, "pool": pool, "format": format}
    body = {key: value for key, value in wish.items() if value is not None}
    return carry_out(session, Change("POST", path_of("instances", name, "disks"), body), manner)


@command.command("grow", change=True, examples=["covey disk grow web1 0 40G", "covey disk grow web1 0 +10G"])
@named("instance")
@click.argument("index", type=INDEX)
@click.argument("size", type=RELATIVE_SIZE)
@changes
@click.pass_obj
def grow(session: Session, /, name: str, index: int, size: int | str, manner: Manner) -> int:
    """Make a disk larger: to SIZE, or by SIZE with a + in front. Disks never shrink."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    wanted = _size_now(session, name, index) + parse_size(size[1:], "SIZE") if isinstance(size, str) else size
    return carry_out(session, Change("POST", path_of("instances", name, "disks", index, "grow"), {"size": wanted}), manner)


@command.command("flatten", change=True, examples=["covey disk flatten web1 0", "covey disk flatten web1 0 --dry-run"])
@named("instance")
@click.argument("index", type=INDEX)
@changes
@click.pass_obj
def flatten(session: Session, /, name: str, index: int, manner: Manner) -> int:
    """Make a disk independent of its image: what it reads from there is copied into it, also while the guest runs."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("instances", name, "disks", index, "flatten"), {}), manner)


def _size_now(session: Session, name: str, index: int) -> int:
    disks = session.client.get("instances", name)["disks"]
    disk = next((disk for disk in disks if disk["index"] == index), None)
    return int(require(disk, NotFound(f"it has no disk {index}", f"instance {name}", f"covey instance info {name}"))["size"])


@command.command(
    "remove",
    change=True,
    examples=["covey disk remove web1 1", "covey disk remove web1 1 --yes", "covey disk remove web1 1 --purge"],
)
@named("instance")
@click.argument("index", type=INDEX)
@click.option("--purge", is_flag=True, help="Keep nothing of it. What was removed before goes for good, too.")
@changes
@click.pass_obj
def remove(session: Session, /, name: str, index: int, purge: bool, manner: Manner) -> int:
    """Take a disk out. It is kept for 7 days (cluster modify --keep-removed): covey disk restore."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    query = {"purge": "true"} if purge else {}
    return carry_out(session, Change("DELETE", path_of("instances", name, "disks", index), query=query), manner, destructive=True)


@command.command("restore", change=True, examples=["covey disk restore web1 1", "covey disk restore web1 1 --to web2"])
@named("instance")
@click.argument("index", type=INDEX)
@click.option("--to", type=Name("instance"), help="Give it to this instance. [the one it was taken from]")
@changes
@click.pass_obj
def restore(session: Session, /, name: str, index: int, to: str | None, manner: Manner) -> int:
    """Give back a disk that was removed: with the number it had, or another one if that is taken."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    change = Change("POST", path_of("instances", name, "disks", index, "restore"), {"to": to} if to else {})
    return carry_out(session, change, manner)
