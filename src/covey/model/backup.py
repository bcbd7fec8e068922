"""Backups of the records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backup:
    """The last backup that Covey made by itself or by `covey cluster backup`, and the last that failed. A record. `node` (id) has the file."""

    made_at: float = 0.0
    node: str = ""
    file: str = ""
    size: int = 0  # bytes
    failed_at: float = 0.0  # 0 when nothing has failed since
    error: str = ""
    id: str = "last"

    def __str__(self) -> str:
        return "the backup of the records"
