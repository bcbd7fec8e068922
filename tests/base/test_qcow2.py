"""A qcow2 written from front to end."""

from __future__ import annotations

import io
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.qcow2 import CLUSTER, Layout, runs_of, unpacked

EXTENTS = st.lists(st.tuples(st.integers(0, 2**28), st.integers(1, 3 * CLUSTER)), max_size=12)


def separate(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, and none within another."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(extents):
        if not found or offset >= sum(found[-1]):
            found.append((offset, length))
    return found


def written(layout: Layout) -> bytes:
    """The whole file; each cluster holds its own number."""
    data = [struct.pack(">Q", run.first + n).ljust(CLUSTER, b"#") for run in layout.runs for n in range(run.count)]
    return b"".join([*layout.tables(), *data])


@given(EXTENTS, st.integers(1, 4 * CLUSTER))
def test_whoever_unpacks_it_finds_each_cluster_where_it_was(extents: list[tuple[int, int]], more: int) -> None:
    extents = separate(extents)
    size = (sum(extents[-1]) if extents else 0) + more
    layout = Layout(size, runs_of(extents))
    file = written(layout)
    assert len(file) == layout.length
    (told, nothing), *found = unpacked(io.BytesIO(file).read)
    assert (told, nothing) == (size, b"")
    wanted = {offset // CLUSTER + n for offset, length in extents for n in range((offset % CLUSTER + length - 1) // CLUSTER + 1)}
    assert [at // CLUSTER for at, _ in found] == sorted(wanted)
    for at, data in found:
        assert data == struct.pack(">Q", at // CLUSTER).ljust(CLUSTER, b"#")[: size - at]


@given(EXTENTS)
def test_no_cluster_is_written_twice_and_none_is_left_out(extents: list[tuple[int, int]]) -> None:
    runs = runs_of(separate(extents))
    for before, after in pairwise(runs):
        assert before.first + before.count < after.first


def test_the_refcounts_of_a_large_one_count_themselves() -> None:
    layout = Layout(2**42, runs_of([(0, 5 * 2**31)]))
    header = next(layout.tables())
    table_clusters = struct.unpack_from(">I", header, 56)[0]
    l1_at = struct.unpack_from(">Q", header, 40)[0]
    blocks = l1_at // CLUSTER - 1 - table_clusters
    assert blocks * (CLUSTER // 2) >= layout.length // CLUSTER
    assert sum(len(piece) for piece in layout.tables()) + 5 * 2**31 == layout.length


@pytest.mark.parametrize("change", [(0, b"QED\0"), (4, b"\0\0\0\2"), (8, b"\0\0\0\0\0\0\4\0"), (23, b"\x10\x0f")])
def test_another_qcow2_is_not_unpacked(change: tuple[int, bytes]) -> None:
    at, data = change
    file = bytearray(written(Layout(CLUSTER, [])))
    file[at : at + len(data)] = data
    with pytest.raises(ValueError, match="qcow2"):
        list(unpacked(io.BytesIO(file).read))
