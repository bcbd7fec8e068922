"""A store that is empty where Covey has worked is not taken for a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from covey.base.errors import Refused
from covey.controller.lead import take_leadership
from covey.main.layout import Layout, prepare
from covey.main.lost import check_not_lost
from covey.store.memory import MemoryData, MemoryStore
from tests.kit.virtual import in_virtual_time, virtual_clock


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    prepare(layout)
    return layout


def guest(layout: Layout) -> None:
    (layout.guests / "5f3c1f0e-0000-4000-8000-000000000001").mkdir()


def volume(layout: Layout) -> None:
    (layout.pool / "volumes").mkdir(parents=True)
    (layout.pool / "volumes" / "5f3c1f0e-0000-4000-8000-000000000001.raw.tag").write_text("{}")


def leader(layout: Layout) -> None:
    (layout.agent / "epoch.json").write_text("[1, 7]")


@in_virtual_time
async def test_a_new_store_in_a_new_directory_is_well(layout: Layout) -> None:
    await check_not_lost(MemoryStore(MemoryData(), virtual_clock()), layout)


@pytest.mark.parametrize(("leave", "words"), [(guest, "1 guests"), (volume, "1 volumes"), (leader, "remembers a leader")])
@in_virtual_time
async def test_an_empty_store_beside_what_covey_made_is_refused_with_the_way_out(
    layout: Layout, leave: Callable[[Layout], None], words: str
) -> None:
    leave(layout)
    with pytest.raises(Refused, match=words) as refused:
        await check_not_lost(MemoryStore(MemoryData(), virtual_clock()), layout)
    assert "another --state" in refused.value.hint


@in_virtual_time
async def test_a_store_that_was_led_is_its_own_proof(layout: Layout) -> None:
    guest(layout)
    leader(layout)
    store = MemoryStore(MemoryData(), virtual_clock())
    await take_leadership(store, virtual_clock(), "n1")
    await check_not_lost(store, layout)
