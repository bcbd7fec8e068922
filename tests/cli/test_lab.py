"""covey lab: what is refused before anything is made."""

from __future__ import annotations

import pytest

from covey.cli.lab import up
from covey.lab.layout import MOST_NODES
from tests.cli.conftest import Covey

EVERY = (
    ("up",), ("down",), ("status",), ("shell", "n1"), ("cut", "n1"), ("heal", "n1"), ("kill", "n1", "agent"), ("pause", "n1"),
    ("resume", "n1"), ("power", "n1", "off"),
)  # fmt: skip


@pytest.mark.parametrize("words", EVERY, ids=[words[0] for words in EVERY])
def test_it_is_roots_to_do(covey: Covey, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    outcome = covey("lab", *words, "--dir", "/srv")
    assert outcome.status == 1 and "use sudo" in outcome.err


@pytest.mark.parametrize("words", EVERY, ids=[words[0] for words in EVERY])
def test_what_is_not_installed_is_named_with_the_packages(
    covey: Covey, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda tool: None if tool in ("nsenter", "/usr/sbin/libvirtd") else tool)
    outcome = covey("lab", *words, "--dir", "/srv")
    assert outcome.status == 3
    assert "not installed: nsenter, /usr/sbin/libvirtd" in outcome.err and "util-linux" in outcome.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up", "--nodes", "0"), "out of range"),
        (("up", "--nodes", "41"), "out of range"),
        (("up", "--name", "../x"), "cannot name a lab"),
        (("up", "--dir", "/" + "x" * 60), "too long a path"),
        (("kill", "n1", "init"), "the node itself"),
        (("power", "n1", "maybe"), "invalid value"),
    ],
)
def test_what_makes_no_sense_is_bad_input(
    covey: Covey, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    outcome = covey("lab", *words)
    assert outcome.status == 2 and says in outcome.err, outcome


def test_a_lab_may_have_as_many_nodes_as_its_layout_has_room_for() -> None:
    nodes = next(parameter for parameter in up.params if parameter.name == "nodes")
    assert nodes.type.convert(str(MOST_NODES), nodes, None) == MOST_NODES


def test_the_node_package_has_no_lab_and_says_so(covey: Covey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey.cli.lab.find_spec", lambda name: None)
    outcome = covey("lab", "status")
    assert outcome.status == 1 and "covey-node" in outcome.err
