"""What kind of machine a guest sees: the options that `add` and `modify` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from covey.cli.instance.files import read_text

F = TypeVar("F", bound=Callable[..., Any])
PLATFORM = ("firmware", "cpu_model", "boot", "raw_xml")
NONE = "none"  # back to what is usual


def platform_options(function: F) -> F:
    """Decorator: the options of these."""
    wrapped: Any = function
    for option in (
        click.option("--raw-xml", metavar="FILE|none", help="libvirt XML added to its domain; - is standard input."),
        click.option("--boot", metavar="A,B|none", help="Boot from these, in this order: disk, network, cdrom. [cdrom,disk]"),
        click.option(
            "--cpu-model", metavar="MODEL|none", help="host, x86-64-v2 and so on, or a name of QEMU's. [by the accelerator]"
        ),
        click.option("--firmware", type=click.Choice(["bios", "uefi"]), help="What boots it. [bios]"),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


def platform_of(wishes: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The request's fields. Raises BadInput for a file that cannot be read."""
    body: dict[str, Any] = {}
    if wishes.get("firmware"):
        body["firmware"] = wishes["firmware"]
    if wishes.get("cpu_model"):
        body["cpu_model"] = "" if wishes["cpu_model"] == NONE else wishes["cpu_model"]
    if wishes.get("boot"):
        order = wishes["boot"]
        words = order if isinstance(order, list | tuple) else str(order).split(",")
        body["boot"] = [] if words == [NONE] else [str(word).strip() for word in words]
    if wishes.get("raw_xml"):
        body["raw_xml"] = _raw_xml(str(wishes["raw_xml"]), directory)
    return body


def _raw_xml(wish: str, directory: Path) -> str:
    """The XML of a file, or the XML itself, as `cluster export` writes it."""
    if wish == NONE:
        return ""
    return wish if wish.lstrip().startswith("<") else read_text(wish, directory, "raw_xml")
