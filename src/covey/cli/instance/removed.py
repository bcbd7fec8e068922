"""instance list --removed: what was removed and may come back."""

from __future__ import annotations

from typing import Any

from covey.cli.lists import show_list
from covey.cli.session import Session
from covey.cli.text import NONE, Column, plain, plural, size, sized, timed
from covey.cli.verbs import Look

COLUMNS = (
    plain("name"),
    plain("what"),
    plain("disk", right=True),
    plain("node"),
    plain("disks", right=True),
    sized("size"),
    sized("used"),
    timed("removed", "removed_at"),
    timed("kept_until", "keep_until_at"),
    plain("by"),
    Column("reason", ("reason",), lambda item, now: item["reason"] or NONE),
    plain("addresses"),
    plain("id"),
)
SHOWN = ("name", "what", "disk", "used", "removed", "kept_until", "by")


def show_removed(session: Session, look: Look) -> None:
    show_list(session, "removed", look, COLUMNS, SHOWN, "removed thing", _footer, latest="removed_at")


def _footer(items: list[dict[str, Any]]) -> str:
    """2 removed things take 3.1G"""
    counted = plural(len(items), "removed thing")
    return f"{counted}, {size(sum(item['used'] for item in items))} used" if all("used" in item for item in items) else counted
