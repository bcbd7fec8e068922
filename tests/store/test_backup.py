"""The file of a backup: what it tells, and what is refused; and records that are brought back from it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import Refused
from covey.model import record as records
from covey.model.job import EndedJob, Job, Leadership
from covey.model.plan import Plan, Uses
from covey.model.record import Record, key_of, to_bytes
from covey.model.restoration import RESTORED, Restoration
from covey.model.run import Run
from covey.store.backup import Content, Head, pack, unpack
from covey.store.restore import KEPT_S, LOST_MARGIN, Return, brought_back
from tests.kit.builders import NOW, a_cluster_record, a_job, a_node, a_plan_record, a_removed, an_instance
from tests.kit.virtual import in_virtual_time, virtual_clock

HEAD = Head(NOW, "lab", "id", 1, 4, 77, 12, 1, 1, "n1")
RETURN = Return(RESTORED, incarnation=5, by="anna", made_at=NOW, last_job=12, highest_job=12)


def a_backup(*present: Record, **more: bytes) -> Content:
    return Content(HEAD, {}, {key_of(record): to_bytes(record) for record in present} | dict(more))


def decoded(entries: dict[str, bytes]) -> dict[str, Any]:
    return {key: records.from_bytes(key, value) for key, value in entries.items() if key.startswith(records.PREFIX)}


def test_what_is_packed_is_what_is_unpacked() -> None:
    content = unpack(pack(HEAD, {"ca.key": "k\n"}, [("a", b'{"x":"\xc3\xa9"}'), ("secret/1", b"\xff")]), "file")
    assert content == Content(HEAD, {"ca.key": "k\n"}, {"a": b'{"x":"\xc3\xa9"}', "secret/1": b"\xff"})


WHOLE = pack(HEAD, {}, [("a", b"1"), ("b", b"2")])


@pytest.mark.parametrize(
    "damaged",
    [b"", b"nonsense", gzip.compress(b"nonsense\n"), gzip.compress(b"{}\n{}\n"), WHOLE[:-9], WHOLE[: len(WHOLE) // 2]],
    ids=["empty", "nonsense", "nonsense in gzip", "no backup", "cut short", "half"],
)
def test_what_is_no_backup_or_not_all_of_one_is_refused(damaged: bytes) -> None:
    with pytest.raises(Refused):
        unpack(damaged, "file")


def test_a_backup_in_which_one_letter_was_changed_is_refused() -> None:
    with pytest.raises(Refused, match="checksum"):
        unpack(gzip.compress(gzip.decompress(WHOLE).replace(b'"text":"2"', b'"text":"3"')), "file")


def test_a_backup_in_a_form_to_come_is_refused_and_says_who_made_it() -> None:
    head, *rest = gzip.decompress(WHOLE).splitlines(keepends=True)
    newer = json.dumps(json.loads(head) | {"covey-backup": 2, "release": "9.0"}).encode() + b"\n"
    with pytest.raises(Refused, match=r"Covey 9\.0 made it"):
        unpack(gzip.compress(newer + b"".join(rest)), "file")


@in_virtual_time
async def test_brought_back_nobody_leads_and_all_wait_for_reconcile() -> None:
    content = a_backup(a_cluster_record(), a_node(), an_instance("web1"), Leadership(1, 4, "n1", NOW, "lease/9"))
    found = decoded(await brought_back(content, RETURN, virtual_clock()))
    leadership = found[records.key("leadership", "leader")]
    assert (leadership.incarnation, leadership.epoch, leadership.right) == (5, 0, "")
    restoration: Restoration = found[records.key("restoration", "last")]
    assert (restoration.is_open, restoration.made_at, restoration.incarnation, restoration.by) == (True, NOW, 5, "anna")
    assert found[key_of(an_instance("web1"))] == an_instance("web1")


@in_virtual_time
async def test_jobs_that_were_under_way_are_over_and_say_why() -> None:
    running, queued = replace(a_job(11), state="running"), a_job(12)
    plan = a_plan_record(11, Plan("grow it", uses=Uses(("instance/x",))))
    after = await brought_back(a_backup(a_cluster_record(), running, queued, plan), RETURN, virtual_clock())
    assert not any(key.startswith(("state/job/", "state/plan/")) for key in after)
    ended = [records.ended_from_bytes(after[f"{records.HISTORY}{id:010d}"]) for id in (11, 12)]
    assert [one.job.state for one in ended] == ["failed", "failed"]
    assert "interrupted: the records were restored" in (ended[0].job.error or {})["what"]
    assert ended[0].plan == plan.plan and ended[1].plan is None


@in_virtual_time
async def test_a_job_that_ended_while_the_backup_was_made_keeps_its_end() -> None:
    job: Job = replace(a_job(11), state="running")
    key = f"{records.HISTORY}{11:010d}"
    over = to_bytes(EndedJob(replace(job, state="succeeded"), None))
    after = await brought_back(a_backup(a_cluster_record(), job, **{key: over}), RETURN, virtual_clock())
    assert after[key] == over
    assert key_of(job) not in after


@in_virtual_time
async def test_job_numbers_go_on_far_above_all_that_may_have_been_given_out() -> None:
    after = await brought_back(a_backup(a_cluster_record()), replace(RETURN, highest_job=1234), virtual_clock())
    restoration = decoded(after)[records.key("restoration", "last")]
    assert (restoration.last_job, restoration.lost_to) == (12, 2 * LOST_MARGIN)
    assert [restoration.has_lost(job) for job in (12, 13, 2000, 2001)] == [False, True, True, False]


@in_virtual_time
async def test_what_was_removed_is_kept_for_a_while_whatever_the_backup_says() -> None:
    """It may have been brought back since, and be in use."""
    clock = virtual_clock()
    removed = a_removed(an_instance("web1"), keep_until=clock.now() - 1)
    found = decoded(await brought_back(a_backup(a_cluster_record(), removed), RETURN, clock))
    assert found[key_of(removed)].keep_until == pytest.approx(clock.now() + KEPT_S, abs=5)


@in_virtual_time
async def test_a_move_that_was_under_way_is_forgotten_where_it_runs_is_found() -> None:
    run = Run(an_instance("web1").id, {"n1": 1, "n2": 2})
    assert key_of(run) not in await brought_back(a_backup(a_cluster_record(), run), RETURN, virtual_clock())


@in_virtual_time
async def test_thousands_of_records_go_back_in_transactions_that_the_store_takes() -> None:
    many = [an_instance(f"web{number}", notes="n" * 5_000) for number in range(400)]
    after = await brought_back(a_backup(a_cluster_record(), *many), RETURN, virtual_clock())
    assert sum(key.startswith("state/instance/") for key in after) == 400
