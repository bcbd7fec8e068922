"""Machines of one cluster are not alike: bridges have other names, or are missing; and addresses change."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.kit.a_lab import NAME, UP_LIMIT_S, ALab, a_lab
from tests.kit.bootsector import ticking, write_image
from tests.kit.eventually import eventually

pytestmark = pytest.mark.timeout(300)


async def test_one_network_on_nodes_that_differ() -> None:
    async with a_lab() as lab:
        await lab.do("up --nodes 3 --accelerator tcg", within=UP_LIMIT_S)
        await a_bridge_is_missed_where_it_is_not(lab)
        await it_is_linked_by_another_name(lab)
        await an_address_that_was_changed_by_hand_is_told_to_the_cluster(lab)


async def a_bridge_is_missed_where_it_is_not(lab: ALab) -> None:
    """A network is adopted where its bridge is; where it is not, that is told, and no guest goes there."""
    for name in ("n1", "n3"):
        await lab.on(name, "ip link add site0 type bridge")
        await lab.on(name, "ip link set site0 up")
    await eventually(lambda: sees_bridge(lab, "site0"), within=60.0)
    said = await lab.on("n1", "covey network add site --type adopted --bridge site0")
    assert "n2 has no bridge site0" in said
    image = write_image(lab.directory / "tick.raw", ticking(obeys=True, lets_go=True))
    await lab.on("n1", f"covey image add tick --source {image} --quiet")
    said = await lab.on("n1", "covey instance add web1 --image tick --memory 16M")
    assert "not n2: n2 has no bridge site0" in said
    refused = await lab.ask("shell n1 -- covey instance add web2 --image tick --memory 16M --node n2")
    assert refused.status == 1 and "n2 has no bridge site0" in refused.err
    assert [(found["name"], found["severity"]) for found in await findings(lab)] == [("network-unlinked", "warning")]
    assert "n2 has no bridge site0" in (await lab.ask("shell n1 -- covey status")).out


async def it_is_linked_by_another_name(lab: ALab) -> None:
    await lab.on("n2", "ip link add vmbr7 type bridge")
    await lab.on("n2", "ip link set vmbr7 up")
    await eventually(lambda: links(lab, "vmbr7"), within=60.0)
    assert await findings(lab) == []
    await lab.on("n1", "covey instance add web2 --image tick --memory 16M --node n2 --quiet")
    assert "cvt" in await lab.on("n2", "ip -brief link show master vmbr7"), "the guest's interface is on it"


async def an_address_that_was_changed_by_hand_is_told_to_the_cluster(lab: ALab) -> None:
    """The machine is silent where it was, and listens wherever it is; its storage address stays."""
    before = await node(lab, "n2")
    assert before["storage_address"] == "198.19.0.2"
    agent = next(process["pid"] for process in (await lab.look())["n2"]["processes"] if process["name"] == "agent")
    os.kill(agent, signal.SIGKILL)  # its line breaks now, or else after half a minute's silence
    await lab.on("n2", "ip address flush dev br0 scope global")
    await lab.on("n2", "ip address add 198.18.0.77/24 dev br0")
    await eventually(lambda: is_silent(lab, "n2"), within=120.0)
    said = await lab.on("n1", "covey node modify n2 --address 198.18.0.77")
    assert "looked for at 198.18.0.77:7444" in said
    await eventually(lambda: answers(lab, "n2"), within=60.0)
    await lab.on("n1", "covey node ping n2")
    await eventually(lambda: listens_at(lab, "198.18.0.77:7444", "198.19.0.2:7444"), within=60.0)
    await eventually(lambda: keeps_records_at(lab, "198.18.0.77:7446"), within=60.0)
    await lab.on("n1", "covey instance stop web2 --now --quiet")


async def node(lab: ALab, name: str) -> dict[str, Any]:
    return dict(json.loads(await lab.on("n1", f"covey node info {name} --json")))


async def is_silent(lab: ALab, name: str) -> bool:
    return not await answers(lab, name)


async def answers(lab: ALab, name: str) -> bool:
    return bool((await node(lab, name))["answers"])


async def listens_at(lab: ALab, *addresses: str) -> bool:
    """Whether the second node's agent listens there and nowhere else."""
    found = await lab.on("n2", "ss -tlnH sport = :7444")
    return sorted(line.split()[3] for line in found.splitlines()) == sorted(addresses)


async def keeps_records_at(lab: ALab, address: str) -> bool:
    """Whether the second node's copy of the records is found there."""
    return address in (lab.directory / NAME / "n1/state/store/etcd.json").read_text()


async def sees_bridge(lab: ALab, bridge: str) -> bool:
    """Whether the cluster knows by now that the first node and the third have it."""
    answer = await lab.ask(f"shell n1 -- covey network add probe --type adopted --bridge {bridge} --dry-run")
    return answer.status == 0 and f"n3 has no bridge {bridge}" not in answer.out + answer.err


async def links(lab: ALab, bridge: str) -> bool:
    answer = await lab.ask(f"shell n1 -- covey network modify site --link n2={bridge} --quiet")
    return answer.status == 0


async def findings(lab: ALab) -> list[dict[str, Any]]:
    answer = await lab.ask("shell n1 -- covey cluster verify --json")
    return list(json.loads(answer.out)["findings"])
