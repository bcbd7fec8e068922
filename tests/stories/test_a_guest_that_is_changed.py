"""A real Linux sees what is changed of its machine while it runs: disks, NICs, CPUs, memory; and what a snapshot brings back."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from covey.host.guest.growth import GROWTH_BOOTHOOK
from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually
from tests.kit.shell import Shell, add_micro

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]  # it boots by emulation
MIB = 2**20
TIMES = 20
PATIENCE_S = 90.0  # with a guest that is emulated on a machine that does much else
# Writes the disk from end to end, again and again, each time with other words, and reads it back; after a pass over all that the disk was
# grown to, it is done.
WRITER = """
blocks() { echo $(($(blockdev --getsize64 /dev/vdb) >> 20)); }
words() { yes "block $1 of pass $2" | head -c 1048576; }
pass=0
while true; do
    number=0
    while [ $number -lt $(blocks) ]; do
        words $number $pass | dd of=/dev/vdb bs=1M seek=$number iflag=fullblock oflag=direct conv=notrunc,fsync 2>&-
        number=$((number + 1))
    done
    wanted=$(for each in $(seq 0 $((number - 1))); do words $each $pass; done | md5sum)
    [ "$wanted" = "$(dd if=/dev/vdb bs=1M count=$number iflag=direct 2>&- | md5sum)" ] || echo $pass >> /tmp/lost
    echo $pass > /tmp/passed
    [ $number -lt $1 ] || break
    pass=$((pass + 1))
done
touch /tmp/done
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(covey: CoveyUp) -> Shell:
    """A Linux with two disks, which boots from its CD."""
    await add_micro(covey)
    await covey.do(
        "instance add grow1 --iso micro --disk 16M --disk 12M --memory 192M --max-memory 768M --max-cpus 3 --network default"
    )
    guest = Shell(covey, "grow1")
    await guest.is_up()
    return guest


async def test_a_disk_grows_under_a_guest_that_writes_to_it_and_no_write_is_lost(covey: CoveyUp, guest: Shell) -> None:
    await writes_until_it_has(20, guest)
    await covey.do("disk grow grow1 1 20M")
    assert int(await guest.run("cat /sys/block/vdb/size")) * 512 == 20 * MIB, "it sees the growth at once"
    await all_is_there(20, covey, guest)


async def test_snapshots_come_and_go_under_a_guest_that_writes_and_no_write_is_lost(covey: CoveyUp, guest: Shell) -> None:
    await writes_until_it_has(24, guest)
    for name in ("one", "two"):
        await covey.do(f"snapshot add grow1 {name}")
    for name in ("one", "two"):
        await covey.do(f"snapshot remove grow1 {name} --yes")
    await covey.do("disk grow grow1 1 24M")
    await all_is_there(24, covey, guest)


async def test_cpus_and_memory_come_to_a_running_guest_up_to_its_maximum(covey: CoveyUp, guest: Shell) -> None:
    await guest.run(GROWTH_BOOTHOOK)
    before = await memory(guest)
    assert await guest.run("nproc") == "1\n"
    await covey.do("instance modify grow1 --cpus 3 --memory 704M")
    await has_memory(guest, before + 512 * MIB)
    await guest.run("for each in 1 2; do echo 1 > /sys/devices/system/cpu/cpu$each/online; done")
    assert await guest.run("nproc") == "3\n"
    await covey.do("instance modify grow1 --memory 320M")
    await has_memory(guest, before + 128 * MIB)
    assert await covey.findings() == []


async def test_a_nic_and_a_disk_come_and_go_twenty_times_and_the_guests_kernel_sees_each(covey: CoveyUp, guest: Shell) -> None:
    seen = "/tmp/seen"
    await guest.run(f"""uevent sh -c 'echo "$ACTION ${{DEVPATH##*/}}" >> {seen}' > /dev/null 2>&1 &""")
    before = await covey.instance("grow1")
    for _ in range(TIMES):
        await asyncio.gather(covey.do("nic add grow1"), covey.do("disk add grow1 1M"))
        await asyncio.gather(covey.do("nic remove grow1 1 --yes"), covey.do("disk remove grow1 2 --purge --yes"))
    for device in ("eth1", "vdc"):
        assert await guest.run(f"grep -x '[a-z]* {device}' {seen}") == f"add {device}\nremove {device}\n" * TIMES
    await asyncio.gather(covey.do("nic add grow1"), covey.do("disk add grow1 1M"))
    await guest.configure(1)
    await guest.run("ping -c 1 -W 5 -I eth1 10.77.0.1")
    await guest.run("echo still > /dev/vdc; sync; grep -a still /dev/vdc")
    await asyncio.gather(covey.do("nic remove grow1 1 --yes"), covey.do("disk remove grow1 2 --purge --yes"))
    after = await covey.instance("grow1")
    assert (after["pid"], after["nics"], after["disks"]) == (before["pid"], before["nics"], before["disks"])
    assert covey.within("ip", "-o", "link", "show", "master", "cv-default").count("\n") == 1
    assert await covey.findings() == []


async def test_a_revert_brings_back_the_files_of_the_moment_when_the_snapshot_was_taken(covey: CoveyUp, guest: Shell) -> None:
    await guest.run("mke2fs /dev/vda > /dev/null; mount -t ext4 /dev/vda /mnt")
    await guest.run(
        "echo before > /mnt/file; echo removed > /mnt/other"
    )  # not on the disk yet: it comes to rest for the snapshot
    await covey.do("snapshot add grow1 first")
    (snapshot,) = await covey.json("snapshot list grow1")
    assert snapshot["quiesced"]
    await guest.run("echo after > /mnt/file; rm /mnt/other; echo new > /mnt/third; sync")
    await covey.do("snapshot revert grow1 first --stop --yes")
    await covey.do("instance start grow1")
    await guest.is_up()
    await guest.run("mount -t ext4 /dev/vda /mnt")
    assert await guest.run("cd /mnt; ls; cat file other") == "file\nlost+found\nother\nbefore\nremoved\n"
    await covey.do("snapshot remove grow1 first --yes")
    await guest.run("echo on > /mnt/third; sync; grep before /mnt/file")
    assert await covey.findings() == []


async def writes_until_it_has(size: int, guest: Shell) -> None:
    """The guest writes to its second disk, and has done so from end to end at least once; it ends when the disk is of `size` MiB."""
    await guest.run(
        f"rm -f /tmp/passed /tmp/done\ncat > /bin/writer << 'END'\n{WRITER}END\nsh /bin/writer {size} > /tmp/log 2>&1 &"
    )
    await guest.becomes("test -e /tmp/passed", within=PATIENCE_S)


async def all_is_there(size: int, covey: CoveyUp, guest: Shell) -> None:
    """What the guest wrote is what it reads, and what the disk holds."""
    await guest.becomes("test -e /tmp/done", within=PATIENCE_S)
    last = int(await guest.run("test ! -e /tmp/lost; cat /tmp/passed"))
    assert last > 0, "one pass was over a smaller disk, a later one over all of it"
    written = b"".join((f"block {number} of pass {last}\n".encode() * MIB)[:MIB] for number in range(size))
    assert sha256(content_of(covey.volume(await covey.instance("grow1"), 1))) == sha256(written)
    assert await covey.findings() == []


async def has_memory(guest: Shell, wanted: int) -> None:
    """Wait until the guest's kernel has so much, neither more nor less, and nothing is left for its next start."""

    async def claim() -> bool:
        return await memory(guest) == wanted and (await guest.covey.instance(guest.name))["pending"] == []

    await eventually(claim, within=PATIENCE_S)


async def memory(guest: Shell) -> int:
    """What the guest's kernel has of it, in bytes."""
    return int(await guest.run("awk '/MemTotal/ {print $2}' /proc/meminfo")) * 1024


def content_of(volume: Path) -> bytes:
    """What the guest has on a disk, read beside it by somebody else."""
    raw = volume.with_suffix(".content")
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", volume, raw], check=True, timeout=30)
    content = raw.read_bytes()
    raw.unlink()
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
