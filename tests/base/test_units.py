"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.errors import BadInput
from covey.base.units import LARGEST_SIZE, humane_duration, humane_size, parse_duration, parse_size

G = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20G", 20 * G),
        ("20g", 20 * G),
        ("20 GiB", 20 * G),
        ("20GB", 20 * G),
        ("1.5T", 3 * 2**39),
        ("512M", 2**29),
        ("1024", 1024),
        ("1024B", 1024),
        (" 4K ", 4096),
        (7, 7),
        ("0", 0),
        ("1024P", LARGEST_SIZE),
    ],
)
def test_a_size_is_what_people_mean_by_it(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "20X", "-1G", "1e3", "20G\n20G", "٢G", "1,5G", "0x10", "1.G", "20 G B", "9" * 5000, "9" * 400 + ".5P"]
)
def test_what_is_no_size_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="disk 0"):
        parse_size(text, "disk 0")


@pytest.mark.parametrize("size", [-1, LARGEST_SIZE + 1, "1025P", "9" * 30])
def test_a_size_out_of_range_is_bad_input(size: str | int) -> None:
    with pytest.raises(BadInput, match="out of range"):
        parse_size(size)


@given(st.integers(min_value=0, max_value=LARGEST_SIZE))
def test_a_size_survives_being_shown_and_read_to_one_part_in_twenty(size: int) -> None:
    assert abs(parse_size(humane_size(size)) - size) <= size / 20


@given(st.integers(min_value=0, max_value=1023), st.sampled_from(["", "K", "M", "G", "T"]))
def test_a_round_size_survives_being_shown_and_read_exactly(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(humane_size(size)) == size


@given(st.integers(min_value=0, max_value=LARGEST_SIZE))
def test_a_size_is_shown_in_at_most_five_characters(size: int) -> None:
    assert len(humane_size(size)) <= 5


@pytest.mark.parametrize(("size", "text"), [(0, "0"), (1023, "1023"), (1024, "1K"), (1536, "1.5K"), (20 * G, "20G")])
def test_sizes_look_as_one_would_type_them(size: int, text: str) -> None:
    assert humane_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("30", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), (90, 90)]
)
def test_a_duration_is_what_people_mean_by_it(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5s", "5 weeks", "1h30m", "1e9", "٣m", "inf", "nan", "9" * 400 + ".5d"])
def test_what_is_no_duration_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (12.9, "12s"), (60, "1m"), (200, "3m 20s"), (3600, "1h"), (3659, "1h"), (111600, "1d 7h")],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert humane_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_survives_being_shown_and_read_but_for_what_is_left_out(seconds: int) -> None:
    shown = sum(parse_duration(part) for part in humane_duration(seconds).split())
    smaller = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    assert 0 <= seconds - shown < smaller
