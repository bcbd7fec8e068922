"""Two of three machines are lost: the third goes on alone, and they can come back only as its nodes. Real processes on pretended hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import FINDINGS, NO_ANSWER
from tests.kit.eventually import eventually
from tests.stories.test_sharing_the_store import WITHIN_S, Site, has_members, sees

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    site = Site()
    try:
        await site.begin()
        await site.join()
        await site.join()
        await eventually(lambda: has_members(site.machines[2], 3), within=WITHIN_S)
        await site.machines[0].do("instance add web1 --node n3 --memory 16M --disk 1G")
        yield site
    finally:
        for covey in site.machines:
            await covey.close()


async def test_while_most_machines_are_there_nothing_is_recovered(site: Site) -> None:
    third = site.machines[2]
    await third.fail("cluster recover --yes", says=("a controller has the records open",))
    await third.stop()
    await third.fail("cluster recover --yes", says=("most of its members are there",))
    await third.start()
    await eventually(lambda: sees(third, 3), within=WITHIN_S)


async def test_the_survivor_goes_on_once_a_person_said_that_the_others_are_dead(site: Site) -> None:
    first, second, third = site.machines
    before = await third.instance("web1")
    for lost in (first, second):
        await lost.kill_host()
    await third.fail("cluster modify --notes alone", status=NO_ANSWER)
    await third.stop()
    said = await third.do("cluster recover --dry-run")
    assert "this machine is then node n3" in said and "no answer from: n1, n2" in said
    await third.do("cluster recover --yes")
    third.launch()

    async def is_to_be_reconciled() -> bool:
        answer = await third.ask("status")
        return answer.status == FINDINGS and "covey cluster reconcile" in answer.out

    await eventually(is_to_be_reconciled, within=WITHIN_S)
    await third.fail("cluster reconcile --yes", says=("n1, n2 does not answer", "--without n1 --without n2"))
    await third.do("cluster reconcile --yes --without n1 --without n2 --because", "they burned")
    after = await third.instance("web1")
    assert (after["state"], after["generation"]) == ("running", before["generation"])
    await third.do("instance add web2 --node n3 --memory 16M --disk 1G")
    assert not (third.state / "store/etcd.json").exists()


async def test_who_comes_back_after_all_follows_the_survivor(site: Site) -> None:
    """Two of three members: by themselves they would be most of the old etcd, and one of them would lead."""
    first, second, third = site.machines
    for lost in (first, second):
        lost.launch()
    await eventually(lambda: has_members(third, 3), within=2 * WITHIN_S)
    for machine in site.machines:
        await eventually(lambda: sees(machine, 3), within=2 * WITHIN_S)  # noqa: B023
        assert {each["name"] for each in await machine.json("instance list")} == {"web1", "web2"}
    await first.do("cluster modify --notes together-again")
    assert (await third.json("cluster info"))["notes"] == "together-again"
