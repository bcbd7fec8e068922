"""The controller's program: it finds out where the records are, takes part in the cluster while they are there, and goes along when they
move. Its doors stay: who comes meanwhile waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import structlog

from covey.agent.membership import read_membership
from covey.agent.place import Place, Shared, is_home, read_shared
from covey.api.listen import Doorways
from covey.base.clock import Clock, SystemClock
from covey.base.errors import CoveyError, Unavailable
from covey.base.notify import tell_systemd
from covey.main.layout import Choices, Layout
from covey.main.lost import check_not_lost
from covey.main.moving import Move, move_to_etcd, move_to_sqlite, set_aside, settle_move
from covey.main.part import InEtcd, Over, take_part
from covey.store.moving import buried_by, check_not_moved
from covey.store.protocol import Store, Unmet
from covey.store.schema import ensure_current
from covey.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from covey.store.etcd import EtcdStore  # a single machine needs neither it nor the memory that gRPC takes

ASK_AGAIN_S = 0.5  # etcd, which may be starting just as we are
LOOK_S = 0.5
logger = structlog.get_logger()


async def run_controller(choices: Choices) -> None:
    """Take part in the cluster whose store this machine shares; else lead its own, until the machine joins another's."""
    layout, clock = choices.layout, SystemClock()
    doorways = Doorways()
    has_failed = False  # a move, just now: the next one is not begun at once
    try:
        while True:
            await _settled(layout, clock)
            shared = read_shared(layout.shared_store)
            if shared:
                has_failed = not await _work_in_etcd(choices, shared, doorways, has_failed, clock)
            elif _is_led_elsewhere(layout) or (_is_member(layout) and await _has_moved(layout, clock)):
                doorways.close()  # nobody is to wait there
                await stand_aside(layout, clock)
            else:
                has_failed = not await _work_alone(choices, doorways, has_failed, clock)
    finally:
        doorways.close()


async def _settled(layout: Layout, clock: Clock) -> None:
    """No move of the store is under way."""
    while True:
        try:
            await settle_move(layout, clock)
        except Unavailable as error:
            logger.warning("etcd does not say whether the records have left it; asking again", error=str(error))
            await clock.sleep(ASK_AGAIN_S)
        else:
            return


def _is_member(layout: Layout) -> bool:
    return read_membership(layout.identity) is not None


def _is_led_elsewhere(layout: Layout) -> bool:
    """Whether it is a node of a cluster whose records are neither here by origin, nor have come home to it."""
    membership = read_membership(layout.identity)
    if membership is None or membership.is_first:
        return False
    return not is_home(Place(layout.store.parent), membership.cluster)


async def _has_moved(layout: Layout, clock: Clock) -> bool:
    """Whether the records that were here have gone elsewhere: then this machine was taken out of its cluster."""
    if not layout.store.exists():
        return False
    store = await SqliteStore.open(layout.store, clock)
    try:
        return bool(await buried_by(store))
    finally:
        await store.close()


async def stand_aside(layout: Layout, clock: Clock) -> None:
    """While the machine is a node of a cluster that is led elsewhere, and has no part of its store, there is nothing to do here."""
    membership = read_membership(layout.identity)
    if membership:
        logger.info("led from elsewhere", membership=str(membership), doors=list(membership.doors))
        tell_systemd("READY=1", f"STATUS={membership}, led from {', '.join(membership.doors)}")
    while _is_member(layout) and not layout.shared_store.exists():
        await clock.sleep(LOOK_S)


# --- the records are this machine's own ---------------------------------------------------------------------------------------------
async def _work_alone(choices: Choices, doorways: Doorways, is_patient: bool, clock: Clock) -> bool:
    """Until the machine joins another's cluster, or the records are in etcd. False when they were to move, and could not."""
    layout = choices.layout
    if not _is_member(layout) and await _has_moved(layout, clock):
        set_aside(layout)  # it has left that cluster
    store = await SqliteStore.open(layout.store, clock)
    try:
        await check_not_moved(store, str(layout.store))
        await check_not_lost(store, layout)
        await ensure_current(store)
        over = Over(is_patient=is_patient)
        async with _watching(over, lambda: _is_led_elsewhere(layout), clock):
            await take_part(store, clock, choices, None, over, doorways, lambda: store.reserve_used)
        return not over.etcd or await _carry_to_etcd(layout, store, *over.etcd, clock)
    finally:
        await store.close()


async def _carry_to_etcd(layout: Layout, store: Store, move: Move, etcd: Store, clock: Clock) -> bool:
    """Writes are paused from before this until somebody leads again. What went wrong is settled when the store is opened anew."""
    began = clock.monotonic()
    try:
        records = await move_to_etcd(layout, store, etcd, move)
    except CoveyError as error:
        logger.warning("the records could not be moved to etcd", error=str(error))
        return False
    finally:
        await etcd.close()
    logger.info("the records are in etcd", records=records, seconds=round(clock.monotonic() - began, 3))
    return True


# --- several machines share them ----------------------------------------------------------------------------------------------------
async def _work_in_etcd(choices: Choices, shared: Shared, doorways: Doorways, is_patient: bool, clock: Clock) -> bool:
    """Until this machine has no part of them any more, or has them for itself. False when they were to move, and could not."""
    layout = choices.layout
    seat = Place(layout.store.parent).present_data
    store = await _open_etcd(shared, layout, clock)
    if store is None:
        return True
    try:
        over = Over(is_patient=is_patient)
        async with _watching(over, lambda: _is_elsewhere(layout, shared, store, seat), clock):
            await take_part(store, clock, choices, InEtcd(shared, store), over, doorways)
        return not over.comes_home or await _carry_home(layout, store, clock)
    finally:
        await store.close()


async def _carry_home(layout: Layout, store: Store, clock: Clock) -> bool:
    began = clock.monotonic()
    try:
        records = await move_to_sqlite(layout, store, clock)
    except CoveyError as error:
        logger.warning("the records could not be moved out of etcd", error=str(error))
        return False
    logger.info("the records are this machine's own", records=records, seconds=round(clock.monotonic() - began, 3))
    return True


async def _open_etcd(shared: Shared, layout: Layout, clock: Clock) -> EtcdStore | None:
    """The store of all, as soon as it answers; None when it is to be looked for elsewhere by then."""
    from covey.store.etcd import EtcdStore

    while read_shared(layout.shared_store) == shared:
        try:
            store = await EtcdStore.open(shared.endpoints, shared.files, clock)
            try:
                await check_not_moved(store, "etcd")
                await check_not_lost(store, layout)
                await ensure_current(store)
            except BaseException:
                await store.close()
                raise
            return store
        except Unmet:
            continue  # another controller does the same
        except Unavailable as error:
            logger.warning("etcd does not answer; asking again", error=str(error))
            await clock.sleep(ASK_AGAIN_S)
    return None


def _is_elsewhere(layout: Layout, shared: Shared, store: EtcdStore, seat: str) -> bool:
    """Whether what the machine was told of etcd is another thing by now. That members came or went is none; that its own `seat` is another
    one is: it was a member of an etcd that is no more, and what that said counts no more."""
    if seat and Place(layout.store.parent).present_data not in ("", seat):
        return True
    told = read_shared(layout.shared_store)
    if told and told != shared and (told.files, told.controllers) == (shared.files, shared.controllers):
        store.be_with(told.endpoints)
    return told is None or (told.files, told.controllers) != (shared.files, shared.controllers)


@contextlib.asynccontextmanager
async def _watching(over: Over, is_over: Callable[[], bool], clock: Clock) -> AsyncIterator[None]:
    """`over` is set as soon as `is_over`."""

    async def look() -> None:
        while not is_over():
            await clock.sleep(LOOK_S)
        over.set()

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
