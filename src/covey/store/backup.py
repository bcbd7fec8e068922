"""A backup: all records of one moment in one file, from whichever store they are in, with what else a cluster cannot do without.

The file is gzip of JSON lines: a head, one line for each file of the cluster's authority, one for each entry, and a tail with the number of
entries and the SHA-256 of all lines before it. It holds every secret of the cluster: it is for its owner's eyes only.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

from covey import __version__
from covey.base.errors import Refused, Unavailable, check, require
from covey.model.record import HISTORY, PREFIX, SECRETS, VERSION
from covey.store.protocol import Entry, Store

FORMAT = 1
META = "meta/"
PAGE = 500
TRIES = 20
LEADER = f"{PREFIX}leadership/leader"


@dataclass(frozen=True, slots=True)
class Head:
    """What a backup says of itself. `last_job` is the highest number of a job in it, ended or not."""

    made_at: float
    cluster: str
    cluster_id: str
    incarnation: int
    epoch: int
    revision: int
    last_job: int
    instances: int
    nodes: int
    made_on: str = ""
    release: str = __version__
    schema: int = VERSION


@dataclass(frozen=True, slots=True)
class Content:
    """A backup that was read. `files` are those of the cluster's authority by name, `records` the values by key."""

    head: Head
    files: Mapping[str, str]
    records: Mapping[str, bytes]


async def take(store: Store, files: Mapping[str, str], now: float, made_on: str) -> bytes:
    """A backup of what the store holds in one moment. Jobs that ended after that moment are not in it. Raises Refused for a store without a
    cluster, Unavailable."""
    state, others = await _one_moment(store)
    history = [entry async for entry in _history(store, state.revision)]
    records = [*state.entries, *others, *history]
    head = _head(records, state.revision, now, made_on)
    return pack(head, files, [(entry.key, entry.value) for entry in records])


@dataclass(frozen=True, slots=True)
class _Moment:
    entries: tuple[Entry, ...]
    revision: int


async def _one_moment(store: Store) -> tuple[_Moment, list[Entry]]:
    """The records, and the secrets and the schema as they were in the same moment: read before and after, and found to be the same."""
    for _ in range(TRIES):
        before = [*(await store.list(SECRETS)).entries, *(await store.list(META)).entries]
        state = await store.list(PREFIX)
        after = [*(await store.list(SECRETS)).entries, *(await store.list(META)).entries]
        if before == after:
            return _Moment(state.entries, state.revision), before
    raise Unavailable("secrets change all the time", "the backup", "try again")


async def _history(store: Store, until: int) -> AsyncIterator[Entry]:
    start = ""
    while True:
        page = await store.list(HISTORY, start=start, limit=PAGE)
        for entry in page.entries:
            if entry.revision <= until:
                yield entry
        if len(page.entries) < PAGE:
            return
        start = page.entries[-1].key + "\0"


def _head(records: Sequence[Entry], revision: int, now: float, made_on: str) -> Head:
    by_key = {entry.key: entry.value for entry in records}
    cluster = json.loads(require(by_key.get(f"{PREFIX}cluster/cluster"), Refused("there is no cluster here yet", "cluster")))
    leader = json.loads(by_key.get(LEADER, b"{}"))
    jobs = [int(key.rpartition("/")[2]) for key in by_key if key.startswith((f"{PREFIX}job/", HISTORY))]
    count = {noun: sum(key.startswith(f"{PREFIX}{noun}/") for key in by_key) for noun in ("instance", "node")}
    return Head(
        now,
        str(cluster["name"]),
        str(cluster["uuid"]),
        int(leader.get("incarnation", 1)),
        int(leader.get("epoch", 0)),
        revision,
        max(jobs, default=0),
        count["instance"],
        count["node"],
        made_on,
    )


# --- the file ----------------------------------------------------------------------------------------------------------------------
def pack(head: Head, files: Mapping[str, str], records: Sequence[tuple[str, bytes]]) -> bytes:
    """The bytes of the file."""
    digest = hashlib.sha256()
    buffer = BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as file:
        for line in _lines(head, files, records):
            digest.update(line)
            file.write(line)
        file.write(_line({"entries": len(records), "sha256": digest.hexdigest()}))
    return buffer.getvalue()


def _lines(head: Head, files: Mapping[str, str], records: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    yield _line({"covey-backup": FORMAT, **asdict(head)})
    for name, text in sorted(files.items()):
        yield _line({"file": name, "text": text})
    for key, value in records:
        try:
            yield _line({"key": key, "text": value.decode()})
        except UnicodeDecodeError:  # secrets are opaque
            yield _line({"key": key, "base64": base64.b64encode(value).decode()})


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def unpack(data: bytes, named: str) -> Content:
    """Raises Refused for what is no backup, is cut short or damaged, or was made by a newer Covey; `named` is how people know it."""
    try:
        whole = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise Refused(f"it is damaged, or no backup of Covey's: {error}", named, "use another one") from error
    body, _, last = whole.rstrip(b"\n").rpartition(b"\n")
    try:
        lines = [json.loads(line) for line in body.split(b"\n")]
        tail = json.loads(last)
        found = lines[0].pop("covey-backup", 0)
    except (ValueError, AttributeError, IndexError) as error:
        raise Refused("it is no backup of Covey's", named, "use another one") from error
    check(found, Refused("it is no backup of Covey's", named, "use another one"))
    check(
        found <= FORMAT,
        Refused(f"Covey {lines[0].get('release')} made it, in a form that this one does not know", named, "install that Covey"),
    )
    whole_and_sound = tail.get("sha256") == hashlib.sha256(body + b"\n").hexdigest()
    check(whole_and_sound, Refused("its checksum is wrong: it is damaged or cut short", named, "use another one"))
    known = Head.__slots__  # fields that a newer release added are passed over
    head = Head(**{name: value for name, value in lines[0].items() if name in known})
    files = {line["file"]: line["text"] for line in lines[1:] if "file" in line}
    records = {
        line["key"]: line["text"].encode() if "text" in line else base64.b64decode(line["base64"])
        for line in lines[1:]
        if "key" in line
    }
    check(len(records) == tail["entries"], Refused("entries are missing", named, "use another one"))
    return Content(head, files, records)
