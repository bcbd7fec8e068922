"""What this machine remembers of its right to run guests (S3): on disk before it counts.

floor     no start of a lower generation is ever begun here again
expected  the one other machine that may bring the guest here while it runs, and as which start
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from covey.base.errors import Refused, check
from covey.base.files import remove_durably, write_durably
from covey.host.shelf import Shelf, Thing
from covey.model.codec import decode, encode
from covey.model.names import check_uuid


@dataclass(frozen=True, slots=True)
class Right:
    floor: int = 0
    source: str = ""  # id of the node that it is expected from; "" for none
    arrives_as: int = 0  # generation


class Rights:
    """By instance. On a FileShelf of a fake, or in files of a real machine."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def of(self, instance: str) -> Right:
        thing = self._shelf.get(_key(instance))
        return decode(Right, thing) if thing else Right()

    def raise_floor(self, instance: str, floor: int) -> None:
        """Durable when it returns."""
        right = self.of(instance)
        if floor > right.floor:
            self._keep(instance, replace(right, floor=floor))

    def expect(self, instance: str, source: str, generation: int) -> None:
        self._keep(instance, replace(self.of(instance), source=source, arrives_as=generation))

    def expect_nobody(self, instance: str) -> None:
        self._keep(instance, replace(self.of(instance), source="", arrives_as=0))

    def check_above_floor(self, instance: str, generation: int) -> None:
        """S3: raises Refused for a start that is over for ever."""
        floor = self.of(instance).floor
        check(
            generation >= floor,
            Refused(
                f"start {generation} of it is over on this machine, which begins none before {floor}",
                f"instance {instance}",
                "it was moved or stopped meanwhile: see covey instance info",
            ),
        )

    def check_expected(self, instance: str, source: str, generation: int) -> None:
        """S4: raises Refused for a guest that the leader does not let in from there."""
        right = self.of(instance)
        check(
            right.source == source and right.source and right.arrives_as == generation,
            Refused("it is not expected here from there", f"instance {instance}", "see: covey job list"),
        )
        self.check_above_floor(instance, generation)

    def _keep(self, instance: str, right: Right) -> None:
        key = _key(instance)
        if right != self.of(instance):
            self._shelf.put(key, encode(right)) if right != Right() else self._shelf.delete(key)


def _key(instance: str) -> str:
    return f"right/{check_uuid(instance, 'instance')}"


class DurableShelf:
    """A shelf of a real machine: a file a thing, each durable when `put` returns (S18)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, key: str) -> Thing | None:
        try:
            thing: Thing = json.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        return thing

    def put(self, key: str, thing: Thing) -> None:
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, json.dumps(thing).encode())

    def delete(self, key: str) -> None:
        if self._path(key).exists():
            remove_durably(self._path(key))

    def items(self, prefix: str = "") -> list[tuple[str, Thing]]:
        found = sorted(self._directory.rglob("*.json")) if self._directory.is_dir() else []
        keys = [str(path.relative_to(self._directory).with_suffix("")) for path in found]
        return [(key, thing) for key in keys if key.startswith(prefix) and (thing := self.get(key)) is not None]

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"
