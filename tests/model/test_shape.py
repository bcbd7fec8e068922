"""What a run keeps until its end, and what of it can change."""

from __future__ import annotations

from dataclasses import replace

from covey.model.shape import Shape, at_once, pending
from tests.kit.builders import GIB

RUN = Shape(2, 2 * GIB, "pc-q35-7.2", max_cpus=4, max_memory=8 * GIB)


def test_a_run_that_is_as_recorded_has_nothing_pending() -> None:
    assert pending(RUN, RUN) == ()


def test_what_differs_is_told_in_peoples_words() -> None:
    (cpus, memory, most) = pending(replace(RUN, cpus=3, memory=24 * GIB, max_memory=0), RUN)
    assert (cpus.field, cpus.now, cpus.then) == ("cpus", "2", "3")
    assert memory.sentence == "memory 24G"
    assert (most.now, most.then) == ("8G", "none")


def test_cpus_come_up_to_the_maximum_and_never_go() -> None:
    assert at_once(RUN, replace(RUN, cpus=4)).cpus == 4
    assert at_once(RUN, replace(RUN, cpus=5)).cpus == 2
    assert at_once(RUN, replace(RUN, cpus=1)).cpus == 2
    assert at_once(replace(RUN, max_cpus=0), replace(RUN, cpus=3)).cpus == 2


def test_memory_comes_up_to_the_maximum_that_the_run_began_with_and_goes() -> None:
    assert at_once(RUN, replace(RUN, memory=8 * GIB)).memory == 8 * GIB
    assert at_once(RUN, replace(RUN, memory=9 * GIB, max_memory=16 * GIB)).memory == 2 * GIB
    assert at_once(RUN, replace(RUN, memory=GIB)).memory == GIB


def test_what_a_run_began_with_stays() -> None:
    assert at_once(RUN, replace(RUN, machine="pc-q35-8.0", max_cpus=8, max_memory=0)) == RUN
