"""node prepare: what is refused before anything is looked at."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Covey


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bridge", "br0"), "go together"),
        (("--nic", "eth0"), "go together"),
        (("--confirm", "--roll-back"), "say one thing"),
        (("--confirm", "--bridge", "br0", "--nic", "eth0"), "say one thing"),
        (("--bridge", "br0", "--nic", "eth0", "--confirm-within", "0s"), "between a second and an hour"),
        (("--bridge", "br0", "--nic", "eth0", "--confirm-within", "2h"), "between a second and an hour"),
        (("--bridge", "much-too-long-a-name", "--nic", "eth0"), "cannot name a bridge"),
        (("--bridge", "br/0", "--nic", "eth0"), "cannot name a bridge"),
    ],
)
def test_what_makes_no_sense_is_bad_input(covey: Covey, options: tuple[str, ...], words: str) -> None:
    outcome = covey("node", "prepare", *options)
    assert outcome.status == 2 and words in outcome.err, outcome


def test_another_machine_cannot_be_prepared_from_here(covey: Covey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_SERVER", "https://n1")
    outcome = covey("node", "prepare")
    assert outcome.status == 2 and "the very machine" in outcome.err


def test_without_a_takeover_there_is_nothing_to_confirm_or_roll_back(covey: Covey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for option in ("--confirm", "--roll-back"):
        outcome = covey("node", "prepare", option)
        assert outcome.status == 1 and "there is nothing to" in outcome.err


def test_it_is_roots_to_do(covey: Covey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    outcome = covey("node", "prepare")
    assert outcome.status == 1 and "use sudo" in outcome.err
