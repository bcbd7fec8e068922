"""The tree of errors: what a person reads, and how each looks at each door."""

from __future__ import annotations

import pytest

from covey.base import errors
from covey.base.errors import KINDS, BadInput, CoveyError, NoSpace, Refused, StepFailed, check, from_json


def test_an_error_says_what_of_what_and_what_to_do() -> None:
    error = Refused("it runs", "instance web1", "covey instance stop web1")
    assert str(error) == "instance web1: it runs (covey instance stop web1)"


def test_an_error_without_object_or_hint_is_its_sentence() -> None:
    assert str(StepFailed("it broke")) == "it broke"


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_error_survives_the_way_through_json(kind: type[CoveyError]) -> None:
    error = kind("what", "object", "hint")
    again = from_json(error.to_json())
    assert type(again) is kind
    assert (again.what, again.object, again.hint) == ("what", "object", "hint")


def test_an_error_of_a_newer_peer_is_a_failed_step() -> None:
    assert type(from_json({"kind": "Exhausted", "what": "no more"})) is StepFailed
    assert type(from_json({})) is StepFailed


@pytest.mark.parametrize(
    ("kind", "status", "exit_code"),
    [
        ("BadInput", 400, 2),
        ("NotFound", 404, 1),
        ("Refused", 409, 1),
        ("NoSpace", 409, 1),
        ("Conflict", 409, 1),
        ("Denied", 403, 3),
        ("Unavailable", 503, 3),
        ("StepFailed", 500, 1),
        ("Bug", 500, 1),
    ],
)
def test_each_kind_has_its_http_status_and_its_exit_code(kind: str, status: int, exit_code: int) -> None:
    assert (KINDS[kind].status, KINDS[kind].exit_code) == (status, exit_code)


def test_every_kind_of_the_module_is_known_by_name() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, CoveyError) and value is not CoveyError
    }
    assert set(KINDS.values()) == defined


def test_no_room_is_a_refusal() -> None:
    assert issubclass(NoSpace, Refused)


def test_check_raises_what_it_is_given_unless_the_condition_holds() -> None:
    check(True, BadInput("no"))
    with pytest.raises(BadInput, match="no"):
        check("", BadInput("no"))
