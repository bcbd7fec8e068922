"""The store of this machine moves to etcd, and back: a small state machine in a file (S16), which may be killed at any point.

`store/moving.json` says what is under way, from before the first record is copied until the last trace is gone. Whether a move counts is said
by the tombstone in the old store, and by nothing else: without it what was copied is thrown away, with it the move is finished.

To etcd:  file, seat (etcd starts, empty) | the leader ends | copy, compare | TOMBSTONE in SQLite | etcd.json | file goes
Back:     file | the leader ends | copy to moving.db, compare | TOMBSTONE in etcd | moving.db is covey.db | etcd goes | file goes
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from covey.agent.membership import read_membership
from covey.agent.place import Place, Shared, drop_member, drop_share, ensure_certificates, read_shared, seat_member, write_shared
from covey.base.clock import Clock
from covey.base.errors import Refused, Unavailable
from covey.base.files import remove_durably, sync_directory, write_durably
from covey.base.identity import CertificateFiles
from covey.main.layout import Layout, node_id
from covey.model.sharing import CLIENTS, MEMBERS, Seat, beside
from covey.store.moving import buried_by, bury, copy
from covey.store.protocol import Store
from covey.store.sqlite import SqliteStore

TO_ETCD, TO_SQLITE = "etcd", "sqlite"
STARTS_WITHIN_S = 60.0
ASK_AGAIN_S = 0.2
Reached = Callable[[str], None]  # told of each point that a move comes to; tests are killed there
OpenEtcd = Callable[[Shared], Awaitable[Store]]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Move:
    """What the file says. `agent` is where this node's agent listens. `is_buried`: the tombstone is known to be there."""

    id: str
    to: str
    agent: str
    is_buried: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """Of the store, in one directory."""

    directory: Path

    @property
    def move(self) -> Path:
        return self.directory / "moving.json"

    @property
    def copy(self) -> Path:
        return self.directory / "moving.db"

    @property
    def place(self) -> Place:
        return Place(self.directory)


def _nothing(point: str) -> None:
    return


async def open_etcd(shared: Shared, clock: Clock) -> Store:
    """Raises Unavailable."""
    from covey.store.etcd import EtcdStore  # a single machine needs neither it nor the memory that gRPC takes

    return await EtcdStore.open(shared.endpoints, shared.files, clock)


# --- to etcd -----------------------------------------------------------------------------------------------------------------------
async def prepare_etcd(layout: Layout, agent: str, clock: Clock, reached: Reached = _nothing) -> Move:
    """A first member of etcd has its seat on this machine, and starts, without a record in it."""
    files = Files(layout.store.parent)
    move = Move(uuid.uuid4().hex, TO_ETCD, agent)
    _write(files, move)
    reached("begun")
    drop_member(files.place)
    ensure_certificates(files.place, agent, node_id(layout), clock)
    seat_member(files.place, agent, Seat(move.id, f"{move.id}=https://{beside(agent, MEMBERS)}", is_first=True))
    reached("seated")
    return move


async def await_etcd(layout: Layout, move: Move, clock: Clock, opening: OpenEtcd | None = None) -> Store:
    """etcd, as soon as it answers. Raises Unavailable when it does not begin."""
    shared = _shared_of(layout, move)
    deadline = clock.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            return await (opening(shared) if opening else open_etcd(shared, clock))
        except Unavailable:
            if clock.monotonic() > deadline:
                raise
            await clock.sleep(ASK_AGAIN_S)


async def move_to_etcd(layout: Layout, source: Store, target: Store, move: Move, reached: Reached = _nothing) -> int:
    """All records are in etcd, and SQLite opens no more. Nobody else writes to either; returns the number of records. Raises CoveyError
    when it cannot be done: `settle_move` clears up."""
    written = await copy(source, target)
    reached("copied")
    await bury(source, move.id, "etcd")
    reached("buried")
    _finish_to_etcd(Files(layout.store.parent), move, reached)
    return written


def _finish_to_etcd(files: Files, move: Move, reached: Reached) -> None:
    write_shared(files.place, move.agent, (beside(move.agent, CLIENTS),))
    reached("pointed")
    if files.place.home.exists():
        remove_durably(files.place.home)
    remove_durably(files.move)
    reached("done")


def _shared_of(layout: Layout, move: Move) -> Shared:
    directory = Place(layout.store.parent).directory
    files = CertificateFiles(directory / "client.pem", directory / "client.key", directory / "ca.pem")
    return Shared((beside(move.agent, CLIENTS),), files, "")


# --- and back ----------------------------------------------------------------------------------------------------------------------
async def move_to_sqlite(layout: Layout, source: Store, clock: Clock, reached: Reached = _nothing) -> int:
    """All records are this machine's own again; etcd's are for nobody. As `move_to_etcd`."""
    files = Files(layout.store.parent)
    move = Move(uuid.uuid4().hex, TO_SQLITE, "")
    _write(files, move)
    reached("begun")
    _discard_copy(files)
    target = await SqliteStore.open(files.copy, clock)
    try:
        written = await copy(source, target)
    finally:
        await target.close()  # which carries all of it over into the one file
    reached("copied")
    await bury(source, move.id, "the machine that is left")
    reached("buried")
    _finish_to_sqlite(layout, move, reached)
    return written


def _finish_to_sqlite(layout: Layout, move: Move, reached: Reached) -> None:
    files = Files(layout.store.parent)
    _write(files, replace(move, is_buried=True))  # etcd cannot be asked again for long
    membership = read_membership(layout.identity)
    if membership:
        write_durably(files.place.home, membership.cluster.encode())
    reached("noted")
    if files.copy.exists():
        for left in ("-wal", "-shm"):
            layout.store.with_name(layout.store.name + left).unlink(missing_ok=True)
        files.copy.rename(layout.store)
        sync_directory(files.directory)
    reached("renamed")
    _discard_copy(files)
    drop_share(files.place)
    reached("dropped")
    remove_durably(files.move)
    reached("done")


def set_aside(layout: Layout) -> None:
    """What the machine kept of a cluster that it has left is not read again."""
    for end in ("-wal", "-shm"):
        layout.store.with_name(layout.store.name + end).unlink(missing_ok=True)
    layout.store.rename(layout.store.with_name(f"{layout.store.name}.moved"))
    sync_directory(layout.store.parent)


def _discard_copy(files: Files) -> None:
    for left in ("", "-wal", "-shm", ".lock", ".reserve"):
        files.copy.with_name(files.copy.name + left).unlink(missing_ok=True)
    sync_directory(files.directory)


# --- after a crash -----------------------------------------------------------------------------------------------------------------
async def settle_move(layout: Layout, clock: Clock, opening: OpenEtcd | None = None) -> None:
    """Finish a move that was cut off behind its commit point, and throw away what another one has copied. Raises Unavailable while etcd
    does not say which of the two it is."""
    files = Files(layout.store.parent)
    move = read_move(layout)
    if move is None:
        return
    counts = move.is_buried or await (
        _is_buried_in_sqlite(layout, move, clock) if move.to == TO_ETCD else _is_buried_in_etcd(files, move, clock, opening)
    )
    if counts and move.to == TO_ETCD:
        _finish_to_etcd(files, move, _nothing)
    elif counts:
        _finish_to_sqlite(layout, move, _nothing)
    else:
        if move.to == TO_ETCD:
            drop_share(files.place)
        _discard_copy(files)
        remove_durably(files.move)
    log.info("a move of the store was cut off", to=move.to, now="finished" if counts else "discarded")


def discard_move(layout: Layout) -> None:
    """Nothing is left of a move to etcd that has not got beyond its beginning: SQLite is open, and counts."""
    files = Files(layout.store.parent)
    drop_share(files.place)
    if files.move.exists():
        remove_durably(files.move)


async def _is_buried_in_sqlite(layout: Layout, move: Move, clock: Clock) -> bool:
    store = await SqliteStore.open(layout.store, clock)
    try:
        return await buried_by(store) == move.id
    finally:
        await store.close()


async def _is_buried_in_etcd(files: Files, move: Move, clock: Clock, opening: OpenEtcd | None) -> bool:
    shared = read_shared(files.place.pointer)
    if shared is None or not files.copy.exists():
        return False  # nothing was copied yet
    store = await (opening(shared) if opening else open_etcd(shared, clock))
    try:
        return await buried_by(store) == move.id
    finally:
        await store.close()


def _write(files: Files, move: Move) -> None:
    write_durably(files.move, json.dumps(asdict(move)).encode())


def read_move(layout: Layout) -> Move | None:
    """What is under way. Raises Refused for a file that makes no sense."""
    path = Files(layout.store.parent).move
    if not path.exists():
        return None
    try:
        return Move(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise Refused(f"it does not say what is moved: {error!r}", str(path), "restore it from a backup") from error
