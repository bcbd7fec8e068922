"""Guests that move while they run: where to, by which steps, and what is recorded when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import CoveyError, NoSpace, Refused, Unavailable
from covey.model.instance import Instance
from covey.model.plan import Plan
from covey.model.pool import Space
from covey.model.requests.instance import MigrateInstance
from covey.model.step import PIVOT
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.migration import EnsureExpected, EnsureMigrated
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import (
    GIB,
    a_cluster,
    a_disk,
    a_forward,
    a_nic,
    a_pool,
    a_public_network,
    a_snapshot_of,
    a_telemetry,
    an_id,
    an_image,
    an_instance,
    an_observed,
    asked,
)

N1, N2, N3 = (an_id(f"node/n{number}") for number in (1, 2, 3))
SPACES = {a_pool().id: Space(100 * GIB, 100 * GIB)}
WEB = an_instance("web1", disks=(replace(a_disk(), image=an_image().id), a_disk("web1/1", 1, size=GIB, format="raw")))


def a_flock(web: Instance = WEB, state: str = "running", **changes: Any) -> ClusterView:
    extra = (an_observed(web, state), *changes.pop("extra", ()))
    return a_cluster(nodes=changes.pop("nodes", 2), instances=(web,), extra=extra, **changes)


def moved(view: ClusterView | None = None, **wish: Any) -> Plan:
    return plan(view or a_flock(), asked(MigrateInstance(instance="web1", **wish)))


def the(kind: type[Any], made: Plan) -> Any:
    (step,) = [step for step in made.steps if isinstance(step, kind)]
    return step


def test_all_is_ready_there_before_it_goes() -> None:
    made = moved()
    assert [(step.kind, step.node) for step in made.steps] == [
        ("image-brought@1", N2),
        ("volume@1", N2),
        ("volume@1", N2),
        ("defined@1", N2),
        ("expected@1", N2),
        ("migrated@1", N1),
    ]
    assert the(EnsureMigrated, made).role == PIVOT


def test_its_packet_rules_are_there_before_it() -> None:
    made = moved(a_flock(replace(WEB, nics=(a_nic(),))))
    kinds = [(step.kind, step.node) for step in made.steps]
    assert kinds.index(("filtered@1", N2)) < kinds.index(("migrated@1", N1))


def test_its_volumes_there_are_others_and_the_guest_knows_its_disks_as_before() -> None:
    domain = the(EnsureMigrated, moved()).domain
    for disk, before in zip(domain.disks, WEB.disks, strict=True):
        assert disk.volume.id != before.volume.id
        assert disk.identity == before.volume.id


def test_only_what_can_lie_on_an_image_does_there() -> None:
    images = [step.image for step in moved().steps if isinstance(step, EnsureVolume)]
    assert images == [an_image().id, ""]


def test_both_may_run_it_from_before_the_first_order_and_only_one_once_it_is_there() -> None:
    made = moved()
    (begun,) = made.begin
    assert begun.record and begun.record["holders"] == {N1: WEB.generation, N2: WEB.generation + 1}
    written = {write.key.split("/")[1]: write.record for write in made.pivoted}
    assert written["run"] is None
    assert written["stale"] and written["stale"]["instance"]["node"] == N1, "what is left there is nobody's to start"
    assert written["instance"] and (written["instance"]["node"], written["instance"]["generation"]) == (N2, WEB.generation + 1)
    assert [write.key for write in made.undone] == [begun.key]


def test_it_is_another_start_than_any_before() -> None:
    view = a_flock(extra=(an_observed(WEB, generation=9),))
    assert the(EnsureMigrated, moved(view)).generation == 10
    assert the(EnsureExpected, moved(view)).generation == 10


def test_a_guest_that_was_ready_is_ready_there() -> None:
    view = a_flock(extra=(an_observed(WEB, ready_generation=WEB.generation),))
    (seen,) = [write for write in moved(view).pivoted if "/observed/" in write.key]
    assert seen.record and seen.record["ready_generation"] == WEB.generation + 1


def test_packets_are_led_there_only_once_it_is_there() -> None:
    network = a_public_network()
    web = replace(WEB, nics=(a_nic(number=30, network=network),))
    kinds = [(step.kind, step.node) for step in moved(a_flock(web, networks=(network,))).steps]
    pivot = kinds.index(("migrated@1", N1))
    assert kinds[pivot + 1 : pivot + 3] == [("not-routed@1", N1), ("route-follows@1", N2)]
    assert ("routed@1", N2) not in kinds


def test_limits_are_told_to_where_it_leaves() -> None:
    step = the(EnsureMigrated, moved(bandwidth=800_000_000, downtime_s=0.1, slows_guest=False))
    assert (step.bandwidth, step.downtime_s, step.slows_guest) == (100_000_000, 0.1, False)


def test_it_goes_where_most_memory_is_free() -> None:
    view = a_flock(nodes=3).with_telemetry(N2, a_telemetry(4 * GIB, SPACES))
    assert the(EnsureMigrated, moved(view)).to == N3
    assert the(EnsureMigrated, moved(view, to="n2")).to == N2


def snapshotted() -> ClusterView:
    web, layers = a_snapshot_of(WEB)
    return a_flock(web, extra=layers)


def test_a_disk_on_a_layer_is_copied_whole_and_stands_alone_there() -> None:
    assert not the(EnsureMigrated, moved()).whole
    made = moved(a_flock(replace(WEB, disks=(replace(a_disk(), base=an_id("layer")),))))
    assert the(EnsureMigrated, made).whole
    assert the(EnsureVolume, made).image == ""


@pytest.mark.parametrize(
    ("view", "wish", "kind", "why"),
    [
        (a_flock(state="stopped"), {}, Refused, "only one that runs"),
        (a_flock(state="paused"), {}, Refused, "only one that runs"),
        (a_flock(nodes=1), {}, Refused, "no other node"),
        (a_flock(), {"to": "n1"}, Refused, "on n1 already"),
        (snapshotted(), {}, Refused, "snapshot"),
        (a_flock(replace(WEB, cpu_model="EPYC")), {}, Refused, "cannot give its guests the CPU"),
        (a_flock().with_telemetry(N2, a_telemetry(GIB, SPACES)), {}, NoSpace, "memory"),
        (a_flock().with_telemetry(N2, None), {"to": "n2"}, Unavailable, "does not answer"),
    ],
)
def test_what_cannot_move_is_refused_and_says_why(
    view: ClusterView, wish: dict[str, str], kind: type[CoveyError], why: str
) -> None:
    with pytest.raises(kind, match=why):
        moved(view, **wish)


def test_ports_that_lead_to_it_are_another_nodes_then() -> None:
    made = moved(a_flock(extra=(a_forward(WEB),)))
    assert any("ports that lead to it are those of n2" in warning for warning in made.warnings)
