"""What the leader hears of instances, and what it makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from covey.controller.hearing import AT_ONCE, RESTART_FIRST_S, Hearing, as_wished, changes_of, observed_after
from covey.controller.lead import take_leadership
from covey.engine.ledger import Ledger
from covey.model.cluster import Defaults
from covey.model.instance import Instance, Observed
from covey.model.local import START, STOP, LocalAct
from covey.model.order import Observation
from covey.model.plan import Plan, Uses
from covey.model.record import Record, from_bytes, key_of, to_bytes
from covey.store.feed import Feed
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Put
from tests.kit.builders import (
    NOW,
    a_cluster,
    a_cluster_record,
    a_job,
    a_node,
    a_plan_record,
    an_id,
    an_instance,
    an_observed,
)
from tests.kit.virtual import eventually, in_virtual_time, virtual_clock

WEB = an_instance("web1")
DEFAULTS = Defaults()
RUNNING = Observation(WEB.id, "running", "", WEB.generation, 4711)
SHUT_DOWN = Observation(WEB.id, "stopped", "guest", WEB.generation, 0)
CRASHED = Observation(WEB.id, "crashed", "crashed", WEB.generation, 0)


def written(*, instance: Instance = WEB, before: Observed | None = None, seen: Observation) -> dict[str, object]:
    view = a_cluster(instances=[instance], extra=[before] if before else [])
    return {op.key: from_bytes(op.key, op.value) for op in changes_of(view, WEB.node, seen, NOW) if isinstance(op, Put)}


def test_what_changes_nothing_is_not_written() -> None:
    before = observed_after(an_observed(WEB), RUNNING, DEFAULTS, NOW)
    assert written(before=before, seen=RUNNING) == {}


def test_a_guest_that_was_shut_down_from_within_shall_stay_down() -> None:
    records = written(before=an_observed(WEB), seen=SHUT_DOWN)
    instance = records[key_of(WEB)]
    assert isinstance(instance, Instance)
    assert (instance.desired, instance.desired_by) == ("stopped", "guest")


def test_a_guest_may_shut_itself_down_before_the_job_that_makes_it_is_over() -> None:
    instance = written(instance=replace(WEB, state="adding"), before=an_observed(WEB), seen=SHUT_DOWN)[key_of(WEB)]
    assert isinstance(instance, Instance)
    assert (instance.desired, instance.state) == ("stopped", "adding")


def test_a_shut_down_of_an_older_run_says_nothing_of_the_newer() -> None:
    newer = replace(WEB, generation=WEB.generation + 1)
    assert set(written(instance=newer, before=an_observed(WEB), seen=SHUT_DOWN)) == {key_of(an_observed(WEB))}


def test_a_crashed_guest_shall_go_on_running() -> None:
    records = written(before=an_observed(WEB), seen=CRASHED)
    assert key_of(WEB) not in records


def test_what_has_no_record_is_not_written_down() -> None:
    view = a_cluster()
    assert changes_of(view, WEB.node, RUNNING, NOW) == []


def test_crashes_are_answered_later_and_later_and_in_the_end_given_up() -> None:
    seen = an_observed(WEB)
    pauses = []
    for number in range(DEFAULTS.crash_restarts):
        seen = observed_after(seen, replace(CRASHED, generation=number), DEFAULTS, NOW + number)
        pauses.append(seen.restart_at - (NOW + number))
        assert not seen.gave_up
        seen = observed_after(seen, replace(RUNNING, generation=number + 1), DEFAULTS, NOW + number)
    assert pauses == [RESTART_FIRST_S * 2**number for number in range(DEFAULTS.crash_restarts)]
    seen = observed_after(seen, CRASHED, DEFAULTS, NOW + 10)
    assert seen.gave_up
    assert seen.restart_at == 0.0


def test_one_crash_told_twice_is_one_crash() -> None:
    once = observed_after(an_observed(WEB), CRASHED, DEFAULTS, NOW)
    assert observed_after(once, CRASHED, DEFAULTS, NOW + 5) == once


def test_old_crashes_are_forgotten() -> None:
    seen = replace(an_observed(WEB), crashes=(NOW - DEFAULTS.crash_window_s - 1,) * 10)
    assert not observed_after(seen, CRASHED, DEFAULTS, NOW).gave_up


def test_a_guest_that_a_person_started_again_gets_all_its_chances_back() -> None:
    given_up = replace(an_observed(WEB, "crashed"), gave_up=True, crashes=(NOW,) * 6)
    after = observed_after(given_up, RUNNING, DEFAULTS, NOW)
    assert (after.gave_up, after.crashes) == (False, ())


STOPPED_HERE = LocalAct("1", STOP, WEB.id, "web1", WEB.generation, NOW, "anna")
STARTED_HERE = replace(STOPPED_HERE, what=START, generation=WEB.generation + 1)


def test_what_a_person_stopped_without_a_leader_is_to_stay_down() -> None:
    after = as_wished(a_cluster(instances=[WEB]), WEB.node, STOPPED_HERE)
    assert after == replace(WEB, desired="stopped", desired_by="anna by covey local")


def test_what_a_person_started_without_a_leader_is_to_run_and_later_starts_count_on_from_it() -> None:
    stopped = replace(WEB, desired="stopped")
    after = as_wished(a_cluster(instances=[stopped]), WEB.node, STARTED_HERE)
    assert after == replace(WEB, desired="running", desired_by="anna by covey local", generation=WEB.generation + 1)


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        (replace(WEB, generation=WEB.generation + 5), "a later start was ordered"),
        (replace(WEB, node="elsewhere"), "it has moved"),
        (replace(WEB, state="removing"), "it is about to go"),
    ],
)
def test_what_was_done_without_a_leader_does_not_overrule_what_came_later(instance: Instance, why: str) -> None:
    assert as_wished(a_cluster(instances=[instance]), WEB.node, STOPPED_HERE) is None, why


def test_a_job_under_way_ends_as_it_was_asked_to_whatever_was_done_meanwhile() -> None:
    running = replace(a_job(7), state="running")
    plan = a_plan_record(7, Plan("start it", uses=Uses((f"instance/{WEB.id}",))))
    view = a_cluster(instances=[WEB], extra=[running, plan])
    assert as_wished(view, WEB.node, STOPPED_HERE) is None


@in_virtual_time
async def test_acts_are_recorded_and_told_as_events_once_a_leader_hears_of_them() -> None:
    clock = virtual_clock()
    store = MemoryStore(MemoryData(), clock)
    leadership, revision = await take_leadership(store, clock, "test")
    for record in (a_cluster_record(), a_node(), WEB):
        await store.txn((), [Put(key_of(record), to_bytes(record))])
    feed = Feed(store)
    await feed.start()
    told: list[tuple[str, str, str]] = []
    hearing = Hearing(feed, Ledger(store, clock, leadership, revision), clock, lambda *event: told.append(event))
    await hearing.hear_acts(WEB.node, (replace(STOPPED_HERE, reason="the room is hot"), STARTED_HERE))
    instance: Instance | None = feed.view.find("instance", WEB.id)
    assert instance and (instance.desired, instance.generation) == ("running", WEB.generation + 1)
    assert [kind for kind, _, _ in told] == ["instance.local-stop", "instance.local-start"]
    assert told[0][2].startswith("anna had n1 stop instance web1 at ") and told[0][2].endswith(": the room is hot")
    await feed.close()


@in_virtual_time
async def test_large_records_that_change_at_once_are_written_one_part_after_the_other() -> None:
    """Forty guests with long notes are shut down from within at the same moment."""
    clock = virtual_clock()
    store = MemoryStore(MemoryData(), clock)
    leadership, revision = await take_leadership(store, clock, "test")
    instances = [an_instance(f"web{number}", notes="n" * 60_000) for number in range(AT_ONCE)]
    records: list[Record] = [a_cluster_record(), *instances]
    for record in records:
        await store.txn((), [Put(key_of(record), to_bytes(record))])
    feed = Feed(store)
    await feed.start()
    hearing = Hearing(feed, Ledger(store, clock, leadership, revision), clock)
    listening = asyncio.create_task(hearing.run())
    hearing.hear_all(WEB.node, tuple(replace(SHUT_DOWN, instance=one.id, generation=one.generation) for one in instances))
    await eventually(lambda: all(one.desired == "stopped" for one in feed.view.instances), 100.0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await feed.close()


def test_what_another_node_says_of_an_instance_changes_nothing() -> None:
    """A move leaves a domain behind, and brings one before it counts."""
    view = a_cluster(nodes=2, instances=[WEB], extra=[an_observed(WEB, "stopped")])
    assert changes_of(view, an_id("node/n2"), RUNNING, NOW) == []
    assert changes_of(view, WEB.node, RUNNING, NOW) != []
