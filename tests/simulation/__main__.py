"""`python -m tests.simulation --seeds 5000 --resume FILE`: run schedules and keep their outcomes, a JSON object a line (T8).

A file that was begun under other code of the protocol is void: its lines carry the digest of that code. The last line is the sum."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from tests.simulation.coverage import PHASES, printed, uncovered
from tests.simulation.faults import FAULTS
from tests.simulation.schedule import Verdict, run_schedule

ROOT = Path(__file__).parents[2]
PROTOCOL = (
    "src/covey/engine",
    "src/covey/agent",
    "src/covey/controller",
    "src/covey/planner",
    "src/covey/model",
    "src/covey/store",
    "tests/simulation",
)


def code_digest() -> str:
    """What the outcomes are outcomes of."""
    digest = hashlib.sha256()
    for folder in PROTOCOL:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def line_of(verdict: Verdict, code: str) -> dict[str, Any]:
    coverage = [[*key, count] for key, count in sorted(verdict.coverage.items())]
    return {
        "code": code,
        "seed": verdict.seed,
        "trace": verdict.trace_hash,
        "broken": verdict.broken,
        "states": verdict.states,
        "cpu_s": round(verdict.cpu_s, 4),
        "coverage": coverage,
    }


def read_lines(path: Path, code: str) -> list[dict[str, Any]]:
    """Outcomes of this code that were kept; half a line at the end is what a kill left."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line.get("code") == code and "seed" in line:
            lines.append(line)
    return lines


def summary(lines: list[dict[str, Any]], code: str, wall_s: float) -> dict[str, Any]:
    states: Counter[str] = Counter()
    coverage: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        states.update(line["states"])
        coverage.update({(fault, request, phase): count for fault, request, phase, count in line["coverage"]})
    print(printed(coverage), file=sys.stderr)
    return {
        "code": code,
        "schedules": len(lines),
        "violations": sum(len(line["broken"]) for line in lines),
        "broken": sorted(line["seed"] for line in lines if line["broken"]),
        "coverage": {"met": len(FAULTS) * len(PHASES) - len(uncovered(coverage)), "of": len(FAULTS) * len(PHASES)},
        "jobs": dict(states),
        "cpu_s_mean": round(sum(line["cpu_s"] for line in lines) / max(len(lines), 1), 4),
        "wall_s": round(wall_s, 1),
        "uncovered": uncovered(coverage),
    }


def one(seed: int) -> Verdict:
    try:
        return run_schedule(seed)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is an outcome of this seed)
        return Verdict(seed, "", [f"the schedule itself ended: {error!r}"], {}, {}, 0.0)


def quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="run the seeds 0 to N-1")
    parser.add_argument("--resume", type=Path, help="keep outcomes in this file and go on where it ends")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="run this seed alone and print its trace")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        quiet()
        verdict = run_schedule(arguments.seed, keeps_trace=True)
        print("\n".join(verdict.trace))
        print(json.dumps(line_of(verdict, code_digest())))
        return bool(verdict.broken)
    code, began = code_digest(), time.monotonic()
    if arguments.resume:
        arguments.resume.parent.mkdir(parents=True, exist_ok=True)
    lines = read_lines(arguments.resume, code) if arguments.resume else []
    known = {line["seed"] for line in lines}
    todo = [seed for seed in range(arguments.seeds) if seed not in known]
    with ProcessPoolExecutor(arguments.processes, initializer=quiet) as pool:
        for verdict in pool.map(one, todo, chunksize=10):
            line = line_of(verdict, code)
            lines.append(line)
            for law in verdict.broken:
                print(f"seed {verdict.seed}: {law}", file=sys.stderr)
            if arguments.resume:
                with arguments.resume.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    end = summary(lines, code, time.monotonic() - began)
    if arguments.resume:
        with arguments.resume.open("a") as file:
            file.write(json.dumps(end) + "\n")
    print(json.dumps(end))
    return bool(end["broken"])


if __name__ == "__main__":
    sys.exit(main())
