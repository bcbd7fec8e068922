"""A release runs the plans of the one before (P14): every plan that was ever recorded is still understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import covey.agent.steps  # noqa: F401  (registers the handlers)
from covey.agent.work import doers, undoers
from covey.model import codec
from covey.model.plan import Plan
from covey.model.step import UNDOABLE, step_kinds
from tests.corpus import record

CORPUS = sorted(record.HERE.glob("plans-*.json"))
PLANS = [pytest.param(plan, id=f"{path.stem}-{kind}") for path in CORPUS for kind, plan in json.loads(path.read_text()).items()]


@pytest.mark.parametrize("recorded", PLANS)
def test_a_recorded_plan_is_read_and_its_steps_can_be_carried_out(recorded: dict[str, Any]) -> None:
    plan = codec.decode(Plan, recorded)
    for step in plan.steps:
        assert step.kind in doers
        assert step.kind in undoers or step.role != UNDOABLE


@pytest.mark.parametrize("recorded", PLANS)
def test_nothing_of_a_recorded_plan_is_lost_in_reading(recorded: dict[str, Any]) -> None:
    assert contains(codec.encode(codec.decode(Plan, recorded)), recorded)


def test_every_kind_of_step_of_this_release_is_recorded() -> None:
    newest: Path = CORPUS[-1]
    kinds = {step["kind"] for plan in json.loads(newest.read_text()).values() for step in plan["steps"]}
    assert kinds == set(step_kinds())


def contains(whole: Any, part: Any) -> bool:
    """Whether all of `part` is in `whole`: a newer release may know more fields."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)
