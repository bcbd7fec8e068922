"""`covey cluster recover`: most machines that had the records are lost. What this one's member of etcd has of them is read, and becomes
its own records, in a new incarnation (S13, S14). The others' members are of the past: their machines can only be given the records anew."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from covey.agent.place import Place, Shared, read_shared
from covey.base.clock import Clock, SystemClock
from covey.base.errors import NotFound, Refused, StepFailed, Unavailable, check, require
from covey.main.layout import Choices
from covey.main.moving import open_etcd
from covey.main.restore import Outlook, bring_back, check_nobody_works, choices_of
from covey.main.vault import vault_of
from covey.model.restoration import RECOVERED
from covey.store.backup import Content, take, unpack
from covey.store.protocol import Store

ENDS_WITHIN_S = 30.0
STARTS_WITHIN_S = 60.0
LOOK_S = 0.2
log = structlog.get_logger()
KEPT = ("PATH", "LANG", "HOME")  # of our own environment: no ETCD_* of somebody else's


def look(settings: str, state: str | None) -> Outlook:
    """Changes nothing. Raises what `recover` raises."""
    return asyncio.run(_recover(choices_of(settings, state), by="", wanted=False))


def recover(settings: str, state: str | None, by: str) -> Outlook:
    """Raises Refused while etcd answers, while this machine's controller or its member of etcd runs, and where it had none."""
    return asyncio.run(_recover(choices_of(settings, state), by, wanted=True))


async def _recover(choices: Choices, by: str, wanted: bool) -> Outlook:
    layout, clock = choices.layout, SystemClock()
    place = Place(layout.store.parent)
    shared = require(
        read_shared(layout.shared_store), Refused("the records are not in etcd: they are this machine's own", "cluster recover")
    )
    member = _member(place)
    check_nobody_works(layout)
    await _check_lost(shared, clock)
    with _resting(place):
        async with _copied(place, member, clock) as copy:
            content = await _read(choices, shared, {**member, "ETCD_DATA_DIR": str(copy)}, clock)
        return await bring_back(choices, content, RECOVERED, "", by, wanted)


def _member(place: Place) -> Mapping[str, str]:
    """How this machine's member starts. Raises NotFound where there is none."""
    advice = "do it on a machine that had one, or: covey cluster restore FILE"
    check(place.environment.exists(), NotFound("no member of etcd had its place on this machine", str(place.directory), advice))
    return dict(line.split("=", 1) for line in place.environment.read_text().splitlines())


async def _check_lost(shared: Shared, clock: Clock) -> None:
    """Raises Refused while most members are there."""
    try:
        store = await open_etcd(shared, clock)
    except Unavailable:
        return
    await store.close()
    raise Refused("etcd answers: most of its members are there", "cluster recover", "nothing is to be recovered: covey status")


@contextmanager
def _resting(place: Place) -> Iterator[None]:
    """The member does not run meanwhile. If nothing came of it, it may go on."""
    aside = place.environment.with_name("member.env.recovering")
    place.environment.rename(aside)
    try:
        yield
    finally:
        if aside.exists():  # else it has no member any more
            aside.rename(place.environment)


@asynccontextmanager
async def _copied(place: Place, member: Mapping[str, str], clock: Clock) -> AsyncIterator[Path]:
    """A copy of what the member has: whatever happens to that, the original stays as it is. Raises Refused while it runs."""
    data = Path(member["ETCD_DATA_DIR"])
    await _ended(data, clock)
    copy = place.store / "recovering"
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(data, copy)
        copy.chmod(0o700)
    except OSError as error:
        raise StepFailed(f"what the member has cannot be copied: {error}", copy, "make room there") from error
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


async def _ended(data: Path, clock: Clock) -> None:
    """etcd holds a lock on its database for as long as it runs. Raises Refused when it does not end."""
    deadline = clock.monotonic() + ENDS_WITHIN_S
    with (data / "member/snap/db").open("rb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                late = clock.monotonic() > deadline
                check(not late, Refused("this machine's member of etcd does not end", data, "systemctl stop covey-etcd"))
                log.debug("the member runs still", error=str(error))
                await clock.sleep(LOOK_S)
            else:
                return


async def _read(choices: Choices, shared: Shared, member: Mapping[str, str], clock: Clock) -> Content:
    """What a member has, as one that is alone: it listens on the loopback only, and to nobody without a certificate of its authority."""
    clients, peers = _free_port(), _free_port()
    alone = {
        **{key: os.environ[key] for key in KEPT if key in os.environ},
        **member,
        "ETCD_FORCE_NEW_CLUSTER": "true",
        "ETCD_LISTEN_CLIENT_URLS": f"https://127.0.0.1:{clients}",
        "ETCD_ADVERTISE_CLIENT_URLS": f"https://127.0.0.1:{clients}",
        "ETCD_LISTEN_PEER_URLS": f"https://127.0.0.1:{peers}",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"https://127.0.0.1:{peers}",
        "ETCD_INITIAL_CLUSTER": f"{member['ETCD_NAME']}=https://127.0.0.1:{peers}",
    }
    etcd = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", shutil.which("etcd") or "/usr/bin/etcd"),
        env=alone,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        store = await _opened(replace(shared, endpoints=(f"127.0.0.1:{clients}",)), etcd, clock)
        try:
            return unpack(await take(store, vault_of(choices).files(), clock.now(), socket.gethostname()), "what the member has")
        finally:
            await store.close()
    finally:
        if etcd.returncode is None:
            etcd.kill()
        await etcd.wait()


async def _opened(shared: Shared, etcd: asyncio.subprocess.Process, clock: Clock) -> Store:
    """Raises StepFailed when it ends, or does not answer."""
    deadline = clock.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            return await open_etcd(shared, clock)
        except Unavailable as error:
            is_over = etcd.returncode is not None or clock.monotonic() > deadline
            advice = "try another machine that had a member, or: covey cluster restore FILE"
            check(
                not is_over, StepFailed(f"etcd does not start from what its member left: {error.what}", "cluster recover", advice)
            )
            await clock.sleep(LOOK_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
