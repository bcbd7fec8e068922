"""What a person may have done on a machine while nobody leads it (S19), and what the next leader hears of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.agent.agent import Agent
from covey.agent.local import KEPT, LEADER_WITHIN_S, Acts
from covey.agent.membership import Memberships
from covey.agent.tasks import EpochFile
from covey.base.errors import NotFound, Refused
from covey.host.hypervisor.fake import FakeHypervisor
from covey.model.local import START, STOP, LocalAct
from covey.model.membership import Membership
from covey.model.node import Telemetry
from covey.model.order import Charge
from tests.kit.builders import NOW, a_cluster, a_network, a_nic, an_id, an_instance
from tests.kit.virtual import in_virtual_time, virtual_clock
from tests.simulation.machines import Machine

from covey.planner.instance.parts import domain_of  # isort: skip

N1 = an_id("node/n1")
NETWORK = a_network()
WEB = an_instance("web1", nics=(a_nic(),))
VIEW = a_cluster(instances=[WEB], networks=[NETWORK])
CHARGE = Charge({}, (NETWORK,), (N1,))


async def an_agent(keeps: Path | None = None) -> Agent:
    """Its machine has web1, which runs as generation 3."""
    host = Machine(N1, "n1", lambda *_: None).host()
    domain = domain_of(VIEW, WEB)
    await host.hypervisor.ensure_defined(domain, {disk.volume.id: None for disk in domain.disks}, "1")  # type: ignore[misc]
    await host.hypervisor.ensure_running(WEB.id, 3)
    return Agent(N1, host, "s1", EpochFile(None), virtual_clock(), Telemetry(0.0), keeps)


async def state(agent: Agent) -> tuple[str, int]:
    (domain,) = await agent.local.guests()
    return domain.state, domain.generation


@in_virtual_time
async def test_a_guest_is_stopped_and_started_by_its_name_and_the_next_leader_hears_of_both(tmp_path: Path) -> None:
    agent = await an_agent(tmp_path)
    await agent.local.stop("web1", 0.0, "anna", "the room is hot")
    assert await state(agent) == ("stopped", 3)
    await agent.local.start("web1", "anna", "", CHARGE)
    assert await state(agent) == ("running", 4)
    hello = await agent.greet((1, 1))
    assert [(act.what, act.name, act.generation, act.by, act.reason) for act in hello.acts] == [
        (STOP, "web1", 3, "anna", "the room is hot"),
        (START, "web1", 4, "anna", ""),
    ]


@in_virtual_time
async def test_what_was_done_is_told_until_a_leader_has_taken_it_in_also_after_a_restart(tmp_path: Path) -> None:
    agent = await an_agent(tmp_path)
    await agent.local.stop("web1", 0.0, "anna", "")
    again = Acts(tmp_path / "local.json")
    assert [act.what for act in again.untold] == [STOP]
    again.forget([again.untold[0].id])
    assert Acts(tmp_path / "local.json").untold == ()
    assert [act.told for act in Acts(tmp_path / "local.json").all] == [True]


@in_virtual_time
async def test_what_came_to_nothing_is_nobodys_wish() -> None:
    agent = await an_agent()
    await agent.local.stop("web1", 0.0, "anna", "")
    hypervisor = agent.host.hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    hypervisor._memory = 1  # the machine is full
    with pytest.raises(Exception, match="memory"):
        await agent.local.start("web1", "anna", "", CHARGE)
    assert [(act.what, bool(act.failed)) for act in agent.local.acts.all] == [(STOP, False), (START, True)]
    assert [act.what for act in (await agent.greet((1, 1))).acts] == [STOP]


@in_virtual_time
async def test_that_a_crashed_guest_is_to_stay_down_is_a_wish_too() -> None:
    agent = await an_agent()
    await agent.host.hypervisor.ensure_stopped(WEB.id)
    await agent.local.stop("web1", 0.0, "anna", "")
    assert [act.what for act in agent.local.acts.untold] == [STOP]


@in_virtual_time
async def test_bridges_that_went_with_the_machines_restart_are_there_before_the_guest(tmp_path: Path) -> None:
    agent = await an_agent(tmp_path)
    await agent.look_after(CHARGE)
    await agent.host.hypervisor.ensure_stopped(WEB.id)
    assert await agent.host.networks.networks((NETWORK,)) == ()
    await agent.local.start("web1", "anna", "", agent.last_charge)
    assert [found.id for found in await agent.host.networks.networks((NETWORK,))] == [NETWORK.id]


@in_virtual_time
async def test_while_a_leader_leads_it_is_for_the_leader_to_order() -> None:
    agent = await an_agent()

    async def leader() -> None:
        while True:  # it comes back whenever it is hung up on
            async for _ in agent.stream():
                pass
            await asyncio.sleep(0.2)

    leading = asyncio.create_task(leader())
    await asyncio.sleep(0.1)
    with pytest.raises(Refused, match="a leader leads") as refused:
        await agent.local.stop("web1", 0.0, "anna", "")
    assert refused.value.hint == "covey instance stop web1"
    assert await state(agent) == ("running", 3)
    assert agent.local.acts.all == ()
    leading.cancel()


@in_virtual_time
async def test_a_leader_that_is_gone_without_a_word_keeps_nobody_waiting_for_long() -> None:
    agent = await an_agent()
    dead = agent.stream()
    await anext(dead)
    assert agent.is_led
    began = virtual_clock().monotonic()
    await agent.local.stop("web1", 0.0, "anna", "")
    assert virtual_clock().monotonic() - began <= LEADER_WITHIN_S + 1
    assert await state(agent) == ("stopped", 3)


@in_virtual_time
async def test_a_start_that_is_over_here_for_ever_is_not_begun_again() -> None:
    """S3: what was stopped as generation 3 begins as a later one, also where a move has raised the floor further."""
    agent = await an_agent()
    await agent.local.stop("web1", 0.0, "anna", "")
    assert agent.host.rights.of(WEB.id).floor == 4
    agent.host.rights.raise_floor(WEB.id, 9)
    await agent.local.start("web1", "anna", "", CHARGE)
    assert await state(agent) == ("running", 9)


@in_virtual_time
async def test_a_name_that_is_not_there_is_said_so() -> None:
    agent = await an_agent()
    with pytest.raises(NotFound, match="nothing of that name"):
        await agent.local.start("web2", "anna", "", CHARGE)


def test_only_a_machine_with_no_other_node_knows_that_nothing_runs_elsewhere(tmp_path: Path) -> None:
    memberships = Memberships(tmp_path, N1, EpochFile(None))
    assert memberships.is_alone
    several = Membership("c", "lab", "n1", "127.0.0.1:7444", (N1, an_id("node/n2")))
    memberships.present = several
    assert not memberships.is_alone


def test_the_log_of_what_leaders_have_taken_in_does_not_grow_for_ever() -> None:
    acts = Acts(None)
    for number in range(KEPT + 20):
        acts.keep(LocalAct(str(number), STOP, WEB.id, "web1", 1, NOW + number, "anna", told=True))
    acts.keep(LocalAct("last", STOP, WEB.id, "web1", 1, NOW - 1, "anna"))
    assert len(acts.all) == KEPT + 1
    assert [act.id for act in acts.untold] == ["last"]
