"""What holds for every planner, whatever is asked of whatever cluster."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from covey.base.errors import Bug
from covey.model.image import Image
from covey.model.instance import Instance
from covey.model.network import Network
from covey.model.plan import Plan
from covey.model.pool import FLOOR_BYTES, FLOOR_FRACTION
from covey.model.record import decoded, encoded
from covey.model.request import Request
from covey.model.requests.forward import RemoveForward
from covey.model.requests.instance import RemoveInstance
from covey.model.snapshot import Layer
from covey.model.step import FORWARD, PIVOT, UNDOABLE, ResultOf
from covey.model.view import ClusterView
from covey.planner.registry import plan as plan_of
from covey.store.limits import check_key
from tests.kit.builders import a_cluster, a_disk, a_forward, a_nic, a_snapshot_of, an_instance, asked
from tests.kit.requests import request_kinds, requests
from tests.planner.worlds import VIEWS, planned, pools_of

MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
SOME = settings(MANY, max_examples=120)
KINDS = sorted(request_kinds())


@pytest.mark.parametrize("kind", KINDS)
def test_every_plan_can_be_taken_back_until_it_only_goes_forward(kind: str) -> None:
    @SOME
    @given(VIEWS, requests(kind))
    def check(view: ClusterView, request: Request) -> None:
        plan = planned(view, request)
        assert not isinstance(plan, Bug), plan
        if not isinstance(plan, Plan):
            event("refused")
            return
        ranks = [{UNDOABLE: 0, PIVOT: 1, FORWARD: 2}[step.role] for step in plan.steps]
        assert ranks == sorted(ranks)
        assert ranks.count(1) <= 1
        assert plan.summary
        _check_repair(plan)
        _check_results(plan)
        _check_writes(plan)
        _check_lasting(view, plan)

    check()


def _check_lasting(view: ClusterView, plan: Plan) -> None:
    """While steps run, a guest may shut itself down, and its record says so: the end of the plan must not write over that."""
    for write in plan.success if plan.steps else ():
        record, _ = view.held(write.key)
        if isinstance(record, Instance) and write.record is not None:
            assert write.fields
            assert not {"desired", "desired_by"}.intersection(write.fields)
            assert "generation" not in write.fields or "generation" in write.results, "only its node knows what runs"


def _check_repair(plan: Plan) -> None:
    """Who gets stuck past the point of no return is told what to do (P3); repairs themselves are found again by verify."""
    if (
        any(step.role == FORWARD for step in plan.steps)
        and "orphan" not in plan.summary
        and not plan.summary.startswith("repair")
    ):
        assert plan.repair.startswith("covey ")


def _check_results(plan: Plan) -> None:
    for write in (*plan.begin, *plan.success, *plan.undone):
        for result in write.results.values():
            assert isinstance(result, ResultOf)
            assert result.step < len(plan.steps)


def _check_writes(plan: Plan) -> None:
    """Records can be written and read again, and one transaction names each once."""
    for writes in (plan.begin, plan.success, plan.undone):
        assert len({write.key for write in writes}) == len(writes)
        for write in writes:
            check_key(write.key)
            if write.record is not None:
                assert encoded(write.record)
                assert decoded(write.key, write.record)


@MANY
@given(VIEWS, requests())
def test_planning_is_pure(view: ClusterView, request: Request) -> None:
    before = copy.deepcopy(view)
    first, second = planned(view, request), planned(view, request)
    assert view == before
    if isinstance(first, Plan):
        assert first == second
    else:
        assert str(first) == str(second)


@MANY
@given(VIEWS, requests(), st.integers(0, 9))
def test_a_digest_knows_steps_but_not_what_was_drawn_for_them(view: ClusterView, request: Request, seed: int) -> None:
    """A dry run draws other identifiers (P2)."""
    first, second = planned(view, request), planned(view, replace(request, seed=f"other{seed}", now=request.now + 1))
    if isinstance(first, Plan) and isinstance(second, Plan):
        assert first.digest == second.digest
    else:
        assert type(first) is type(second)


def test_plans_with_other_steps_have_other_digests() -> None:
    from covey.model.requests.disk import GrowDisk
    from tests.kit.builders import a_cluster, an_instance, asked

    view = a_cluster(instances=[an_instance()])
    digests = {plan_of(view, asked(GrowDisk(instance="web1", disk=0, size=size * 2**30))).digest for size in (11, 12)}
    assert len(digests) == 2


def test_of_many_that_are_removed_none_changes_what_was_shown_of_the_others() -> None:
    web, db = an_instance("web1", nics=(a_nic(number=10),)), an_instance("db1", nics=(a_nic(number=11),))
    both = a_cluster(instances=[web, db], extra=[a_forward(web), a_forward(db, 5432)])
    db_alone = a_cluster(instances=[db], extra=[a_forward(db, 5432)])
    removal = asked(RemoveInstance(instance="db1"))
    assert plan_of(both, removal).digest == plan_of(db_alone, removal).digest


def test_a_forward_is_removed_as_shown_whichever_others_are_there() -> None:
    web = an_instance("web1", nics=(a_nic(number=10),))
    removal = asked(RemoveForward(forward="tcp-443"))
    both, alone = ([a_forward(web), a_forward(web, 443)], [a_forward(web, 443)])
    assert len({plan_of(a_cluster(instances=[web], extra=extra), removal).digest for extra in (both, alone)}) == 1


def test_a_forward_that_goes_along_and_was_not_shown_makes_another_plan() -> None:
    web = an_instance("web1", nics=(a_nic(number=10),))
    shown, by_now = ([a_forward(web)], [a_forward(web), a_forward(web, 443)])
    removal = asked(RemoveInstance(instance="web1"))
    assert len({plan_of(a_cluster(instances=[web], extra=extra), removal).digest for extra in (shown, by_now)}) == 2


def test_a_snapshot_that_goes_along_and_was_not_shown_makes_another_plan() -> None:
    web = an_instance("web1", disks=(a_disk(),))
    snapped, records = a_snapshot_of(web)
    removal = asked(RemoveInstance(instance="web1", purge=True))
    shown, by_now = a_cluster(instances=[web]), a_cluster(instances=[snapped], extra=records)
    assert plan_of(shown, removal).digest != plan_of(by_now, removal).digest


def test_a_layer_that_goes_with_the_last_that_needs_it_makes_no_other_plan() -> None:
    web, [layer, _] = a_snapshot_of(an_instance("web1", disks=(a_disk(),)))
    assert isinstance(layer, Layer)
    clone = an_instance("web2", disks=(replace(a_disk("web2/0"), base=layer.id),))
    removal = asked(RemoveInstance(instance="web2", purge=True))
    shared = plan_of(a_cluster(instances=[web, clone], extra=[layer]), removal)
    last = plan_of(a_cluster(instances=[clone], extra=[layer]), removal)
    assert len(last.steps) == len(shared.steps) + 1
    assert shared.digest == last.digest


@MANY
@given(VIEWS, requests("instance.add") | requests("disk.add") | requests("disk.grow"))
def test_no_plan_claims_more_than_a_pool_has_beyond_its_floor(view: ClusterView, request: Request) -> None:
    plan = planned(view, request)
    if not isinstance(plan, Plan):
        return
    event("claims" if plan.claims else "claims nothing")
    pools = pools_of(view)
    for place in {(claim.node, claim.pool) for claim in plan.claims}:
        space = view.space(place[0], pools[place[1]])
        assert space
        asked = sum(claim.amount for claim in plan.claims if (claim.node, claim.pool) == place)
        assert space.free - asked >= max(int(space.size * FLOOR_FRACTION), FLOOR_BYTES)


@MANY
@given(VIEWS, st.lists(requests(), min_size=2, max_size=5, unique_by=lambda request: request.seed))
def test_plans_made_one_after_the_other_share_no_gap(view: ClusterView, asked: list[Request]) -> None:
    """No MAC, address, name, UUID or room is given twice, as the engine plans: each on the view as the plans before it leave it."""
    from covey.engine.engine import as_if

    for number, request in enumerate(asked):
        plan = planned(view, request)
        if isinstance(plan, Plan):
            view = as_if(view, number + 1, plan)
            _check_unique(view)
    for node, space in ((node, space) for node, said in view.telemetry.items() for space in said.pools.items()):
        left = space[1].free - view.claimed.get(f"{node}/{space[0]}", 0)
        assert left >= min(space[1].free, max(int(space[1].size * FLOOR_FRACTION), FLOOR_BYTES))


def _check_unique(view: ClusterView) -> None:
    instances = list(view.instances)
    macs = [nic.mac for instance in instances for nic in instance.nics]
    addresses = [(nic.network, address) for instance in instances for nic in instance.nics for address in nic.addresses]
    volumes = [disk.volume.id for instance in instances for disk in instance.disks]
    for things in (macs, addresses, volumes):
        assert len(set(things)) == len(things)
    for cls, collection in ((Instance, "instance"), (Image, "image"), (Network, "network")):
        names = [record.name for record in view.all(collection, cls)]  # type: ignore[attr-defined]
        assert len(set(names)) == len(names)


@MANY
@given(VIEWS, requests())
def test_who_is_refused_is_told_of_what(view: ClusterView, request: Request) -> None:
    error = planned(view, request)
    if not isinstance(error, Plan):
        assert error.what
        assert error.object


@MANY
@given(VIEWS, requests())
def test_every_plan_can_be_carried_out_by_the_engine(view: ClusterView, request: Request) -> None:
    """Its objects can be compared with their records, and it does not conflict with itself."""
    plan = planned(view, request)
    if not isinstance(plan, Plan):
        return
    assert not set(plan.uses.exclusive) & set(plan.uses.shared)
    for step in plan.steps:
        assert step.title
        assert isinstance(step.object, str)
