"""Events: what happened, a sentence each, as the difference between two views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from covey.model.backup import Backup
from covey.model.cluster import Cluster
from covey.model.image import Image
from covey.model.instance import Instance, Observed
from covey.model.job import Debris, EndedJob, Job, Leadership
from covey.model.network import Forward, Network
from covey.model.node import Node
from covey.model.pool import Pool
from covey.model.record import HISTORY, PREFIX
from covey.model.restoration import Restoration
from covey.model.snapshot import Snapshot
from covey.model.token import Token
from covey.model.view import ClusterView

Cursor = tuple[int, int, int]  # incarnation, revision, number: compared in that order (S13)
Change = tuple[str, Any]  # a key and its new record, None when it was deleted


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is seconds since the epoch; `kind` is noun.what; `object` names what it happened to; `job` is 0 for none."""

    cursor: Cursor
    at: float
    kind: str
    object: str
    text: str
    job: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """An event that has no place in the order yet. `at` 0: now."""

    kind: str
    object: str
    text: str
    at: float = 0.0
    job: int = 0


def events_of(
    before: ClusterView, after: ClusterView, changes: Iterable[Change], now: float, first: int = 0
) -> tuple[Event, ...]:
    """What became different between two views. `changes` are the keys that may differ; an ended job is among them under its key in the
    history, as EndedJob. The events are numbered from `first` within the revision of `after`."""
    incarnation = after.leadership.incarnation if after.leadership else 0
    lines = [*_of_nodes(before, after)]
    for key, record in changes:
        lines += _of_change(before, after, key, record)
    return tuple(
        Event((incarnation, after.revision, first + number), line.at or now, line.kind, line.object, line.text, line.job)
        for number, line in enumerate(lines)
    )


def render_cursor(cursor: Cursor) -> str:
    return f"{cursor[0]}.{cursor[1]}.{cursor[2]}"


def parse_cursor(text: str) -> Cursor | None:
    """None when it is none."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def _of_nodes(before: ClusterView, after: ClusterView) -> Iterator[_Line]:
    """Agents that came and went, and the problems that they tell of."""
    if before.telemetry is after.telemetry:
        return
    for id in sorted({*before.telemetry, *after.telemetry}):
        node: Node | None = after.find("node", id)
        if node is None:
            continue
        was, now = before.telemetry.get(id), after.telemetry.get(id)
        if now is None:
            yield _Line("node.silent", str(node), f"the agent of {node} does not answer")
        elif was is None:
            yield _Line("node.answers", str(node), f"the agent of {node} answers", now.as_of)
        for problem in now.problems if now else ():
            if was is None or problem not in was.problems:
                yield _Line("node.problem", str(node), f"{node}: {problem}", now.as_of if now else 0.0)


def _of_change(before: ClusterView, after: ClusterView, key: str, record: Any) -> Iterable[_Line]:
    if key.startswith(HISTORY):
        return _of_ended(record) if record else ()
    collection, _, id = key[len(PREFIX) :].partition("/")
    old = before.find(collection, id)
    teller = _TELLERS.get(collection)
    return teller(before, after, old, record) if teller and old != record else ()


def _of_cluster(before: ClusterView, after: ClusterView, old: Cluster | None, new: Cluster | None) -> Iterator[_Line]:
    if new:
        yield _Line(
            "cluster.made" if old is None else "cluster.changed", str(new), f"{new} was {'made' if old is None else 'changed'}"
        )


def _of_instance(before: ClusterView, after: ClusterView, old: Instance | None, new: Instance | None) -> Iterator[_Line]:
    if new is None:
        if old and old.state not in ("adding", "restoring"):  # what was only being made has the event of its failed job
            yield _Line("instance.removed", str(old), f"{old} was removed")
    elif new.state == "ready" and (old is None or old.state in ("adding", "restoring")):
        node = after.find("node", new.node)
        verb = "restored" if old and old.state == "restoring" else "made"
        yield _Line(f"instance.{verb}", str(new), f"{new} was {verb} on {node.name if node else new.node}")
    elif old and (old.tags, old.notes, old.owner) != (new.tags, new.notes, new.owner):
        yield _Line("instance.changed", str(new), f"tags, owner or notes of {new} were changed")
    elif old and old.protected != new.protected:
        yield _Line(
            "instance.changed",
            str(new),
            f"{new} is {'' if new.protected else 'not '}protected{'' if new.protected else ' any more'}",
        )
    elif old and old.disks != new.disks and new.state == "ready":
        yield _Line("instance.changed", str(new), f"the disks of {new} were changed")


def _of_observed(before: ClusterView, after: ClusterView, old: Observed | None, new: Observed | None) -> Iterator[_Line]:
    if new is None:
        return
    instance: Instance | None = after.find("instance", new.id)
    if instance is None:
        return
    if old is None or (old.state, old.generation) != (new.state, new.generation) or (new.gave_up and not old.gave_up):
        line = _of_state(after, instance, old, new)
        if line:
            yield line
    if new.ready_generation and new.ready_generation != (old.ready_generation if old else 0):
        address = f" ({', '.join(new.addresses)})" if new.addresses else ""
        took = f" after {new.ready_s:.1f} s" if new.ready_s else ""
        yield _Line("instance.ready", str(instance), f"{instance} reports that it is ready{took}{address}", new.ready_at)


def _of_state(after: ClusterView, instance: Instance, old: Observed | None, new: Observed) -> _Line | None:
    node = after.find("node", instance.node)
    where = node.name if node else instance.node
    at = new.since
    if new.state == "running":
        again = " again" if old and old.state == "paused" and old.generation == new.generation else ""
        return _Line("instance.started", str(instance), f"{instance} runs{again} on {where}", at)
    if new.state == "paused":
        return _Line("instance.paused", str(instance), f"{instance} is paused on {where}", at)
    if new.state == "crashed":
        if new.gave_up:
            text = f"{instance} crashed; given up after {len(new.crashes)} crashes"
        elif new.restart_at:
            text = f"{instance} crashed; restart in {max(new.restart_at - new.since, 0):.0f} s"
        else:
            text = f"{instance} crashed"
        return _Line("instance.crashed", str(instance), text, 0.0 if new.gave_up else at)
    if new.state == "missing":
        return _Line("instance.missing", str(instance), f"{instance} is missing: {where} has no such domain", at)
    if new.state == "stopped" and old is not None:
        how = "was shut down from within" if new.reason == "guest" else "stopped"
        return _Line("instance.stopped", str(instance), f"{instance} {how}", at)
    return None


def _of_image(before: ClusterView, after: ClusterView, old: Image | None, new: Image | None) -> Iterator[_Line]:
    if new is None:
        if old and old.state != "adding":
            yield _Line("image.removed", str(old), f"{old} was removed")
    elif new.state != (old.state if old else "adding") and new.state in ("ready", "broken"):
        yield _Line(f"image.{new.state}", str(new), f"{new} is {new.state}")


def _of_snapshot(before: ClusterView, after: ClusterView, old: Snapshot | None, new: Snapshot | None) -> Iterator[_Line]:
    snapshot = new or old
    if snapshot and not (old and new):
        owner = before.find("instance", snapshot.instance) or after.find("instance", snapshot.instance)
        verb = "made" if new else "removed"
        yield _Line(f"snapshot.{verb}", str(owner or snapshot), f"{snapshot} of {owner or snapshot.instance} was {verb}")


def _of_job(before: ClusterView, after: ClusterView, old: Job | None, new: Job | None) -> Iterator[_Line]:
    """Ends are told from the history, where the outcome is."""
    if new and new.state != (old.state if old else "queued"):
        title = f"{new} {new.request.title} by {new.user}"
        if new.state == "undoing":
            why = str((new.error or {}).get("what", "")) or "it failed"
            yield _Line("job.undoing", str(new), f"{title} is being taken back: {why}", job=new.id)
        elif new.state == "waiting":
            yield _Line("job.waiting", str(new), f"{title} waits until the guest is ready", new.waiting_since, new.id)


def _of_ended(ended: EndedJob) -> Iterator[_Line]:
    job = ended.job
    words = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled", "superseded": "was superseded"}
    why = f' ("{job.reason}")' if job.reason else ""
    text = f"{job} {job.request.title} by {job.user}{why} {words.get(job.state, 'needs repair')}"
    if job.state == "succeeded":
        text += f" in {max(job.ended_at - job.created_at, 0):.1f} s"
    elif job.error:
        text += f": {job.error.get('what', '')}"
    yield _Line(f"job.{job.state}", str(job), text, job.ended_at, job.id)


def _of_debris(before: ClusterView, after: ClusterView, old: Debris | None, new: Debris | None) -> Iterator[_Line]:
    debris = new or old
    if debris and not (old and new):
        verb = "was left behind" if new else "was cleaned up"
        why = f": {debris.why}" if new else ""
        yield _Line(
            f"debris.{'left' if new else 'gone'}",
            str(debris),
            f"{debris.step.title} of job {debris.job} {verb}{why}",
            job=debris.job,
        )


def _of_backup(before: ClusterView, after: ClusterView, old: Backup | None, new: Backup | None) -> Iterator[_Line]:
    if new and new.made_at != (old.made_at if old else 0.0):
        node = after.find("node", new.node)
        text = f"a backup of the records was made on {node.name if node else new.node}: {new.file}"
        yield _Line("cluster.backed-up", "the backup of the records", text, new.made_at)
    elif new and new.failed_at and (old is None or old.error != new.error):
        yield _Line("cluster.backup-failed", "the backup of the records", f"the backup failed: {new.error}", new.failed_at)


def _of_restoration(before: ClusterView, after: ClusterView, old: Restoration | None, new: Restoration | None) -> Iterator[_Line]:
    """That records were brought back happens while nobody looks: who leads first tells it."""
    if new and not new.is_open and (old is None or old.is_open):
        gone = f", without {', '.join(new.without)}: {new.because}" if new.without else ""
        yield _Line("cluster.reconciled", "cluster", f"the records say what runs{gone}", new.done_at)


def _of_leadership(before: ClusterView, after: ClusterView, old: Leadership | None, new: Leadership | None) -> Iterator[_Line]:
    if new:
        yield _Line("cluster.leader", f"node {new.holder}", f"{new.holder} leads, epoch {new.incarnation}.{new.epoch}", new.since)


def _of_named(noun: str) -> Callable[..., Iterator[_Line]]:
    """Nouns that merely come and go."""

    def tell(
        before: ClusterView,
        after: ClusterView,
        old: Node | Pool | Network | Token | Forward | None,
        new: Node | Pool | Network | Token | Forward | None,
    ) -> Iterator[_Line]:
        verb = "made" if old is None else "removed" if new is None else "changed"
        yield _Line(f"{noun}.{verb}", str(new or old), f"{new or old} was {verb}")

    return tell


_TELLERS: dict[str, Callable[..., Iterator[_Line]]] = {
    "cluster": _of_cluster,
    "instance": _of_instance,
    "observed": _of_observed,
    "image": _of_image,
    "job": _of_job,
    "debris": _of_debris,
    "leadership": _of_leadership,
    "backup": _of_backup,
    "restoration": _of_restoration,
    **{noun: _of_named(noun) for noun in ("node", "pool", "network", "firewall", "token", "forward")},
    "snapshot": _of_snapshot,
}
