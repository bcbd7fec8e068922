"""What file systems say, as our errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey.base.errors import NoSpace, Unavailable

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def told_apart(directory: Path, what: str) -> Iterator[None]:
    """A full disk is NoSpace (for `what`), another fault of the file system Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace(f"no space left for {what}", directory, "remove what is not needed, or enlarge it") from error
        raise Unavailable(f"the file system answers: {error}", directory, "look at its mount and the kernel's log") from error
