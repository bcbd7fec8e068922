"""The state directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from covey.base.errors import Refused
from covey.main.layout import Layout, node_id, prepare


def test_a_state_directory_is_closed_to_others(tmp_path: Path) -> None:
    prepare(Layout(tmp_path / "state"))
    prepare(Layout(tmp_path / "state"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert {modes[name] for name in ("store", "agent", "events", "tls")} == {0o700}
    assert all(not mode & 0o066 for mode in modes.values())


def test_a_directory_in_which_others_may_put_links_is_no_state_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Refused, match="written by others") as refused:
        prepare(Layout(tmp_path))
    assert "chmod" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_all_who_ask_at_once_who_this_machine_is_are_told_the_same(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    prepare(layout)
    with ThreadPoolExecutor(16) as askers:
        told = set(askers.map(lambda _: node_id(layout), range(64)))
    assert told == {node_id(layout)}
    assert [path.name for path in layout.agent.iterdir()] == ["node-id"]
