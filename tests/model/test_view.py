"""The view: what follows from records follows from them whichever way they came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.base.errors import NotFound, Refused
from covey.model.plan import Claim, Plan
from covey.model.pool import Space
from covey.model.record import Record, key_of
from covey.model.view import ClusterView
from tests.kit.builders import (
    GIB,
    a_cluster,
    a_network,
    a_nic,
    a_node,
    a_plan_record,
    a_pool,
    a_telemetry,
    an_image,
    an_instance,
    an_observed,
)

MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
NETWORKS = (a_network(), a_network("dmz", "10.78.0"))


def _instance(number: int, name: str, desired: str, nics: list[int], memory: int) -> Record:
    made = tuple(a_nic(index, 10 * number + nic, NETWORKS[nic % 2]) for index, nic in enumerate(nics))
    return replace(an_instance(f"web{number}", desired=desired, nics=made, memory=memory), name=f"{name}{number}")


INSTANCES = st.builds(
    _instance,
    st.integers(0, 3),
    st.sampled_from(["web", "db"]),
    st.sampled_from(["running", "stopped"]),
    st.lists(st.integers(0, 5), max_size=3, unique=True),
    st.sampled_from([GIB, 2 * GIB]),
)
PLANS = st.builds(
    lambda job, amounts: a_plan_record(job, Plan("", claims=tuple(Claim("n1", f"p{amount % 2}", amount) for amount in amounts))),
    st.integers(1, 3),
    st.lists(st.integers(1, 100), max_size=3),
)
OTHERS: st.SearchStrategy[Record] = st.sampled_from([a_node(), a_pool(), an_image(), *NETWORKS, an_observed(an_instance())])
RECORDS: st.SearchStrategy[Record] = INSTANCES | PLANS | OTHERS
CHANGES = st.lists(st.lists(st.tuples(RECORDS, st.booleans()), min_size=1, max_size=4), max_size=12)


@MANY
@given(CHANGES)
def test_a_view_that_grew_change_by_change_is_the_view_of_the_whole(batches: list[list[tuple[Record, bool]]]) -> None:
    view = ClusterView()
    there: dict[str, tuple[Record, int]] = {}
    for revision, batch in enumerate(batches, 1):
        changes = {key_of(record): None if gone else record for record, gone in batch}
        before = view
        kept = _indexes(before)
        view = view.apply(changes.items(), revision)
        assert _indexes(before) == kept, "a view was changed"
        for key, record in changes.items():
            if record is None:
                there.pop(key, None)
            else:
                there[key] = (record, revision)
    whole = ClusterView.of([(key, record, revision) for key, (record, revision) in there.items()], len(batches))
    assert _indexes(view) == _indexes(whole)
    assert view.revision == whole.revision


def _indexes(view: ClusterView) -> dict[str, Any]:
    """Everything in a view; empty and zero entries are as good as none."""

    def full(table: Any) -> dict[str, Any]:
        return {key: dict(value) if hasattr(value, "items") else value for key, value in table.items() if value}

    parts = ("collections", "names", "macs", "addresses", "memory_used", "claimed")
    return {part: full(getattr(view, part)) for part in parts}


def test_a_renamed_record_is_found_by_its_new_name_only() -> None:
    view = a_cluster(instances=[an_instance("web1")])
    renamed = replace(an_instance("web1"), name="web9")
    view = view.apply([(key_of(renamed), renamed)], 99)
    assert view.instance("web9").id == renamed.id
    with pytest.raises(NotFound):
        view.instance("web1")


def test_two_records_that_swap_names_in_one_revision_are_both_found() -> None:
    one, other = an_instance("web1"), an_instance("web2")
    view = a_cluster(instances=[one, other])
    swapped = [replace(one, name="web2"), replace(other, name="web1")]
    view = view.apply([(key_of(record), record) for record in swapped], 99)
    assert view.instance("web1").id == other.id
    assert view.instance("web2").id == one.id


def test_two_instances_that_swap_addresses_in_one_revision_keep_them() -> None:
    one, other = an_instance("web1", nics=(a_nic(number=10),)), an_instance("web2", nics=(a_nic(number=11),))
    view = a_cluster(instances=[one, other])
    swapped = [replace(one, nics=other.nics), replace(other, nics=one.nics)]
    view = view.apply([(key_of(record), record) for record in swapped], 99)
    assert dict(view.addresses[a_network().id]) == {"10.77.0.11": one.id, "10.77.0.10": other.id}


def test_a_wrong_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(NotFound) as missing:
        a_cluster(instances=[an_instance("web1")]).instance("wbe1")
    assert "did you mean web1" in missing.value.hint


def test_before_there_is_a_cluster_its_settings_are_refused() -> None:
    with pytest.raises(Refused, match="no cluster"):
        _ = ClusterView().cluster


def test_room_is_what_the_node_said_less_what_plans_claim() -> None:
    view = a_cluster(space=Space(100, 80), extra=[a_plan_record(1, Plan("", claims=(Claim(a_node().id, a_pool().id, 30),)))])
    assert view.space(a_node().id, a_pool()) == Space(100, 50)
    assert view.space("elsewhere", a_pool()) is None


def test_telemetry_comes_and_goes_with_its_node() -> None:
    view = ClusterView().with_telemetry("n", a_telemetry())
    assert "n" in view.telemetry
    assert "n" not in view.with_telemetry("n", None).telemetry
    assert "n" in view.telemetry


def test_of_an_instance_never_seen_nothing_is_known() -> None:
    assert a_cluster().observed("x").state == "unknown"
