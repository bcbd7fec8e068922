"""A volume's file made of what comes from another node, continued where a cut left it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import NoSpace, Unavailable, check
from covey.base.files import write_durably
from covey.base.qcow2 import CLUSTER, Layout
from covey.base.units import humane_size
from covey.host.export.parts import Map
from covey.host.storage.protocol import Fetch
from covey.host.storage.tool import space
from covey.host.threads import in_thread
from covey.model.pool import Volume, floor_of

DURABLE_EACH = 64 * 2**20  # bytes, after which it is sure that they are there, and remembered
ATTEMPTS = 5  # in a row that bring nothing
RETRY_S = 2.0  # longer with each of them


@dataclass(frozen=True, slots=True)
class _Memo:
    """What a file in the making is a part of, and how much of the data is durable."""

    fingerprint: str
    done: int


async def bring(volume: Volume, new: Path, memo: Path, fetch: Fetch, told: Callable[[int, int], None]) -> None:
    """The file `new` holds all that `fetch` brings. Raises Unavailable when it brings nothing for a while; what came stays for the next
    call. Raises NoSpace before it begins what cannot end."""
    idle = 0
    while True:
        before = _recall(memo, new).done
        try:
            if await _attempt(volume, new, memo, fetch, told):
                return
        except Unavailable:
            idle = 0 if _recall(memo, new).done > before else idle + 1
            if idle >= ATTEMPTS:
                raise
            await asyncio.sleep(RETRY_S * idle)


async def _attempt(volume: Volume, new: Path, memo: Path, fetch: Fetch, told: Callable[[int, int], None]) -> bool:
    """One stream to its end; False when it is of another file than what is here was of: that is thrown away."""
    known = _recall(memo, new)
    async with fetch(known.done) as parts:
        map = parts.map
        if known.done and known.fingerprint != map.fingerprint.hex():
            memo.unlink(missing_ok=True)
            return False
        done = known.done
        _check_room(volume, map, done)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if done else os.O_TRUNC), 0o600)
        try:
            spans = _Spans(volume, map)
            if not done:
                await in_thread(spans.begin, descriptor)
            durable = done
            told(done, map.length)
            try:
                async for piece in parts.pieces:
                    await in_thread(spans.write, descriptor, done, piece)
                    done += len(piece)
                    told(done, map.length)
                    if done - durable >= DURABLE_EACH:
                        durable = await in_thread(_keep, descriptor, memo, map, done)
            except Unavailable:
                await in_thread(_keep, descriptor, memo, map, done)
                raise
            check(done == map.length, Unavailable(f"{done} of {map.length} bytes came", "volume"))
            await in_thread(_keep, descriptor, memo, map, done)
        finally:
            os.close(descriptor)
    return True


class _Spans:
    """Where in the file the data lies: in a raw one where the guest sees it, in a qcow2 one after the other behind the tables."""

    def __init__(self, volume: Volume, map: Map) -> None:
        self._map = map
        self._layout = Layout(map.size, list(map.data), map.zeros) if volume.format == "qcow2" else None

    def begin(self, descriptor: int) -> None:
        """All of the file but its data."""
        if self._layout is None:
            os.ftruncate(descriptor, self._map.size)
            return
        at = 0
        for piece in self._layout.tables():
            _write(descriptor, piece, at)
            at += len(piece)
        os.ftruncate(descriptor, self._layout.length)

    def write(self, descriptor: int, position: int, piece: bytes) -> None:
        """The piece at this position of the data."""
        if self._layout is not None:
            _write(descriptor, piece, self._layout.data_at + position)
            return
        for offset, at, length in self._where(position, len(piece)):
            _write(descriptor, piece[at : at + min(length, self._map.size - offset)], offset)

    def _where(self, position: int, length: int) -> Iterator[tuple[int, int, int]]:
        """For a stretch of the data: where on the disk, where in the stretch, and how long."""
        passed = 0
        for run in self._map.data:
            size = run.count * CLUSTER
            first, last = max(position, passed), min(position + length, passed + size)
            if first < last:
                yield run.first * CLUSTER + first - passed, first - position, last - first
            passed += size
            if passed >= position + length:
                return


def _write(descriptor: int, piece: bytes, at: int) -> None:
    while piece:
        written = os.pwrite(descriptor, piece, at)
        piece, at = piece[written:], at + written


def _keep(descriptor: int, memo: Path, map: Map, done: int) -> int:
    os.fdatasync(descriptor)
    write_durably(memo, json.dumps({"fingerprint": map.fingerprint.hex(), "done": done}).encode())
    return done


def _recall(memo: Path, new: Path) -> _Memo:
    try:
        return _Memo(**json.loads(memo.read_bytes())) if new.exists() else _Memo("", 0)
    except FileNotFoundError:
        return _Memo("", 0)


def _check_room(volume: Volume, map: Map, done: int) -> None:
    """What a volume holds is known only now: a copy that cannot end is not begun. Raises NoSpace."""
    room = space(volume.place)
    needed = (map.size if volume.format == "raw" else map.length) - done
    floor = floor_of(room.size)
    check(
        room.free - needed >= floor or not needed,
        NoSpace(
            f"no space for volume {volume.id}: {humane_size(needed)} needed, {humane_size(room.free)} free of which {humane_size(floor)} "
            "must stay so",
            volume.place.path,
            "free some, or move it elsewhere",
        ),
    )
