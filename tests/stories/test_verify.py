"""What happens behind Covey's back is found, named, and mended where that loses nothing. On a real libvirt."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.kit.covey_up import DONE, FINDINGS, CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
MIB = 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        await covey.do("instance add runs --image tick --memory 16M --disk 1M --disk 2M,format=raw")
        await covey.do("instance add rests --image tick --memory 16M --disk 1M --disk 2M,format=raw --disk 1M --no-start")
        yield covey


@dataclass(frozen=True, slots=True)
class Mischief:
    """Something done behind Covey's back, and what `cluster verify` must call it."""

    doing: Callable[[CoveyUp, dict[str, dict[str, object]]], None]
    finding: str
    severity: str
    object: str
    beside: frozenset[str] = frozenset()  # what else may be found, until it mends itself


def lay_an_orphan_volume(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    """As a job leaves one that is cut off for ever: whole, with its tag."""
    old = covey.volume(known["rests"], 1)
    new = old.with_name(f"{uuid.uuid4()}.raw")
    shutil.copy(old, new)
    shutil.copy(f"{old}.tag", f"{new}.tag")


def lay_an_orphan_domain(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    described = covey.virsh("dumpxml", "--inactive", str(known["rests"]["id"]))
    copy = covey.directory / "orphan.xml"
    other = str(uuid.uuid4())
    nic = described[described.index("<interface") : described.index("</interface>") + len("</interface>")]
    copy.write_text(described.replace(nic, "").replace(str(known["rests"]["id"]), other))
    covey.virsh("define", str(copy))


def undefine(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.virsh("undefine", str(known["rests"]["id"]))


def change_by_hand(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.virsh("detach-disk", str(known["rests"]["id"]), "vdb", "--config")


def start_by_hand(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.virsh("start", str(known["rests"]["id"]))


def pause_by_hand(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.virsh("suspend", str(known["runs"]["id"]))


def grow_a_volume(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    os.truncate(covey.volume(known["rests"], 1), 5 * MIB)


def flush_rules(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.within("nft", "flush", "ruleset")


def remove_the_bridge(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.within("ip", "link", "delete", "cv-default")


def take_its_address(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    covey.within("ip", "address", "flush", "dev", "cv-default")


def lay_an_orphan_image(covey: CoveyUp, known: dict[str, dict[str, object]]) -> None:
    (image,) = (covey.state / "images").glob("*.image")
    for suffix in ("image", "tag"):
        shutil.copy(image.with_suffix(f".{suffix}"), image.with_name(f"{image.stem[:-4]}0123.{suffix}"))


@pytest.mark.parametrize(
    "mischief",
    [
        Mischief(lay_an_orphan_volume, "orphan-volume", "warning", "volume"),
        Mischief(lay_an_orphan_domain, "orphan-domain", "warning", "domain"),
        Mischief(lay_an_orphan_image, "orphan-image", "warning", "image"),
        Mischief(undefine, "missing-domain", "warning", "instance rests"),
        Mischief(start_by_hand, "should-be-stopped", "error", "instance rests"),
        Mischief(pause_by_hand, "paused", "error", "instance runs"),
        Mischief(grow_a_volume, "wrong-size", "warning", "disk rests/1"),
        Mischief(flush_rules, "network-broken", "error", "network default", frozenset({"filters-broken", "filter-drift"})),
        Mischief(remove_the_bridge, "network-broken", "error", "network default"),
        Mischief(take_its_address, "network-broken", "error", "network default"),
    ],
    ids=lambda mischief: str(mischief.doing.__name__),
)
async def test_what_was_done_behind_its_back_is_found_and_mended(covey: CoveyUp, mischief: Mischief) -> None:
    assert await covey.findings() == []
    known = {name: await covey.instance(name) for name in ("runs", "rests")}
    mischief.doing(covey, known)
    findings = await covey.findings()
    (finding,) = [each for each in findings if each["name"] == mischief.finding]
    assert {each["name"] for each in findings} - {mischief.finding} <= mischief.beside
    assert finding["severity"] == mischief.severity
    assert mischief.object in finding["object"]
    assert finding["why"]
    assert finding["fixable"]
    answer = await covey.ask("cluster verify")
    assert answer.status == (FINDINGS if mischief.severity == "error" else DONE)
    assert "covey cluster verify --fix" in answer.out
    looked = await covey.ask("cluster verify --fix --dry-run")
    assert "Traceback" not in looked.err
    assert finding["id"] in {each["id"] for each in await covey.findings()}, "a dry run mends nothing"
    await covey.do("cluster verify --fix --yes")
    assert await covey.findings() == []
    await covey.goes_on("runs")
    assert (await covey.instance("runs"))["pid"] == known["runs"]["pid"], "no guest was ended for it"
    assert await covey.state_of("rests") == "stopped"


async def test_a_running_guest_is_on_its_bridge_again_once_the_bridge_was_mended(covey: CoveyUp) -> None:
    await covey.do("instance reset runs --yes")
    assert len(covey.within("ip", "-o", "link", "show", "master", "cv-default").splitlines()) == 1
    covey.within("ip", "link", "delete", "cv-default")
    await covey.do("cluster verify --fix --yes")
    assert await covey.findings() == []
    assert len(covey.within("ip", "-o", "link", "show", "master", "cv-default").splitlines()) == 1


async def test_a_volume_that_was_deleted_is_named_with_the_two_ways_out(covey: CoveyUp) -> None:
    rests = await covey.instance("rests")
    away = covey.directory / "away"
    shutil.move(covey.volume(rests, 2), away)
    (finding,) = await covey.findings()
    assert (finding["name"], finding["severity"], finding["object"]) == ("missing-volume", "error", "disk rests/2")
    assert "covey disk remove rests 2" in finding["fix"]
    assert not finding["fixable"]
    said = await covey.fail("instance start rests", says=["rests"])
    assert "No such file" in said or "gone" in said
    assert await covey.state_of("rests") == "stopped"
    await covey.ask("cluster verify --fix --yes")
    assert [each["name"] for each in await covey.findings()] == ["missing-volume"], "what would lose data is left to people"
    await covey.do("disk remove rests 2 --yes")
    assert await covey.findings() == []


async def test_a_volume_that_was_cut_is_named_and_made_whole_by_the_command_it_names(covey: CoveyUp) -> None:
    rests = await covey.instance("rests")
    size = next(disk["size"] for disk in rests["disks"] if disk["index"] == 1)
    os.truncate(covey.volume(rests, 1), size - MIB)
    (finding,) = await covey.findings()
    assert (finding["name"], finding["severity"]) == ("wrong-size", "error")
    assert "covey disk grow rests 1 +1M" in finding["fix"]
    await covey.do("disk grow rests 1 +1M")
    assert await covey.findings() == []


async def test_a_file_that_covey_did_not_make_is_never_removed(covey: CoveyUp) -> None:
    foreign = covey.state / "pools/default/volumes" / f"{uuid.uuid4()}.raw"
    foreign.write_bytes(b"somebody's" * 1000)
    (finding,) = await covey.findings()
    assert finding["name"] == "orphan-volume"
    assert "tag" in finding["why"]
    answer = await covey.ask("cluster verify --fix --yes")
    assert answer.status != DONE
    assert "look at it and move it away" in answer.out + answer.err
    assert foreign.exists()
    foreign.unlink()
    assert await covey.findings() == []


async def test_a_domain_that_covey_did_not_make_is_left_alone(covey: CoveyUp) -> None:
    xml = covey.directory / "foreign.xml"
    xml.write_text(
        "<domain type='qemu'><name>foreign</name><memory>16384</memory><os><type arch='x86_64'>hvm</type></os></domain>"
    )
    covey.virsh("define", str(xml))
    assert await covey.findings() == []
    await covey.ask("cluster verify --fix --yes")
    assert "foreign" in covey.virsh("list", "--all", "--name")
    covey.virsh("undefine", "foreign")


async def test_an_image_whose_file_is_gone_is_told_of_and_nothing_is_made_from_it(covey: CoveyUp) -> None:
    (image,) = (covey.state / "images").glob("*.image")
    away = shutil.move(image, covey.directory / "image-away")
    try:
        (finding,) = await covey.findings()
        assert (finding["name"], finding["severity"], finding["object"]) == ("missing-image", "error", "image tick")
        before = await covey.records(), covey.files()
        said = await covey.fail("instance add late --image tick --memory 16M", says=["image", "gone"])
        assert str(image) in said or "image tick" in said
        assert (await covey.records(), covey.files()) == before
    finally:
        shutil.move(away, image)
    assert await covey.findings() == []
