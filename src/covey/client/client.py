"""The API as calls: lists, documents, changes, jobs and events."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from covey.base.errors import CoveyError, Unavailable
from covey.client.connection import ANSWER_LIMIT_S, Answer, Connection, EventStream, path_of
from covey.client.problem import error_from
from covey.client.stream import ServerEvent

if TYPE_CHECKING:
    from covey.client.documents import Fixing, Job, Plan, Verification

PAGE = 1000  # objects asked for at once
LOST_LIMIT_S = 60.0  # how long a server may be away (it restarts, say) while its jobs are followed
ENDED = ("succeeded", "failed", "cancelled", "superseded", "needs_repair")
_AGAIN_S = 0.3
_VERIFY_LIMIT_S = 600.0
_GUEST_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """A change as the API takes it: what `covey.model.requests` holds, as method, path, body and query."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What goes with a submission. `expect` is the digest of the plan that was shown (P2)."""

    reason: str = ""
    after: tuple[int, ...] = ()
    expect: str = ""
    key: str = field(default_factory=lambda: os.urandom(16).hex())  # so that sending it twice is doing it once


class Listing(NamedTuple):
    """All objects of a list, and when the server said so (seconds since the epoch)."""

    items: list[dict[str, Any]]
    at: float


class Client:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    # --- reading -------------------------------------------------------------------------------------------------------------------
    def list(self, collection: str, *, filter: str = "", fields: Sequence[str] = (), most: int | None = None) -> Listing:
        """All objects of "instances", "jobs", ... that match; at most `most`."""
        items: list[dict[str, Any]] = []
        after, at = "", None
        while True:
            limit = PAGE if most is None else min(PAGE, most - len(items))
            query = {"filter": filter, "fields": ",".join(fields), "limit": limit, "after": after}
            answer = self.connection.request("GET", path_of(collection), query=query)
            page = answer.json()
            items += page["items"]
            at = answer.at if at is None else at
            after = page.get("next") or ""
            if not after or (most is not None and len(items) >= most):
                return Listing(items, time.time() if at is None else at)

    def get(self, *path: object) -> dict[str, Any]:
        document: dict[str, Any] = self.answer(*path).json()
        return document

    def answer(self, *path: object, query: Mapping[str, object] | None = None) -> Answer:
        """As `get`, with the answer's ETag and time."""
        return self.connection.request("GET", path_of(*path), query=query)

    # --- changing ------------------------------------------------------------------------------------------------------------------
    def plan(self, change: Change) -> Plan:
        """What the change would do; nothing is changed."""
        plan: Plan = self._send(change, {"dry_run": "true"}, {}).json()
        return plan

    def plan_together(self, bodies: Sequence[Mapping[str, Any]]) -> builtins.list[Plan | CoveyError]:
        """What making these instances would do, each behind those before it; in place of a plan, why it cannot be."""
        change = Change("POST", path_of("plans"), {"instances": bodies})
        found = self._send(change, {}, {}).json()["plans"]
        return [each["plan"] or error_from(each["problem"]) for each in found]

    def submit(self, change: Change, terms: Terms) -> Job:
        """Hand the change in; its job goes on by itself."""
        query = {"reason": terms.reason, "after": ",".join(map(str, terms.after)), "expect": terms.expect}
        job: Job = self._send(change, query, {"Idempotency-Key": terms.key}).json()
        return job

    def _send(self, change: Change, query: Mapping[str, object], headers: Mapping[str, str]) -> Answer:
        return self.connection.request(
            change.method, change.path, query={**change.query, **query}, body=change.body, headers=headers
        )

    def send(self, change: Change, terms: Terms, pieces: Iterable[bytes], length: int | None) -> Job:
        """Hand in a change whose body is bytes."""
        query = {**change.query, "reason": terms.reason, "after": ",".join(map(str, terms.after))}
        headers = {"Idempotency-Key": terms.key}
        job: Job = self.connection.send(change.path, pieces, length, query=query, headers=headers).json()
        return job

    def in_guest(self, name: str, verb: str, body: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """Have a guest's own agent do something, which may take so many seconds."""
        path = path_of("instances", name, "guest", verb)
        answer = self.connection.request("POST", path, body=body, timeout_s=_GUEST_LIMIT_S + seconds)
        document: dict[str, Any] = answer.json()
        return document

    def verify(self) -> Verification:
        """Compare what every node has with the records; takes as long as the slowest node."""
        found: Verification = self.connection.request("POST", path_of("cluster", "verify"), timeout_s=_VERIFY_LIMIT_S).json()
        return found

    def fix(self, findings: Sequence[str]) -> Fixing:
        fixing: Fixing = self.connection.request("POST", path_of("cluster", "fix"), body={"findings": list(findings)}).json()
        return fixing

    # --- jobs ----------------------------------------------------------------------------------------------------------------------
    def job(self, id: int, wait_s: float = 0.0) -> Job:
        """The job; with `wait_s`, as soon as it ended or after so long."""
        query = {"wait_s": f"{wait_s:g}"} if wait_s else None
        answer = self.connection.request("GET", path_of("jobs", id), query=query, timeout_s=ANSWER_LIMIT_S + wait_s)
        job: Job = answer.json()
        return job

    def cancel(self, id: int) -> Job:
        job: Job = self.connection.request("POST", path_of("jobs", id, "cancel")).json()
        return job

    def wait(self, id: int, deadline: float | None = None) -> Job:
        """The job when it has ended. `deadline` is on time.monotonic(). Raises TimeoutError then, Unavailable when the server is away
        for long."""
        lost = _Lost()
        while True:
            left = 30.0 if deadline is None else min(30.0, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError
            try:
                job = self.job(id, left)
                lost.found()
            except Unavailable as error:
                lost.once_more(error, deadline)
                continue
            if job["state"] in ENDED:
                return job

    def follow(self, id: int, deadline: float | None = None) -> Iterator[ServerEvent]:
        """The job's changes ("job") and its progress ("progress") until it has ended, across restarts of the server. `deadline` is on
        time.monotonic(). Raises TimeoutError then, Unavailable when the server is away for long."""
        lost = _Lost()
        while True:
            try:
                with self.connection.events(path_of("jobs", id, "stream")) as stream:
                    while event := _next(stream, deadline):
                        lost.found()
                        yield event
                        if event.name == "job" and event.data["state"] in ENDED:
                            return
            except Unavailable as error:
                lost.once_more(error, deadline)
                continue
            job = self.job(id)  # the server ended the stream: the job is over, or the server is
            yield ServerEvent("job", job, "")
            if job["state"] in ENDED:
                return
            lost.once_more(Unavailable("it ends every stream", str(self.connection.door), "see its log"), deadline)

    # --- events --------------------------------------------------------------------------------------------------------------------
    def events(self, since: str, filter: str, most: int) -> Listing:
        """What happened since a time (RFC 3339) or after a cursor, oldest first; the latest `most` of it."""
        answer = self.answer("events", query={"since": since, "filter": filter, "limit": most})
        return Listing(answer.json()["items"], time.time() if answer.at is None else answer.at)

    def follow_events(self, last: str = "") -> Iterator[ServerEvent]:
        """What happens after the cursor `last` (from now on without), for ever, across restarts of the server."""
        lost = _Lost()
        while True:
            try:
                with self.connection.events(path_of("events", "stream"), last=last) as stream:
                    while event := stream.next():
                        lost.found()
                        last = event.id or last
                        yield event
                lost.once_more(Unavailable("it ends every stream", str(self.connection.door), "see its log"), None)
            except Unavailable as error:
                lost.once_more(error, None)


class _Lost:
    """How long the server has been away: asked again with patience, up to LOST_LIMIT_S."""

    def __init__(self) -> None:
        self._since: float | None = None

    def found(self) -> None:
        self._since = None

    def once_more(self, error: Unavailable, deadline: float | None) -> None:
        """Wait a little before asking again. Raises `error` when it has been too long, TimeoutError past the deadline."""
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise TimeoutError from error
        if self._since is None:
            self._since = now
        elif now - self._since > LOST_LIMIT_S:
            raise error
        time.sleep(_AGAIN_S)


def _next(stream: EventStream, deadline: float | None) -> ServerEvent | None:
    if deadline is None:
        return stream.next()
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return stream.next(left)
