"""Machines become nodes of one cluster: real processes on pretended hosts, talking over TLS on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually
from tests.kit.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first() -> AsyncIterator[CoveyUp]:
    covey = CoveyUp("fake", "--listen", f"127.0.0.1:{free_port()}")
    try:
        await covey.start()
        await covey.initialise()
        yield covey
    finally:
        await covey.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(first: CoveyUp) -> AsyncIterator[CoveyUp]:
    async with a_covey("fake", initialised=False) as covey:
        await covey.do(f"node join --yes --name n2 --address 127.0.0.1:{free_port()} {await invitation(first)}")
        await eventually(lambda: is_ready(first, "n2"))
        yield covey


async def invitation(covey: CoveyUp) -> str:
    return (await covey.do("node invite --quiet")).strip()


async def is_ready(covey: CoveyUp, node: str) -> bool:
    found = {one["name"]: one for one in await covey.json("node list")}
    return node in found and found[node]["answers"] and found[node]["state"] == "ready"


async def test_a_machine_joins_and_gets_what_nodes_have(first: CoveyUp, second: CoveyUp) -> None:
    (n2,) = [one for one in await first.json("node list") if one["name"] == "n2"]
    assert [room["pool"] for room in n2["pools"]] == ["default"]
    before = (await first.json("job list --limit 1"))[0]["id"]
    await first.do("network add lan --subnet 10.9.0.0/24")

    async def have_it_all() -> bool:
        """Also the first node, which the leader may just be going over to by its new address: then it gets it a moment later."""
        jobs = [job for job in await first.json("job list") if job["id"] > before and job["state"] == "succeeded"]
        return {step["node"] for job in jobs for step in job["steps"]} == {"n1", "n2"} and not await first.findings()

    await eventually(have_it_all, within=60.0)


async def test_an_invitation_works_once_and_says_nothing_but_join(first: CoveyUp, second: CoveyUp) -> None:
    line = await invitation(first)
    async with a_covey("fake", initialised=False) as third, a_covey("fake", initialised=False) as fourth:
        await third.do(f"node join --yes --name n3 --address 127.0.0.1:{free_port()} {line}")
        await fourth.fail(f"node join --yes --name n4 --address 127.0.0.1:{free_port()} {line}", status=3, says=["not known"])
        await eventually(lambda: is_ready(first, "n3"))
        await first.do("node remove n3 --yes")
        assert [one["name"] for one in await first.json("node list")] == ["n1", "n2"]
        await third.do("node leave --yes")


async def test_who_answers_must_be_the_cluster_of_the_invitation(first: CoveyUp) -> None:
    line = await invitation(first)
    door, _, secret = line.split("/")
    async with a_covey("fake", initialised=False) as third:
        await third.fail(f"node join --yes {door}/{'0' * 64}/{secret}", status=3, says=["is not the cluster of the invitation"])
        await third.fail("node join --yes nonsense", status=2, says=["no invitation"])


async def test_a_machine_with_a_cluster_of_its_own_does_not_join(first: CoveyUp) -> None:
    async with a_covey("fake") as third:
        await third.fail(f"node join --yes --name n3 {await invitation(first)}", says=["has a cluster of its own"])
        await third.do("status")


async def test_a_member_is_a_member_after_a_restart_and_hosts_what_came_meanwhile(first: CoveyUp, second: CoveyUp) -> None:
    await second.stop()

    async def is_away() -> bool:
        return not await is_ready(first, "n2")

    await eventually(is_away)
    await first.do("firewall add web --rule", "in tcp 80")
    assert {one["name"]: one["state"] for one in await first.json("node list")} == {"n1": "ready", "n2": "behind"}
    second.launch()
    await eventually(lambda: is_ready(first, "n2"))
    (job, *_) = [one for one in await first.json("job list") if one["kind"] == "node.equip"]
    assert job["reason"] == "it was away while the others changed"
    assert await first.findings() == []


async def test_nodes_and_the_cluster_get_other_names_and_addresses(first: CoveyUp, second: CoveyUp) -> None:
    """The first machine's own agent, and one over the network; each keeps them over a restart."""
    addresses = {name: f"127.0.0.{number}:{free_port()}" for number, name in ((3, "n1"), (4, "n2"))}
    for name, address in addresses.items():
        await first.do(f"node modify {name} --address {address} --storage-address 127.0.0.{5 + int(name[1])}")
    await eventually(lambda: is_ready(first, "n1"))
    await eventually(lambda: is_ready(first, "n2"))
    await first.do("node modify n2 --name db-host")
    await first.do("cluster modify --name school")
    await first.fail("node modify db-host --name n1", says=["name is taken"])
    await first.fail("node modify db-host --address 192.0.2.9", says=["no address of this machine"])

    async def knows() -> bool:
        return "node db-host of cluster school" in await second.do("node leave --dry-run")

    await eventually(knows)
    await second.stop()
    second.launch()
    await eventually(lambda: is_ready(first, "db-host"))
    await first.do("node ping db-host")
    told = {one["name"]: (one["address"], one["storage_address"]) for one in await first.json("node list")}
    assert told == {"n1": (addresses["n1"], "127.0.0.6"), "db-host": (addresses["n2"], "127.0.0.7")}
    assert await first.findings() == []
    await first.do("node modify db-host --name n2")


async def test_a_cluster_goes_on_with_its_nodes_after_its_leader_was_killed(first: CoveyUp, second: CoveyUp) -> None:
    await first.kill_up()
    await first.start()
    await eventually(lambda: is_ready(first, "n2"))
    await first.do("node ping n2")


async def test_the_last_node_and_one_that_hosts_stay(first: CoveyUp, second: CoveyUp) -> None:
    await first.do("instance add web1 --memory 16M --disk 1G")
    host = (await first.instance("web1"))["node"]
    await first.fail(f"node remove {host} --yes", says=["it hosts web1"])
    await first.do("instance remove web1 --yes")
