"""An instance is changed: what it can take while it runs, what waits for its next start, another name, a fresh disk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_cpus_come_at_once_up_to_the_maximum_and_the_rest_waits_for_the_next_start(covey: CoveyUp) -> None:
    await covey.do("instance add grow1 --image tick --memory 32M --max-cpus 4")
    await covey.goes_on("grow1")
    assert "next start" not in await covey.do("instance modify grow1 --cpus 3")
    assert (await covey.instance("grow1"))["pending"] == []
    assert "cpus 8 takes effect at the next start" in await covey.do(
        "instance modify grow1 --cpus 8 --max-cpus 8 --firmware uefi"
    )
    waits = {one["field"]: (one["now"], one["then"]) for one in (await covey.instance("grow1"))["pending"]}
    assert waits == {"cpus": ("3", "8"), "max_cpus": ("4", "8"), "firmware": ("bios", "uefi")}
    assert "at next start: cpus 8" in await covey.do("instance list --columns name,remark")
    assert "firmware uefi (now bios)" in await covey.do("instance info grow1")
    assert [finding["name"] for finding in await covey.findings()] == ["waits"]
    await covey.do("instance modify grow1 --firmware bios --memory 40M --cpus 6 --reboot")
    grown = await covey.instance("grow1")
    assert (grown["pending"], grown["generation"], grown["remark"]) == ([], 2, "")
    await covey.goes_on("grow1")
    assert await covey.findings() == []


async def test_another_hand_at_virsh_is_found_and_its_definition_mended(covey: CoveyUp) -> None:
    domain = (await covey.instance("grow1"))["id"]
    covey.virsh("setvcpus", domain, "7", "--config")
    covey.virsh("setmem", domain, "24M", "--config")
    watchdog = covey.directory / "hand.xml"
    watchdog.write_text("<watchdog model='i6300esb' action='none'/>")
    covey.virsh("attach-device", domain, str(watchdog), "--config")
    (finding,) = await covey.findings()
    assert finding["name"] == "definition-drift"
    for words in ("vcpu current is 7", "currentMemory is 24576", "a watchdog that Covey did not define"):
        assert words in finding["what"]
    await covey.do("cluster verify --fix --yes")
    assert await covey.findings() == []
    assert "watchdog" not in covey.virsh("dumpxml", domain, "--inactive")


async def test_raw_xml_that_libvirt_refuses_changes_nothing_and_what_it_takes_is_there(covey: CoveyUp) -> None:
    bad, good = covey.directory / "bad.xml", covey.directory / "good.xml"
    bad.write_text("<devices><bogus/></devices>")
    good.write_text("<devices><watchdog model='i6300esb' action='none'/></devices>")
    await covey.fail(f"instance modify grow1 --raw-xml {bad}", says=["libvirt does not take the definition"])
    assert (await covey.instance("grow1"))["raw_xml"] == ""
    await covey.do(f"instance modify grow1 --raw-xml {good} --reboot")
    assert "watchdog" in covey.virsh("dumpxml", (await covey.instance("grow1"))["id"])
    assert [finding["name"] for finding in await covey.findings()] == ["raw-xml"]
    await covey.do("instance modify grow1 --raw-xml none --reboot")
    assert await covey.findings() == []


async def test_a_rename_leaves_it_running_under_its_new_name(covey: CoveyUp) -> None:
    before = await covey.instance("grow1")
    assert "still calls itself" in await covey.do("instance rename grow1 big.example.org")
    after = await covey.instance("big.example.org")
    assert (after["id"], after["pid"]) == (before["id"], before["pid"])
    assert "big.example.org" in covey.virsh("list", "--title")
    await covey.fail("instance info grow1", says=["no instance"])


async def test_a_reinstall_begins_anew_and_keeps_addresses_and_other_disks(covey: CoveyUp) -> None:
    await covey.do("disk add big.example.org 2M --format raw")
    before = await covey.instance("big.example.org")
    await covey.goes_on("big.example.org")
    said = await covey.do("instance reinstall big.example.org --yes")
    assert "what is on disk 0 is lost" in said  # as this Covey keeps nothing that was removed
    after = await covey.instance("big.example.org")
    assert (after["nics"], after["disks"][1]) == (before["nics"], before["disks"][1])
    assert after["disks"][0]["volume"] != before["disks"][0]["volume"]
    await covey.goes_on("big.example.org")
    assert await covey.findings() == []


async def test_a_start_from_an_iso_is_for_this_once(covey: CoveyUp) -> None:
    await covey.add_image("tick-iso")
    await covey.do("instance stop big.example.org --now")
    await covey.do("instance start big.example.org --iso tick-iso")
    started = await covey.instance("big.example.org")
    assert [(one["field"], one["now"], one["then"]) for one in started["pending"]] == [("iso", "tick-iso", "none")]
    assert [finding["name"] for finding in await covey.findings()] == ["waits"]
    await covey.do("instance reboot big.example.org --now")
    assert (await covey.instance("big.example.org"))["pending"] == []
    await covey.do("instance remove big.example.org --yes")
