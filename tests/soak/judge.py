"""What is true afterwards, seen from outside: by /proc and by what the nodes answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.covey_up import command_lines
from tests.soak.doors import Doors, Refusal, Silence, until
from tests.soak.work import Work

WELL_WITHIN_S = 180.0
READ_EVERY_S = 0.1
SLOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Guest:
    """A QEMU that runs."""

    uuid: str
    node: str
    pid: int


def guests(directory: Path) -> list[Guest]:
    """Every QEMU of the lab below that directory."""
    found = []
    for pid, words in command_lines():
        if b"qemu-system" in words[0] and b"-uuid" in words and str(directory).encode() in b" ".join(words):
            place = b" ".join(words).partition(str(directory).encode() + b"/")[2].split(b"/")
            found.append(Guest(words[words.index(b"-uuid") + 1].decode(), place[0].decode(), pid))
    return found


class Reader:
    """Reads by one node's door all the time; `failures` are the reads that got no answer, or only after `SLOW_S`."""

    def __init__(self, doors: Doors, node: str) -> None:
        self.reads = 0
        self.failures: list[str] = []
        self._task = asyncio.create_task(self._read(doors, node))

    async def _read(self, doors: Doors, node: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await doors.ask(node, "GET", "nodes")
            except (Silence, Refusal) as error:
                self.failures.append(str(error))
            if loop.time() - began > SLOW_S:
                self.failures.append(f"{node}: a read took {loop.time() - began:.1f} s")
            self.reads += 1
            await asyncio.sleep(READ_EVERY_S)

    async def over(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def status(doors: Doors, within: float = 60.0) -> dict[str, Any]:
    answer: dict[str, Any] = await doors.ask_any("GET", "status", within=within)
    return answer


async def all_well(doors: Doors) -> None:
    """Wait until every node answers, the cluster is well, every instance is as it is wanted, and verify finds nothing. Raises TimeoutError with what is not so."""
    last: list[str] = []

    async def is_well() -> bool:
        last.clear()
        for node in doors.nodes:
            try:
                seen = await doors.ask(node, "GET", "status")
            except (Silence, Refusal) as error:
                last.append(str(error))
                return False
            last.extend(f"{node}: {line['object']}: {line['what']}" for line in seen["findings"] if line["severity"] == "error")
            if seen["nodes"]["answering"] < seen["nodes"]["all"]:
                last.append(f"{node}: {seen['nodes']} answer")
        if last:
            return False
        for name, item in (await instances(doors)).items():
            if item["state"] != item["desired"]:
                last.append(f"instance {name} is {item['state']}, and wanted {item['desired']}")
        verdict = await doors.ask_any("POST", "cluster/verify", {})
        last.extend(f"verify: {finding['object']}: {finding['what']}" for finding in verdict["findings"])
        return not last

    await until(is_well, WELL_WITHIN_S, lambda: "; ".join(last[:6]))


async def instances(doors: Doors) -> dict[str, dict[str, Any]]:
    page = await doors.ask_any("GET", "instances?limit=1000")
    return {item["name"]: item for item in page["items"]}


async def complaints(doors: Doors, work: Work, directory: Path, before: dict[str, Guest], powered: str) -> list[str]:
    """Whatever breaks a promise once all has settled. `before` are the lasting guests at the round's begin, `powered` the node that
    lost its power, if one did."""
    broken = work.lost()
    there = await instances(doors)
    for name in work.book.deeds:
        must = work.book.is_there(name)
        if must is not None and must != (name in there):
            broken.append(f"instance {name} is {'not there' if must else 'there'}, against what was acknowledged")
    running = guests(directory)
    counts = Counter(guest.uuid for guest in running)
    wanted = {item["id"]: item for item in there.values() if item["desired"] == "running"}
    broken += [f"{count} QEMUs run {uuid}" for uuid, count in counts.items() if count > 1]
    broken += [f"a QEMU runs {uuid}, which nobody wants" for uuid in counts if uuid not in wanted]
    broken += [f"no QEMU runs instance {item['name']}" for uuid, item in wanted.items() if uuid not in counts]
    now = {guest.uuid: guest for guest in running}
    for name, guest in before.items():
        same = now.get(guest.uuid)
        if same and same.node != there[name]["node"]:
            broken.append(f"instance {name} runs on {same.node}, and the record says {there[name]['node']}")
        if guest.node != powered and name not in work.moved and (same is None or same.pid != guest.pid):
            broken.append(f"guest {name} on {guest.node} was ended by what should not touch it")
    return broken
