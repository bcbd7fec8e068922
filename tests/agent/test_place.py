"""The file that says that the records are in etcd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covey.agent.place import read_shared
from covey.base.errors import Refused

SAID = {"endpoints": ["10.0.0.1:2379"], "certificate": "e.pem", "key": "/k/e.key", "ca": "ca.pem", "controllers": "10.0.0.1:7445"}


def test_without_the_file_the_records_are_this_machines_own(tmp_path: Path) -> None:
    assert read_shared(tmp_path / "etcd.json") is None


def test_files_are_named_from_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "etcd.json").write_text(json.dumps(SAID))
    found = read_shared(tmp_path / "etcd.json")
    assert found
    assert found.endpoints == ("10.0.0.1:2379",)
    assert found.files == (tmp_path / "e.pem", Path("/k/e.key"), tmp_path / "ca.pem")
    assert found.controllers == "10.0.0.1:7445"


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({**SAID, "endpoints": None}), json.dumps({"endpoints": []})])
def test_one_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    """To begin alone beside a cluster that has the records would be wrong."""
    (tmp_path / "etcd.json").write_text(text)
    with pytest.raises(Refused):
        read_shared(tmp_path / "etcd.json")
