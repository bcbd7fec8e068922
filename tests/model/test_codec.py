"""Everything that is written can be read again, by this release and its neighbours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from covey.base.errors import BadInput, Refused
from covey.model import codec
from covey.model.job import Job
from covey.model.node import Node
from covey.model.order import Message, Order
from covey.model.plan import Plan
from covey.model.record import COLLECTIONS, VERSION, from_bytes, key_of, to_bytes
from covey.model.request import Request
from covey.model.step import ResultOf, Step, step_kinds
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import a_cluster, a_job, a_node, an_instance, asked
from tests.kit.requests import any_of, anything, request_kinds, requests
from tests.planner.worlds import VIEWS, planned

SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


def through_json(cls: type[Any], value: object) -> object:
    text = json.dumps(codec.encode(value))
    return codec.decode(cls, json.loads(text))


@pytest.mark.parametrize("kind", sorted(step_kinds()))
def test_every_step_comes_back_as_it_was(kind: str) -> None:
    @SOME
    @given(any_of(step_kinds()[kind]))
    def check(step: Step) -> None:
        assert repr(through_json(Step, step)) == repr(step)

    check()


@pytest.mark.parametrize("kind", sorted(request_kinds()))
def test_every_request_comes_back_as_it_was(kind: str) -> None:
    @SOME
    @given(any_of(request_kinds()[kind]))
    def check(request: Request) -> None:
        assert repr(through_json(Request, request)) == repr(request)

    check()


@pytest.mark.parametrize("collection", sorted(set(COLLECTIONS) - {"plan"}))
def test_every_record_comes_back_as_it_was(collection: str) -> None:
    @SOME
    @given(any_of(COLLECTIONS[collection]))
    def check(record: Any) -> None:
        assume(_can_be_kept(record))
        assert key_of(record).startswith(f"state/{collection}/")
        assert repr(from_bytes(key_of(record), to_bytes(record))) == repr(record)

    check()


@SOME
@given(VIEWS, requests())
def test_every_plan_comes_back_as_it_was(view: ClusterView, request: Request) -> None:
    made = planned(view, request)
    if isinstance(made, Plan):
        assert through_json(Plan, made) == made


@SOME
@given(anything(ResultOf) | any_of(Order))
def test_what_leader_and_agent_say_comes_back_as_it_was(value: Any) -> None:
    assert repr(through_json(type(value), value)) == repr(value)


@pytest.mark.parametrize("kind", sorted(codec.members(Message)))
def test_every_message_comes_back_as_it_was(kind: str) -> None:
    @SOME
    @given(any_of(codec.members(Message)[kind]))
    def check(message: Message) -> None:
        assert repr(through_json(Message, message)) == repr(message)

    check()


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    assert codec.decode(Node, {**codec.encode(a_node()), "rack": 7}) == a_node()


def test_a_field_that_an_older_release_did_not_write_takes_its_default() -> None:
    encoded = codec.encode(a_job())
    del encoded["attempt"]
    assert codec.decode(Job, encoded) == a_job()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 7}, "name"),
        ({"name": None}, "name"),
        ({"disks": "x"}, "disks"),
        ({"memory": "1G"}, "memory"),
        ({"memory": True}, "memory"),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(change: dict[str, Any], named: str) -> None:
    instance = an_instance()
    with pytest.raises(BadInput) as refused:
        codec.decode(type(instance), {**codec.encode(instance), **change})
    assert refused.value.object.startswith(named)


def test_a_missing_field_is_named_with_its_path() -> None:
    encoded = codec.encode(an_instance())
    del encoded["disks"][0]["volume"]["size"]
    with pytest.raises(BadInput) as refused:
        codec.decode(type(an_instance()), encoded)
    assert refused.value.object == "disks.volume.size"


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"kind": "no.such"}, {"kind": None}, {"kind": ["x"]}])
def test_no_json_makes_the_codec_raise_anything_but_bad_input(value: Any) -> None:
    with pytest.raises(BadInput):
        codec.decode(Request, value)


def test_a_record_of_a_newer_schema_is_refused() -> None:
    newer = to_bytes(a_node()).replace(f'"version":{VERSION}'.encode(), f'"version":{VERSION + 1}'.encode())
    with pytest.raises(Refused, match="schema"):
        from_bytes(key_of(a_node()), newer)


def test_a_plan_record_carries_its_plan() -> None:
    from covey.model.requests.node import PingNode
    from tests.kit.builders import a_plan_record

    record = a_plan_record(7, plan(a_cluster(), asked(PingNode(node="n1"))))
    assert from_bytes(key_of(record), to_bytes(record)) == record


def _can_be_kept(record: Any) -> bool:
    """The store takes UTF-8 only; half surrogates are refused at every door."""
    try:
        json.dumps(codec.encode(record), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
