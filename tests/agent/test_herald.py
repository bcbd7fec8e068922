"""A guest that begins to run on a node is announced there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from covey.agent.agent import Agent
from covey.agent.herald import PAUSES_S
from covey.agent.tasks import EpochFile
from covey.host.host import Host
from covey.host.network.fake import FakeNetworks
from covey.host.shelf import MemoryShelf
from covey.model.domain import tap_of
from covey.model.filter import Filter
from covey.model.network import Arrival
from covey.model.node import Telemetry
from covey.planner.instance.parts import domain_of
from tests.kit.builders import a_cluster, an_id, an_instance
from tests.kit.virtual import in_virtual_time, virtual_clock
from tests.simulation.machines import Machine

WEB = an_instance("web1", disks=())
FILTERS = (
    Filter(0, "02:c0:7e:00:00:01", ("10.77.0.10", "fd00:77::10", "10.9.0.0/24")),
    Filter(1, "02:c0:7e:00:00:02", guarded=False),
)
ARRIVALS = (
    Arrival(tap_of(WEB.id, 0), "02:c0:7e:00:00:01", ("10.77.0.10", "fd00:77::10")),
    Arrival(tap_of(WEB.id, 1), "02:c0:7e:00:00:02", ()),
)


async def a_host() -> tuple[Host, FakeNetworks]:
    """A machine on which web1 is defined and does not run."""
    networks = FakeNetworks(MemoryShelf())
    host = replace(Machine(an_id("node/n1"), "n1", lambda node, key, thing: None).host(), networks=networks)
    await host.hypervisor.ensure_defined(domain_of(a_cluster(), WEB), {}, "7")
    await host.filters.ensure_filtered(WEB.id, FILTERS, "7")
    return host, networks


def an_agent(host: Host) -> Agent:
    agent = Agent(an_id("node/n1"), host, "s1", EpochFile(None), virtual_clock(), Telemetry(0.0))
    agent.start()
    return agent


@in_virtual_time
async def test_a_guest_that_begins_to_run_is_announced_with_its_own_addresses_some_times() -> None:
    host, networks = await a_host()
    agent = an_agent(host)
    await asyncio.sleep(1.0)
    assert networks.announced == ()
    await host.hypervisor.ensure_running(WEB.id, 1)
    await asyncio.sleep(60.0)
    assert networks.announced == ARRIVALS * len(PAUSES_S)
    await agent.close()


@in_virtual_time
async def test_it_is_again_when_it_begins_anew_and_not_because_the_agent_does() -> None:
    host, networks = await a_host()
    await host.hypervisor.ensure_running(WEB.id, 1)
    agent = an_agent(host)
    await asyncio.sleep(60.0)
    assert networks.announced == (), "it ran here already"
    await host.hypervisor.ensure_stopped(WEB.id)
    await asyncio.sleep(1.0)
    await host.hypervisor.ensure_running(WEB.id, 2)
    await asyncio.sleep(60.0)
    assert networks.announced == ARRIVALS * len(PAUSES_S)
    await agent.close()
