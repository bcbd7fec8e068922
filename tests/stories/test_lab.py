"""A cluster of several nodes on this machine alone: made, broken, mended, and gone without a trace."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.kit.a_lab import NAME, UP_LIMIT_S, ALab, a_lab, links_here
from tests.kit.bootsector import ticking, write_image
from tests.kit.covey_up import COVEY, DONE, FAILED
from tests.kit.eventually import eventually

pytestmark = pytest.mark.timeout(600)
OWN_LINKS = {"n1", "n2", "n1-repl", "n2-repl", "network", "replication", "br0"}


async def test_nodes_hear_each_other_are_cut_off_lose_power_come_back_and_leave_nothing() -> None:
    async with a_lab() as lab:
        links = links_here() & OWN_LINKS
        said = await lab.do("up --nodes 2 --accelerator tcg", within=UP_LIMIT_S)
        assert "n1 runs" in said and "n2 joins the cluster" in said
        await its_nodes_are_machines(lab)
        await a_guest_runs_on_the_first(lab)
        await cables_are_cut_and_healed(lab)
        await a_node_is_paused_and_goes_on(lab)
        await power_goes_and_comes_back(lab)
        assert await lab.do("up", within=UP_LIMIT_S), "it has everything already"
        assert "nothing is left" in await lab.do("down")
        assert lab.left() == []
        assert links_here() & OWN_LINKS == links


async def test_what_a_killed_up_has_left_is_made_whole_or_removed() -> None:
    async with a_lab() as lab:
        environment = {"COVEY_LAB_DIR": str(lab.directory), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        half = await asyncio.create_subprocess_exec(
            *(COVEY, "lab", "up", "--name", NAME, "--nodes", "2"), env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        await eventually(lambda: any("covey.lab.init" in thing for thing in lab.left()), within=UP_LIMIT_S)
        half.send_signal(signal.SIGKILL)
        await half.wait()
        assert "remove the network namespace" in await lab.do("down --dry-run")
        assert lab.left(), "a dry run removes nothing"
        await lab.do("down")
        assert lab.left() == []
        assert "nothing of it is there" in await lab.do("down")
        answer = await lab.ask("status")
        assert answer.status == FAILED and "there is no such lab" in answer.err


async def its_nodes_are_machines(lab: ALab) -> None:
    """Each has its own name, Covey and libvirtd; together they are a cluster."""
    nodes = await lab.look()
    for node in nodes.values():
        assert node["power"] == "on"
        assert {"init", "up", "agent", "controller", "libvirtd"} <= {process["name"] for process in node["processes"]}
    assert nodes["n1"]["covey"].startswith(f"{NAME}: ")
    await eventually(lambda: knows_its_cluster(lab, "n2"), within=60.0)
    await eventually(lambda: sees(lab, "n2"), within=60.0)
    assert (await lab.on("n2", "hostname")).strip() == "n2"
    boots = {(await lab.on(name, "cat /proc/sys/kernel/random/boot_id")).strip() for name in nodes}
    assert len(boots) == 2 and Path("/proc/sys/kernel/random/boot_id").read_text().strip() not in boots
    assert await lab.hears("n1", "n2") and await lab.hears("n2", "n1.replication")


async def knows_its_cluster(lab: ALab, node: str) -> bool:
    """Its own controller leads nothing any more, a moment after it has joined."""
    return NAME in str((await lab.look())[node]["covey"])


async def sees(lab: ALab, node: str) -> bool:
    """Whether the first node has another's agent at the other end of the line."""
    return bool((await lab.look())[node]["seen"] == "ready")


async def a_guest_runs_on_the_first(lab: ALab) -> None:
    image = write_image(lab.directory / "tick.raw", ticking(obeys=True, lets_go=True))
    await lab.on("n1", f"covey image add tick --source {image} --quiet")
    image.unlink()
    await lab.on("n1", "covey network add site --type adopted --bridge br0 --quiet")
    await lab.on("n1", "covey instance add web1 --image tick --memory 16M --quiet")
    await guest_ticks(lab)


async def guest_ticks(lab: ALab) -> None:
    """It runs, and goes on."""
    before = await guest(lab)

    async def went_on() -> bool:
        return len(await guest(lab)) > len(before)

    await eventually(went_on, within=60.0)


async def guest(lab: ALab) -> list[str]:
    """The whole lines that it has printed; none while it is not there yet."""
    answer = await lab.ask("shell n1 -- covey instance console web1 --log")
    return [line for line in answer.out.split("\n")[:-1] if line.startswith("T")]


async def cables_are_cut_and_healed(lab: ALab) -> None:
    await lab.do("cut n1")
    assert not await lab.hears("n1", "n2")
    assert await lab.hears("n1", "n2.replication"), "the other network is another cable"
    assert (await lab.look())["n1"]["networks"]["network"]["cut"]
    await lab.do("heal n1")
    await lab.will_hear("n1", "n2")
    await lab.do("cut n2 --from n1 --replication")
    assert not await lab.hears("n1", "n2.replication")
    assert await lab.hears("n1", "n2")
    assert (await lab.look())["n1"]["networks"]["replication"]["cut_from"] == ["n2"]
    await lab.do("heal n1 --replication")
    await lab.will_hear("n1", "n2.replication")


async def a_node_is_paused_and_goes_on(lab: ALab) -> None:
    await lab.do("pause n1")
    assert (await lab.look())["n1"]["power"] == "paused"
    await lab.do("resume n1")
    await guest_ticks(lab)


async def power_goes_and_comes_back(lab: ALab) -> None:
    """With the power goes everything in it, at once; with it come Covey, the guest and the cables, but for one that is out."""
    before = (await lab.look())["n1"]["processes"]
    await lab.do("cut n1 --replication")
    await lab.do("power n1 off")
    assert not [process for process in before if Path(f"/proc/{process['pid']}/exe").exists()]
    nodes = await lab.look()
    assert nodes["n1"]["power"] == "off" and nodes["n2"]["power"] == "on"
    assert not await lab.hears("n2", "n1")
    refused = await lab.ask("shell n1 -- true")
    assert refused.status == FAILED and "lab power n1 on" in refused.err
    await lab.do("power n1 on", within=UP_LIMIT_S)
    await lab.will_hear("n2", "n1")
    await eventually(lambda: sees(lab, "n2"), within=60.0)
    assert not await lab.hears("n2", "n1.replication"), "who pulled that cable has not put it in"

    async def is_back() -> bool:
        """Once n1's controller is back among those that share the records, its door is open again."""
        answer = await lab.ask("shell n1 -- covey instance list --json")
        return answer.status == DONE and [instance["state"] for instance in json.loads(answer.out)] == ["running"]

    await eventually(is_back, within=120.0)
    await guest_ticks(lab)
