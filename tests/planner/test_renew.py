"""instance rename, reinstall, start --iso, and what kind of machine a guest sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import Refused
from covey.model.cluster import Defaults
from covey.model.image import Image
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.requests.instance import ModifyInstance, ReinstallInstance, RenameInstance, StartInstance
from covey.model.shape import shape_of
from covey.model.steps.disk import EnsureVolume, EnsureVolumeAbsent
from covey.model.steps.instance import EnsureDefined, EnsureRedefined
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, a_cluster, a_cluster_record, a_disk, a_nic, an_image, an_instance, an_observed, asked

DEBIAN = an_image()
RESCUE: Image = replace(an_image("rescue", size=GIB), format="raw")
WEB1 = an_instance(disks=(replace(a_disk(), image=DEBIAN.id), a_disk("web1/1", 1)), nics=(a_nic(),), seeded=True)
STOPPED = replace(WEB1, desired="stopped")


def of(request: Request, instance: Any = WEB1, **observed: Any) -> Plan:
    seen = [an_observed(instance, live=shape_of(instance), **observed)] if instance.desired == "running" else []
    return plan(world(instance, seen), asked(request))


def world(instance: Any, seen: Any = ()) -> ClusterView:
    return a_cluster(instances=[instance, an_instance("web2")], images=[DEBIAN, RESCUE, an_image("other")], extra=seen)


def kinds(made: Plan) -> list[str]:
    return [step.kind.partition("@")[0] for step in made.steps]


def test_a_rename_changes_the_record_and_the_title_and_says_what_the_guest_calls_itself() -> None:
    made = of(RenameInstance(instance="web1", new_name="www"))
    (step,) = made.steps
    assert isinstance(step, EnsureRedefined)
    assert (step.domain.title, step.before.title) == ("www", "web1")
    (write,) = made.begin
    assert (write.fields, (write.record or {})["name"]) == (("name",), "www")
    assert "still calls itself as before, as a rule web1" in made.warnings[0]


def test_a_rename_to_a_taken_name_is_refused_and_to_its_own_is_nothing() -> None:
    with pytest.raises(Refused, match="taken"):
        of(RenameInstance(instance="web1", new_name="web2"))
    assert of(RenameInstance(instance="web1", new_name="web1")).steps == ()


def test_a_reinstall_makes_the_new_disk_before_the_old_one_goes() -> None:
    made = of(ReinstallInstance(instance="web1"))
    assert kinds(made) == ["volumes-found", "volume", "seed", "redefined", "stopped", "generation"]
    new = made.steps[1]
    assert isinstance(new, EnsureVolume)
    assert new.image == DEBIAN.id
    assert new.volume.id != WEB1.disks[0].volume.id
    (_, removed) = made.success
    assert (removed.record or {})["id"] == WEB1.disks[0].volume.id
    assert "covey disk restore web1 0" in made.reasons[-1]


def test_where_nothing_removed_is_kept_the_old_disk_goes_for_good() -> None:
    cluster = a_cluster_record(defaults=Defaults(keep_removed_s=0.0))
    view = a_cluster(instances=[WEB1], images=[DEBIAN], cluster=cluster)
    made = plan(view, asked(ReinstallInstance(instance="web1")))
    assert isinstance(made.steps[-1], EnsureVolumeAbsent)
    assert made.warnings == ("what is on disk 0 is lost", "the guest is cut at once")


def test_a_reinstall_keeps_nics_and_other_disks() -> None:
    made = of(ReinstallInstance(instance="web1", image="other"))
    redefined = next(step for step in made.steps if isinstance(step, EnsureRedefined))
    assert redefined.domain.nics == redefined.before.nics
    assert redefined.domain.disks[1:] == redefined.before.disks[1:]
    assert "1 other disk stay" in made.reasons[0]
    assert made.warnings == ("the guest is cut at once",)


def test_a_stopped_one_is_reinstalled_and_stays_stopped() -> None:
    assert "generation" not in kinds(of(ReinstallInstance(instance="web1"), STOPPED))


def test_what_was_made_from_no_image_needs_one_named() -> None:
    bare = replace(WEB1, disks=(a_disk(),))
    with pytest.raises(Refused, match="not made from an image"):
        of(ReinstallInstance(instance="web1"), bare)
    assert of(ReinstallInstance(instance="web1", image="other"), bare).steps


def test_a_start_from_an_iso_is_for_this_once() -> None:
    made = of(StartInstance(instance="web1", iso="rescue"), STOPPED)
    assert [kind for kind in kinds(made) if kind != "filtered"] == ["seed", "defined", "running", "defined"]
    first, last = (step.domain for step in made.steps if isinstance(step, EnsureDefined))
    assert (first.iso, last.iso) == (RESCUE.id, "")


def test_a_running_one_does_not_start_from_an_iso_and_a_disk_is_no_iso() -> None:
    with pytest.raises(Refused, match="runs already"):
        of(StartInstance(instance="web1", iso="rescue"))
    with pytest.raises(Refused, match="not an ISO"):
        of(StartInstance(instance="web1", iso="debian-12"), STOPPED)


def test_an_iso_is_changed_in_a_drive_that_holds_one_and_else_waits() -> None:
    made = of(ModifyInstance(instance="web1", iso="rescue"))
    assert made.warnings == ("iso rescue takes effect at the next start: covey instance reboot web1",)
    assert of(ModifyInstance(instance="web1", iso=""), replace(WEB1, iso=RESCUE.id)).warnings == ()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (ModifyInstance(instance="web1", cpu_model="x86-64-v4"), "CPU x86-64-v4"),
        (ModifyInstance(instance="web1", firmware="uefi"), "no UEFI firmware"),
    ],
)
def test_what_the_node_cannot_give_is_refused(wish: ModifyInstance, words: str) -> None:
    view = world(STOPPED)
    poor = replace(view.telemetry[WEB1.node].capabilities, firmwares=("bios",))
    view = view.with_telemetry(WEB1.node, replace(view.telemetry[WEB1.node], capabilities=poor))
    with pytest.raises(Refused, match=words):
        plan(view, asked(wish))


def test_firmware_cpu_and_boot_order_wait_for_the_next_start() -> None:
    made = of(ModifyInstance(instance="web1", firmware="uefi", cpu_model="x86-64-v2", boot=("network", "disk")))
    assert "; at its next start: firmware uefi, cpu model x86-64-v2, boot network,disk" in made.summary
    assert "does as a rule not boot with UEFI" in made.warnings[-1]


def test_a_protected_one_is_not_reinstalled() -> None:
    with pytest.raises(Refused, match="protected"):
        of(ReinstallInstance(instance="web1"), replace(WEB1, protected=True))
