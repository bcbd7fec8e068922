"""A store that was deleted or emptied beside what Covey made: it is not begun anew."""

from __future__ import annotations

import pytest

from tests.kit.covey_up import a_covey


@pytest.mark.parametrize("how", ["deleted", "emptied"])
async def test_covey_up_refuses_with_the_way_out_and_runs_again_with_a_copy(how: str) -> None:
    async with a_covey("fake", initialised=False) as covey:
        await covey.do("cluster init lab --accelerator tcg --yes")
        await covey.stop()
        store = covey.state / "store" / "covey.db"
        copy = store.read_bytes()
        store.write_bytes(b"") if how == "emptied" else store.unlink()
        for other in store.parent.glob("covey.db-*"):
            other.unlink()
        said = await covey.fail(
            f"up --state {covey.state} --hosts fake",
            status=2,
            says=("the store is empty, but Covey has worked here", "try: covey cluster restore FILE"),
        )
        assert "remembers a leader" in said
        store.write_bytes(copy)
        await covey.start()
        assert (await covey.json("cluster info"))["name"] == "lab"


async def test_a_lost_store_comes_back_from_the_backup_beside_it() -> None:
    async with a_covey("fake") as covey:
        await covey.do("instance add web1 --memory 16M --disk 1G")
        made = await covey.json("cluster backup")
        await covey.stop()
        for file in (covey.state / "store").glob("covey.db*"):
            file.unlink()
        await covey.do("cluster restore --yes", made["file"])
        await covey.start()
        await covey.do("cluster reconcile --yes")
        assert await covey.state_of("web1") == "running"
        assert await covey.findings() == []


async def test_a_new_machine_takes_the_place_of_one_that_is_gone() -> None:
    async with a_covey("fake") as old:
        await old.do("instance add web1 --memory 16M --disk 1G --no-start")
        backup = old.directory / "school.backup"
        await old.do("cluster backup --to", str(backup))
        async with a_covey("fake", initialised=False) as new:
            await new.stop()
            await new.fail("cluster restore --yes", str(backup), says=("none of the backup's nodes", "--in-place-of n1"))
            await new.do("cluster restore --yes --in-place-of n1", str(backup))
            await new.start()
            await new.do("cluster reconcile --yes")
            assert [node["answers"] for node in await new.json("node list")] == [True]
            assert {finding["name"] for finding in await new.findings()} >= {"missing-volume"}
