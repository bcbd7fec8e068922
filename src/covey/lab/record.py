"""What is kept of a lab on disk, and the lock of whoever changes it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey.base.errors import BadInput, NotFound
from covey.base.files import write_durably
from covey.lab.layout import Cut, Lab

_FILE = "lab.json"


def find_lab(name: str, parent: Path) -> Lab | None:
    """The lab as it was recorded; None where there is none, or none whose making got as far as that."""
    try:
        told = json.loads((parent / name / _FILE).read_text())
        return Lab(name, parent, told["nodes"], told["accelerator"], frozenset(Cut(*cut) for cut in told["cuts"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{parent / name / _FILE} is not understood", f"lab {name}", "covey lab down removes it") from error


def load_lab(name: str, parent: Path) -> Lab:
    """Raises NotFound, with the names of those that are there."""
    lab = find_lab(name, parent)
    if lab:
        return lab
    others = sorted(path.parent.name for path in parent.glob(f"*/{_FILE}"))
    hint = f"there are: {', '.join(others)}" if others else "make it: covey lab up"
    raise NotFound(f"there is no such lab below {parent}", f"lab {name}", hint)


def save_lab(lab: Lab) -> None:
    told = {"nodes": lab.count, "accelerator": lab.accelerator, "cuts": [[c.segment, c.node, c.peer] for c in sorted(lab.cuts)]}
    write_durably(lab.directory / _FILE, json.dumps(told, indent=2).encode() + b"\n", 0o644)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One command at a time changes a lab. The lock is on the directory itself: nothing of it can stay behind. Others wait."""
    descriptor = _locked(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(directory: Path) -> int:
    while True:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), directory.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # whoever had the lock removed the lab
        os.close(descriptor)
