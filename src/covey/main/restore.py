"""`covey cluster restore`: the records of a backup take the place of this machine's, in a new incarnation, and wait for `cluster reconcile`
(S13, S14). Nothing on any node is touched by it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2

from covey.agent.membership import read_membership
from covey.agent.place import Place, drop_member, read_shared
from covey.agent.way import NetworkWay
from covey.base.clock import Clock, SystemClock
from covey.base.errors import BadInput, CoveyError, Refused, StepFailed, Unavailable, check, require
from covey.base.files import sync_directory, write_durably
from covey.base.identity import caller_context, files_in
from covey.controller.backups import SUFFIX
from covey.main.layout import Choices, Layout, choose, node_id, prepare
from covey.main.moving import open_etcd
from covey.main.vault import AUTHORITY, vault_of
from covey.main.ways import identity_here
from covey.model import codec
from covey.model import record as records
from covey.model.node import Node
from covey.model.restoration import RESTORED
from covey.service.export import HAPPENED
from covey.store.backup import Content, Head, take, unpack
from covey.store.protocol import Store
from covey.store.restore import Return, brought_back, fill
from covey.store.sqlite import SqliteStore
from covey.store.sqlite_file import take_lock

ANSWER_S = 5.0
STOP_IT = "stop it first: systemctl stop covey-controller, or end covey up; guests run on"
JOBS = f"{records.PREFIX}job/"
SMALL_RESERVE = 2**16
COMPARED = tuple(name for name in records.COLLECTIONS if name not in (*HAPPENED, "cluster"))


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one kind of object, by name: what the backup has that is gone by now, and what came since and would be in no record."""

    noun: str
    gone: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What restoring does. `present` says what is here now, "" for no records; `silent` are nodes whose agents do not answer; `becomes` is
    the node that this machine then is."""

    head: Head
    present: str
    differences: tuple[Difference, ...]
    interrupted: int
    incarnation: int
    silent: tuple[str, ...]
    becomes: str


def look(settings: str, state: str | None, file: str, node: str) -> Outlook:
    """Changes nothing. Raises what `restore` raises."""
    return asyncio.run(_restore(choices_of(settings, state), file, node, by="", wanted=False))


def restore(settings: str, state: str | None, file: str, node: str, by: str) -> Outlook:
    """Raises Refused while a controller has the records open, for a file that is no backup, and where this machine is none of its nodes;
    NoSpace, Unavailable."""
    return asyncio.run(_restore(choices_of(settings, state), file, node, by, wanted=True))


def choices_of(settings: str, state: str | None) -> Choices:
    choices = choose(settings, state=state)
    check(
        os.geteuid() == 0 or choices.hosts == "fake",
        Refused("the records of a cluster are root's to restore", "covey cluster restore", "use sudo"),
    )
    return choices


async def _restore(choices: Choices, file: str, node: str, by: str, wanted: bool) -> Outlook:
    content = unpack(_read(file), file)
    return await bring_back(choices, content, RESTORED, node, by, wanted)


async def bring_back(choices: Choices, content: Content, how: str, node: str, by: str, wanted: bool) -> Outlook:
    """What doing it means; and with `wanted`, it is done. Raises as `restore`."""
    layout, clock = choices.layout, SystemClock()
    prepare(layout)
    check_nobody_works(layout)
    present = await _read_present(choices, clock)
    identity = _node_of(layout, content, node)
    nodes = _nodes(content.records)
    heard = await _heard(layout, nodes, identity, clock)
    incarnation = 1 + max(content.head.incarnation, present.incarnation, _own_epoch(layout), *heard.values())
    outlook = Outlook(
        content.head,
        present.told,
        _differences(content.records, present.records),
        sum(key.startswith(JOBS) for key in content.records),
        incarnation,
        tuple(sorted(each.name for each in nodes if each.id not in heard and each.id != identity)),
        next((each.name for each in nodes if each.id == identity), ""),
    )
    if wanted:
        highest = max(content.head.last_job, present.last_job)
        returning = Return(how, incarnation, by, content.head.made_at, content.head.last_job, highest)
        entries = await brought_back(content, returning, clock)
        _keep_present(choices, present, clock)
        await _swap(layout.store, entries, clock, keeps_old=not present.backup)
        _take_authority(layout, content)
        write_durably(layout.agent / "node-id", identity.encode())
        _leave_etcd(layout, clock)
        await _lead_here(layout)
    return outlook


def check_nobody_works(layout: Layout) -> None:
    """Raises Refused while this machine's controller runs."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(layout.api_socket))
    except OSError:
        return
    finally:
        line.close()
    raise Refused("a controller has the records open", str(layout.api_socket), STOP_IT)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", file, "name a file that covey cluster backup made") from error


# --- what is here ------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Present:
    """The records that are here now, as far as they can be read; `told` says what they are, "" for none; `backup` is one of them."""

    records: Mapping[str, bytes]
    told: str
    backup: bytes = b""

    @property
    def incarnation(self) -> int:
        value = self.records.get(records.key("leadership", "leader"))
        return int(json.loads(value)["incarnation"]) if value else 0

    @property
    def last_job(self) -> int:
        numbers = [int(key.rpartition("/")[2]) for key in self.records if key.startswith((JOBS, records.HISTORY))]
        restoration = self.records.get(records.key("restoration", "last"))
        return max([*numbers, int(json.loads(restoration)["lost_to"]) if restoration else 0], default=0)


async def _read_present(choices: Choices, clock: Clock) -> _Present:
    """Raises Refused while a controller has them open, and says so."""
    layout = choices.layout
    shared = read_shared(layout.shared_store)
    try:
        if shared:
            store: Store = await open_etcd(shared, clock)
        elif layout.store.exists() and layout.store.stat().st_size:
            take_lock(layout.store).close()
            store = await SqliteStore.open(layout.store, clock)
        else:
            return _Present({}, "")
    except Unavailable:
        return _Present({}, "those in etcd, which does not answer")
    except Refused as refused:
        check(
            "has it open" not in refused.what,
            Refused(f"a controller has the records open: {refused.what}", str(layout.store), STOP_IT),
        )
        return _Present({}, f"records that cannot be read: {refused.what}")  # the very day for which there are backups
    try:
        found = {entry.key: entry.value for entry in (await store.list("")).entries}
        cluster = found.get(records.key("cluster", "cluster"))
        if cluster is None:
            return _Present(found, "")
        backup = await take(store, vault_of(choices).files(), clock.now(), socket.gethostname())
    finally:
        await store.close()
    where = ", in etcd" if shared else ""
    return _Present(found, f"those of cluster {json.loads(cluster)['name']}{where}", backup)


def _own_epoch(layout: Layout) -> int:
    """The highest incarnation that this machine's agent has obeyed."""
    file = layout.agent / "epoch.json"
    return int(json.loads(file.read_text())[0]) if file.exists() else 0


def _nodes(found: Mapping[str, bytes]) -> list[Node]:
    values = [(key, value) for key, value in found.items() if key.startswith(f"{records.PREFIX}node/")]
    return [node for key, value in values if isinstance(node := records.from_bytes(key, value), Node)]


def _node_of(layout: Layout, content: Content, named: str) -> str:
    """The id of the node that this machine is: one of the backup's, or the one that it is to take the place of. Raises Refused, BadInput."""
    nodes = {node.name: node.id for node in _nodes(content.records)}
    own = node_id(layout)
    if not named and own in nodes.values():
        return own
    advice = f"say in whose place it comes: --in-place-of {' or '.join(sorted(nodes))}"
    check(named, Refused("this machine is none of the backup's nodes", "cluster restore", advice))
    wanted = require(nodes.get(named), BadInput(f"the backup has no node {named}", "--in-place-of", advice))
    guests = [path.name for path in layout.guests.iterdir()] if layout.guests.is_dir() else []
    check(
        wanted == own or not guests,
        Refused(
            f"{len(guests)} guests are defined on this machine, which so is another node", str(layout.guests), "use an empty one"
        ),
    )
    return wanted


async def _heard(layout: Layout, nodes: list[Node], own: str, clock: Clock) -> dict[str, int]:
    """The highest incarnation that each node's agent has obeyed, of those that answer over the network."""
    others = [node for node in nodes if node.address and node.id != own]
    if not others:
        return {}
    try:
        context = caller_context(identity_here(layout, clock))
    except (CoveyError, OSError):
        return {}  # this machine cannot show who it is: nobody there would answer

    async def ask(node: Node) -> tuple[str, int] | None:
        client = NetworkWay(node.address, node.id, context).client()
        try:
            answer = await client.get("/membership", timeout=ANSWER_S)
            return node.id, int(answer.json()["epoch"][0])
        except (httpx2.HTTPError, OSError, ValueError, KeyError):
            return None
        finally:
            await client.aclose()

    return dict(one for one in await asyncio.gather(*map(ask, others)) if one)


# --- what it would be --------------------------------------------------------------------------------------------------------------
def _differences(then: Mapping[str, bytes], now: Mapping[str, bytes]) -> tuple[Difference, ...]:
    found = []
    for noun in COMPARED:
        before, after = _names(then, noun), _names(now, noun)
        gone = sorted(before[key] for key in before.keys() - after.keys()) if now else []
        new = sorted(after[key] for key in after.keys() - before.keys())
        if gone or new:
            found.append(Difference(noun, tuple(gone), tuple(new)))
    return tuple(found)


def _names(found: Mapping[str, bytes], noun: str) -> dict[str, str]:
    prefix = f"{records.PREFIX}{noun}/"
    mine = {key: json.loads(value) for key, value in found.items() if key.startswith(prefix)}
    return {key: str(value.get("name", key.removeprefix(prefix))) for key, value in mine.items()}


# --- doing it ----------------------------------------------------------------------------------------------------------------------
def _keep_present(choices: Choices, present: _Present, clock: Clock) -> None:
    """What was here can be restored, too: it may have been the right one. Raises StepFailed."""
    if present.backup:
        directory = vault_of(choices).directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(directory / f"before-restore-{_stamp(clock)}{SUFFIX}", present.backup)
        except OSError as error:
            raise StepFailed(f"what is here cannot be kept: {error.strerror}", directory, "make room there") from error


def _stamp(clock: Clock) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.now()))


async def _swap(path: Path, entries: Mapping[str, bytes], clock: Clock, keeps_old: bool) -> None:
    """The database at `path` has these entries, in one moment; with `keeps_old` the file that was there lies beside it. Raises Refused
    when somebody has it open, NoSpace, Unavailable."""
    new = path.with_name(f"{path.name}.new")
    _remove(new)
    with take_lock(path):
        store = await SqliteStore.open(new, clock, reserve=SMALL_RESERVE)
        try:
            await fill(store, entries)
        finally:
            await store.close()
        for ending in ("-wal", "-shm", "") if keeps_old else ():
            old = path.with_name(f"{path.name}{ending}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.before-restore-{_stamp(clock)}{ending}"))
        new.rename(path)
        _remove(new)
        sync_directory(path.parent)


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", ".lock", ".reserve"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)


def _take_authority(layout: Layout, content: Content) -> None:
    """The cluster's authority is here, as the backup has it: nodes trust no other."""
    for name in AUTHORITY:
        text, file = content.files.get(name), layout.tls / name
        if text is not None and not (file.exists() and file.read_text() == text):
            if file.exists():
                file.rename(file.with_name(f"{name}.before-restore"))
            write_durably(file, text.encode(), 0o600 if name.endswith(".key") else 0o644)


def _leave_etcd(layout: Layout, clock: Clock) -> None:
    """The records are this machine's own; what its member of etcd had is put aside. They go to etcd again once another node is there, and
    by the same authority: so those that were members before can be given it anew."""
    place = Place(layout.store.parent)
    if place.directory.exists():
        for data in place.directory.glob("data-*"):
            data.rename(place.store / f"before-restore-{_stamp(clock)}-{data.name}")
        drop_member(place)
        sync_directory(place.store)


async def _lead_here(layout: Layout) -> None:
    """A machine that joined the cluster leads it from now on: its controller is to know, and its agent, if it runs."""
    membership = read_membership(layout.identity)
    if membership is None or membership.is_first:
        return
    first, files = replace(membership, is_first=True), files_in(layout.identity)
    texts = {"certificate": files.certificate.read_text(), "authority": files.ca.read_text()}
    transport = httpx2.AsyncHTTPTransport(uds=str(layout.agent_socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://agent", timeout=ANSWER_S) as agent:
        try:
            wish = {"membership": codec.encode(first), **texts, "is_new": False}
            (await agent.put("/membership", json=wish)).raise_for_status()
        except (httpx2.HTTPError, OSError):  # it does not run: it reads the file when it starts
            write_durably(layout.identity / "membership.json", json.dumps(codec.encode(first)).encode())
