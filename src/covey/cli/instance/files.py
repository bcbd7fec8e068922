"""Files that options name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput


def read_text(file: Any, directory: Path, what: str) -> str:
    """A text file, or standard input for "-". Raises BadInput when it cannot be read as UTF-8 text."""
    try:
        return sys.stdin.read() if file == "-" else (directory / Path(str(file)).expanduser()).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", f"{what} {file}", "name a readable file") from error
    except ValueError as error:
        raise BadInput("is not UTF-8 text", f"{what} {file}", "name another file") from error
