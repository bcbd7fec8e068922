"""What a guest's UEFI remembers (boot entries, enrolled keys): kept while the instance is removed and may still come back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from covey.base.files import sync_directory
from covey.host.hypervisor.places import GuestFiles


def keep(files: GuestFiles) -> None:
    """The guest's own may go after this. A guest that has none leaves what was kept of it as it is: it was removed before."""
    if files.nvram.exists():
        files.kept_nvram.parent.mkdir(mode=0o700, exist_ok=True)
        _copy(files.nvram, files.kept_nvram)


def bring_back(files: GuestFiles) -> None:
    """A guest that has none gets what was kept of it, if anything was; that stays, should the restoring be taken back."""
    if files.kept_nvram.exists() and not files.nvram.exists():
        _copy(files.kept_nvram, files.nvram)


def forget(files: GuestFiles) -> None:
    files.kept_nvram.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """All or nothing, with owner and mode."""
    unfinished = target.with_name(f".{target.name}.new")
    shutil.copy2(source, unfinished)
    status = source.stat()
    with unfinished.open("rb") as file:
        os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fsync(file.fileno())
    unfinished.rename(target)
    sync_directory(target.parent)
