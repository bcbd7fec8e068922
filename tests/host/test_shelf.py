"""The shelf under the fakes, and calls in threads."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from covey.host.shelf import FileShelf, MemoryShelf, Shelf
from covey.host.threads import in_thread


@pytest.fixture(params=["memory", "file"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return MemoryShelf() if request.param == "memory" else FileShelf(tmp_path / "shelf")


def test_what_is_put_can_be_got_and_deleted(shelf: Shelf) -> None:
    shelf.put("volume:/srv/a b", {"size": 1})
    assert shelf.get("volume:/srv/a b") == {"size": 1}
    shelf.delete("volume:/srv/a b")
    shelf.delete("volume:/srv/a b")
    assert shelf.get("volume:/srv/a b") is None


def test_items_come_in_key_order_by_prefix(shelf: Shelf) -> None:
    for key in ("b/2", "a/1", "b/1", "b%2F3"):
        shelf.put(key, {"key": key})
    assert shelf.items("b/") == [("b/1", {"key": "b/1"}), ("b/2", {"key": "b/2"})]
    assert [key for key, _ in shelf.items()] == ["a/1", "b%2F3", "b/1", "b/2"]


def test_what_is_handed_out_is_a_copy(shelf: Shelf) -> None:
    thing = {"list": [1]}
    shelf.put("a", thing)
    thing["list"].append(2)
    got = shelf.get("a")
    assert got is not None
    got["list"].append(3)
    assert shelf.get("a") == {"list": [1]}


def test_a_file_shelf_outlives_its_object(tmp_path: Path) -> None:
    path = tmp_path / "shelf"
    first = FileShelf(path)
    first.put("a", {"size": 1})
    first.put("b", {"size": 2})
    first.put("a", {"size": 3})
    first.delete("b")
    with path.open("a") as file:
        file.write('["c",{"half')  # of a process that was killed as it wrote
    for _ in range(2):
        assert FileShelf(path).items() == [("a", {"size": 3})]


async def test_a_cancelled_caller_goes_on_only_when_the_thread_has_ended() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
