"""A guest as Covey defines it beside two as virt-install does (rivals.py): `equal` with Covey's cache mode, so that both promise the same
of what they have written, and `usual` with virt-install's default, which keeps a second copy in the host's memory.

First the definitions: each difference must have a reason (definitions.py), else nothing is measured. Then rounds. In each the three are
started anew, one after the other, on the very same disk, and do equal loads: two guests of the very same definition differ by up to a
third, and stay so while they run, by where their memory and their files happen to lie. What lies on the disk is the same for all, and
what is in memory is drawn anew by every start. Who is first changes with the round.

`*_ratio` is Covey's speed by that of `equal`, `*_default_ratio` by that of `usual`: what cache=none costs or gains is in it, too. Of a
guest's few goes at a load the median counts, so that a round has one ratio of each; of the rounds, the middle (Hodges and Lehmann's), which holds with a confidence of 95 % between `_low`
and `_high` (Wilcoxon's signed ranks, of logarithms). `--resume FILE` adds rounds to those that FILE has, if they are of the same programs.

`disk_commit` is a write at a time, each on the disk before the next; `disk_read_alone` a large read at a time, all else eight. Writes end
when they are on the disk. Before reads, the host's memory holds nothing of the disk, save for `disk_read_again`. The guests of virt-install
are in a network namespace without packet rules; `net_*_rules_ratio` is Covey's guest with the rules that keep its NIC to its addresses, by
the very same without. The floors are `equal`'s speeds, in MiB or small blocks a second.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from bench.definitions import differences, reason_of
from bench.load import MIB, SOURCE, Load
from bench.rig import report, scratch
from bench.rivals import Guest, Rivals, the_rivals

FILL = Load("fill", "write", "sequential", 1, MIB, 448)
DISK = (
    Load("disk_read", "read", "sequential", 8, MIB, 256),
    Load("disk_read_random", "read", "random", 8, 4096, 4000),
    Load("disk_write", "write", "sequential", 8, MIB, 256),
    Load("disk_write_random", "write", "random", 8, 4096, 4000),
    Load("disk_commit", "commit", "random", 1, 4096, 500),
    Load("disk_read_alone", "read", "sequential", 1, MIB, 128),
    Load("disk_read_again", "read", "sequential", 8, MIB, 256),
)
NET = (Load("net_in", "take", "sequential", 1, 1, 128 * MIB), Load("net_out", "send", "sequential", 1, 1, 128 * MIB))
NAMES = [load.name for load in (*DISK, *NET)]
CONFIDENCE = 0.95
WHO = ("covey", "equal", "usual")
OWN = re.compile(
    r"/[^\s'<]*/cvb\w+|cvt\w+|[0-9a-f]+([:-][0-9a-f]+){4,}|[0-9a-f]{16,}"
)  # what is another in each definition: places, names, numbers
Speeds = dict[str, float]


async def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time: nothing is left behind"))
    with scratch() as directory:
        async with the_rivals(directory) as rivals:
            compare_definitions(rivals, quiet=given.json)
            of = subject(rivals)
            rounds = kept_in(given.resume, of) if given.resume else []
            with rivals.covey.running():
                rivals.covey.speed(FILL)
            until = time.monotonic() + given.minutes * 60
            for number in range(given.rounds):
                if time.monotonic() > until:
                    break
                found = a_round(rivals, number, given.goes, given.only or NAMES)
                rounds.append(found)
                if given.resume:
                    keep_in(given.resume, of, found)
    report(given, together(rounds))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the last line: one JSON object")
    parser.add_argument("--rounds", type=int, default=24, help="how often each of the three is started [24]")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so many [60]")
    parser.add_argument("--goes", type=int, default=3, help="how often each does each load in a round [3]")
    parser.add_argument("--only", choices=NAMES, action="append", help="measure only this; repeatable [all]")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="add to the rounds of FILE (JSON lines)")
    return parser.parse_args()


def compare_definitions(rivals: Rivals, quiet: bool) -> None:
    """Print each difference with its reason; end the program when one has none."""
    strange = []
    for rival in ("equal", "usual"):
        found = differences(rivals.covey.definition, getattr(rivals, rival).definition)
        strange += [f"{rival}: {difference}" for difference in found if not reason_of(difference)]
        if not quiet:
            print(f"Covey's definition and the {rival} one:")
            print(*(f"  {difference}\n      {reason_of(difference)}" for difference in found), sep="\n")
    if strange:
        raise SystemExit("nobody has said why, in bench/definitions.py:\n" + "\n".join(strange))


def a_round(rivals: Rivals, number: int, goes: int, names: Sequence[str]) -> dict[str, Speeds]:
    """What each of the three did of each load, in blocks or MiB a second. `number` says who is first."""
    found: dict[str, Speeds] = {"load": {"before": os.getloadavg()[0]}}
    turns = WHO[number % 3 :] + WHO[: number % 3]
    for who in turns if number % 2 else turns[::-1]:
        guest = getattr(rivals, who)
        with guest.running():
            for load in (*DISK, *NET):
                if load.name in names:
                    found.setdefault(load.name, {})[who] = median(speeds(guest, load, goes))
            if who == "covey":
                for load in NET:
                    if load.name in names:
                        found[f"{load.name}_rules"] = by_rules(guest, load, goes)
    return found


def speeds(guest: Guest, load: Load, goes: int) -> Iterator[float]:
    unit = load.block if load.how == "random" else MIB
    for _ in range(goes):
        yield guest.speed(load, cold=load.name != "disk_read_again") / unit


def by_rules(guest: Guest, load: Load, goes: int) -> Speeds:
    """With the rules of its NIC and without, by turns."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(goes):
        found["with"] += speeds(guest, load, 1)
        with guest.unguarded():
            found["without"] += speeds(guest, load, 1)
    return {how: median(values) for how, values in found.items()}


def together(rounds: Sequence[Mapping[str, Speeds]]) -> dict[str, float]:
    loads = [found["load"]["before"] for found in rounds]
    figures: dict[str, float] = {"rounds": len(rounds), "machine_load": median(loads), "machine_load_most": max(loads)}
    for name in (*NAMES, *(f"{load.name}_rules" for load in NET)):
        measured = [found[name] for found in rounds if name in found]
        pairs = {"": ("with", "without")} if name.endswith("_rules") else {"": ("covey", "equal"), "_default": ("covey", "usual")}
        for suffix, (one, other) in pairs.items() if measured else ():
            middle, low, high = interval([each[one] / each[other] for each in measured])
            figures |= {f"{name}{suffix}_ratio": middle, f"{name}{suffix}_ratio_low": low, f"{name}{suffix}_ratio_high": high}
        if measured and "equal" in measured[0]:
            figures[f"{name}_per_s"] = median(each["covey"] for each in measured)
            figures[f"floor_{name}_per_s"] = median(each["equal"] for each in measured)
    return figures


def interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The middle of ratios, and between what the true one lies with that confidence; what is by chance is taken to make a ratio as often
    twice as large as half (Hodges and Lehmann; Wilcoxon's signed ranks)."""
    logs = [log(ratio) for ratio in ratios]
    means = sorted((one + other) / 2 for number, one in enumerate(logs) for other in logs[number:])
    cut = _cut(len(logs), 1 - confidence)
    return exp(median(means)), exp(means[cut]), exp(means[-1 - cut])


def _cut(count: int, outside: float) -> int:
    """How many of the means, from either end, lie beyond where the true one is: the sum of the ranks of what is on the one side of it is
    less than that by chance too seldom to count."""
    ways = [1]  # in which ranks so far add up to each sum
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        ways = [without + (longer[total - rank] if total >= rank else 0) for total, without in enumerate(longer)]
    seldom = [2 * sum(ways[: total + 1]) <= outside * 2**count for total in range(len(ways) // 2)]
    return int(max(sum(seldom) - 1, 0))


def subject(rivals: Rivals) -> str:
    """What is compared, and by what: rounds of anything else are passed over."""
    own = [OWN.sub("", getattr(rivals, who).definition) for who in WHO]
    return hashlib.sha256(repr((own, SOURCE.read_text(), DISK, NET)).encode()).hexdigest()[:16]


def kept_in(file: Path, of: str) -> list[dict[str, Speeds]]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line["speeds"] for line in lines if line["of"] == of]


def keep_in(file: Path, of: str, found: Mapping[str, Speeds]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps({"of": of, "at": int(time.time()), "speeds": found}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
