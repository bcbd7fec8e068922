"""Changes: a request is completed, checked, and then shown as a plan or taken in as a job."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from covey.base.errors import BadInput, Conflict, CoveyError, Refused, Unavailable, check
from covey.base.log import belongs_to
from covey.engine.engine import as_if
from covey.model import record as records
from covey.model.job import Job
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.requests.cluster import check_reason
from covey.model.requests.disk import RemoveDisk
from covey.model.requests.drain import DrainNode
from covey.model.requests.instance import AddInstance, ReinstallInstance, RemoveInstance
from covey.model.requests.node import InviteNode
from covey.model.requests.token import AddToken
from covey.planner import plan
from covey.service.access import Principal, check_allowed, digest_of
from covey.service.idempotency import Keys, check_key, key_of
from covey.service.idempotency import digest_of as digest_of_wish
from covey.service.inside import Inside
from covey.store.protocol import Op, Put, Unchanged, Unmet

log = structlog.get_logger()
MOST_AFTER = 100
TRIES = 3  # at a key that somebody else uses at the same moment


@dataclass(frozen=True, slots=True)
class Options:
    """How a change is wanted. `after` are jobs to come after, `expected` the digest of the plan that was shown (P2), `revision` the
    one that `target` (collection and name) must have been written by (If-Match); None when that does not matter."""

    reason: str = ""
    after: tuple[int, ...] = ()
    expected: str = ""
    key: str = ""
    target: tuple[str, str] = ("", "")
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was taken in; without `job`, the number of the one that had been under the same key. `secret` is a new token's,
    shown this once."""

    id: int
    job: Job | None = None
    secret: str = ""


class Changed(Conflict):
    """What was to be changed is not what was looked at (If-Match)."""


class Submissions:
    """All changes come in here, whoever wants them."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._keys = Keys(inside.store, inside.clock)

    def preview(self, principal: Principal, request: Request, options: Options) -> Plan:
        """The plan as it would be now; nothing changes. Raises what `take` raises before it commits."""
        completed, _, _ = self._accept(principal, request, options)
        return self._planned(completed, options)

    async def preview_in_order(self, principal: Principal, requests: Sequence[Request]) -> list[Plan | CoveyError]:
        """The plan of each as it would be behind those before it; in place of one that cannot be, why."""
        outcomes: list[Plan | CoveyError] = []
        view = self._inside.view
        for number, request in enumerate(requests, 1):
            await asyncio.sleep(0)  # others are served meanwhile
            try:
                completed, _, _ = self._accept(principal, request, Options())
                planned = plan(view, completed)
            except CoveyError as error:
                outcomes.append(error)
                continue
            outcomes.append(planned)
            view = as_if(view, -number, planned)  # a number that no job has
        return outcomes

    async def take(self, principal: Principal, request: Request, options: Options) -> Taken:
        """Commit the job. Raises Denied, BadInput, Changed, what its planner raises (so that the impossible fails at once), Refused
        for a key used otherwise, NoSpace and Unavailable of the store."""
        completed, ops, secret = self._accept(principal, request, options)
        if not options.key:
            self._check_possible(completed, options)
            return await self._commit(principal, completed, options, self._compared(options), lambda job: ops, secret)
        user_data = request.user_data if isinstance(request, AddInstance) else ""
        digest = digest_of_wish(request, user_data, options.after, options.reason, options.expected)
        place = key_of(principal.name, options.key)
        for _ in range(TRIES):
            use, unchanged = await self._keys.find(place, digest)
            if use:
                await self._inside.view_at(unchanged.revision)
                return Taken(use.job)
            self._check_possible(completed, options)
            compare = (unchanged, *self._compared(options))
            try:
                taken = await self._commit(
                    principal, completed, options, compare, lambda job: (*ops, self._keys.put(place, digest, job.id)), secret
                )
            except Unmet as unmet:
                if unmet.key != place:
                    raise
                continue  # two at once: the other one was first, and its job is ours
            await self._keys.prune()
            return taken
        raise Unavailable("others use the same key at the same time", "Idempotency-Key", "try again")

    def _accept(self, principal: Principal, request: Request, options: Options) -> tuple[Request, tuple[Op, ...], str]:
        """The request, checked and complete; writes that go with it; the secret of a new token."""
        check_allowed(principal, request.kind)
        _check_options(options)
        request.check()
        completed = replace(request, seed=self._inside.draw(16), now=self._inside.clock.now())
        if isinstance(completed, AddInstance) and completed.user_data:
            reference = str(uuid.UUID(self._inside.draw(16)))
            secret = Put(f"{records.SECRETS}{reference}", completed.user_data.encode())
            return replace(completed, user_data="", secret=reference), (secret,), ""
        if isinstance(completed, RemoveInstance | RemoveDisk | ReinstallInstance | DrainNode):
            return replace(completed, by=principal.name, reason=options.reason), (), ""
        if isinstance(completed, AddToken | InviteNode):
            drawn = self._inside.draw(32)
            return replace(completed, digest=digest_of(drawn)), (), drawn
        return completed, (), ""

    def _planned(self, request: Request, options: Options) -> Plan:
        self._compared(options)
        planned = plan(self._inside.view, request)
        check(
            not options.expected or options.expected == planned.digest,
            Refused(
                "plan_changed: what would be done now is not what was shown",
                request.title,
                f"look again with --dry-run: {planned.summary}",
            ),
        )
        return planned

    def _check_possible(self, request: Request, options: Options) -> None:
        if not options.after:  # else the world will be another one
            self._planned(request, options)

    def _compared(self, options: Options) -> tuple[Unchanged, ...]:
        """The comparison that If-Match asks for. Raises Changed when it does not hold already."""
        if options.revision is None:
            return ()
        collection, name = options.target
        record = self._inside.view.named(collection, name) if name else self._inside.view.find(collection, collection)
        if record is None and not options.after:
            return ()  # the planner says that there is none, and what is like it
        revision = self._inside.view.revision_of(collection, record.id) if record else 0
        if revision != options.revision:
            raise _changed(collection, name)
        return (Unchanged(records.key(collection, record.id), revision),) if record else ()

    async def _commit(
        self,
        principal: Principal,
        request: Request,
        options: Options,
        compare: tuple[Unchanged, ...],
        ops: Callable[[Job], tuple[Op, ...]],
        secret: str,
    ) -> Taken:
        job = Job(
            0,
            request,
            principal.name,
            "queued",
            request.now,
            reason=options.reason,
            after=options.after,
            expected=options.expected,
            request_id=belongs_to(),
        )
        try:
            job, revision = await self._inside.engine.submit(job, ops, compare)
        except Unmet as unmet:
            if options.revision is not None and unmet.key.startswith(records.PREFIX):
                raise _changed(*options.target) from unmet
            raise
        log.debug("job taken in", job=job.id, title=request.title, user=principal.name)
        await self._inside.view_at(revision)
        return Taken(job.id, job, secret)


def _check_options(options: Options) -> None:
    if options.reason:
        check_reason(options.reason)
    check(len(options.after) <= MOST_AFTER, BadInput(f"at most {MOST_AFTER} jobs", "after"))
    if options.key:
        check_key(options.key)


def _changed(collection: str, name: str) -> Changed:
    return Changed("it has changed since you looked at it", f"{collection} {name}".strip(), "look at it again, then decide anew")
