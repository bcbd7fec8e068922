"""An older backup is restored beside guests that run: nothing of them is stopped or removed by it. On a real libvirt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import FINDINGS, CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        for name in ("web1", "web2"):
            await covey.do(f"instance add {name} --image tick --memory 16M")
            await covey.goes_on(name)
        yield covey


async def test_a_backup_is_made_into_a_file_for_its_owner_only_and_told_of(covey: CoveyUp) -> None:
    old = covey.directory / "old.backup"
    await covey.do("cluster backup --to", str(old))
    assert old.stat().st_mode & 0o777 == 0o600
    made = await covey.json("cluster backup")
    assert made["file"].startswith(str(covey.state / "backups"))
    assert made["file"] in await covey.do("cluster info")
    assert "a backup of the records was made on n1" in await covey.do("event list --filter kind=cluster.*")


async def test_while_a_controller_works_nothing_is_restored(covey: CoveyUp) -> None:
    await covey.fail("cluster restore --yes", str(covey.directory / "old.backup"), says=("a controller has the records open",))
    assert await covey.findings() == []


async def test_nothing_that_runs_is_touched_by_an_older_backup_and_what_it_does_not_know_is_told(covey: CoveyUp) -> None:
    await covey.do("instance add web3 --image tick --memory 16M")  # which the backup does not know
    await covey.goes_on("web3")
    await covey.do("instance stop web2 --now --yes")
    await covey.do("instance start web2")  # a later run than the backup knows
    await covey.do("instance stop web1 --now --yes")  # and what it has as running
    web3 = await covey.instance("web3")
    guests, files = covey.guests, covey.files()
    await covey.stop()

    said = await covey.do("cluster restore --dry-run", str(covey.directory / "old.backup"))
    assert "instance: new since then, in no record any more: web3" in said
    await covey.do("cluster restore --yes", str(covey.directory / "old.backup"))
    await covey.start()

    answer = await covey.ask("status")
    assert answer.status == FINDINGS and "covey cluster reconcile" in answer.out
    await covey.fail("instance start web1", says=("may not say what runs",))
    found = {one["name"]: one for one in await covey.findings()}
    assert not found["orphan-domain"]["fixable"] and not found["orphan-volume"]["fixable"]
    assert "after the backup" in found["orphan-domain"]["why"]
    assert (await covey.instance("web2"))["generation"] == 2
    assert (covey.guests, covey.files()) == (guests, files)

    said = await covey.do("cluster reconcile --dry-run")
    assert "web3 on n1 is running and in no record: it is left alone" in said
    assert "should run and do not: web1" in said
    await covey.do("instance stop web1")  # it is to stay down
    await covey.do("cluster reconcile --yes")
    await covey.goes_on("web2")
    await covey.do("instance add web4 --image tick --memory 16M")
    web4, jobs = await covey.instance("web4"), await covey.json("job list --limit 1")
    assert jobs[0]["id"] > 1000  # numbers that nothing on the machine carries yet
    assert {pid for id, pid in covey.guests.items() if id != web4["id"]} == set(guests.values())
    assert (await covey.state_of("web1")) == "stopped"

    await covey.ask("cluster verify --fix --yes")
    assert web3["id"] in covey.guests
    said = await covey.do("event list --filter kind=cluster.*")
    assert "the records were restored by" in said and "the records say what runs" in said


async def test_what_was_there_before_the_wrong_restore_can_be_brought_back_in_turn(covey: CoveyUp) -> None:
    (aside,) = (covey.state / "backups").glob("before-restore-*.backup")
    web4, guests = await covey.instance("web4"), covey.guests
    await covey.stop()
    await covey.do("cluster restore --yes", str(aside))
    await covey.start()
    await covey.do("cluster reconcile --yes")
    assert covey.guests == guests
    assert await covey.state_of("web3") == "running"
    assert await covey.state_of("web1") == "stopped"
    assert {web4["id"] in one["object"] for one in await covey.findings() if one["name"] == "orphan-domain"} == {True}
    await covey.goes_on("web3")
