"""The event log: what happened, kept over restarts in a bounded set of files, at hand in memory."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.model.event import Change, Cursor, Event, events_of
from covey.model.record import HISTORY, PREFIX
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed
from covey.store.history import History

FILES = 5
A_FILE = 5_000  # events
KEPT = FILES * A_FILE
JOB = f"{PREFIX}job/"
ORIGIN: Cursor = (0, 0, 0)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Told:
    """An event that was told, with the view of that moment."""

    view: ClusterView
    kind: str
    object: str
    text: str
    at: float


class EventLog:
    """Listens to the feed. Sentences are made and files written behind the feed's back, in batches, without fsync: the events of the
    last moments before a power cut may be lost, records never depend on them."""

    def __init__(self, directory: Path, feed: Feed, history: History, clock: Clock) -> None:
        self._directory = directory
        self._feed = feed
        self._history = history
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._queue: deque[tuple[ClusterView, ClusterView, Changes] | _Told] = deque()
        self._news = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._file = 1  # number of the one being written
        self._written = 0  # events in it
        self._forgotten = False  # whether events were dropped from memory
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is kept, then listen; to be called when the feed has started. Raises OSError."""
        self._load(await asyncio.to_thread(_read_files, self._directory))
        view = self._feed.view
        self._take_back((view.leadership.incarnation if view.leadership else 0, view.revision + 1, 0))
        self._feed.listen(self._hear)
        self._task = asyncio.create_task(self._work(), name="events")

    async def close(self) -> None:
        """Write what is waiting, and end."""
        if self._task is None:
            return
        self._feed.ignore(self._hear)
        self._ending = True  # not cancelled: what is being written would be lost
        self._news.set()
        await self._task

    # --- reading -------------------------------------------------------------------------------------------------------------------
    @property
    def last(self) -> Cursor:
        """The cursor of the newest event."""
        return self._events[-1].cursor if self._events else ORIGIN

    def after(self, cursor: Cursor, limit: int = KEPT) -> list[Event] | None:
        """The events that follow `cursor`, oldest first; None when it is too old to know them all, or of a time that was taken back."""
        if cursor > self.last or (self._events and self._forgotten and cursor < self._events[0].cursor):
            return None
        position = bisect_right(self._events, cursor, key=lambda event: event.cursor)
        return [self._events[index] for index in range(position, min(len(self._events), position + limit))]

    def since(self, at: float, limit: int) -> list[Event]:
        """The latest `limit` events not older than `at`, oldest first."""
        found: list[Event] = []
        for event in reversed(self._events):
            if event.at >= at:
                found.append(event)
                if len(found) == limit:
                    break
        return found[::-1]

    def tell(self, kind: str, object: str, text: str) -> None:
        """Keep what no record shows: something that was done within a guest, say."""
        self._queue.append(_Told(self._feed.view, kind, object, text, self._clock.now()))
        self._news.set()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` (in the event loop) whenever there are new events."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    # --- writing -------------------------------------------------------------------------------------------------------------------
    def _hear(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if changes or _tells_news(before, after):
            self._queue.append((before, after, changes))
            self._news.set()

    async def _work(self) -> None:
        while not self._ending:
            await self._news.wait()
            self._news.clear()
            await self._drain()

    async def _drain(self) -> None:
        while self._queue:
            fresh: list[Event] = []
            while self._queue and len(fresh) < 1_000:
                item = self._queue.popleft()
                if isinstance(item, _Told):
                    fresh.append(self._place(item))
                    continue
                before, after, changes = item
                try:
                    fresh += self._take(before, after, await self._with_ends(changes))
                except (
                    Exception
                ):  # one change that cannot be told must not silence the rest, nor keep all views to come in memory
                    log.exception("a change could not be told", revision=after.revision)
            if not fresh:
                continue
            for listener in list(self._listeners):
                listener()
            try:
                await asyncio.to_thread(self._write, fresh)
            except OSError as error:  # a full disk must not end the log: what is in memory is still told
                log.warning("events cannot be written", error=str(error), lost=len(fresh))

    async def _with_ends(self, changes: Changes) -> list[Change]:
        """The changes, with what became of each job whose record went away."""
        completed: list[Change] = list(changes)
        for key, record in changes:
            if record is None and key.startswith(JOB):
                try:
                    ended = await self._history.find(int(key[len(JOB) :]))
                except CoveyError as error:
                    log.warning("the end of a job cannot be told", key=key, error=str(error))
                    continue
                completed.append((f"{HISTORY}{key[len(JOB) :]}", ended))
        return completed

    def _take(self, before: ClusterView, after: ClusterView, changes: list[Change]) -> list[Event]:
        """Make the events of one change. What a former process told already is not told again."""
        incarnation = after.leadership.incarnation if after.leadership else 0
        last_incarnation, last_revision, last_number = self.last
        here = (incarnation, after.revision)
        if here < (last_incarnation, last_revision):
            return []
        first = last_number + 1 if here == (last_incarnation, last_revision) else 0
        fresh = events_of(before, after, changes, self._clock.now(), first)
        self._forgotten = self._forgotten or len(self._events) + len(fresh) > KEPT
        self._events.extend(fresh)
        return list(fresh)

    def _place(self, told: _Told) -> Event:
        """Its event, behind all that came before."""
        leadership = told.view.leadership
        here = max((leadership.incarnation if leadership else 0, told.view.revision), self.last[:2])
        number = self.last[2] + 1 if here == self.last[:2] else 0
        event = Event((*here, number), told.at, told.kind, told.object, told.text)
        self._forgotten = self._forgotten or len(self._events) >= KEPT
        self._events.append(event)
        return event

    def _write(self, fresh: list[Event]) -> None:
        while fresh:
            room = A_FILE - self._written
            if room <= 0:
                self._file += 1
                self._written = 0
                (self._directory / _name(self._file - FILES)).unlink(missing_ok=True)
                continue
            piece, fresh = fresh[:room], fresh[room:]
            with (self._directory / _name(self._file)).open("a", encoding="utf-8") as file:
                file.write("".join(f"{_line(event)}\n" for event in piece))
            self._written += len(piece)

    def _load(self, files: dict[int, list[Event]]) -> None:
        for number in sorted(files):
            for event in files[number]:
                self._take_back(event.cursor)
                self._events.append(event)
            self._file, self._written = number, len(files[number])
        self._forgotten = self._file > 1

    def _take_back(self, cursor: Cursor) -> None:
        """Forget what is told of `cursor` and later: somebody put an older copy of the store in its place, and it happens anew."""
        while self._events and self._events[-1].cursor >= cursor:
            self._events.pop()


def _tells_news(before: ClusterView, after: ClusterView) -> bool:
    """Whether telemetry tells more than numbers: agents or their problems came or went."""
    if before.telemetry is after.telemetry:
        return False
    if before.telemetry.keys() != after.telemetry.keys():
        return True
    return any(before.telemetry[id].problems != telemetry.problems for id, telemetry in after.telemetry.items())


def _name(number: int) -> str:
    return f"events-{number:08d}.jsonl"


def _line(event: Event) -> str:
    return json.dumps([event.cursor, event.at, event.kind, event.object, event.text, event.job])


def _read_files(directory: Path) -> dict[int, list[Event]]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = {}
    for path in sorted(directory.glob("events-*.jsonl"))[-FILES:]:
        text = path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if len(whole) != len(text):  # cut short by a crash: what follows must begin a line of its own
            path.write_text(whole, encoding="utf-8")
        found[int(path.stem.partition("-")[2])] = [event for line in whole.splitlines() if (event := _parse(line, path))]
    return found


def _parse(line: str, path: Path) -> Event | None:
    try:
        (incarnation, revision, number), at, kind, object, text, job = json.loads(line)
    except ValueError:
        log.warning("a damaged line in the event log was passed over", file=str(path))
        return None
    return Event((incarnation, revision, number), at, kind, object, text, job)
