"""Verbs of disks, images, networks, pools, nodes, tokens and the cluster; and repairs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable
from covey.model.cluster import Defaults
from covey.model.domain import DomainDisk
from covey.model.node import Node
from covey.model.pool import Pool, Space
from covey.model.requests.cluster import InitCluster, ModifyCluster
from covey.model.requests.disk import MOST_DISKS, AddDisk, GrowDisk, RemoveDisk
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import AddInstance, DiskWish
from covey.model.requests.network import AddNetwork
from covey.model.requests.node import ModifyNode, PingNode
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.requests.repair import RemoveOrphanDomain, RemoveOrphanImage, RemoveOrphanVolume, RepairNetwork
from covey.model.requests.token import AddToken, RemoveToken
from covey.model.steps.disk import EnsureDiskAttached, EnsureVolume
from covey.model.steps.pool import EnsurePool
from covey.model.token import Token
from covey.model.view import ClusterView
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_debris,
    a_disk,
    a_job,
    a_network,
    a_node,
    a_plan_record,
    a_pool,
    a_telemetry,
    a_volume,
    an_id,
    an_image,
    an_instance,
    an_observed,
)
from tests.planner.test_instance import kinds, of, written

WEB = an_instance(disks=(a_disk("a", 0), a_disk("b", 2)))


# --- disks ------------------------------------------------------------------------------------------------------------------------------
def test_a_disk_gets_the_lowest_free_index() -> None:
    made = of(a_cluster(instances=[WEB]), AddDisk(instance="web1", size=GIB))
    assert kinds(made) == ["volume", "disk-attached"]
    assert getattr(made.steps[1], "disk", DomainDisk(9, a_volume())).index == 1


def test_an_index_whose_disk_could_not_yet_be_detached_is_not_given_again() -> None:
    left = a_debris(7, EnsureDiskAttached(node=WEB.node, instance=WEB.id, disk=DomainDisk(1, a_volume("left"))))
    made = of(a_cluster(instances=[WEB], extra=[left]), AddDisk(instance="web1", size=GIB))
    assert getattr(made.steps[1], "disk", DomainDisk(9, a_volume())).index == 3


def test_an_instance_has_a_most_of_disks() -> None:
    full = an_instance(disks=tuple(a_disk(str(index), index) for index in range(MOST_DISKS)))
    with pytest.raises(Refused, match="the most"):
        of(a_cluster(instances=[full]), AddDisk(instance="web1", size=GIB))


def test_a_diskless_pool_holds_no_disk() -> None:
    with pytest.raises(Refused, match="holds no volumes"):
        of(a_cluster(pools=[a_pool("none", "diskless")], instances=[WEB]), AddDisk(instance="web1", size=GIB))


def test_a_volume_grows_before_its_guest_sees_it() -> None:
    made = of(a_cluster(instances=[WEB]), GrowDisk(instance="web1", disk=0, size=20 * GIB))
    assert kinds(made) == ["volume-size", "guest-sees-size"]
    assert made.repair == f"covey disk grow web1 0 {20 * GIB}"
    (after,) = written(made, "success").values()
    assert after == replace(WEB, disks=(a_disk("a", 0, size=20 * GIB), WEB.disks[1]))


def test_disks_never_shrink_and_growing_to_the_same_size_does_nothing() -> None:
    view = a_cluster(instances=[WEB])
    with pytest.raises(BadInput, match="never shrink"):
        of(view, GrowDisk(instance="web1", disk=0, size=GIB))
    assert of(view, GrowDisk(instance="web1", disk=0, size=10 * GIB)).steps == ()


def test_growing_a_raw_disk_claims_only_what_is_added() -> None:
    raw = an_instance(disks=(a_disk("a", 0, format="raw"),))
    view = a_cluster(instances=[raw], space=Space(100 * GIB, 20 * GIB))
    assert of(view, GrowDisk(instance="web1", disk=0, size=25 * GIB)).claims[0].amount == 15 * GIB
    with pytest.raises(NoSpace):
        of(view, GrowDisk(instance="web1", disk=0, size=26 * GIB))


def test_a_disk_is_detached_before_it_is_removed() -> None:
    made = of(a_cluster(instances=[WEB]), RemoveDisk(instance="web1", disk=2, purge=True))
    assert kinds(made) == ["disk-detached", "volume-absent"]
    with pytest.raises(NotFound, match="it has: 0, 2"):
        of(a_cluster(instances=[WEB]), RemoveDisk(instance="web1", disk=1))


# --- images -----------------------------------------------------------------------------------------------------------------------------
def test_an_image_takes_its_name_at_once_and_its_facts_from_the_step() -> None:
    made = of(a_cluster(images=[]), AddImage(name="deb", source="http://mirror/deb.qcow2"))
    (begun,) = written(made, "begin").values()
    assert getattr(begun, "state", "") == "adding"
    assert set(made.success[0].results) == {"format", "size", "file_size", "sha256"}
    assert "plain HTTP" in made.warnings[0]
    with pytest.raises(Refused, match="taken"):
        of(a_cluster(), AddImage(name="debian-12", source="/x"))


def test_a_build_is_one_step() -> None:
    assert kinds(of(a_cluster(), BuildImage(name="new", packages=("vim",)))) == ["image-built"]


def test_an_image_in_use_stays() -> None:
    users = [an_instance(disks=(replace(a_disk(), image=an_image().id),))]
    with pytest.raises(Refused, match="web1"):
        of(a_cluster(instances=users), RemoveImage(image="debian-12"))
    with pytest.raises(Refused, match="web1"):
        of(a_cluster(instances=[an_instance(iso=an_image().id)]), RemoveImage(image="debian-12"))
    assert kinds(of(a_cluster(nodes=2), RemoveImage(image="debian-12"))) == ["image-absent"] * 2


# --- pools ------------------------------------------------------------------------------------------------------------------------------
def test_pools_do_not_lie_within_each_other() -> None:
    for path in ("/srv", "/srv/default", "/srv/default/deeper"):
        with pytest.raises(Refused, match="within"):
            of(a_cluster(), AddPool(name="new", path=path))
    of(a_cluster(), AddPool(name="new", path="/srv/default2"))


def test_two_pools_are_not_made_at_once() -> None:
    """Neither their names nor their paths are recorded before they are made."""
    pairs = [(("a", "/srv/a"), ("a", "/srv/b")), (("a", "/srv/a"), ("b", "/srv/a/deeper"))]
    for pair in pairs:
        one, other = (of(a_cluster(), AddPool(name=name, path=path)) for name, path in pair)
        assert one.uses.conflicts(other.uses)


def test_a_place_with_leftovers_is_not_taken_before_they_are_gone() -> None:
    left = a_debris(7, EnsurePool(node=a_node().id, pool=an_id("pool/x"), place=a_pool("x").place))
    with pytest.raises(Refused, match="job 7"):
        of(a_cluster(extra=[left]), AddPool(name="x", path="/srv/x"))


def test_a_pool_in_use_stays_and_waits_for_disks_that_are_being_made_in_it() -> None:
    with pytest.raises(Refused, match="web1"):
        of(a_cluster(instances=[WEB]), RemovePool(pool="default"))
    adding = of(a_cluster(), AddInstance(name="new", disks=(DiskWish(size=GIB),)))
    assert adding.uses.conflicts(of(a_cluster(), RemovePool(pool="default")).uses)


# --- the cluster, nodes, tokens ---------------------------------------------------------------------------------------------------------
BLANK = ClusterView().with_telemetry(a_node().id, a_telemetry())


def test_a_cluster_is_made_of_the_machine_that_answers() -> None:
    made = of(BLANK, InitCluster(name="flock"))
    assert kinds(made) == ["accelerator", "pool"]
    records = list(written(made, "success").values())
    assert [type(record).__name__ for record in records] == ["Cluster", "Node", "Pool"]
    assert [record.name for record in records if isinstance(record, Node | Pool)] == ["n1", "default"]


def test_there_is_one_cluster_and_it_needs_a_machine() -> None:
    with pytest.raises(Refused, match="already"):
        of(a_cluster(), InitCluster(name="flock"))
    with pytest.raises(Unavailable):
        of(ClusterView(), InitCluster(name="flock"))


def test_settings_change_without_a_step() -> None:
    made = of(a_cluster(), ModifyCluster(defaults=Defaults(cpus=4)))
    assert made.steps == ()
    assert made.success
    assert of(a_cluster(), ModifyCluster(name="flock")).success == ()


def test_a_ping_is_a_step_that_changes_nothing() -> None:
    made = of(a_cluster(), PingNode(node="n1"))
    assert kinds(made) == ["answer"]
    assert not (made.begin or made.success or made.undone)


def test_notes_of_a_node() -> None:
    assert of(a_cluster(), ModifyNode(node="n1", notes="rack 2")).success
    assert of(a_cluster(), ModifyNode(node="n1", notes="")).success == ()


def test_tokens_come_and_go() -> None:
    bot = Token("bot", "viewer", "0" * 64, NOW)
    assert of(a_cluster(), AddToken(name="bot")).success
    with pytest.raises(Refused, match="taken"):
        of(a_cluster(extra=[bot]), AddToken(name="bot"))
    with pytest.raises(Refused, match="expired"):
        of(a_cluster(), AddToken(name="bot", expires_at=NOW - 1))
    assert of(a_cluster(extra=[bot]), RemoveToken(token="bot")).success  # noqa: S106  (a name)


# --- repairs ----------------------------------------------------------------------------------------------------------------------------
def test_an_orphan_is_removed_only_while_nobody_owns_it() -> None:
    view, owned = a_cluster(instances=[WEB]), WEB.disks[0].volume
    with pytest.raises(Refused, match="web1"):
        of(view, RemoveOrphanVolume(node="n1", volume=owned))
    assert kinds(of(a_cluster(), RemoveOrphanVolume(node="n1", volume=owned))) == ["volume-absent"]
    with pytest.raises(Refused):
        of(view, RemoveOrphanDomain(node="n1", domain=WEB.id))
    with pytest.raises(Refused):
        of(view, RemoveOrphanImage(node="n1", image=an_image().id))


def test_a_volume_that_a_job_is_making_is_no_orphan() -> None:
    volume = a_volume("new")
    making = of(a_cluster(instances=[WEB]), AddDisk(instance="web1", size=GIB))
    making = replace(making, steps=(EnsureVolume(node=WEB.node, volume=volume, image=""),))
    view = a_cluster(extra=[a_job(7, state="running"), a_plan_record(7, making)])
    with pytest.raises(Refused, match="job 7"):
        of(view, RemoveOrphanVolume(node="n1", volume=volume))


def test_a_network_is_repaired_on_every_node() -> None:
    assert kinds(of(a_cluster(nodes=2), RepairNetwork(network="lan"))) == ["network"] * 2
    assert a_network().name == "lan"


def test_the_disk_that_a_guest_runs_from_is_not_taken_from_it() -> None:
    with pytest.raises(Refused, match="runs from this disk"):
        of(a_cluster(instances=[WEB], extra=[an_observed(WEB)]), RemoveDisk(instance="web1", disk=WEB.disks[0].index))
    assert of(
        a_cluster(instances=[WEB], extra=[an_observed(WEB, "stopped")]), RemoveDisk(instance="web1", disk=WEB.disks[0].index)
    ).steps


def test_guests_behind_nat_are_told_the_name_servers_of_their_node() -> None:
    node = a_node()
    view = a_cluster().with_telemetry(node.id, replace(a_telemetry(), resolvers=("192.0.2.1",)))
    told = of(view, AddNetwork(name="dmz", subnet="10.78.0.0/24"))
    assert "192.0.2.1" in " ".join(told.reasons)
    own = of(view, AddNetwork(name="dmz", subnet="10.78.0.0/24", dns=("192.0.2.2",)))
    assert "192.0.2.1" not in " ".join(own.reasons)
    routed = of(view, AddNetwork(name="dmz", subnet="10.78.0.0/24", nat=False))
    assert "no name server" in " ".join(routed.reasons)
