"""Jobs and plans as people read them."""

from __future__ import annotations

import asyncio
import inspect
from functools import cache
from typing import Any

from covey.base.errors import BadInput, NotFound, check
from covey.base.hiding import without_secrets
from covey.engine.queue import Blocked
from covey.model import codec
from covey.model.job import EndedJob, Job
from covey.model.order import Progress
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.step import FORWARD, Step, step_kinds
from covey.model.view import ClusterView
from covey.service.documents import Document, at, name_of, problem
from covey.service.filters import NO_FILTER, parse_filter
from covey.service.inside import Inside
from covey.service.standing import Blocker

FIELDS = frozenset({"id", "kind", "state", "user", "object", "title", "reason", "created_at", "ended_at", "request_id"})
PAGE = 100
HIDDEN = ("seed", "now", "secret", "user_data", "digest", "kind", "by", "reason")
# what is made is named before what it is made of
_NAMING = ("name", "instance", "node", "image", "pool", "network", "token", "forward")


def plan_document(view: ClusterView, plan: Plan) -> Document:
    """A plan, as a dry run shows it."""
    return {
        "summary": plan.summary,
        "digest": plan.digest,
        "steps": [
            {
                "number": number,
                "kind": step.kind,
                "node": node_name(view, step.node),
                "title": step.title,
                "role": step.role,
                "meaning": _meaning(step.kind),
            }
            for number, step in enumerate(plan.steps, 1)
        ],
        "reasons": list(plan.reasons),
        "warnings": list(plan.warnings),
        "claims": [
            {"node": node_name(view, claim.node), "pool": name_of(view, "pool", claim.pool), "amount": claim.amount}
            for claim in plan.claims
        ],
        "parts": [child.title for child in plan.children],
        "awaits": {"condition": plan.awaits.condition, "deadline_s": plan.awaits.deadline_s} if plan.awaits else None,
    }


def job_document(
    view: ClusterView,
    job: Job,
    plan: Plan | None,
    now: float,
    blocked: Blocked | Blocker | None = None,
    progress: Progress | None = None,
) -> Document:
    """`plan` is None before it is planned; `now` is for what still runs."""
    request = job.request
    waiting = job.state == "waiting" and plan is not None and plan.awaits
    return {
        "id": job.id,
        "kind": request.kind,
        "title": request.title,
        "object": object_of(request),
        "user": job.user,
        "reason": job.reason,
        "state": job.state,
        "created_at": at(job.created_at),
        "planned_at": at(job.planned_at),
        "ended_at": at(job.ended_at),
        "after": list(job.after),
        "step": max(job.step, 0),
        "steps": _steps(view, job, plan, now) if plan else [],
        "summary": plan.summary if plan else "",
        "reasons": list(plan.reasons) if plan else [],
        "warnings": list(plan.warnings) if plan else [],
        "waiting": {"condition": waiting.condition, "deadline_at": at(job.waiting_since + waiting.deadline_s)}
        if waiting
        else None,
        "blocked": {"object": _object_name(view, blocked.object), "by": blocked.by} if blocked else None,
        "error": problem(job.error) if job.error else None,
        "left": list(job.left),
        "parent": job.parent,
        "children": _children(job, plan),
        "parts": len(plan.children) if plan else 0,
        "log": job.log,
        "progress": {"text": progress.text, "done": progress.done, "total": progress.total} if progress else None,
        "digest": plan.digest if plan else "",
        "request": request_document(request),
        "request_id": job.request_id,
    }


def _children(job: Job, plan: Plan | None) -> list[Document]:
    """The jobs that it has begun, each with what it is."""
    titles = [child.title for child in plan.children] if plan else []
    return [{"id": id, "title": title} for id, title in zip(job.children, titles, strict=False)]


def request_document(request: Request) -> Document:
    """What was asked, without what the service added and without secrets (P13)."""
    encoded: Document = {"kind": request.kind}
    for name, value in codec.encode(request).items():
        if name not in HIDDEN:
            encoded[name] = at(value) if name.endswith("_at") else without_secrets(None, value)
    return encoded


def object_of(request: Request) -> str:
    """What a request is about: "instance web1"."""
    noun = request.kind.partition(".")[0]
    for field in _NAMING:
        name = getattr(request, field, "")
        if name and isinstance(name, str):
            return f"{noun if field == 'name' else field} {name}"
    return noun


def node_name(view: ClusterView, id: str) -> str:
    """A node's name; before `cluster init`, the machine's."""
    record = view.find("node", id)
    told = view.telemetry.get(id)
    return str(record.name) if record else (told.hostname if told and told.hostname else id)


async def single(inside: Inside, id: int, wait_s: float = 0.0) -> Document:
    """A job; with `wait_s`, once it has ended or that time is over. Raises NotFound, Unavailable."""
    if wait_s > 0 and inside.view.find("job", f"{id:010d}"):
        await _until_ended(inside, id, wait_s)
    job: Job | None = inside.view.find("job", f"{id:010d}")
    ended = inside.history.recent(id) if job else await inside.history.find(id)
    if ended is not None:
        return ended_document(inside.view, ended)
    check(job, NotFound("there is no job of that number", f"job {id}", "see: covey job list"))
    return running_document(inside, job)  # type: ignore[arg-type]


async def _until_ended(inside: Inside, id: int, wait_s: float) -> None:
    closing = asyncio.ensure_future(inside.closing.wait())
    ending = asyncio.ensure_future(inside.history.until_ended(id, wait_s))
    try:
        await asyncio.wait({closing, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing.cancel()
        ending.cancel()


def running_document(inside: Inside, job: Job) -> Document:
    record = inside.view.plan(job.id)
    blocked = inside.standing.blocked(job.id) if job.state == "queued" else None
    plan = record.plan if record else None
    return job_document(inside.view, job, plan, inside.clock.now(), blocked, inside.standing.progress_of(job.id))


def ended_document(view: ClusterView, ended: EndedJob) -> Document:
    return job_document(view, ended.job, ended.plan, ended.job.ended_at)


async def listing(inside: Inside, filter_text: str, limit: int, after: str) -> tuple[list[Document], str]:
    """Jobs, newest first, and the cursor of the next page ("" at the end). `after` is the number of the page's last. Raises BadInput,
    Unavailable."""
    wanted = parse_filter(filter_text, FIELDS) if filter_text else NO_FILTER
    check(not after or (after.isascii() and after.isdigit() and len(after) < 18), BadInput("is no cursor of this list", "after"))
    before = int(after) if after else 0
    running = sorted((job for job in inside.view.jobs if not before or job.id < before), key=lambda job: -job.id)
    pending = [running_document(inside, job) for job in running]
    found: list[Document] = []
    lowest = before
    while True:
        page = await inside.history.page(lowest, PAGE)
        ended = [ended_document(inside.view, job) for job in page]
        floor = page[-1].job.id if len(page) == PAGE else 0
        known = {document["id"] for document in ended}
        here = [document for document in pending if document["id"] >= floor and document["id"] not in known]
        pending = [document for document in pending if document["id"] < floor]
        for document in sorted([*ended, *here], key=lambda document: -int(document["id"])):
            if wanted({**document, "object": [document["object"], document["object"].partition(" ")[2]]}):
                if limit and len(found) == limit:
                    return found, str(found[-1]["id"])
                found.append(document)
        if not floor:
            return found, ""
        lowest = floor
        await asyncio.sleep(0)  # ten thousand jobs are kept: others get their turn


def _steps(view: ClusterView, job: Job, plan: Plan, now: float) -> list[Document]:
    return [
        {
            "number": index + 1,
            "kind": step.kind,
            "node": node_name(view, step.node),
            "title": step.title,
            "role": step.role,
            "state": state,
            "seconds": seconds,
        }
        for index, step in enumerate(plan.steps)
        for state, seconds in (_step_state(job, index, step, now),)
    ]


def _step_state(job: Job, index: int, step: Step, now: float) -> tuple[str, float | None]:
    """What became of a step, and the seconds it took (None: it has not begun)."""
    if index < len(job.reports):
        report = job.reports[index]
        undone = report.undone_at and step.role != FORWARD
        return "undone" if undone else "done", round(report.ended_at - report.started_at, 3)
    if index > len(job.reports) or job.state == "queued":
        return "pending", None
    began = job.reports[-1].ended_at if job.reports else job.planned_at
    if job.state == "running":
        return "running", round(max(now - began, 0.0), 3)
    if job.cancelled_by:
        return "undone", None
    return ("failed", None) if job.error else ("pending", None)


@cache
def _meaning(kind: str) -> str:
    return " ".join(inspect.getdoc(step_kinds()[kind]).split())  # type: ignore[union-attr]


def _object_name(view: ClusterView, object: str) -> str:
    """ "instance/<id>" by name."""
    collection, _, id = object.partition("/")
    record: Any = view.find(collection, id) if collection in view.collections else None
    return str(record) if record else object.replace("/", " ")
