"""Snapshots of guests that run and of guests that do not, by the command line alone."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


def volumes(covey: CoveyUp) -> list[Path]:
    return sorted((covey.state / "pools/default/volumes").glob("*.qcow2"))


def counted(covey: CoveyUp, instance: dict[str, Any]) -> int:
    """The counter on the disk of a guest that does not run."""
    out = covey.directory / "sector"
    argv = ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=512", "count=2", f"if={covey.volume(instance)}", f"of={out}"]
    subprocess.run(argv, check=True, timeout=20)
    return int.from_bytes(out.read_bytes()[512:516], "little")


async def test_a_running_guest_is_frozen_and_goes_on_and_each_snapshot_can_go(covey: CoveyUp) -> None:
    await covey.do("instance add web1 --image tick --memory 16M --disk 1M --disk 2M")
    await covey.goes_on("web1")
    pid = (await covey.instance("web1"))["pid"]
    for name in ("one", "two", "three"):
        await covey.do(f"snapshot add web1 {name} --notes 'for {name}'")
        await covey.goes_on("web1")
    listed = await covey.json("snapshot list web1")
    assert [(each["name"], each["current"], len(each["disks"])) for each in listed] == [
        ("one", False, 2),
        ("two", False, 2),
        ("three", True, 2),
    ]
    assert len(volumes(covey)) == 8
    await covey.fail("snapshot add web1 one", says=["instance web1", "snapshot list"])
    await covey.do("disk grow web1 1 5M")
    for left, name in ((6, "two"), (4, "one"), (2, "three")):
        await covey.do(f"snapshot remove web1 {name} --yes")
        await covey.goes_on("web1")
        assert len(volumes(covey)) == left
        assert await covey.findings() == []
    now = await covey.instance("web1")
    assert (now["pid"], now["state"], [disk["size"] for disk in now["disks"]]) == (pid, "running", [2**20, 5 * 2**20])
    await covey.do("instance reboot web1 --now")
    await covey.goes_on("web1")
    assert "E" not in await covey.console("web1")
    await covey.do("instance remove web1 --purge --yes")
    assert volumes(covey) == []


async def test_a_revert_brings_back_what_was_and_keeps_the_other_snapshots(covey: CoveyUp) -> None:
    await covey.do("instance add web2 --image tick --memory 16M")
    await covey.goes_on("web2")
    await covey.do("instance stop web2 --now")
    first = counted(covey, await covey.instance("web2"))
    await covey.do("snapshot add web2 first")
    await covey.do("instance start web2")
    await covey.goes_on("web2")
    await covey.do("snapshot add web2 second")
    await covey.goes_on("web2")
    await covey.fail("snapshot revert web2 first --yes", says=["instance web2", "--stop"])
    assert "lost" in await covey.do("snapshot revert web2 first --stop --dry-run")
    await covey.do("snapshot revert web2 first --stop --yes")
    assert counted(covey, await covey.instance("web2")) == first
    await covey.do("snapshot revert web2 second --yes")
    second = counted(covey, await covey.instance("web2"))
    assert second > first
    await covey.do("snapshot revert web2 first --yes")
    await covey.do("instance start web2")
    await covey.goes_on("web2")
    await covey.do("snapshot remove web2 second --yes")
    await covey.do("instance stop web2 --now")
    last = counted(covey, await covey.instance("web2"))
    await covey.do("snapshot remove web2 first --yes")
    assert counted(covey, await covey.instance("web2")) == last
    assert len(volumes(covey)) == 1
    assert await covey.findings() == []
    await covey.do("instance remove web2 --purge --yes")


async def test_raw_disks_are_refused_with_the_way_out_and_wrong_names_are_told(covey: CoveyUp) -> None:
    await covey.do("instance add raw1 --image tick --memory 16M --disk 1M,format=raw --no-start")
    await covey.fail("snapshot add raw1", says=["instance raw1", "raw", "qcow2"])
    await covey.fail("snapshot revert raw1 never --yes", says=["instance raw1", "never"])
    await covey.fail("snapshot list nobody", says=["nobody"])
    await covey.do("instance remove raw1 --purge --yes")


async def test_what_happens_to_layers_behind_its_back_is_found(covey: CoveyUp) -> None:
    await covey.do("instance add web3 --image tick --memory 16M --no-start")
    await covey.do("snapshot add web3 kept")
    (layer,) = [path for path in volumes(covey) if path != covey.volume(await covey.instance("web3"))]
    away = layer.rename(covey.directory / layer.name)
    (finding,) = await covey.findings()
    assert finding["name"] == "missing-layer"
    assert "web3" in finding["what"] and "kept" in finding["what"]
    away.rename(layer)
    assert await covey.findings() == []
    await covey.do("instance remove web3 --purge --yes")
    assert volumes(covey) == []
