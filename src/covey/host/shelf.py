"""Where a fake host keeps what it pretends to have: small JSON objects by key.

A fake that stands on a FileShelf survives the death of the agent's process, as a real disk or a real guest does;
one on a MemoryShelf lives as long as the object.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any, Protocol

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


class FileShelf:
    """A shelf in one file of JSON lines, the last word on a key counts: `[key, thing]`, or `[key]` for what is gone. A killed process
    leaves each thing old or new; a power cut may lose some (no fsync: a fake does not claim to outlive the machine). One process at a
    time writes it."""

    def __init__(self, path: Path) -> None:
        self._texts: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._load(path.read_text())
        self._rewrite(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def get(self, key: str) -> Thing | None:
        text = self._texts.get(key)
        return None if text is None else _parse(text)

    def put(self, key: str, thing: Thing) -> None:
        text = json.dumps(thing)
        os.write(self._file, f"[{json.dumps(key)},{text}]\n".encode())
        self._texts[key] = text

    def delete(self, key: str) -> None:
        if self._texts.pop(key, None) is not None:
            os.write(self._file, f"[{json.dumps(key)}]\n".encode())

    def items(self, prefix: str = "") -> list[tuple[str, Thing]]:
        return [(key, _parse(text)) for key, text in sorted(self._texts.items()) if key.startswith(prefix)]

    def _load(self, text: str) -> None:
        whole, _, _ = text.rpartition("\n")  # a line without an end is of a process that was killed as it wrote it
        for line in whole.splitlines():
            key, *thing = json.loads(line)
            self._texts.pop(key, None)
            if thing:
                self._texts[key] = json.dumps(thing[0])

    def _rewrite(self, path: Path) -> None:
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text("".join(f"[{json.dumps(key)},{text}]\n" for key, text in self._texts.items()))
        temporary.rename(path)


def _parse(text: str) -> Thing:
    thing: Thing = json.loads(text)
    return thing
