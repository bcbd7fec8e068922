"""What Covey defines beside what virt-install defines by default, as libvirt completes both; and the loads that compare them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench.definitions import REASONS, differences, reason_of
from bench.guest import DISK, NET
from bench.rig import scratch
from bench.rivals import the_rivals

from covey.host.hypervisor.file_io import find_file_io


@pytest.mark.asyncio
async def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    with scratch() as directory:
        async with the_rivals(directory) as rivals:
            definition = rivals.covey.definition
            found = differences(definition, rivals.usual.definition)
            of_equal = differences(definition, rivals.equal.definition)
    assert f"io='{find_file_io()}'" in definition
    assert [str(difference) for difference in found if not reason_of(difference)] == []
    assert [reason.place for reason in REASONS if not any(reason.explains(difference) for difference in found)] == []
    (cache,) = set(found) - set(of_equal)
    assert (cache.place, cache.covey, cache.virt_install) == ("devices/disk vda/driver cache", "none", "")
    assert set(of_equal) < set(found), "beyond the cache mode, both of virt-install's are the same"


@pytest.mark.asyncio
async def test_all_do_what_they_are_told_and_no_process_of_them_is_left() -> None:
    with scratch() as directory:
        async with the_rivals(directory) as rivals:
            for guest in (rivals.covey, rivals.equal, rivals.usual):
                with guest.running():
                    for load in (*DISK, *NET):
                        assert guest.speed(replace(load, count=load.depth)) > 0
        assert guests_below(directory) == []


def guests_below(directory: Path) -> list[str]:
    """The QEMUs whose disks are in that directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if line.startswith(b"/usr/bin/qemu-system") and str(directory).encode() in line:
            found.append(path.parent.name)
    return found
