"""Disks that leave a cluster and images that come into one, by the command line alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.covey_up import COVEY, CoveyUp, a_covey, command_lines
from tests.kit.eventually import eventually
from tests.kit.images import a_raw, evil
from tests.stories.test_snapshots import counted, volumes

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
MIB = 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


def uploads(covey: CoveyUp) -> list[Path]:
    directory = covey.state / "pools/default/uploads"
    return sorted(directory.iterdir()) if directory.exists() else []


def tool(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, timeout=60, stdout=subprocess.DEVNULL)


async def test_a_guest_goes_out_as_a_file_and_comes_in_as_another_guest(covey: CoveyUp) -> None:
    await covey.do("instance add web1 --image tick --memory 16M --disk 40M")
    await covey.goes_on("web1")
    out = covey.directory
    await covey.fail(f"disk export web1 0 {out}/web1.qcow2", says=["instance web1", "it runs", "snapshot add web1"])
    await covey.do("snapshot add web1 now")
    await covey.do(f"disk export web1 0 {out}/web1.qcow2 --snapshot now")
    await covey.do(f"disk export web1 0 {out}/web1.raw --snapshot now --format raw")
    tool("qemu-img", "check", "-f", "qcow2", out / "web1.qcow2")
    tool("qemu-img", "compare", "-f", "qcow2", "-F", "raw", out / "web1.qcow2", out / "web1.raw")
    assert (out / "web1.raw").stat().st_size == 40 * MIB
    assert (out / "web1.raw").stat().st_blocks * 512 < 4 * MIB
    await covey.goes_on("web1")
    for format in ("vmdk", "vdi", "vhdx"):
        tool("qemu-img", "convert", "-f", "raw", "-O", format, out / "web1.raw", out / f"web1.{format}")
    for number, format in enumerate(("qcow2", "raw", "vmdk", "vdi", "vhdx")):
        name = f"new{number}"
        await covey.do(f"instance add {name} --memory 16M --no-start")
        await covey.do(f"disk import {name} {out}/web1.{format}")
        assert counted(covey, await covey.instance(name)) > 0
        await covey.do(f"instance start {name}")
        await covey.goes_on(name)
        assert await covey.ticks(name) > counted_in(out / "web1.raw")
        await covey.do(f"instance remove {name} --purge --yes")
    assert uploads(covey) == []
    assert await covey.findings() == []
    await covey.do("instance remove web1 --purge --yes")
    assert volumes(covey) == []


def counted_in(raw: Path) -> int:
    return int.from_bytes(raw.read_bytes()[512:516], "little")


async def test_a_stopped_disk_goes_through_a_pipe_into_another_and_into_a_running_guest(covey: CoveyUp) -> None:
    for name in ("web2", "web3"):
        await covey.do(f"instance add {name} --image tick --memory 16M")
    await covey.goes_on("web2")
    await covey.goes_on("web3")
    await covey.do("instance stop web2 --now")
    held = counted(covey, await covey.instance("web2"))
    command = f"{COVEY} disk export web2 0 - | {COVEY} disk import web3 - --format raw"
    environment = {**os.environ, "COVEY_STATE": str(covey.state)}
    piped = await asyncio.create_subprocess_exec("bash", "-o", "pipefail", "-c", command, env=environment)
    assert await asyncio.wait_for(piped.wait(), 60) == 0
    web3 = await covey.instance("web3")
    assert [disk["index"] for disk in web3["disks"]] == [0, 1]
    assert counted_in(covey.volume(web3, 1)) == held > 0
    await covey.goes_on("web3")
    assert await covey.findings() == []
    for name in ("web2", "web3"):
        await covey.do(f"instance remove {name} --purge --yes")


async def test_an_image_that_names_a_file_of_the_node_shows_nothing_of_it(covey: CoveyUp) -> None:
    await covey.do("instance add web4 --memory 16M --no-start")
    secret = covey.directory / "secret"
    secret.write_bytes(b"s3cret" * 100_000)
    for number, (which, data) in enumerate(sorted(evil(secret).items())):
        file = covey.directory / f"evil{number}"
        file.write_bytes(data)
        answer = await covey.ask(f"disk import web4 {file}")
        assert answer.status != 0, which
        assert "refers to" in answer.err or "data file" in answer.err, which
    assert (await covey.instance("web4"))["disks"] == []
    assert uploads(covey) == [] and volumes(covey) == []


async def test_whatever_is_killed_nothing_half_sent_is_left(covey: CoveyUp) -> None:
    """A slow sender; then the one that sends it, the controller, or the agent is killed."""
    image = covey.directory / "large.raw"
    image.write_bytes(a_raw(4 * MIB))
    environment = {**os.environ, "COVEY_STATE": str(covey.state)}
    for victim in ("sender", "controller", "agent"):
        sender = await asyncio.create_subprocess_exec(
            *(COVEY, "disk", "import", "web4", "-"),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert sender.stdin
        sender.stdin.write(image.read_bytes())
        await sender.stdin.drain()
        await eventually(lambda: any(path.stat().st_size >= MIB for path in uploads(covey)))
        if victim == "sender":
            sender.kill()
        else:
            covey.kill([covey.daemons[victim]])
        await eventually(lambda: uploads(covey) == [], within=60)
        sender.stdin.close()
        assert await asyncio.wait_for(sender.wait(), 60) != 0
        await eventually(covey.answers, within=60)
    assert (await covey.instance("web4"))["disks"] == []
    await covey.do(f"disk import web4 {image}")
    assert len((await covey.instance("web4"))["disks"]) == 1
    assert await covey.findings() == []


async def test_while_a_disk_goes_out_its_guest_does_not_start_and_a_reader_that_goes_leaves_nothing(covey: CoveyUp) -> None:
    """web4 has a disk by now."""
    await covey.do("disk grow web4 0 64M")
    environment = {**os.environ, "COVEY_STATE": str(covey.state)}
    reader = fetching(environment, "disk", "export", "web4", "0", "-", "--format", "raw")
    await eventually(lambda: exporting(covey))
    await covey.fail("instance start web4", says=["web4", "being exported"])
    end(reader)
    await eventually(lambda: not exporting(covey))
    await covey.do("instance start web4")
    await covey.do("instance remove web4 --purge --yes")
    assert volumes(covey) == []


def fetching(environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    """A command whose output nobody reads: a pipe is full at once."""
    return subprocess.Popen([COVEY, *words], env=environment, stdout=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=20)


def exporting(covey: CoveyUp) -> bool:
    return any(words[0].endswith(b"qemu-nbd") and str(covey.state).encode() in b" ".join(words) for _, words in command_lines())
