"""Where a fake host keeps what it pretends to have: small JSON objects by key.

A fake that stands on a DirectoryShelf survives the death of the agent's process, as a real disk or a real guest does;
one on a MemoryShelf lives as long as the object.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

Thing = dict[str, Any]  # plain JSON


class Shelf(Protocol):
    """Keys are any text; what is handed out or taken in is a copy: changing it changes nothing on the shelf."""

    def get(self, key: str) -> Thing | None: ...

    def put(self, key: str, thing: Thing) -> None: ...

    def delete(self, key: str) -> None:
        """Deleting an absent key is no change."""
        ...

    def items(self, prefix: str = "") -> list[tuple[str, Thing]]:
        """Everything whose key begins with `prefix`, in key order."""
        ...


class MemoryShelf:
    """A shelf for one process: text within, so that nothing but JSON gets in and nobody shares an object."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def get(self, key: str) -> Thing | None:
        text = self._texts.get(key)
        return None if text is None else _parse(text)

    def put(self, key: str, thing: Thing) -> None:
        self._texts[key] = json.dumps(thing)

    def delete(self, key: str) -> None:
        self._texts.pop(key, None)

    def items(self, prefix: str = "") -> list[tuple[str, Thing]]:
        return [(key, _parse(text)) for key, text in sorted(self._texts.items()) if key.startswith(prefix)]


class DirectoryShelf:
    """A shelf of one small file a thing. A killed process leaves each thing old or new; a power cut may lose some (no
    fsync: a fake does not claim to outlive the machine). One process at a time writes it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Thing | None:
        try:
            return _parse(self._path(key).read_text())
        except FileNotFoundError:
            return None

    def put(self, key: str, thing: Thing) -> None:
        path = self._path(key)
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123  (half the time of pathlib's)
            file.write(json.dumps(thing))
        os.rename(temporary, path)  # noqa: PTH104

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def items(self, prefix: str = "") -> list[tuple[str, Thing]]:
        keys = sorted(unquote(path.name.removesuffix(".json")) for path in self._directory.glob("*.json"))
        return [(key, thing) for key in keys if key.startswith(prefix) and (thing := self.get(key)) is not None]

    def _path(self, key: str) -> Path:
        return self._directory / f"{quote(key, safe='')}.json"


def _parse(text: str) -> Thing:
    thing: Thing = json.loads(text)
    return thing
