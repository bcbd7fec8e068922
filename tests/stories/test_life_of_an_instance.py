"""An instance from its making to its removal, on a real libvirt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.bootsector import counter
from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
MAC = "02:c0:7e:11:22:33"
UUID = "5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_an_instance_is_what_was_asked_for(covey: CoveyUp) -> None:
    said = await covey.do(
        f"instance add full1 --image tick --memory 20M --cpus 2 --disk 3M --disk 2M,format=raw --disk 1M --nic default,mac={MAC} "
        f"--nic default,address=10.77.0.77 --nic default,address=none --uuid {UUID} --tag web --tag stage --notes 'ask anna' "
        "--reason 'for the story' --no-start"
    )
    assert "running" not in said
    full = await covey.instance("full1")
    assert (full["id"], full["cpus"], full["memory"]) == (UUID, 2, 20 * 2**20)
    assert (full["state"], full["desired"], full["generation"]) == ("stopped", "stopped", 0)
    assert [(disk["index"], disk["size"], disk["format"], disk["image"]) for disk in full["disks"]] == [
        (0, 3 * 2**20, "qcow2", "tick"),
        (1, 2 * 2**20, "raw", ""),
        (2, 2**20, "qcow2", ""),
    ]
    assert full["nics"][0]["mac"] == MAC
    assert [nic["address"] for nic in full["nics"]][1:] == ["10.77.0.77", ""]
    assert (full["tags"], full["notes"]) == (["stage", "web"], "ask anna")
    assert UUID not in covey.guests
    told = await covey.do("instance info full1")
    assert "full1  stopped" in told
    assert MAC in told
    assert "ask anna" in told
    (job, *_) = await covey.json("job list --filter object=*full1")
    assert (job["reason"], job["user"], job["state"]) == ("for the story", "root", "succeeded")


async def test_it_starts_stops_and_is_removed_and_nothing_is_left(covey: CoveyUp) -> None:
    await covey.do("instance start full1")
    full = await covey.instance("full1")
    assert (full["state"], full["generation"], full["pid"]) == ("running", 1, covey.guests[UUID])
    await covey.goes_on("full1")
    assert "plan" not in await covey.do("instance start full1"), "starting twice is starting once"
    taps = covey.within("ip", "-o", "link", "show", "master", "cv-default")
    assert len(taps.splitlines()) == 3
    await covey.do("instance modify full1 --no-tag --notes", "b")
    full = await covey.instance("full1")
    assert (full["tags"], full["notes"]) == ([], "b")
    await covey.do("instance remove full1 --yes")
    assert UUID not in covey.guests
    assert not [path for path in covey.files() if UUID in path or any(disk["volume"] in path for disk in full["disks"])]
    assert not covey.within("ip", "-o", "link", "show", "master", "cv-default")
    await covey.fail("instance info full1", says=["instance full1"])
    assert await covey.findings() == []


async def test_disks_come_grow_and_go_while_the_guest_runs(covey: CoveyUp) -> None:
    await covey.do("instance add disky --image tick --memory 16M")
    await covey.goes_on("disky")
    await covey.do("disk add disky 2M")
    await covey.do("disk add disky 1M --format raw")
    for index in (0, 1, 2):
        await covey.do(f"disk grow disky {index} +3M")
    await covey.do("disk grow disky 1 6M")
    disky = await covey.instance("disky")
    assert [disk["size"] // 2**20 for disk in disky["disks"]] == [4, 6, 4]
    assert covey.guests[disky["id"]] == disky["pid"]
    await covey.do("disk remove disky 1 --yes")
    disky = await covey.instance("disky")
    assert [disk["index"] for disk in disky["disks"]] == [0, 2]
    await covey.do("disk add disky 6M")
    assert [disk["index"] for disk in (await covey.instance("disky"))["disks"]] == [0, 1, 2]
    await covey.goes_on("disky")
    assert await covey.findings() == []
    await covey.do("instance reboot disky --now")
    await covey.goes_on("disky")
    await covey.do("instance remove disky --yes")


async def test_nics_come_change_and_go_while_the_guest_runs(covey: CoveyUp) -> None:
    await covey.do("network add lab --subnet 10.8.0.0/24")
    await covey.do("instance add plug --image tick --memory 16M --network default")
    await covey.goes_on("plug")
    await covey.do("nic add plug --network lab --address 10.8.0.7 --link down")
    await covey.do("nic modify plug 0 --network lab")
    await covey.do("nic modify plug 1 --link up --network default")
    plug = await covey.instance("plug")
    assert [(nic["index"], nic["network"], nic["up"]) for nic in plug["nics"]] == [(0, "lab", True), (1, "default", True)]
    on_lab = covey.within("ip", "-o", "link", "show", "master", "cv-lab")
    assert plug["nics"][0]["tap"] in on_lab
    assert plug["nics"][1]["tap"] not in on_lab
    assert await covey.findings() == []
    await covey.do("nic remove plug 0 --yes")
    assert covey.within("ip", "-o", "link", "show", "master", "cv-lab") == ""
    await covey.do("instance reboot plug --now")
    plug = await covey.instance("plug")
    assert [nic["index"] for nic in plug["nics"]] == [1]
    assert plug["nics"][0]["tap"] in covey.within("ip", "-o", "link", "show", "master", "cv-default")
    await covey.do("nic modify plug 1 --link down")
    assert "link down" in await covey.do("instance info plug")
    await covey.do("instance remove plug --yes")
    await covey.do("network remove lab --yes")


async def test_a_shrink_is_refused_and_a_grow_to_the_same_size_does_nothing(covey: CoveyUp) -> None:
    await covey.do("instance add same --image tick --memory 16M --disk 2M --no-start")
    await covey.fail("disk grow same 0 1M", status=2, says=["disk same/0", "never shrink"])
    assert "already" in await covey.do("disk grow same 0 2M")
    await covey.fail("disk grow same 5 9M", says=["same", "5"])
    await covey.do("instance remove same --yes")


async def test_a_guest_that_obeys_is_asked_and_one_that_does_not_is_cut(covey: CoveyUp) -> None:
    await covey.add_image("deaf", obeys=False)
    await covey.do("instance add polite --image tick --memory 16M")
    await covey.do("instance add deaf --image deaf --memory 16M")
    await covey.goes_on("polite")
    await covey.goes_on("deaf")
    assert "cut" not in (await covey.do("instance stop polite --timeout 30s"))
    await covey.do("instance stop deaf --timeout 1s")
    for name in ("polite", "deaf"):
        stopped = await covey.instance(name)
        assert (stopped["state"], stopped["desired"], stopped["pid"]) == ("stopped", "stopped", 0)
    assert "already" in await covey.do("instance stop polite")
    await covey.do("instance start polite")
    await covey.do("instance stop polite --now")
    await covey.do("instance remove --filter name=polite --yes")
    await covey.do("instance remove deaf --yes")


async def test_a_reboot_and_a_reset_are_new_generations_of_the_same_disk(covey: CoveyUp) -> None:
    await covey.do("instance add again --image tick --memory 16M --disk 1M,format=raw")
    await covey.goes_on("again")
    first = await covey.instance("again")
    disk = covey.state / "pools/default/volumes" / f"{first['disks'][0]['volume']}.raw"
    for generation, verb in ((2, "reboot"), (3, "reset")):
        before = counter(disk)
        await covey.do(f"instance {verb} again", *(["--yes"] if verb == "reset" else []))
        now = await covey.instance("again")
        assert (now["generation"], now["state"]) == (generation, "running")
        assert now["pid"] != first["pid"]
        await eventually(lambda before=before: counter(disk) > before)
    await covey.do("instance stop again --now")
    await covey.fail("instance reboot again", says=["instance again", "stopped", "covey instance start again"])
    await covey.do("instance remove again --yes")


async def test_a_dry_run_of_anything_changes_nothing(covey: CoveyUp) -> None:
    await covey.do("instance add quiet --image tick --memory 16M --disk 1M --disk 1M")
    await covey.do("pool add spare --path", str(covey.directory / "spare"))
    many = covey.directory / "many.yaml"
    many.write_text("- {name: m1, image: tick, memory: 16M}\n- {name: m2, image: tick, memory: 16M}\n")
    changes = [
        "instance add other --image tick --memory 16M",
        f"instance add -f {many}",
        "instance stop quiet",
        "instance reboot quiet",
        "instance reset quiet",
        "instance modify quiet --notes x",
        "instance remove quiet",
        "disk add quiet 1M",
        "disk grow quiet 0 9M",
        "disk remove quiet 1",
        "nic add quiet",
        "nic modify quiet 0 --link down",
        "nic remove quiet 0",
        "network add lab --subnet 10.8.0.0/24",
        f"pool add more --path {covey.directory}/more",
        "pool remove spare",
        f"image add other --source {covey.directory}/tick.raw",
        "image build other",
        "cluster modify --notes x",
        "node modify n1 --notes x",
        "token add ci",
        "node ping n1",
        "cluster verify --fix",
    ]
    files, records, jobs = covey.files(), await covey.records(), await covey.json("job list")
    pid = covey.guests[(await covey.instance("quiet"))["id"]]
    for change in changes:
        shown = await covey.do(f"{change} --dry-run")
        assert shown.strip(), change
    assert covey.files() == files
    assert await covey.records() == records
    assert await covey.json("job list") == jobs
    assert not Path(covey.directory / "more").exists()
    assert covey.guests[(await covey.instance("quiet"))["id"]] == pid
    await covey.do("instance remove quiet --yes")
    await covey.do("pool remove spare --yes")


async def test_many_from_one_file_are_all_made_or_none(covey: CoveyUp) -> None:
    good = "- {name: n1, image: tick, memory: 16M, start: false}\n- {name: n2, image: tick, memory: 16M, disk: [1M, 2M], start: false}\n"
    await covey.fail(
        "instance add -f -", stdin=(good + "- {name: '$(reboot)', image: tick}\n").encode(), status=2, says=["$(reboot)"]
    )
    assert await covey.json("instance list") == []
    await covey.do("instance add -f - --yes", stdin=good.encode())
    assert [each["name"] for each in await covey.json("instance list")] == ["n1", "n2"]
    await covey.do("instance remove --filter 'name=n*' --yes")
    assert await covey.json("instance list") == []
    await covey.do("image remove deaf --yes")


async def test_in_the_end_nothing_is_left_on_the_disk(covey: CoveyUp) -> None:
    assert covey.guests == {}
    left = [path for path in covey.files() if "covey-pool" not in path and not path.startswith("images/")]
    assert left == []
    assert await covey.findings() == []
