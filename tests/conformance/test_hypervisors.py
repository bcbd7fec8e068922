"""One suite for every hypervisor: each sentence of host/hypervisor/protocol.py is a claim here."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, StepFailed, Unavailable
from covey.host.hypervisor.definition import digest
from covey.host.shelf import FileShelf, MemoryShelf
from covey.model.domain import Domain, DomainDisk, FoundDomain
from covey.model.shape import shape_of
from tests.kit.eventually import eventually
from tests.kit.hypervisors import MIB, Bench, FakeBench, LibvirtBench

GRACE_S = 20.0


@pytest.fixture(params=["fake", "fake-on-disk", pytest.param("libvirt", marks=pytest.mark.real)])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield FakeBench(MemoryShelf())
    elif request.param == "fake-on-disk":
        yield FakeBench(FileShelf(tmp_path / "shelf"))
    else:
        real = LibvirtBench()
        await real.open()
        try:
            yield real
        finally:
            await real.close()


async def defined(bench: Bench, *, obeys: bool = True, ends: bool = False, lets_go: bool = True, job: str = "job-1") -> Domain:
    domain, attachments = bench.guest(obeys=obeys, ends=ends, lets_go=lets_go)
    await bench.hypervisor.ensure_defined(domain, attachments, job)
    return domain


async def running(bench: Bench, generation: int = 1, *, obeys: bool = True, ends: bool = False, lets_go: bool = True) -> Domain:
    domain = await defined(bench, obeys=obeys, ends=ends, lets_go=lets_go)
    await bench.hypervisor.ensure_running(domain.instance, generation)
    await bench.ready(domain)
    return domain


async def found(bench: Bench, domain: Domain) -> FoundDomain:
    (one,) = [one for one in await bench.hypervisor.domains() if one.instance == domain.instance]
    assert one == await bench.hypervisor.domain(domain.instance)
    return one


async def test_a_defined_domain_is_stopped_tagged_and_has_never_run(bench: Bench) -> None:
    domain = await defined(bench, job="job-7")
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation, one.pid) == ("stopped", "", 0, 0)
    assert (one.job, one.definition, one.disks) == ("job-7", digest(domain), (domain.disks[0].volume.id,))


async def test_defining_twice_is_defining_once_and_keeps_the_first_tag(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    assert (await found(bench, domain)).job == "job-1"


async def test_a_changed_definition_takes_the_place_of_the_old_one(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    changed = replace(domain, memory=32 * MIB, title="the very same <&> 'täst'")
    await bench.hypervisor.ensure_defined(changed, attachments, "job-2")
    one = await found(bench, domain)
    assert (one.definition, one.job) == (digest(changed), "job-1")


async def test_redefining_a_running_guest_leaves_it_running(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    pid = await bench.hypervisor.ensure_running(domain.instance, 5)
    await bench.hypervisor.ensure_defined(replace(domain, cpus=2), attachments, "job-2")
    one = await found(bench, domain)
    assert (one.state, one.pid, one.generation, one.definition) == ("running", pid, 5, digest(replace(domain, cpus=2)))


async def test_a_volume_that_nobody_says_how_to_open_is_not_found(bench: Bench) -> None:
    domain, _ = bench.guest()
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_defined(domain, {}, "job-1")


async def test_starting_twice_is_starting_once(bench: Bench) -> None:
    domain = await defined(bench)
    pid = await bench.hypervisor.ensure_running(domain.instance, 3)
    assert pid > 0
    assert await bench.hypervisor.ensure_running(domain.instance, 4) == pid
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation, one.pid) == ("running", "", 3, pid)


async def test_what_is_not_defined_does_not_start(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_running(str(uuid.uuid4()), 1)


async def test_a_paused_guest_runs_on_as_it_was(bench: Bench) -> None:
    domain = await running(bench, 2)
    pid = (await found(bench, domain)).pid
    await bench.pause(domain)
    assert (await found(bench, domain)).state == "paused"
    assert await bench.hypervisor.ensure_running(domain.instance, 9) == pid
    one = await found(bench, domain)
    assert (one.state, one.generation) == ("running", 2)


async def test_a_guest_that_needs_more_memory_than_there_is_has_no_space(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(replace(domain, memory=2**43), attachments, "job-1")
    with pytest.raises(NoSpace):
        await bench.hypervisor.ensure_running(domain.instance, 1)
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation) == ("stopped", "", 0)


async def test_a_guest_that_does_not_hear_the_power_button_is_cut(bench: Bench) -> None:
    domain = await running(bench, obeys=False)
    assert await bench.hypervisor.ensure_stopped(domain.instance) is True
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation, one.pid) == ("stopped", "covey", 1, 0)


async def test_a_paused_guest_is_cut(bench: Bench) -> None:
    domain = await running(bench)
    await bench.pause(domain)
    assert await bench.hypervisor.ensure_stopped(domain.instance) is True
    assert (await found(bench, domain)).state == "stopped"


async def test_stopping_twice_is_stopping_once_and_what_is_absent_is_stopped(bench: Bench) -> None:
    domain = await running(bench)
    await bench.hypervisor.ensure_stopped(domain.instance)
    assert await bench.hypervisor.ensure_stopped(domain.instance) is False
    assert await bench.hypervisor.ensure_stopped(str(uuid.uuid4())) is False


async def test_a_guest_that_hears_the_power_button_stops_when_asked(bench: Bench) -> None:
    domain = await running(bench)
    assert await bench.hypervisor.ensure_asked_to_stop(domain.instance, GRACE_S) is True
    assert await bench.hypervisor.ensure_asked_to_stop(domain.instance, GRACE_S) is True
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation, one.pid) == ("stopped", "covey", 1, 0)


async def test_a_paused_guest_cannot_hear_and_is_not_waited_for(bench: Bench) -> None:
    domain = await running(bench)
    await bench.pause(domain)
    assert await bench.hypervisor.ensure_asked_to_stop(domain.instance, GRACE_S) is False


async def test_a_guest_that_was_asked_in_vain_runs_on_and_what_ends_it_later_is_told_as_it_was(bench: Bench) -> None:
    domain = await running(bench, obeys=False)
    pid = (await found(bench, domain)).pid
    assert await bench.hypervisor.ensure_asked_to_stop(domain.instance, 0.6) is False
    assert await bench.hypervisor.ensure_running(domain.instance, 1) == pid
    await bench.crash(domain)
    await eventually(lambda: is_in_state(bench, domain, "crashed"))


async def test_an_older_run_is_ended_for_a_newer_generation(bench: Bench) -> None:
    domain = await running(bench, 1)
    before = (await found(bench, domain)).pid
    pid = await bench.hypervisor.ensure_generation(domain.instance, 2)
    assert pid != before
    one = await found(bench, domain)
    assert (one.state, one.generation, one.pid) == ("running", 2, pid)


async def test_a_run_of_that_generation_or_a_later_one_is_left_alone(bench: Bench) -> None:
    domain = await running(bench, 3)
    pid = (await found(bench, domain)).pid
    assert await bench.hypervisor.ensure_generation(domain.instance, 3) == pid
    assert await bench.hypervisor.ensure_generation(domain.instance, 2) == pid
    assert (await found(bench, domain)).generation == 3


async def test_a_stopped_guest_is_started_as_the_generation(bench: Bench) -> None:
    domain = await defined(bench)
    await bench.hypervisor.ensure_generation(domain.instance, 4)
    assert (await found(bench, domain)).generation == 4


async def test_a_guest_that_its_own_user_shut_down_is_stopped_by_the_guest(bench: Bench) -> None:
    domain = await running(bench, ends=True)
    await bench.shut_down_from_within(domain)
    await eventually(lambda: is_in_state(bench, domain, "stopped"))
    one = await found(bench, domain)
    assert (one.reason, one.generation, one.pid) == ("guest", 1, 0)


async def test_a_guest_whose_qemu_died_is_crashed(bench: Bench) -> None:
    domain = await running(bench, 6)
    await bench.crash(domain)
    await eventually(lambda: is_in_state(bench, domain, "crashed"))
    one = await found(bench, domain)
    assert (one.reason, one.generation, one.pid) == ("crashed", 6, 0)


async def test_a_crashed_guest_can_be_started_and_stopped(bench: Bench) -> None:
    domain = await running(bench)
    await bench.crash(domain)
    await eventually(lambda: is_in_state(bench, domain, "crashed"))
    await bench.hypervisor.ensure_running(domain.instance, 2)
    await bench.ready(domain)
    assert (await found(bench, domain)).state == "running"
    await bench.hypervisor.ensure_stopped(domain.instance)
    assert (await found(bench, domain)).reason == "covey"


async def test_stopping_a_crashed_guest_leaves_the_truth_of_its_end(bench: Bench) -> None:
    domain = await running(bench)
    await bench.crash(domain)
    await eventually(lambda: is_in_state(bench, domain, "crashed"))
    assert await bench.hypervisor.ensure_stopped(domain.instance) is False
    assert (await found(bench, domain)).reason == "crashed"


async def test_nothing_of_an_absent_domain_is_left(bench: Bench) -> None:
    domain = await running(bench)
    await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.hypervisor.ensure_absent(domain.instance)
    await bench.hypervisor.ensure_absent(domain.instance)
    assert await bench.hypervisor.domains() == ()
    assert await bench.hypervisor.domain(domain.instance) is None
    assert not bench.hypervisor.console_log(domain.instance).parent.exists()


async def test_a_domain_that_was_removed_and_defined_again_has_never_run(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, 5)
    await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.hypervisor.ensure_absent(domain.instance)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation, one.job) == ("stopped", "", 0, "job-2")


async def test_an_undo_removes_only_what_its_own_job_defined(bench: Bench) -> None:
    domain = await defined(bench, job="job-1")
    await bench.hypervisor.ensure_absent(domain.instance, "job-2")
    assert (await found(bench, domain)).job == "job-1"
    await bench.hypervisor.ensure_absent(domain.instance, "job-1")
    assert await bench.hypervisor.domains() == ()


async def test_a_running_domain_is_not_removed(bench: Bench) -> None:
    domain = await running(bench)
    with pytest.raises(Refused):
        await bench.hypervisor.ensure_absent(domain.instance)
    assert (await found(bench, domain)).state == "running"


@pytest.mark.parametrize("runs", [False, True])
async def test_a_disk_is_attached_once_and_detached_once(bench: Bench, runs: bool) -> None:
    domain = await (running(bench) if runs else defined(bench))
    volume, attachment = bench.volume()
    for _ in range(2):
        await bench.hypervisor.ensure_attached(domain.instance, DomainDisk(1, volume), attachment)
        one = await found(bench, domain)
        assert one.disks == (domain.disks[0].volume.id, volume.id)
        assert one.definition == digest(replace(domain, disks=(*domain.disks, DomainDisk(1, volume))))
    for _ in range(2):
        await bench.hypervisor.ensure_detached(domain.instance, 1, GRACE_S)
        one = await found(bench, domain)
        assert (one.disks, one.definition) == ((domain.disks[0].volume.id,), digest(domain))
        assert one.state == ("running" if runs else "stopped")


async def test_an_attached_disk_is_there_after_the_next_start(bench: Bench) -> None:
    domain = await running(bench)
    volume, attachment = bench.volume()
    await bench.hypervisor.ensure_attached(domain.instance, DomainDisk(1, volume), attachment)
    await bench.hypervisor.ensure_generation(domain.instance, 2)
    assert (await found(bench, domain)).disks == (domain.disks[0].volume.id, volume.id)


async def test_two_volumes_are_not_one_disk(bench: Bench) -> None:
    domain = await defined(bench)
    volume, attachment = bench.volume()
    with pytest.raises(Refused):
        await bench.hypervisor.ensure_attached(domain.instance, DomainDisk(0, volume), attachment)


async def test_attaching_to_what_is_not_defined_is_not_found(bench: Bench) -> None:
    volume, attachment = bench.volume()
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_attached(str(uuid.uuid4()), DomainDisk(1, volume), attachment)


async def test_a_guest_that_does_not_let_go_of_a_disk_keeps_it(bench: Bench) -> None:
    domain = await running(bench, lets_go=False)
    volume, attachment = bench.volume()
    await bench.hypervisor.ensure_attached(domain.instance, DomainDisk(1, volume), attachment)
    for _ in range(2):
        with pytest.raises(Refused):
            await bench.hypervisor.ensure_detached(domain.instance, 1, 0.5)
    assert (await found(bench, domain)).disks == (domain.disks[0].volume.id, volume.id)
    await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.hypervisor.ensure_detached(domain.instance, 1, 0.5)
    assert (await found(bench, domain)).disks == (domain.disks[0].volume.id,)


async def test_a_running_guests_disk_grows_and_never_shrinks(bench: Bench) -> None:
    domain = await running(bench)
    for size in (4 * MIB, 4 * MIB, 2 * MIB):
        assert await bench.hypervisor.ensure_guest_size(domain.instance, 0, size)
    grown = replace(domain.disks[0].volume, size=4 * MIB)
    assert (await found(bench, domain)).definition == digest(replace(domain, disks=(DomainDisk(0, grown),)))


async def test_a_disk_that_a_running_guest_does_not_have_is_not_found(bench: Bench) -> None:
    domain = await running(bench)
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_guest_size(domain.instance, 3, 4 * MIB)


async def test_a_stopped_guests_disk_is_not_the_hypervisors_to_grow(bench: Bench) -> None:
    domain = await defined(bench)
    assert not await bench.hypervisor.ensure_guest_size(domain.instance, 0, 4 * MIB)
    assert (await found(bench, domain)).state == "stopped"


async def test_a_domain_that_covey_did_not_make_is_neither_seen_nor_touched(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.plant_foreign(domain.instance)
    assert await bench.hypervisor.domains() == ()
    hypervisor, instance = bench.hypervisor, domain.instance
    for attempt in (
        hypervisor.ensure_defined(domain, attachments, "job-1"),
        hypervisor.ensure_running(instance, 1),
        hypervisor.ensure_generation(instance, 1),
        hypervisor.ensure_stopped(instance),
        hypervisor.ensure_absent(instance),
        hypervisor.ensure_attached(instance, domain.disks[0], attachments[domain.disks[0].volume.id]),
        hypervisor.ensure_detached(instance, 0, 1),
        hypervisor.ensure_guest_size(instance, 0, 4 * MIB),
        hypervisor.domain(instance),
    ):
        with pytest.raises(Refused):
            await attempt


async def test_usage_tells_of_running_guests_only(bench: Bench) -> None:
    domain = await running(bench)
    await defined(bench)

    async def has_read() -> bool:
        return any(one.traffic.disk_reads for one in await bench.hypervisor.usage())

    await eventually(has_read, within=20)
    (usage,) = await bench.hypervisor.usage()
    assert usage.instance == domain.instance
    assert usage.traffic.disk_read >= 512
    assert usage.cpu_s > 0
    assert usage.memory > 0


async def test_subscribers_hear_of_every_change(bench: Bench) -> None:
    heard = asyncio.Event()
    domain = await defined(bench, ends=True)
    bench.hypervisor.subscribe(lambda instance: heard.set() if instance == domain.instance else None)
    for change in (
        lambda: bench.hypervisor.ensure_running(domain.instance, 1),
        lambda: bench.shut_down_from_within(domain),
    ):
        await eventually(lambda: quiet(heard))
        await change()
        async with asyncio.timeout(GRACE_S):
            await heard.wait()


async def test_a_daemon_that_is_gone_is_unavailable_and_a_daemon_that_is_back_is_heard_of(bench: Bench) -> None:
    domain = await running(bench, 2)
    pid = (await found(bench, domain)).pid
    await bench.silence()
    with pytest.raises(Unavailable):
        await bench.hypervisor.domains()
    with pytest.raises(Unavailable):
        await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.speak()
    await eventually(lambda: answers(bench))
    one = await found(bench, domain)
    assert (one.state, one.generation, one.pid) == ("running", 2, pid)


async def test_a_driver_started_anew_tells_the_same(bench: Bench) -> None:
    ends_by_itself = await running(bench, ends=True)
    crashes = await running(bench, 2)
    stopped = await running(bench, 3)
    runs = await running(bench, 4)
    await bench.shut_down_from_within(ends_by_itself)
    await bench.crash(crashes)
    await bench.hypervisor.ensure_stopped(stopped.instance)
    await eventually(lambda: is_in_state(bench, ends_by_itself, "stopped"))
    await eventually(lambda: is_in_state(bench, crashes, "crashed"))
    told = await bench.hypervisor.domains()
    assert await (await bench.another()).domains() == told
    assert {one.instance: (one.state, one.reason) for one in told} == {
        ends_by_itself.instance: ("stopped", "guest"),
        crashes.instance: ("crashed", "crashed"),
        stopped.instance: ("stopped", "covey"),
        runs.instance: ("running", ""),
    }


async def test_an_accelerator_nobody_knows_is_bad_input(bench: Bench) -> None:
    with pytest.raises(BadInput):
        await bench.hypervisor.prove("warp", 1)
    assert (await bench.hypervisor.prove("tcg", 1))[0] == "tcg"


async def is_in_state(bench: Bench, domain: Domain, state: str) -> bool:
    one = await bench.hypervisor.domain(domain.instance)
    return one is not None and one.state == state


async def answers(bench: Bench) -> bool:
    try:
        await bench.hypervisor.domains()
    except Unavailable:
        return False
    return True


async def quiet(heard: asyncio.Event) -> bool:
    """Whether nothing was heard for a moment: an event of the change before may still be under way."""
    heard.clear()
    try:
        async with asyncio.timeout(0.3):
            await heard.wait()
    except TimeoutError:
        return True
    return False


async def test_a_running_guest_gets_cpus_up_to_its_maximum_and_the_rest_at_its_next_start(bench: Bench) -> None:
    domain, attachments = bench.guest()
    domain = replace(domain, max_cpus=4, max_memory=64 * MIB)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, 1)
    assert (await found(bench, domain)).live == shape_of(domain)
    wanted = replace(domain, cpus=3, max_cpus=8)
    for _ in range(2):
        live = await bench.hypervisor.ensure_redefined(wanted, attachments, "job-2")
        assert live == replace(shape_of(domain), cpus=3)
    assert (await found(bench, domain)).definition == digest(wanted)
    await bench.hypervisor.ensure_generation(domain.instance, 2)
    assert (await found(bench, domain)).live == shape_of(wanted)


async def test_a_stopped_guest_is_redefined_and_nothing_runs(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    assert await bench.hypervisor.ensure_redefined(replace(domain, cpus=2), attachments, "job-2") is None
    one = await found(bench, domain)
    assert (one.state, one.live, one.definition, one.job) == ("stopped", None, digest(replace(domain, cpus=2)), "job-1")


async def test_a_guest_without_an_agent_is_refused(bench: Bench) -> None:
    domain = await running(bench)
    if isinstance(bench, FakeBench):
        bench.hypervisor.remove_agent(domain.instance)  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="guest agent does not answer"):
        await bench.hypervisor.ask_guest(domain.instance, "guest-ping", {}, 2.0)


async def test_nothing_within_a_guest_that_does_not_run_is_asked_or_seen(bench: Bench) -> None:
    domain = await defined(bench)
    with pytest.raises(Refused):
        await bench.hypervisor.ask_guest(domain.instance, "guest-ping", {}, 2.0)
    with pytest.raises(Refused):
        await bench.hypervisor.screenshot(domain.instance)
    with pytest.raises(NotFound):
        await bench.hypervisor.screenshot(str(uuid.uuid4()))


async def test_the_screen_of_a_running_guest_is_a_picture(bench: Bench) -> None:
    domain = await running(bench)
    assert (await bench.hypervisor.screenshot(domain.instance)).startswith(b"\x89PNG\r\n")


async def test_a_guest_has_the_firmware_cpu_and_raw_xml_it_was_defined_with(bench: Bench) -> None:
    domain, attachments = bench.guest()
    raw = "<devices><watchdog model='i6300esb' action='none'/></devices>"
    can = await bench.hypervisor.capabilities(domain.machine)
    assert "uefi" in can.firmwares
    assert "x86-64-v2" in can.cpu_models["tcg"]
    wanted = replace(domain, firmware="uefi", cpu_model="x86-64-v2", raw_xml=raw, memory=64 * MIB)
    await bench.hypervisor.ensure_defined(wanted, attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, 1)
    assert (await found(bench, domain)).live == shape_of(wanted)


async def test_an_iso_is_changed_and_taken_out_while_the_guest_runs(bench: Bench) -> None:
    domain, attachments = bench.guest()
    discs = dict([bench.volume() for _ in range(2)])
    first, second = (volume.id for volume in discs)
    attachments |= {volume.id: attachment for volume, attachment in discs.items()}
    await bench.hypervisor.ensure_defined(replace(domain, iso=first), attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, 1)
    for iso in (second, second, ""):
        live = await bench.hypervisor.ensure_redefined(replace(domain, iso=iso), attachments, "job-2")
        assert live
        assert live.iso == iso
        assert (await found(bench, domain)).live == live


async def test_a_definition_that_cannot_be_changes_nothing(bench: Bench) -> None:
    domain = await running(bench)
    _, attachment = bench.volume()
    attachments = {domain.disks[0].volume.id: attachment}
    with pytest.raises(StepFailed):
        await bench.hypervisor.ensure_redefined(replace(domain, raw_xml="<devices><bogus/></devices>"), attachments, "job-2")
    one = await found(bench, domain)
    assert (one.state, one.definition) == ("running", digest(domain))


async def test_another_hands_change_of_a_definition_is_told_and_defining_it_again_mends_it(bench: Bench) -> None:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    assert await bench.hypervisor.drifts() == {}
    await bench.tamper(domain)
    drift = (await bench.hypervisor.drifts())[domain.instance]
    assert "vcpu is 2, not 1" in drift.definition
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    assert await bench.hypervisor.drifts() == {}
