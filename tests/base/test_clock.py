"""Times as text, and the machine's clocks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.clock import SystemClock, parse_time, render_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1795153560.1234, "2026-11-20T05:46:00.123Z"),
        (1795153559.9996, "2026-11-20T05:46:00.000Z"),
    ],
)
def test_a_time_is_written_in_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert render_time(seconds) == text


@given(st.integers(min_value=0, max_value=4 * 10**12))
def test_a_time_survives_being_written_and_read_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_time(render_time(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize("text", ["2026-11-20T05:46:00Z", "2026-11-20T06:46:00+01:00", "2026-11-20T05:46:00"])
def test_a_time_of_any_zone_is_the_same_moment_and_utc_when_it_names_none(text: str) -> None:
    assert parse_time(text) == 1795153560.0


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


async def test_the_monotonic_clock_goes_on_while_one_sleeps() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_now_is_the_systems_time() -> None:
    assert abs(SystemClock().now() - time.time()) < 5
