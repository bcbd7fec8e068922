"""The simulator's claims (T3, T4): 240 schedules, each twenty requests and five faults on one to three machines."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from covey.base.run import run
from tests.simulation.coverage import printed, uncovered
from tests.simulation.schedule import FAULTS_A_RUN, REQUESTS, run_schedule

ROOT = Path(__file__).parents[2]
BATCHES = 12
SEEDS_A_BATCH = 20
COVERAGE: Counter[tuple[str, str, str]] = Counter()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_schedule_breaks_a_law(batch: int) -> None:
    for seed in range(batch * SEEDS_A_BATCH, (batch + 1) * SEEDS_A_BATCH):
        verdict = run_schedule(seed)
        COVERAGE.update(verdict.coverage)
        assert verdict.broken == [], f"see: python -m tests.simulation --seed {seed}"
        assert sum(verdict.states.values()) >= REQUESTS // 2


def test_the_same_seed_gives_the_same_trace_twice() -> None:
    for seed in (1, 2, 5):
        assert run_schedule(seed).trace_hash == run_schedule(seed).trace_hash


async def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    """Strings hash differently in each: whatever hangs on the order of a map would show."""
    seeds = "print([run_schedule(seed).trace_hash for seed in (1, 2, 5)])"
    command = [sys.executable, "-c", f"from tests.simulation.schedule import run_schedule; {seeds}"]
    first, second = [await run(command, timeout_s=120, env={"PYTHONHASHSEED": hashes}, cwd=ROOT) for hashes in ("1", "2")]
    hashes_of = [done.stdout.splitlines()[-1:] for done in (first, second)]  # after what was logged, with the time of day
    assert hashes_of[0] == hashes_of[1] != []


def test_other_seeds_give_other_traces() -> None:
    assert len({run_schedule(seed).trace_hash for seed in range(5)}) == 5


def test_faults_hit_jobs_in_all_their_phases(capsys: pytest.CaptureFixture[str]) -> None:
    hits = COVERAGE or run_schedule(0).coverage
    with capsys.disabled():
        print(f"\n{BATCHES * SEEDS_A_BATCH} schedules of {FAULTS_A_RUN} faults\n{printed(hits)}")
    if sum(COVERAGE.values()) > 500:  # all batches ran in this process
        assert len(uncovered(COVERAGE)) <= 5
