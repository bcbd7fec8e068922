"""The shape of a virtual machine: what a run keeps of its definition until it ends, and what of it can change while it runs.

A record says what an instance shall be, its node says what the run under way is. Where they differ, something is *pending*: it takes
effect at the next start, and until then is shown as a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from covey.base.units import humane_size


@dataclass(frozen=True, slots=True)
class Shape:
    """`max_cpus` and `max_memory` are up to where the running guest can grow, 0 for no further than it began with."""

    cpus: int
    memory: int  # bytes
    machine: str
    max_cpus: int = 0
    max_memory: int = 0  # bytes
    firmware: str = "bios"
    cpu_model: str = ""
    boot: tuple[str, ...] = ()
    iso: str = ""  # id of the image in its CD-ROM drive
    raw_xml: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """One difference: `field` is `now` so in the run under way, and will be `then` in the next; both in people's words."""

    field: str
    now: str
    then: str

    @property
    def sentence(self) -> str:
        return f"{self.field.replace('_', ' ')} {self.then}"


def shape_of(thing: Any) -> Shape:
    """The shape that an Instance or a Domain describes: its fields of the same names."""
    return Shape(**{field.name: getattr(thing, field.name) for field in fields(Shape)})


def pending(wanted: Shape, has: Shape) -> tuple[Pending, ...]:
    """What the next run will have otherwise than the run that is `has`."""
    found = []
    for field in fields(Shape):
        then, now = getattr(wanted, field.name), getattr(has, field.name)
        if then != now:
            say = WORDS.get(field.name, str)
            found.append(Pending(field.name, say(now), say(then)))
    return tuple(found)


def at_once(has: Shape, wanted: Shape) -> Shape:
    """What a run that is `has` can become without a new start on the way to `wanted`. CPUs come while there is room for them and never
    go; memory comes and goes by the guest's leave; an ISO is changed or taken out of a drive that holds one."""
    iso = wanted.iso if has.iso else ""  # a drive that is not there cannot be put in
    cpus = wanted.cpus if has.cpus < wanted.cpus <= max(has.cpus, has.max_cpus) else has.cpus
    memory = wanted.memory if wanted.memory <= max(has.memory, has.max_memory) else has.memory
    return replace(has, cpus=cpus, memory=memory, iso=iso)


def _most(render: Callable[[int], str]) -> Callable[[int], str]:
    return lambda value: render(value) if value else "none"


WORDS: dict[str, Callable[[Any], str]] = {
    "memory": humane_size,
    "max_memory": _most(humane_size),
    "max_cpus": _most(str),
    "cpu_model": lambda model: model or "the usual one",
    "boot": lambda order: ",".join(order) or "as usual",
    "iso": lambda image: image or "none",
    "raw_xml": lambda text: f"of {len(text.splitlines())} lines" if text else "none",
}
