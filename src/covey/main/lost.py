"""A store that is empty where Covey has worked before: its file was deleted, or emptied. To begin anew beside what runs would be wrong."""

from __future__ import annotations

from covey.base.errors import Refused, check
from covey.main.layout import Layout
from covey.model import record as records
from covey.store.protocol import Store


async def check_not_lost(store: Store, layout: Layout) -> None:
    """Raises Refused, with the way out, for a store that nobody has ever led, in a state directory where somebody has."""
    if await store.get(records.key("leadership", "leader")) is not None:
        return
    left = describe_left(layout)
    check(
        not left,
        Refused(
            f"the store is empty, but Covey has worked here: {left}",
            str(layout.store),
            f"covey cluster restore FILE, with the latest in {layout.backups}; or begin anew with another --state; guests run on as they are",
        ),
    )


def describe_left(layout: Layout) -> str:
    """What of an earlier life is below a state directory, in words; "" for nothing."""
    guests = len(list(layout.guests.iterdir())) if layout.guests.is_dir() else 0
    volumes = len(list(layout.pool.glob("volumes/*.tag")))
    parts = (
        (guests, f"{guests} guests in {layout.guests}"),
        (volumes, f"{volumes} volumes in {layout.pool}"),
        ((layout.agent / "epoch.json").exists(), "its agent remembers a leader"),
    )
    return ", ".join(words for is_there, words in parts if is_there)
