"""What becomes of guests when their machine goes down."""

from __future__ import annotations

from covey.host.shelf import MemoryShelf
from covey.main.guests import ask_all
from tests.kit.hypervisors import FakeBench


async def test_guests_are_asked_to_shut_down_and_it_is_told_as_an_order_not_as_their_wish() -> None:
    bench = FakeBench(MemoryShelf())
    states = {}
    for name, obeys in (("listens", True), ("deaf", False), ("rests", True)):
        domain, attachments = bench.guest(obeys=obeys)
        await bench.hypervisor.ensure_defined(domain, attachments, "1")
        if name != "rests":
            await bench.hypervisor.ensure_running(domain.instance, 1)
            await bench.ready(domain)
        states[name] = domain.instance
    await ask_all(bench.hypervisor, 0.1)
    after = {name: await bench.hypervisor.domain(instance) for name, instance in states.items()}
    assert {name: (found.state, found.reason) for name, found in after.items() if found} == {
        "listens": ("stopped", "covey"),
        "deaf": ("running", ""),
        "rests": ("stopped", ""),
    }
