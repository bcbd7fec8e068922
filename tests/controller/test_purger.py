"""What has been kept long enough goes, once, by a job."""

from __future__ import annotations

from covey.controller.purger import due_at
from covey.model.plan import Plan, Uses
from covey.model.requests.repair import PurgeRemoved
from tests.kit.builders import NOW, a_cluster, a_job, a_plan_record, a_removed, an_instance

KEPT = a_removed(an_instance("web1"), keep_until=NOW + 10)
OLDER = a_removed(an_instance("web2"), keep_until=NOW + 5)


def test_nothing_goes_before_its_time() -> None:
    view = a_cluster(extra=[KEPT, OLDER])
    assert due_at(view, NOW) == []
    assert due_at(view, NOW + 7) == [OLDER]
    assert due_at(view, NOW + 10) == [OLDER, KEPT]


def test_what_a_job_is_at_is_left_to_it() -> None:
    queued = a_job(3, PurgeRemoved(removed=KEPT.id, name=KEPT.title))
    restoring = a_plan_record(4, Plan("restore it", uses=Uses((f"removed/{OLDER.id}",))))
    assert due_at(a_cluster(extra=[KEPT, OLDER, queued, a_job(4), restoring]), NOW + 60) == []
