"""disk flatten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, NotFound, Refused
from covey.model.pool import Space
from covey.model.requests.disk import FlattenDisk
from covey.model.requests.image import RemoveImage
from covey.model.requests.snapshot import AddSnapshot, RevertSnapshot
from covey.planner import plan
from tests.kit.builders import GIB, a_cluster, a_disk, a_snapshot_of, an_image, an_instance, an_observed, asked
from tests.planner.test_instance import kinds
from tests.planner.test_snapshot import a_world, after

IMAGE = an_image()
WEB = an_instance(disks=(replace(a_disk("web1/0", 0), image=IMAGE.id), a_disk("web1/1", 1)))
FLATTEN = FlattenDisk(instance="web1", disk=0)


def test_a_flat_disk_of_an_image_no_longer_holds_it() -> None:
    view = a_world(WEB, IMAGE)
    with pytest.raises(Refused, match="web1"):
        plan(view, asked(RemoveImage(image=IMAGE.name)))
    made, view = after(view, FLATTEN)
    assert kinds(made) == ["flat"]
    assert [disk.image for disk in view.instance("web1").disks] == ["", ""]
    assert view.instance("web1").disks[0].volume == WEB.disks[0].volume
    plan(view, asked(RemoveImage(image=IMAGE.name)))


def test_no_more_room_is_claimed_than_what_lies_below_can_fill() -> None:
    disk = replace(WEB.disks[0], volume=replace(WEB.disks[0].volume, size=20 * GIB))
    (claim,) = plan(a_world(replace(WEB, disks=(disk,)), replace(IMAGE, size=2 * GIB)), asked(FLATTEN)).claims
    assert claim.amount == 2 * GIB
    small = replace(disk, volume=replace(disk.volume, size=GIB))
    (claim,) = plan(a_world(replace(WEB, disks=(small,)), replace(IMAGE, size=2 * GIB)), asked(FLATTEN)).claims
    assert claim.amount == GIB
    with pytest.raises(NoSpace):
        plan(a_world(WEB, replace(IMAGE, size=2 * GIB), space=Space(1000 * GIB, 51 * GIB)), asked(FLATTEN))


def test_a_raw_disk_was_a_copy_from_the_start_and_takes_no_room() -> None:
    raw = replace(a_disk("web1/0", 0, format="raw"), image=IMAGE.id)
    made, view = after(a_world(replace(WEB, disks=(raw,)), IMAGE), FLATTEN)
    assert made.claims == ()
    assert view.instance("web1").disks[0].image == ""


def test_a_disk_that_lies_on_nothing_needs_nothing_and_one_that_is_not_there_is_not_found() -> None:
    assert plan(a_world(WEB, IMAGE), asked(FlattenDisk(instance="web1", disk=1))).steps == ()
    with pytest.raises(NotFound):
        plan(a_world(WEB, IMAGE), asked(FlattenDisk(instance="web1", disk=7)))


def test_a_snapshot_keeps_its_layer_and_can_still_be_reverted_to() -> None:
    _, view = after(a_world(WEB, IMAGE, state="stopped"), AddSnapshot(instance="web1", name="first"), "one")
    made, view = after(view, FLATTEN, "two")
    assert kinds(made) == ["flat"]
    assert any("first" in reason for reason in made.reasons)
    assert {layer.id for layer in view.layers} == {disk.volume.id for disk in WEB.disks}
    disk = view.instance("web1").disks[0]
    assert (disk.base, disk.image) == ("", "")
    _, view = after(view, RevertSnapshot(instance="web1", snapshot="first", stop=True), "three")
    assert view.instance("web1").disks[0].base == WEB.disks[0].volume.id


def test_the_last_that_lay_on_a_layer_takes_it_away() -> None:
    """A clone and its source lie on the same layer; flattened one after the other, nothing of it is left."""
    web1, (layer, *_) = a_snapshot_of(replace(WEB, disks=(a_disk("web1/0", 0),)))
    lies_on_it = replace(a_disk("web2/0", 0), base=web1.disks[0].base)
    web2 = an_instance("web2", disks=(lies_on_it,), nics=())
    view = a_cluster(
        instances=[web1, web2],
        extra=[an_observed(web1), an_observed(web2), layer],
        space=Space(1000 * GIB, 900 * GIB),
    )
    made, view = after(view, FLATTEN)
    assert kinds(made) == ["flat"]
    made, view = after(view, FlattenDisk(instance="web2", disk=0))
    assert kinds(made) == ["flat", "volume-absent"]
    assert list(view.layers) == []
