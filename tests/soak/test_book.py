"""The soak's own book: what must be there is what was acknowledged and succeeded."""

from __future__ import annotations

import random

from tests.soak.faults import DEPOSING, KINDS, draw
from tests.soak.work import Book

RUNNING = {"n1": {"init", "controller", "agent"}, "n2": {"init", "agent"}}


def a_book(*deeds: tuple[str, str]) -> Book:
    book = Book()
    for job, (what, end) in enumerate(deeds):
        book.enter(job, what, "s1")
        book.ends[job] = end
    return book


def test_an_instance_is_there_once_it_was_added_until_it_was_removed() -> None:
    assert a_book(("add", "succeeded")).is_there("s1")
    assert a_book(("add", "succeeded"), ("snapshot", "failed"), ("remove", "failed")).is_there("s1")
    assert a_book(("add", "succeeded"), ("remove", "succeeded")).is_there("s1") is False
    assert a_book(("add", "failed")).is_there("s1") is False


def test_a_job_that_needs_repair_leaves_it_open() -> None:
    assert a_book(("add", "succeeded"), ("remove", "needs_repair")).is_there("s1") is None


def test_faults_are_of_what_runs_and_name_what_ends_a_leader() -> None:
    rng = random.Random(1)
    faults = [draw(rng, ["n1", "n2"], "n1", RUNNING) for _ in range(300)]
    assert {fault.kind for fault in faults} == set(KINDS)
    assert {fault.other for fault in faults if fault.kind == "kill" and fault.node == "n2"} == {"agent"}
    assert all(fault.other != fault.node for fault in faults)
    assert {fault.name for fault in faults if fault.deposes} <= DEPOSING
