"""A guest as Covey defines it beside one as virt-install defines it by default (pair.py).

First the two definitions: each difference must have a reason (definitions.py), else nothing is measured. Then equal loads in both by
turns, the other one paused. Two guests of the very same definition differ by up to a third, and stay so while they run: by where their
memory and their files happen to lie. So there are several rounds, each with new guests on new disks. A ratio is Covey's speed by
virt-install's, the median of a round's pairs; of these it is the median of the rounds, and holds with a confidence of 95 % between `_low`
and `_high`. `disk_commit` is a write at a time, each on the disk before the next; `disk_read_alone` a large read at a time, all
else eight. Writes end when they are on the disk. Before reads, the host's memory holds nothing of the disk, save for `disk_read_again`,
which is what it costs to leave the host's memory to guests. The floors are virt-install's speeds, in MiB or small blocks a second.

virt-install's guest is in a network namespace without packet rules; `net_*_unguarded` is Covey's NIC without those that keep it to its
addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from math import comb
from statistics import median

from bench.definitions import differences, reason_of
from bench.load import MIB, Load
from bench.pair import NAME, Pair, a_pair
from bench.rig import report, scratch

FILL = Load("fill", "write", "sequential", 1, MIB, 448)
DISK = (
    Load("disk_read", "read", "sequential", 8, MIB, 128),
    Load("disk_read_random", "read", "random", 8, 4096, 2000),
    Load("disk_write", "write", "sequential", 8, MIB, 128),
    Load("disk_write_random", "write", "random", 8, 4096, 2000),
    Load("disk_commit", "commit", "random", 1, 4096, 200),
    Load("disk_read_alone", "read", "sequential", 1, MIB, 128),
    Load("disk_read_again", "read", "sequential", 8, MIB, 128),
)
NET = (Load("net_in", "take", "sequential", 1, 1, 64 * MIB), Load("net_out", "send", "sequential", 1, 1, 64 * MIB))
NAMES = [load.name for load in (*DISK, *NET)]
CONFIDENCE = 0.95
Speeds = tuple[list[float], list[float]]


async def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time: nothing is left behind"))
    names, rounds = given.only or NAMES, []
    for number in range(given.rounds):
        with scratch() as directory:
            async with a_pair(directory) as pair:
                compare_definitions(pair, quiet=given.json or number > 0)
                pair.start()
                rounds.append(a_round(pair, given.pairs, names))
    report(given, {"rounds": given.rounds, "pairs": given.pairs, **together(rounds)})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line: one JSON object")
    parser.add_argument("--rounds", type=int, default=9, help="how often two new guests are made [9]")
    parser.add_argument("--pairs", type=int, default=5, help="how often both are measured in each round [5]")
    parser.add_argument("--only", choices=NAMES, action="append", help="measure only this; repeatable [all]")
    given = parser.parse_args()
    if given.rounds < 7 or given.pairs < 1:
        parser.error("fewer than 7 rounds say nothing")
    return given


def compare_definitions(pair: Pair, quiet: bool) -> None:
    """Print each difference with its reason; end the program when one has none."""
    found = differences(pair.covey.definition, pair.usual.definition)
    for difference in found:
        if not quiet:
            print(f"{difference}\n    {reason_of(difference)}")
    strange = [str(difference) for difference in found if not reason_of(difference)]
    if strange:
        raise SystemExit("nobody has said why, in bench/definitions.py:\n" + "\n".join(strange))


def a_round(pair: Pair, pairs: int, names: Sequence[str]) -> dict[str, Speeds]:
    """What two guests did of each load: Covey's speeds and the other's, in blocks or MiB a second."""
    found: dict[str, Speeds] = {}
    for guest in (pair.covey, pair.usual):
        guest.speed(FILL)
    for load in (*DISK, *NET):
        if load.name in names:
            found[load.name] = by_turns(pair, load, pairs)
    unguarded = [load for load in NET if load.name in names]
    if unguarded:
        pair.up.covey("nic", "modify", NAME, "0", "--spoofing", "allow", "--yes")
    for load in unguarded:
        found[f"{load.name}_unguarded"] = by_turns(pair, load, pairs)
    return found


def by_turns(pair: Pair, load: Load, pairs: int) -> Speeds:
    """Both by turns, each as often first as second."""
    ours: list[float] = []
    its: list[float] = []
    turns = [(pair.covey, ours), (pair.usual, its)]
    unit = load.block if load.how == "random" else MIB
    for _ in range(pairs):
        for guest, speeds in turns:
            speeds.append(guest.speed(load, cold=load.name != "disk_read_again") / unit)
        turns.reverse()
    return ours, its


def together(rounds: Sequence[dict[str, Speeds]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in rounds[0]:
        speeds = [each[name] for each in rounds]
        middle, low, high = interval([median(one / other for one, other in zip(*both, strict=True)) for both in speeds])
        figures |= {
            f"{name}_ratio": middle,
            f"{name}_ratio_low": low,
            f"{name}_ratio_high": high,
            f"{name}_per_s": median(median(ours) for ours, _ in speeds),
            f"floor_{name}_per_s": median(median(its) for _, its in speeds),
        }
    return figures


def interval(values: list[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The median, and the closest two of the values between which the true median lies with that confidence, whatever the distribution:
    how many values lie below it is a matter of tossing coins."""
    ordered, count = sorted(values), len(values)
    outside, cut = 0.0, 0
    while cut < count // 2 and outside + 2 * comb(count, cut) / 2**count <= 1 - confidence:
        outside += 2 * comb(count, cut) / 2**count
        cut += 1
    cut = max(cut - 1, 0)
    return median(ordered), ordered[cut], ordered[count - 1 - cut]


if __name__ == "__main__":
    asyncio.run(main())
