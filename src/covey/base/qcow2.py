"""A qcow2 written from front to end: where all of it lies is known before the first byte of data is read.

All tables come first, then the clusters that hold data, in the guest's order: so it can be streamed, and whoever reads it needs not
seek. Layout: docs/interop/qcow2.txt of QEMU; clusters of 64 KiB, refcounts of 16 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

CLUSTER = 2**16
_ENTRIES = CLUSTER // 8  # of a table
_REFCOUNTS = CLUSTER // 2  # of a block of refcounts
_COPIED = 1 << 63  # in a table: its refcount is exactly one
_READS_ZERO = 1  # in a table of the second level: nothing is kept, and it reads as zeros
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


@dataclass(frozen=True, slots=True)
class Run:
    """Clusters of the disk in a row."""

    first: int
    count: int


def runs_of(extents: Iterable[tuple[int, int]]) -> list[Run]:
    """The clusters that hold something of the extents (offset and length, in order), each once."""
    runs: list[Run] = []
    for offset, length in extents:
        first, end = offset // CLUSTER, -(-(offset + length) // CLUSTER)
        if runs and first <= runs[-1].first + runs[-1].count:
            before = runs.pop()
            first, end = before.first, max(end, before.first + before.count)
        runs.append(Run(first, end - first))
    return runs


class Layout:
    """A qcow2 of a disk of `size` bytes with data in `runs`, and `zeros` where it hides with nothing what it may lie on."""

    def __init__(self, size: int, runs: list[Run], zeros: Iterable[Run] = ()) -> None:
        self.size = size
        self.runs = runs
        self._zeros = _by_table(zeros)
        self._data = _by_table(runs)
        self._tables = sorted(self._data.keys() | self._zeros.keys())
        self._l1_entries, self._l1_clusters = _l1_entries(size), _l1_clusters(size)
        data = sum(run.count for run in runs)
        fixed = 1 + self._l1_clusters + len(self._tables) + data
        self._blocks = self._table_clusters = 0
        while (needed := -(-(fixed + self._blocks + self._table_clusters) // _REFCOUNTS)) != self._blocks:
            self._blocks, self._table_clusters = needed, -(-needed * 8 // CLUSTER)  # they are counted, too
        self._clusters = fixed + self._blocks + self._table_clusters
        self._first_data = self._clusters - data

    @property
    def data_at(self) -> int:
        """Where the first cluster of data is; the others follow in order."""
        return self._first_data * CLUSTER

    @property
    def length(self) -> int:
        return self._clusters * CLUSTER

    def tables(self) -> Iterator[bytes]:
        """All that comes before the data."""
        blocks_at = 1 + self._table_clusters
        l1_at = blocks_at + self._blocks
        yield _filled(
            _HEADER.pack(
                *(b"QFI\xfb", 3, 0, 0, 16, self.size, 0, self._l1_entries, l1_at * CLUSTER, CLUSTER, self._table_clusters),
                *(0, 0, 0, 0, 0, 4, _HEADER.size),
            )
        )
        yield _filled(_packed((blocks_at + number) * CLUSTER for number in range(self._blocks)))
        for number in range(self._blocks):
            yield _filled(b"\0\1" * min(_REFCOUNTS, self._clusters - number * _REFCOUNTS))
        l1 = [0] * self._l1_entries
        for number, table in enumerate(self._tables):
            l1[table] = (l1_at + self._l1_clusters + number) * CLUSTER | _COPIED
        yield _filled(_packed(l1), self._l1_clusters)
        at = self._first_data
        for table in self._tables:
            entries = [0] * _ENTRIES
            for run in self._zeros.get(table, ()):
                first = run.first % _ENTRIES
                entries[first : first + run.count] = [_READS_ZERO] * run.count
            for run in self._data.get(table, ()):
                first = run.first % _ENTRIES
                entries[first : first + run.count] = [(at + n) * CLUSTER | _COPIED for n in range(run.count)]
                at += run.count
            yield _packed(entries)


def _by_table(runs: Iterable[Run]) -> dict[int, list[Run]]:
    """What of the runs each table of the second level has."""
    return {table: list(parts) for table, parts in groupby(_split(runs), lambda run: run.first // _ENTRIES)}


def _split(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs, cut where one table ends and the next begins."""
    for run in runs:
        first, end = run.first, run.first + run.count
        while first < end:
            stop = min(end, (first // _ENTRIES + 1) * _ENTRIES)
            yield Run(first, stop - first)
            first = stop


def _packed(entries: Iterable[int]) -> bytes:
    numbers = list(entries)
    return struct.pack(f">{len(numbers)}Q", *numbers)


def _filled(data: bytes, least: int = 1) -> bytes:
    """Whole clusters."""
    return data.ljust(max(least, -(-len(data) // CLUSTER)) * CLUSTER, b"\0")


def unpacked(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """What a disk holds, from a qcow2 as a Layout writes it: first its size and no data, then offset and data, in order. `read` gives
    the next so many bytes. Raises ValueError for another qcow2."""
    header = _HEADER.unpack_from(read(CLUSTER))
    magic, version, backing, bits, size = header[0], header[1], header[2], header[4], header[5]
    l1_entries, l1_at = header[7], header[8]
    if (magic, version, backing, bits) != (b"QFI\xfb", 3, 0, 16) or l1_at % CLUSTER or l1_entries != _l1_entries(size):
        raise ValueError("it is no qcow2 of Covey's")
    for _ in range(l1_at // CLUSTER - 1):
        read(CLUSTER)  # refcounts
    yield size, b""
    l1 = struct.unpack_from(f">{l1_entries}Q", b"".join(read(CLUSTER) for _ in range(_l1_clusters(size))))
    runs: list[Run] = []
    for table, entry in enumerate(l1):
        if entry:
            entries = struct.unpack(f">{_ENTRIES}Q", read(CLUSTER))
            for present, group in groupby(enumerate(entries), lambda one: bool(one[1])):
                clusters = [number for number, _ in group] if present else []
                if clusters:
                    runs.append(Run(table * _ENTRIES + clusters[0], len(clusters)))
    for run in runs:
        for cluster in range(run.first, run.first + run.count):
            yield cluster * CLUSTER, read(CLUSTER)[: size - cluster * CLUSTER]


def _l1_entries(size: int) -> int:
    return -(-size // (CLUSTER * _ENTRIES))


def _l1_clusters(size: int) -> int:
    return max(1, -(-_l1_entries(size) * 8 // CLUSTER))
