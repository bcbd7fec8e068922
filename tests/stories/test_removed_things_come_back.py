"""What was removed comes back as it was, on a real libvirt, from the command line alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.bootsector import counter
from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        await covey.do("cluster modify --keep-removed 7d")
        yield covey


async def test_a_removed_instance_is_restored_and_goes_on_where_it_was(covey: CoveyUp) -> None:
    await covey.do("instance add web1 --image tick --memory 16M --disk 1M,format=raw --disk 2M")
    await covey.goes_on("web1")
    before = await covey.instance("web1")
    await covey.do("instance remove web1 --yes --reason 'by mistake'")
    volumes = {disk["volume"] for disk in before["disks"]}
    disk = covey.state / "pools/default/volumes" / f"{before['disks'][0]['volume']}.raw"
    counted = counter(disk)
    assert before["id"] not in covey.guests
    assert {path.stem for path in disk.parent.glob("*.raw")} | {path.stem for path in disk.parent.glob("*.qcow2")} >= volumes
    (kept,) = await covey.json("instance list --removed")
    assert (kept["name"], kept["by"], kept["reason"], kept["disks"]) == ("web1", "root", "by mistake", 2)
    assert kept["used"] > 0
    await covey.fail("instance info web1", says=["covey instance restore web1"])
    await covey.fail("image remove tick --yes", says=["instance web1", "--purge"])
    assert await covey.findings() == []

    await covey.do("instance restore web1 --start")
    after = await covey.instance("web1")
    assert [after[key] for key in ("id", "disks", "nics")] == [before[key] for key in ("id", "disks", "nics")]
    await eventually(lambda: counter(disk) > counted, within=30.0)
    assert await covey.findings() == []


async def test_a_removed_disk_is_given_back_to_the_running_guest(covey: CoveyUp) -> None:
    await covey.do("disk remove web1 1 --yes")
    assert [disk["index"] for disk in (await covey.instance("web1"))["disks"]] == [0]
    await covey.do("disk restore web1 1")
    web1 = await covey.instance("web1")
    assert [disk["index"] for disk in web1["disks"]] == [0, 1]
    assert web1["pid"] == covey.guests[web1["id"]]
    assert await covey.findings() == []


async def test_a_protected_instance_stays(covey: CoveyUp) -> None:
    await covey.do("instance modify web1 --protected --owner anna")
    for line in ("instance remove web1 --yes", "instance remove web1 --purge --yes", "disk remove web1 1 --yes"):
        await covey.fail(line, says=["protected", "--no-protected"])
    assert "owner" not in (await covey.do("instance list --filter owner=anna --columns name --no-header"))
    await covey.do("instance modify web1 --no-protected")


async def test_what_has_been_kept_long_enough_goes_by_itself(covey: CoveyUp) -> None:
    await covey.do("cluster modify --keep-removed 1s")
    await covey.do("instance remove web1 --yes")

    async def is_gone() -> bool:
        return not await covey.json("instance list --removed")

    await eventually(is_gone, within=45.0)
    (job, *_) = await covey.json("job list --filter kind=repair.purge")
    assert (job["user"], job["state"]) == ("covey", "succeeded")
    assert not list((covey.state / "pools/default/volumes").iterdir())
    assert await covey.findings() == []
