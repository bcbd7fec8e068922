"""A program that writes to a store as fast as it can and tells which transactions were acknowledged, for tests that stop, kill and copy it.

    writing_child.py DATABASE SEED COUNT

Transaction N has revision N and always the same content, so that what a database must hold follows from its revision alone. Each
acknowledged one is a line on standard output. After COUNT transactions it waits to be killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from covey.base.clock import SystemClock
from covey.store.protocol import Delete, Op, Put
from covey.store.sqlite import SqliteStore

RESERVE = 2**16


def transaction(number: int) -> list[Op]:
    """Always a change; some keys come and go, and the values of one transaction agree."""
    value = f"{number} ".encode() * (1 + number * 37 % 300)
    return [
        Put("number", str(number).encode()),
        Put(f"k/{number % 17}", value),
        Put(f"l/{number % 5}", value),
        *([Delete(f"k/{(number * 7 + 3) % 17}")] if (number * 7 + 3) % 17 != number % 17 else []),
    ]


def expected(revision: int) -> dict[str, bytes]:
    """What a database of that revision holds."""
    records: dict[str, bytes] = {}
    for number in range(1, revision + 1):
        for op in transaction(number):
            if isinstance(op, Put):
                records[op.key] = op.value
            else:
                records.pop(op.key, None)
    return records


async def write(path: Path, chance: random.Random, count: int) -> None:
    store = await SqliteStore.open(path, SystemClock(), kept=500, reserve=RESERVE)
    number = (await store.list("")).revision

    async def write_one(number: int) -> None:
        assert await store.txn([], transaction(number)) == number
        os.write(sys.stdout.fileno(), f"{number}\n".encode())

    last = number + count
    while number < last:
        burst = min(chance.choice((1, 1, 2, 5, 20)), last - number)
        await asyncio.gather(*(write_one(number + place) for place in range(1, burst + 1)))
        number += burst
    os.write(sys.stdout.fileno(), b"end\n")
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])))
