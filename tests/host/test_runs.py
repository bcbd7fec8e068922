"""How a guest's run is told: after every end, and after a crash of whatever was keeping account at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.host.hypervisor.runs import (
    COVEY,
    CRASHED,
    ENDED,
    GUEST,
    RUNNING,
    STOPPING,
    Run,
    Words,
    last_words,
    read_run,
    settle,
    write_run,
)

RUNS = Run().about_to_start(4).seen_running(4)
NOTHING = Words()
BY_ITSELF = Words("shutdown")
START = "2026-11-20 05:58:24.123+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4\n"


def gone(run: Run, reason: str = "unknown", words: Words = NOTHING) -> Run:
    return settle(run, False, 0, reason, words)


@pytest.mark.parametrize(
    ("reason", "words", "how"),
    [
        ("shutdown", NOTHING, GUEST),
        ("shutdown", BY_ITSELF, GUEST),
        ("shutdown", Words("shutdown", by_signal=True), CRASHED),
        ("destroyed", NOTHING, COVEY),
        ("crashed", NOTHING, CRASHED),
        ("unknown", BY_ITSELF, GUEST),  # libvirtd was started anew since, and its log remembers
        ("unknown", Words("shutdown", by_signal=True), CRASHED),
        ("unknown", Words("destroyed"), COVEY),
        ("unknown", Words("crashed"), CRASHED),
        ("unknown", NOTHING, CRASHED),  # nobody saw the end: the machine lost its power
    ],
)
def test_a_run_that_covey_did_not_end_is_told_by_what_libvirt_knows(reason: str, words: Words, how: str) -> None:
    assert gone(RUNS, reason, words) == Run(ENDED, 4, how)


def test_an_end_that_covey_ordered_is_coveys_whatever_libvirt_says() -> None:
    for reason in ("shutdown", "destroyed", "crashed", "unknown"):
        assert gone(RUNS.about_to_stop(), reason) == Run(ENDED, 4, COVEY)


def test_an_end_once_told_stays_as_it_is() -> None:
    for how in (GUEST, COVEY, CRASHED):
        assert gone(RUNS.ended(how), "destroyed", BY_ITSELF) == Run(ENDED, 4, how)


def test_a_start_that_was_never_seen_to_happen_leaves_the_end_before() -> None:
    assert gone(RUNS.ended(GUEST).about_to_start(5), "crashed").how == GUEST
    assert gone(Run().about_to_start(1)).how == ""


def test_a_start_that_happened_unseen_is_seen_when_it_runs() -> None:
    assert settle(RUNS.ended(GUEST).about_to_start(5), True, 5, "unknown", NOTHING) == Run(RUNNING, 5)


def test_a_guest_that_somebody_else_started_is_running() -> None:
    assert settle(Run(), True, 2, "unknown", NOTHING) == Run(RUNNING, 2)


def test_a_guest_that_is_being_stopped_is_still_being_stopped_while_it_runs() -> None:
    assert settle(RUNS.about_to_stop(), True, 4, "unknown", NOTHING).phase == STOPPING


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    for run in (Run(), RUNS, RUNS.about_to_stop(), RUNS.ended(CRASHED), RUNS.ended(COVEY).about_to_start(5)):
        write_run(tmp_path / "run.json", run)
        assert read_run(tmp_path / "run.json") == run


def test_no_file_means_it_never_ran_and_a_damaged_one_that_it_may_have(tmp_path: Path) -> None:
    assert read_run(tmp_path / "none") == Run()
    for text in ("", "{", "[]", '{"phase": 3}'):
        (tmp_path / "run.json").write_text(text)
        assert read_run(tmp_path / "run.json").phase == RUNNING


def words_in(tmp_path: Path, *lines: str) -> Words:
    (tmp_path / "guest.log").write_text("".join(lines))
    return last_words(tmp_path / "guest.log")


def test_the_last_words_are_of_the_last_run(tmp_path: Path) -> None:
    ended = "2026-11-20 05:59:00.000+0000: shutting down, reason=destroyed\n"
    assert words_in(tmp_path, START, ended) == Words("destroyed")
    assert words_in(tmp_path, START, ended, START) == Words()
    assert last_words(tmp_path / "none") == Words()


def test_a_signal_counts_unless_it_was_libvirtds(tmp_path: Path) -> None:
    ended = "2026-11-20 05:59:00.000+0000: shutting down, reason=shutdown\n"
    signal = "2026-11-20T05:58:59.802551Z qemu-system-x86_64: terminating on signal 15 from pid {}\n"
    assert words_in(tmp_path, START, signal.format("2232 (/usr/sbin/libvirtd)"), ended) == Words("shutdown", by_signal=False)
    assert words_in(tmp_path, START, signal.format("1 (/sbin/init)"), ended) == Words("shutdown", by_signal=True)
    assert words_in(tmp_path, START, signal.format("7 (<unknown process>)"), ended) == Words("shutdown", by_signal=True)
