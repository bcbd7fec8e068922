from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.errors import BadInput
from covey.service.filters import MOST_TERMS, parse_fields, parse_filter

KNOWN = frozenset({"name", "state", "memory", "tags", "ready", "cpu_percent", "addresses"})
WEB = {
    "name": "web1",
    "state": "running",
    "memory": 2**30,
    "tags": ["web", "shop"],
    "ready": True,
    "cpu_percent": None,
    "addresses": [],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("name=web1", True),
        ("name=web*", True),
        ("name=db*", False),
        ("name!=db*", True),
        ("name!=web?", False),
        ("state=running tag=web", True),
        ("state=stopped tag=web", False),
        ("tag=shop", True),
        ("tags=sho", False),
        ("tag!=web", False),
        ("memory>512M", True),
        ("memory<1G", False),
        ("memory>1073741823", True),
        ("ready=true", True),
        ("ready=false", False),
        ("cpu_percent>0", False),
        ("cpu_percent=", True),
        ("addresses=*", False),
        ("name=[wx]eb1", True),
    ],
)
def test_a_filter_holds_when_each_of_its_conditions_does(text: str, holds: bool) -> None:
    assert parse_filter(text, KNOWN)(WEB) is holds


@pytest.mark.parametrize("text", ["colour=red", "name", "=x", "memory>much", "memory>nan", "Name=web1", "x" * 1001])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_filter(text, KNOWN)


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadInput) as raised:
        parse_filter("colour=red", KNOWN)
    assert "colour" in raised.value.what
    assert "memory" in raised.value.hint


def test_an_unknown_field_to_show_is_answered_with_the_known_ones() -> None:
    assert parse_fields("name,state,name", KNOWN) == ("name", "state")
    with pytest.raises(BadInput, match="colour"):
        parse_fields("name,colour", KNOWN)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_bad_input(text: str) -> None:
    try:
        parse_filter(text, KNOWN)(WEB)
    except BadInput:
        pass


def test_a_filter_has_a_bounded_number_of_conditions() -> None:
    parse_filter("name=a " * MOST_TERMS, KNOWN)
    with pytest.raises(BadInput, match="at most"):
        parse_filter("name=a " * (MOST_TERMS + 1), KNOWN)
