"""Files that a restart depends on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from covey.base.files import remove_durably, write_durably


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "floor"
    write_durably(path, b"a long first version")
    write_durably(path, b"short")
    assert path.read_bytes() == b"short"


def test_nothing_temporary_is_left_beside_it(tmp_path: Path) -> None:
    write_durably(tmp_path / "floor", b"1")
    assert names(tmp_path) == ["floor"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_what_was_asked_whatever_the_umask_and_whatever_was_there(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o666)
    before = os.umask(0o077)
    try:
        write_durably(path, b"new", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_a_crash_left_under_the_temporary_name_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".floor.new").write_bytes(b"half of something much longer")
    write_durably(tmp_path / "floor", b"1")
    assert names(tmp_path) == ["floor"]
    assert (tmp_path / "floor").read_bytes() == b"1"


def test_a_reader_that_has_the_old_file_open_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "floor"
    write_durably(path, b"old")
    with path.open("rb") as reader:
        write_durably(path, b"new")
        assert reader.read() == b"old"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "absent" / "floor", b"1")


def test_removing_a_file_twice_is_removing_it_once(tmp_path: Path) -> None:
    write_durably(tmp_path / "floor", b"1")
    remove_durably(tmp_path / "floor")
    remove_durably(tmp_path / "floor")
    assert names(tmp_path) == []
