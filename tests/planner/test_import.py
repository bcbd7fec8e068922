"""disk import."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, NoSpace, Refused
from covey.model.pool import Space
from covey.model.requests.disk import ImportDisk
from covey.model.steps.disk import EnsureImported, EnsureUploadAbsent
from covey.model.transfer import Found
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, a_disk, a_pool, an_id, an_instance, asked
from tests.planner.test_instance import kinds
from tests.planner.test_snapshot import a_world, after

WEB = an_instance(disks=(a_disk("web1/0", 0),))
UPLOAD = an_id("upload")
FOUND = Found("vmdk", 20 * GIB, 3 * GIB, 2 * GIB, "ab" * 32)
IMPORT = ImportDisk(instance="web1", upload=UPLOAD, found=FOUND)


def roomy(free: int) -> ClusterView:
    return a_world(WEB, space=Space(1000 * GIB, free))


def test_a_disk_is_made_of_what_was_sent_then_the_image_goes() -> None:
    made, view = after(a_world(WEB), IMPORT)
    assert kinds(made) == ["imported", "disk-attached", "upload-absent"]
    first, last = made.steps[0], made.steps[-1]
    assert isinstance(first, EnsureImported) and isinstance(last, EnsureUploadAbsent)
    assert (first.upload, first.format, first.volume.size) == (UPLOAD, "vmdk", 20 * GIB)
    assert (last.upload, last.place) == (UPLOAD, first.volume.place)
    new = view.instance("web1").disks[1]
    assert (new.index, new.volume, new.image, new.base) == (1, first.volume, "", "")
    assert "ab" * 32 in made.reasons[0]


def test_what_a_copy_takes_is_claimed_and_all_of_a_raw_one() -> None:
    assert [claim.amount for claim in plan(a_world(WEB), asked(IMPORT)).claims] == [3 * GIB]
    raw = replace(IMPORT, format="raw")
    assert [claim.amount for claim in plan(a_world(WEB), asked(raw)).claims] == [20 * GIB]
    plan(roomy(53 * GIB), asked(IMPORT))
    for request, free in ((IMPORT, 53 * GIB - 1), (raw, 60 * GIB)):
        with pytest.raises(NoSpace, match="default"):
            plan(roomy(free), asked(request))


def test_the_plan_before_anything_is_sent_has_the_same_steps() -> None:
    expected = plan(a_world(WEB), asked(ImportDisk(instance="web1", found=Found("", 2**20, GIB, GIB))))
    assert kinds(expected) == kinds(plan(a_world(WEB), asked(IMPORT)))
    assert "1G" in expected.summary


def test_sizes_that_no_disk_has_and_pools_without_volumes_are_refused() -> None:
    for size in (0, 2**20 - 512, 2**46 + 512):
        with pytest.raises(BadInput, match="cannot be"):
            plan(a_world(WEB), asked(replace(IMPORT, found=replace(FOUND, size=size))))
    nothing = a_pool("nothing", template="diskless", format="")
    with pytest.raises(Refused, match="holds no volumes"):
        plan(a_world(WEB, nothing), asked(replace(IMPORT, pool="nothing")))
