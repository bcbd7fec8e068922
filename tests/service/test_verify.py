"""Each finding of cluster verify: what brings it about, and that nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.host.hypervisor.definition import digest
from covey.model.domain import Drift, FoundDomain
from covey.model.filter import FoundFilters
from covey.model.instance import Instance
from covey.model.job import Debris, Job, PlanRecord
from covey.model.network import FoundNetwork, Link
from covey.model.order import Inventory
from covey.model.pool import FoundVolume
from covey.model.record import Record, key_of
from covey.model.requests.disk import GrowDisk, ImportDisk
from covey.model.requests.instance import RemoveInstance, StartInstance
from covey.model.requests.repair import (
    RemoveOrphanDomain,
    RemoveOrphanImage,
    RemoveOrphanNetwork,
    RemoveOrphanUpload,
    RemoveOrphanVolume,
    RepairInstance,
    RepairNetwork,
)
from covey.model.shape import shape_of
from covey.model.steps.disk import EnsureVolume
from covey.model.transfer import FoundUpload
from covey.model.view import ClusterView
from covey.planner import plan
from covey.planner.instance.parts import domain_of
from covey.service.verify import Finding, verify
from tests.kit.builders import (
    GIB,
    a_cluster,
    a_job,
    a_network,
    a_nic,
    a_node,
    a_pool,
    a_removed,
    a_snapshot_of,
    a_telemetry,
    a_volume,
    an_id,
    an_image,
    an_instance,
    an_observed,
    asked,
)

NODE = a_node()


def a_view(*records: Record) -> ClusterView:
    """A cluster with a pool, a network, an image, and these."""
    return a_cluster(extra=records)


def a_world(*instances: Instance) -> ClusterView:
    records: list[Record] = [*instances, *(an_observed(instance, "running") for instance in instances)]
    return a_view(*records)


def what_it_has(view: ClusterView) -> Inventory:
    """A machine on which all is as the view says."""
    return Inventory(
        tuple(_domain(view, instance) for instance in view.instances),
        (
            *(replace(_volume(disk.volume), base=disk.base) for instance in view.instances for disk in instance.disks),
            *(replace(_volume(layer.volume), base=layer.base) for layer in view.layers),
        ),
        tuple((id, "1") for id in view.collections["image"]),
        tuple(FoundNetwork(id, "cv-lan", "1", True) for id in view.collections["network"]),
        (),
        (),
    )


def _volume(volume: object) -> FoundVolume:
    return FoundVolume(volume.id, volume.place, volume.format, volume.size, 2**20, "7")  # type: ignore[attr-defined]


def _domain(view: ClusterView, instance: Instance, **changes: object) -> FoundDomain:
    state = "running" if instance.desired == "running" else "stopped"
    found = FoundDomain(instance.id, state, "", instance.generation, "7", 4711, digest(domain_of(view, instance)))
    return replace(found, **changes)  # type: ignore[arg-type]


def findings(view: ClusterView, has: Inventory | None, before: ClusterView | None = None) -> tuple[Finding, ...]:
    return verify(before or view, view, {NODE.id: has}, LAST_JOB).findings


def the_one(view: ClusterView, has: Inventory | None) -> Finding:
    found = findings(view, has)
    assert len(found) == 1, found
    assert found[0].what and found[0].why and found[0].fix and found[0].object
    return found[0]


WEB = an_instance("web1")
LAST_JOB = 12


def test_where_all_is_as_recorded_nothing_is_found() -> None:
    view = a_world(WEB, an_instance("db1"))
    verdict = verify(view, view, {NODE.id: what_it_has(view)}, LAST_JOB)
    assert verdict.findings == ()
    assert verdict.checks > 6
    assert (verdict.nodes, verdict.instances) == (1, 2)


def test_a_silent_agent_is_one_finding_and_no_accusation_of_its_guests() -> None:
    finding = the_one(a_world(WEB), None)
    assert (finding.name, finding.severity, finding.request) == ("agent-silent", "error", None)


def test_a_volume_that_no_record_names_is_an_orphan_and_can_be_removed() -> None:
    view = a_world(WEB)
    has = what_it_has(view)
    orphan = _volume(a_volume("stray"))
    finding = the_one(view, replace(has, volumes=(*has.volumes, orphan)))
    assert finding.name == "orphan-volume"
    assert "job 7" in finding.why
    assert finding.request == RemoveOrphanVolume(node="n1", volume=a_volume("stray"))


def test_an_image_that_was_sent_and_that_no_job_wants_is_an_orphan_and_can_be_removed() -> None:
    view = a_world()
    place = a_pool().place
    sent = FoundUpload(an_id("sent"), place, 2 * GIB, 3600.0)
    finding = the_one(view, replace(what_it_has(view), uploads=(sent,)))
    assert (finding.name, finding.severity) == ("orphan-upload", "warning")
    assert finding.request == RemoveOrphanUpload(node="n1", place=place, upload=sent.id)


def test_an_image_that_came_just_now_or_that_a_job_wants_is_no_orphan() -> None:
    view = a_world()
    place = a_pool().place
    just_now, wanted = FoundUpload(an_id("just"), place, GIB, 2.0), FoundUpload(an_id("wanted"), place, GIB, 3600.0)
    job = a_job(request=ImportDisk(instance="web1", upload=wanted.id))
    queued = view.apply([(key_of(job), job)], view.revision + 1)
    has = replace(what_it_has(view), uploads=(just_now, wanted))
    assert findings(queued, has, before=view) == ()


def test_a_domain_that_no_record_names_is_an_orphan_and_can_be_removed() -> None:
    view = a_world()
    stray = FoundDomain(an_id("stray"), "running", "", 1, "9", 1, "")
    finding = the_one(view, replace(what_it_has(view), domains=(stray,)))
    assert finding.request == RemoveOrphanDomain(node="n1", domain=an_id("stray"))


def test_rules_of_a_domain_that_no_record_names_go_with_it_or_not_at_all() -> None:
    """Else to mend the one would remove the other, which may have been made after a backup that was restored."""
    view = a_world()
    stray = FoundDomain(an_id("stray"), "running", "", 1, str(LAST_JOB + 1), 1, "")
    has = replace(what_it_has(view), domains=(stray,))
    filters = has.filters or FoundFilters()
    filtered = replace(has, filters=replace(filters, instances={**filters.instances, an_id("stray"): "rules"}))
    assert the_one(view, filtered).name == "orphan-domain"
    assert the_one(view, replace(filtered, domains=())).name == "orphan-filter"


def test_a_seed_without_instance_is_an_orphan_and_can_be_removed() -> None:
    view = a_world()
    finding = the_one(view, replace(what_it_has(view), seeds=(an_id("stray"),)))
    assert finding.name == "orphan-seed"
    assert finding.request == RemoveOrphanDomain(node="n1", domain=an_id("stray"))


def test_an_image_file_that_no_record_names_is_an_orphan_and_can_be_removed() -> None:
    view = a_world()
    has = what_it_has(view)
    finding = the_one(view, replace(has, images=(*has.images, (an_id("stray"), "3"))))
    assert finding.request == RemoveOrphanImage(node="n1", image=an_id("stray"))


@pytest.mark.parametrize("job", [LAST_JOB, LAST_JOB + 1])
def test_what_a_job_to_come_has_made_is_not_removed_for_an_older_store(job: int) -> None:
    """Somebody put an older copy of the store in its place: what was made since is no rubbish."""
    view = a_world()
    stray = FoundDomain(an_id("stray"), "running", "", 1, str(job), 1, "")
    volume = replace(_volume(a_volume("stray")), job=str(job))
    has = what_it_has(view)
    found = findings(view, replace(has, domains=(stray,), volumes=(volume,), images=(*has.images, (an_id("image"), str(job)))))
    assert {finding.name for finding in found} == {"orphan-domain", "orphan-volume", "orphan-image"}
    if job > LAST_JOB:
        assert {finding.request for finding in found} == {None}
        assert all("older copy" in finding.why for finding in found)
    else:
        assert None not in {finding.request for finding in found}


def test_a_lost_image_file_is_an_error_that_nothing_mends() -> None:
    view = a_world()
    finding = the_one(view, replace(what_it_has(view), images=()))
    assert (finding.name, finding.severity, finding.request) == ("missing-image", "error", None)


def test_an_image_is_needed_where_it_was_made_and_where_disks_are_made_of_it() -> None:
    image = replace(an_image(), node=an_id("node/n2"))
    view = a_cluster(images=[image])
    has = replace(what_it_has(view), images=())
    assert findings(view, has) == ()
    made_of_it = replace(WEB, disks=(replace(WEB.disks[0], image=image.id),))
    view = a_cluster(images=[image], extra=[made_of_it, an_observed(made_of_it)])
    assert the_one(view, replace(what_it_has(view), images=())).name == "missing-image"


def test_a_lost_volume_is_an_error_that_nothing_mends() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), volumes=()))
    assert (finding.name, finding.severity, finding.request) == ("missing-volume", "error", None)


def test_a_volume_that_is_larger_than_recorded_is_recorded_as_it_is() -> None:
    view = a_world(WEB)
    volume = what_it_has(view).volumes[0]
    grown = replace(volume, size=volume.size + 2**30)
    finding = the_one(view, replace(what_it_has(view), volumes=(grown,)))
    assert finding.request == GrowDisk(instance="web1", disk=0, size=grown.size)


def test_a_volume_that_is_smaller_than_recorded_is_an_error() -> None:
    view = a_world(WEB)
    volume = what_it_has(view).volumes[0]
    finding = the_one(view, replace(what_it_has(view), volumes=(replace(volume, size=512),)))
    assert (finding.name, finding.severity, finding.request) == ("wrong-size", "error", None)


def test_a_missing_domain_is_defined_again() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), domains=()))
    assert (finding.name, finding.request) == ("missing-domain", RepairInstance(instance="web1"))


def test_a_domain_that_was_changed_by_hand_is_defined_again() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, WEB, definition="other"),)))
    assert (finding.name, finding.severity, finding.request) == ("definition-drift", "warning", RepairInstance(instance="web1"))


@pytest.mark.parametrize("state", ["stopped", "crashed"])
def test_what_should_run_and_does_not_is_lost(state: str) -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, WEB, state=state, pid=0),)))
    assert (finding.name, finding.severity, finding.request) == ("lost", "error", RepairInstance(instance="web1"))


def test_what_restarts_by_itself_is_only_a_warning() -> None:
    view = a_view(WEB, an_observed(WEB, "crashed", restart_at=9e9, crashes=(1.0,)))
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, WEB, state="crashed"),)))
    assert finding.severity == "warning"


def test_what_should_run_and_is_paused_is_an_error() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, WEB, state="paused"),)))
    assert (finding.name, finding.request) == ("paused", RepairInstance(instance="web1"))


def test_what_runs_and_should_not_is_an_error() -> None:
    stopped = replace(WEB, desired="stopped")
    view = a_view(stopped)
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, stopped, state="running"),)))
    assert (finding.name, finding.request) == ("should-be-stopped", RepairInstance(instance="web1"))


@pytest.mark.parametrize("networks", [(), (FoundNetwork(a_network().id, "cv-lan", "1", False, "its address is gone"),)])
def test_a_network_that_is_not_intact_is_repaired(networks: tuple[FoundNetwork, ...]) -> None:
    view = a_world()
    finding = the_one(view, replace(what_it_has(view), networks=networks))
    assert (finding.name, finding.request) == ("network-broken", RepairNetwork(network="lan"))


def test_a_bridge_that_no_record_names_is_told_of() -> None:
    view = a_world()
    has = what_it_has(view)
    finding = the_one(view, replace(has, networks=(*has.networks, FoundNetwork(an_id("stray"), "cv-old", "5", True))))
    assert finding.name == "orphan-network"
    assert finding.request == RemoveOrphanNetwork(node="n1", network=an_id("stray"), bridge="cv-old")


def test_an_adopted_bridge_that_is_amiss_is_left_to_its_owner() -> None:
    site = replace(a_network("site", "10.8.0"), bridge="br0", adopted=True, nat=False)
    view = a_cluster(networks=[site])
    finding = the_one(view, replace(what_it_has(view), networks=()))
    assert (finding.name, finding.request) == ("network-broken", None)


@pytest.mark.parametrize(("hosts", "severity"), [(True, "error"), (False, "warning")])
def test_a_node_that_lacks_the_bridge_of_a_network_is_told_of_with_the_fix(hosts: bool, severity: str) -> None:
    site = replace(a_network("site"), bridge="br0", adopted=True, nat=False)
    web = replace(WEB, nics=(a_nic(network=site),) if hosts else ())
    view = a_cluster(networks=[site], extra=(web, an_observed(web)))
    has = replace(what_it_has(view), networks=())
    view = view.with_telemetry(NODE.id, replace(view.telemetry[NODE.id], interfaces=("lo", "br1"), bridges=("br1",)))
    finding = the_one(view, has)
    assert (finding.name, finding.severity, finding.request) == ("network-unlinked", severity, None)
    assert "n1 has no bridge br0" in finding.what
    assert "covey network modify site --link n1=" in finding.fix


def test_a_network_that_is_not_to_be_on_a_node_is_not_missed_there_but_an_orphan() -> None:
    view = a_cluster(networks=[replace(a_network(), links=(Link(NODE.id, ""),))])
    finding = the_one(view, what_it_has(view))
    assert finding.name == "orphan-network"
    assert finding.request
    assert plan(view, asked(finding.request)).steps
    assert findings(view, replace(what_it_has(view), networks=())) == ()


def test_a_pool_without_telemetry_is_unreachable() -> None:
    view = a_world().with_telemetry(NODE.id, a_telemetry(spaces={}))
    finding = the_one(view, what_it_has(view))
    assert (finding.name, finding.severity) == ("pool-unreachable", "error")


def test_debris_is_told_of_and_its_volume_is_no_orphan_too() -> None:
    volume = a_volume("stray")
    view = a_view(Debris("3.0", 3, EnsureVolume(node=NODE.id, volume=volume, image=""), "the device was busy", 1.0))
    finding = the_one(view, replace(what_it_has(view), volumes=(_volume(volume),)))
    assert (finding.name, finding.severity, finding.request) == ("debris", "warning", None)


def test_what_a_machine_could_not_look_at_is_told() -> None:
    view = a_world()
    finding = the_one(view, replace(what_it_has(view), problems=("libvirt does not answer",)))
    assert finding.name == "node-problem"


def test_a_removal_that_no_job_finishes_can_be_finished() -> None:
    view = a_view(replace(WEB, state="removing", desired="stopped"))
    finding = the_one(view, replace(what_it_has(view), domains=(), volumes=()))
    assert (finding.name, finding.request) == ("unfinished", RemoveInstance(instance="web1"))


def test_what_a_removed_instance_keeps_is_no_orphan_but_missed_when_it_is_gone() -> None:
    kept = a_removed(WEB)
    view = a_view(kept)
    has = replace(what_it_has(view), volumes=tuple(_volume(disk.volume) for disk in WEB.disks))
    assert findings(view, has) == ()
    finding = the_one(view, replace(has, volumes=()))
    assert (finding.name, finding.severity) == ("missing-kept-volume", "warning")
    assert "covey instance remove web1 --purge" in finding.fix


def test_the_objects_of_running_jobs_are_no_findings() -> None:
    view = a_world(WEB)
    request = StartInstance(instance="web1", seed="5" * 32, now=1.0)
    begun = plan(a_world(replace(WEB, desired="stopped")), request)
    view = view.apply(
        [("state/job/0000000004", Job(4, request, "root", "running", 1.0)), ("state/plan/0000000004", PlanRecord(4, begun))], 9
    )
    assert findings(view, replace(what_it_has(view), domains=(), volumes=())) == ()


def test_what_changed_while_the_nodes_were_asked_is_no_finding() -> None:
    before = a_world(WEB)
    after = before.apply([("state/instance/" + WEB.id, None)], before.revision + 1)
    assert findings(after, what_it_has(before), before) == ()


def test_findings_keep_their_id_from_one_look_to_the_next() -> None:
    view = a_world(WEB)
    has = replace(what_it_has(view), domains=(), volumes=())
    assert [finding.id for finding in findings(view, has)] == [finding.id for finding in findings(view, has)]
    assert len({finding.id for finding in findings(view, has)}) == 2


def test_raw_xml_is_a_reminder_that_nothing_mends() -> None:
    web = replace(WEB, raw_xml="<devices/>\n<devices/>")
    view = a_world(web)
    finding = the_one(view, what_it_has(view))
    assert (finding.name, finding.severity, finding.request) == ("raw-xml", "warning", None)
    assert "2 lines" in finding.what


def test_a_definition_that_another_hand_changed_is_told_with_what_it_changed() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), drifts={WEB.id: Drift(("vcpu is 2, not 1",))}))
    assert (finding.name, finding.request) == ("definition-drift", RepairInstance(instance="web1"))
    assert "vcpu is 2, not 1" in finding.what


def test_a_running_guest_that_another_hand_changed_is_told_and_not_restarted() -> None:
    view = a_world(WEB)
    finding = the_one(view, replace(what_it_has(view), drifts={WEB.id: Drift((), ("a hostdev that Covey did not define",))}))
    assert (finding.name, finding.request) == ("run-drift", None)
    assert "covey instance reboot web1" in finding.fix


def test_a_run_that_is_not_as_recorded_waits_for_its_next_start() -> None:
    view = a_world(WEB)
    began = shape_of(replace(WEB, memory=2**29))
    finding = the_one(view, replace(what_it_has(view), domains=(_domain(view, WEB, live=began),)))
    assert (finding.name, finding.severity, finding.request) == ("waits", "warning", None)
    assert "memory 1G (now 512M)" in finding.what


# --- layers ----------------------------------------------------------------------------------------------------------------------
def a_frozen_world() -> ClusterView:
    instance, frozen = a_snapshot_of(an_instance("web1"))
    return a_view(instance, an_observed(instance), *frozen)


def findings_of(view: ClusterView, inventory: Inventory) -> list[Finding]:
    return list(verify(view, view, {NODE.id: inventory}, 9).findings)


def test_layers_that_are_as_recorded_are_nobodys_fault() -> None:
    view = a_frozen_world()
    assert findings_of(view, what_it_has(view)) == []


def test_a_missing_layer_is_told_with_all_who_need_it() -> None:
    view = a_frozen_world()
    (layer,) = view.layers
    has = what_it_has(view)
    (finding,) = findings_of(view, replace(has, volumes=tuple(one for one in has.volumes if one.id != layer.id)))
    assert (finding.name, finding.severity) == ("missing-layer", "error")
    assert "web1 and web1's snapshot first" in finding.what


def test_a_volume_on_the_wrong_layer_is_an_error_for_disks_and_layers() -> None:
    view = a_frozen_world()
    (layer,) = view.layers
    has = what_it_has(view)
    for moved, object in ((layer.id, "layer"), (view.instance("web1").disks[0].volume.id, "disk")):
        wrong = tuple(replace(one, base="elsewhere") if one.id == moved else one for one in has.volumes)
        (finding,) = findings_of(view, replace(has, volumes=wrong))
        assert (finding.name, finding.object.split()[0]) == ("broken-chain", object)


def test_a_layer_of_another_size_is_an_error() -> None:
    view = a_frozen_world()
    (layer,) = view.layers
    has = what_it_has(view)
    wrong = tuple(replace(one, size=one.size - 512) if one.id == layer.id else one for one in has.volumes)
    (finding,) = findings_of(view, replace(has, volumes=wrong))
    assert finding.name == "wrong-size"


def test_an_orphan_on_which_something_lies_is_left_alone() -> None:
    view = a_view()
    orphan, above = _volume(a_volume("orphan")), replace(_volume(a_volume("above")), base=a_volume("orphan").id)
    (finding,) = findings_of(view, replace(what_it_has(view), volumes=(orphan, above)))
    assert finding.name == "orphan-volume"
    assert above.id in finding.object
