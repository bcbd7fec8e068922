"""`python -m tests.soak --rounds 100 --resume FILE`: a cluster of real nodes in namespaces, with real etcd and libvirt; in each round something
is killed, hung, cut off or loses its power while changes go on, and afterwards everything acknowledged is as it was promised.

Outcomes are kept, a JSON object a line, and void under other code (T8). The last line is the sum; the exit status is 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.kit.a_lab import NAME, UP_LIMIT_S, ALab, a_lab
from tests.kit.bootsector import ticking, write_image
from tests.soak.doors import Doors, Refusal, Silence
from tests.soak.faults import Fault, draw, heal, inject
from tests.soak.judge import Guest, Reader, all_well, complaints, guests, instances, status
from tests.soak.work import Work

ROOT = Path(__file__).parents[2]
GUESTS_A_NODE = 2
BEFORE_S = 1.0  # work goes on before and after the fault
WRITE_WITHIN_S = 60.0
EMPTY: dict[str, Any] = {"rounds": 0}


def code_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "tests/soak").rglob("*.py")]):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def commit() -> str:
    return subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()


def kept_rounds(path: Path | None, code: str) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text().splitlines() if path and path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # half a line, which a kill left
        if line.get("code") == code and "round" in line:
            found.append(line)
    return found


class Soak:
    """One lab, and rounds in it."""

    def __init__(self, lab: ALab, nodes: int, seed: int) -> None:
        self.lab = lab
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.directory = lab.directory / NAME
        self.doors = Doors({name: self.directory / name / "state" for name in self.names})
        self.guests = [f"g{number}" for number in range(1, GUESTS_A_NODE * nodes + 1)]
        self.rng = random.Random(seed)
        self.work = Work(self.doors, self.rng, self.guests)

    async def make(self) -> float:
        """The lab, with an image, a network and the guests that last. Returns the seconds that `lab up` took."""
        began = time.monotonic()
        await self.lab.do(f"up --nodes {len(self.names)} --accelerator tcg", within=UP_LIMIT_S)
        took_s = time.monotonic() - began
        image = write_image(self.lab.directory / "tick.raw", ticking(obeys=True, lets_go=True))
        await self.lab.on("n1", f"covey image add tick --source {image} --quiet")
        await self.lab.on("n1", "covey network add site --type adopted --bridge br0 --quiet")
        for number, name in enumerate(self.guests):
            node = self.names[number % len(self.names)]
            await self.lab.on("n1", f"covey instance add {name} --image tick --memory 16M --node {node} --quiet")
        await all_well(self.doors)
        return took_s

    async def round(self, number: int) -> dict[str, Any]:
        """One fault amid work, and what is true afterwards."""
        before = await self._lasting()
        self.work.moved.clear()
        lead = (await status(self.doors))["leader"]
        looked = await self.lab.look()
        running = {name: {process["name"] for process in looked[name]["processes"]} for name in self.names}
        fault = draw(self.rng, self.names, lead["node"], running)
        migrations, jobs = self.work.migrations, len(self.work.book.jobs)
        others = [name for name in self.names if name != fault.node]
        readers = [Reader(self.doors, name) for name in (others if fault.silences_node else self.names)]
        self.work.begin()
        await asyncio.sleep(BEFORE_S)
        leader_s = await self._through(fault, others, lead if lead["node"] == fault.node and fault.deposes else None)
        await self.work.end()
        for reader in readers:
            await reader.over()
        broken = [failure for reader in readers for failure in reader.failures[:2]]
        try:
            await self.work.settled()
            await all_well(self.doors)
            broken += await complaints(self.doors, self.work, self.directory, before, fault.node if fault.ends_guests else "")
        except (TimeoutError, Silence, Refusal) as error:
            broken.append(str(error))
        return {
            "round": number,
            "fault": fault.name,
            "said": str(fault),
            "jobs": len(self.work.book.jobs) - jobs,
            "migrations": self.work.migrations - migrations,
            "reads": sum(reader.reads for reader in readers),
            "leader_s": leader_s,
            "lost_jobs": len(self.work.lost()),
            "broken": broken,
        }

    async def _lasting(self) -> dict[str, Guest]:
        there = await instances(self.doors)
        found = {guest.uuid: guest for guest in guests(self.directory)}
        return {name: found[there[name]["id"]] for name in self.guests if there[name]["id"] in found}

    async def _through(self, fault: Fault, others: list[str], lead: dict[str, Any] | None) -> float | None:
        """Do it, wait, heal it. For a fault that ends a leader: the seconds from then until another node's door takes a change in again,
        under another epoch; None when the leader kept leading."""
        began = asyncio.get_running_loop().time()
        probing = None
        await inject(self.lab, fault)
        if lead:
            probing = asyncio.create_task(self._writes_again(others, lead["epoch"], began))
        await asyncio.sleep(fault.seconds)
        healed_at = asyncio.get_running_loop().time()
        await heal(self.lab, fault)
        if probing is None:
            return None
        found = await probing
        return None if found is None or began + found > healed_at + 0.5 else found

    async def _writes_again(self, others: list[str], epoch: int, began: float) -> float | None:
        loop = asyncio.get_running_loop()
        while loop.time() < began + WRITE_WITHIN_S:
            for name in others:
                try:
                    answer = await self.doors.ask(name, "PATCH", "cluster", {"notes": f"probe {loop.time()}"})
                    self.work.book.enter(answer["id"], "probe")
                    seen = await self.doors.ask(name, "GET", "status")
                except (Silence, Refusal):
                    continue
                if seen["leader"]["epoch"] > epoch:
                    return round(loop.time() - began, 2)
            await asyncio.sleep(0.1)
        return None


def summed(rounds: list[dict[str, Any]], code: str, lab_up_s: list[float]) -> dict[str, Any]:
    times = sorted(line["leader_s"] for line in rounds if line["leader_s"] is not None)
    kinds: dict[str, int] = {}
    for line in rounds:
        kinds[line["fault"]] = kinds.get(line["fault"], 0) + 1
    return {
        "code": code,
        "commit": commit(),
        "rounds": len(rounds),
        "faults": dict(sorted(kinds.items())),
        "jobs": sum(line["jobs"] for line in rounds),
        "lost_jobs": sum(line["lost_jobs"] for line in rounds),
        "leaks": sum(len(line["broken"]) for line in rounds),
        "leader_n": len(times),
        "leader_p50_s": median(times) if times else None,
        "leader_max_s": times[-1] if times else None,
        "migrations": sum(line["migrations"] for line in rounds),
        "reads": sum(line["reads"] for line in rounds),
        "lab_up_s": lab_up_s,
        "broken_rounds": [line["round"] for line in rounds if line["broken"]],
    }


async def soak(arguments: argparse.Namespace) -> int:
    code = code_digest()
    rounds = kept_rounds(arguments.resume, code)
    lab_up_s: list[float] = []
    while len(rounds) < arguments.rounds:
        async with a_lab() as lab:
            this = Soak(lab, arguments.nodes, seed=arguments.seed + len(rounds))
            try:
                lab_up_s.append(round(await this.make(), 1))
                while len(rounds) < arguments.rounds:
                    line = {"code": code, **await this.round(len(rounds))}
                    rounds.append(line)
                    keep(arguments.resume, line)
                    print(
                        f"{line['round'] + 1:4} {line['said']:40} jobs {line['jobs']:3} leader {line['leader_s']}",
                        *line["broken"],
                        file=sys.stderr,
                        sep="\n       " if line["broken"] else " ",
                    )
                    if line["broken"]:
                        if arguments.stop:
                            input_kept(lab)
                            return 1
                        break  # what it left would break the next rounds, too: a new lab
            finally:
                await this.doors.close()
    end = summed(rounds, code, lab_up_s)
    keep(arguments.resume, end)
    print(json.dumps(end))
    return bool(end["broken_rounds"])


def input_kept(lab: ALab) -> None:
    print(f"look with KEEP=1 at: COVEY_LAB_DIR={lab.directory} covey lab status --name {NAME}", file=sys.stderr)


def keep(path: Path | None, line: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="keep outcomes in this file and go on where it ends")
    parser.add_argument(
        "--stop", action="store_true", help="end at the first broken promise; with KEEP=1 the lab is left to look at"
    )
    return asyncio.run(soak(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
