"""What a machine remembers of its right to run guests (S3, S4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kit.builders import an_id

from covey.base.errors import Refused
from covey.host.rights import DurableShelf, Rights
from covey.host.shelf import MemoryShelf, Shelf

WEB, N1, N2 = an_id("instance/web1"), an_id("node/n1"), an_id("node/n2")


@pytest.fixture(params=["memory", "files"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return MemoryShelf() if request.param == "memory" else DurableShelf(tmp_path / "rights")


def test_a_start_below_the_floor_is_refused_for_ever(shelf: Shelf) -> None:
    Rights(shelf).raise_floor(WEB, 5)
    again = Rights(shelf)
    for generation in (1, 4):
        with pytest.raises(Refused, match="is over on this machine"):
            again.check_above_floor(WEB, generation)
    again.check_above_floor(WEB, 5)


def test_a_floor_never_sinks(shelf: Shelf) -> None:
    rights = Rights(shelf)
    rights.raise_floor(WEB, 5)
    rights.raise_floor(WEB, 3)
    assert rights.of(WEB).floor == 5


def test_a_guest_comes_only_from_where_it_is_expected_and_as_which_start(shelf: Shelf) -> None:
    rights = Rights(shelf)
    rights.expect(WEB, N1, 7)
    rights.check_expected(WEB, N1, 7)
    for source, generation in ((N2, 7), (N1, 8), ("", 7)):
        with pytest.raises(Refused, match="not expected"):
            rights.check_expected(WEB, source, generation)
    rights.expect_nobody(WEB)
    with pytest.raises(Refused, match="not expected"):
        rights.check_expected(WEB, N1, 7)


def test_who_has_no_name_is_never_expected(shelf: Shelf) -> None:
    with pytest.raises(Refused, match="not expected"):
        Rights(shelf).check_expected(WEB, "", 0)


def test_what_was_expected_does_not_come_below_the_floor(shelf: Shelf) -> None:
    rights = Rights(shelf)
    rights.expect(WEB, N1, 7)
    rights.raise_floor(WEB, 8)
    with pytest.raises(Refused, match="is over"):
        rights.check_expected(WEB, N1, 7)


def test_nothing_is_kept_of_what_says_nothing(shelf: Shelf) -> None:
    rights = Rights(shelf)
    rights.expect(WEB, N1, 7)
    assert [key for key, _ in shelf.items("right/")] == [f"right/{WEB}"]
    rights.expect_nobody(WEB)
    assert shelf.items("right/") == []
