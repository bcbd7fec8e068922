"""What Covey costs with its records on three machines: a lab of three nodes, each with a controller and a member of etcd, all on this one
machine and its one disk. `lab_up_s` is from nothing to three members; `noop_p50_ms` submit to done at the leader's door, one at a time,
`noop_follower_p50_ms` at another one's; `noop_per_s` with 500 queued at once. `covey_mb` is the memory of a node's processes of
Covey's own (shared pages counted in part), the largest of the three; `etcd_mb` that of its etcd.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from bench.jobs import BURST, one_at_a_time, submit_and_wait
from bench.rig import COVEY, arguments, report, scratch

NAMES = ("n1", "n2", "n3")


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as place:
        directory = str(place)
        os.environ["COVEY_LAB_DIR"] = directory
        begun = time.monotonic()
        try:
            lab("up", "--nodes", "3", "--accelerator", "tcg")
            took_s = time.monotonic() - begun
            states = [place / "bench" / name / "state" for name in NAMES]
            figures = {
                "lab_up_s": took_s,
                "noop_p50_ms": 1000 * await one_at_a_time(states[0]),
                "noop_follower_p50_ms": 1000 * await one_at_a_time(states[1]),
                "noop_per_s": await burst(states[0]),
                **memory(directory),
            }
        finally:
            lab("down")
    report(given, figures)


def lab(*words: str) -> None:
    subprocess.run([COVEY, "lab", *words, "--name", "bench"], check=True, stdout=subprocess.DEVNULL)


async def burst(state: Path) -> float:
    begun = time.monotonic()
    await submit_and_wait(state, [("/v1/nodes/n1/ping", {})] * BURST)
    return BURST / (time.monotonic() - begun)


def memory(directory: str) -> dict[str, float]:
    """The largest sums of any node, in MB."""
    sums: dict[tuple[str, str], float] = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            line = b" ".join(words)
            kind = "etcd_mb" if words and words[0].endswith(b"etcd") else "covey_mb" if b"covey." in line else ""
            told = (entry / "environ").read_bytes() if kind == "etcd_mb" else line  # where its files are
            node = next((name for name in NAMES if f"{directory}/bench/{name}".encode() in told), "")
            if node and kind:
                sums[node, kind] = sums.get((node, kind), 0.0) + proportional_mb(entry)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return {kind: max(size for (_, of), size in sums.items() if of == kind) for kind in ("covey_mb", "etcd_mb")}


def proportional_mb(process: Path) -> float:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    asyncio.run(main())
