"""A libvirtd of Covey's own: it comes, goes and comes back, and neither its end nor its driver's touches a guest or the truth about
one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kit.bootsector import counter
from tests.kit.eventually import eventually
from tests.kit.hypervisors import LibvirtBench

from covey.base.errors import Refused, Unavailable
from covey.base.run import run
from covey.host.hypervisor.libvirt import LibvirtHypervisor
from covey.host.hypervisor.private import ensure_private_libvirtd, find_private_libvirtd, private_files, stop_private_libvirtd
from covey.host.hypervisor.runs import Run, read_run, write_run
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainNic, FoundDomain, tap_of

pytestmark = pytest.mark.real


@pytest.fixture
async def bench() -> AsyncIterator[LibvirtBench]:
    bench = LibvirtBench()
    await bench.open()
    try:
        yield bench
    finally:
        await bench.close()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with a bridge in it, for guests' NICs."""
    name = f"cvh-{uuid.uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (["link", "set", "lo", "up"], ["link", "add", "br-lan", "type", "bridge"], ["link", "set", "br-lan", "up"]):
            subprocess.run(["ip", "-n", name, *words], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


async def running(bench: LibvirtBench, generation: int = 1, *, ends: bool = False) -> Domain:
    domain, attachments = bench.guest(ends=ends)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, generation)
    await bench.ready(domain)
    return domain


async def found(bench: LibvirtBench, domain: Domain) -> FoundDomain:
    one = await bench.hypervisor.domain(domain.instance)
    assert one
    return one


async def without_daemon(bench: LibvirtBench) -> None:
    await stop_private_libvirtd(bench.directory)
    assert find_private_libvirtd(bench.directory) == 0


async def with_daemon_again(bench: LibvirtBench) -> None:
    await ensure_private_libvirtd(bench.directory)

    async def answers() -> bool:
        try:
            await bench.hypervisor.domains()
        except Unavailable:
            return False
        return True

    await eventually(answers)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_daemon_that_runs_is_joined(bench: LibvirtBench) -> None:
    pid = find_private_libvirtd(bench.directory)
    await ensure_private_libvirtd(bench.directory)
    assert find_private_libvirtd(bench.directory) == pid > 0


async def test_stopping_twice_is_stopping_once(bench: LibvirtBench) -> None:
    await without_daemon(bench)
    await stop_private_libvirtd(bench.directory)


async def test_a_pid_file_with_somebody_elses_pid_ends_nobody(bench: LibvirtBench) -> None:
    await without_daemon(bench)
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        (bench.directory / "libvirt/libvirtd.pid").write_text(f"{bystander.pid}\n")
        assert find_private_libvirtd(bench.directory) == 0
        await stop_private_libvirtd(bench.directory)
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_guests_live_on_while_the_daemon_is_gone_and_are_found_again(bench: LibvirtBench) -> None:
    domain = await running(bench, 3)
    before = await found(bench, domain)
    await without_daemon(bench)
    ticks = bench.printed(domain)
    await eventually(lambda: len(bench.printed(domain)) > len(ticks))
    await with_daemon_again(bench)
    assert await found(bench, domain) == before
    assert await bench.hypervisor.ensure_asked_to_stop(domain.instance, 20) is True
    assert (await found(bench, domain)).reason == "covey"


async def test_a_guest_whose_qemu_dies_while_the_daemon_is_gone_is_crashed(bench: LibvirtBench) -> None:
    domain = await running(bench)
    pid = (await found(bench, domain)).pid
    await without_daemon(bench)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid))
    await with_daemon_again(bench)
    await eventually(lambda: in_state(bench, domain, "crashed"))


async def test_a_guest_that_shuts_down_while_the_daemon_is_gone_was_shut_down_by_itself(bench: LibvirtBench) -> None:
    domain = await running(bench, ends=True)
    await without_daemon(bench)
    await eventually(lambda: b"T00000005" in bench.printed(domain))
    await with_daemon_again(bench)
    await eventually(lambda: in_state(bench, domain, "stopped"))
    assert (await found(bench, domain)).reason == "guest"


async def test_a_guest_ended_by_a_signal_from_the_host_did_not_shut_itself_down(bench: LibvirtBench) -> None:
    domain = await running(bench)
    os.kill((await found(bench, domain)).pid, signal.SIGTERM)
    await eventually(lambda: in_state(bench, domain, "crashed"))


async def test_after_a_power_loss_what_ran_is_crashed_and_what_was_stopped_is_stopped(bench: LibvirtBench) -> None:
    ran, stopped, by_itself = await running(bench, 2), await running(bench, 3), await running(bench, 4, ends=True)
    await bench.hypervisor.ensure_stopped(stopped.instance)
    await eventually(lambda: in_state(bench, by_itself, "stopped"))
    pid = (await found(bench, ran)).pid
    os.kill(find_private_libvirtd(bench.directory), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid))
    another_boot(bench)
    await with_daemon_again(bench)
    told = {one.instance: (one.state, one.reason, one.generation) for one in await bench.hypervisor.domains()}
    assert told == {
        ran.instance: ("crashed", "crashed", 2),
        stopped.instance: ("stopped", "covey", 3),
        by_itself.instance: ("stopped", "guest", 4),
    }
    await bench.hypervisor.ensure_running(ran.instance, 5)
    assert (await found(bench, ran)).generation == 5


async def test_an_end_that_no_agent_saw_is_told_right_after_the_daemon_was_started_anew(bench: LibvirtBench) -> None:
    domain = await running(bench, ends=True)
    await bench.hypervisor.close()  # the agent dies; the guest ends; then libvirtd forgets why
    log = bench.directory / "libvirt/log/qemu" / f"{domain.instance}.log"
    await eventually(lambda: "shutting down" in log.read_text())
    await without_daemon(bench)
    await ensure_private_libvirtd(bench.directory)
    bench.hypervisor = await bench.another()
    one = await found(bench, domain)
    assert (one.state, one.reason) == ("stopped", "guest")


async def test_an_agent_killed_before_its_order_to_start_has_started_nothing(bench: LibvirtBench) -> None:
    domain = await running(bench)
    await bench.hypervisor.ensure_stopped(domain.instance)
    kept = bench.directory / "instances" / domain.instance / "run.json"
    write_run(kept, read_run(kept).about_to_start(2))
    one = await found(bench, domain)
    assert (one.state, one.reason, one.generation) == ("stopped", "covey", 1)
    await bench.hypervisor.ensure_running(domain.instance, 2)
    assert (await found(bench, domain)).generation == 2


async def test_an_agent_killed_after_its_order_to_start_has_started_it(bench: LibvirtBench) -> None:
    domain = await running(bench, 2)
    kept = bench.directory / "instances" / domain.instance / "run.json"
    write_run(kept, Run(generation=1, how="guest").about_to_start(2))
    assert (await found(bench, domain)).generation == 2
    await bench.crash(domain)
    await eventually(lambda: in_state(bench, domain, "crashed"))


async def test_an_agent_killed_after_its_order_to_stop_has_stopped_it(bench: LibvirtBench) -> None:
    domain = await running(bench)
    kept = bench.directory / "instances" / domain.instance / "run.json"
    write_run(kept, read_run(kept).about_to_stop())
    bench.virsh("shutdown", domain.instance)
    await eventually(lambda: in_state(bench, domain, "stopped"))
    assert (await found(bench, domain)).reason == "covey"


async def test_a_guest_keeps_its_disk_over_a_crash(bench: LibvirtBench) -> None:
    domain = await running(bench)
    await bench.crash(domain)
    await eventually(lambda: in_state(bench, domain, "crashed"))
    image = bench.directory / f"{domain.disks[0].volume.id}.raw"
    ticks = counter(image)
    assert ticks > 0
    await bench.hypervisor.ensure_running(domain.instance, 2)
    await eventually(lambda: counter(image) > ticks)


async def test_a_guest_with_a_nic_a_cd_and_a_seed_runs_in_a_network_namespace(namespace: str) -> None:
    bench = LibvirtBench()
    await bench.open(namespace)
    try:
        domain, attachments = bench.guest()
        iso = bench.directory / "install.iso"
        iso.write_bytes(bytes(2048 * 16))
        iso.chmod(0o644)
        domain = replace(domain, nics=(DomainNic(0, "02:c0:7e:11:22:33", "br-lan"),), iso="install", seed=True)
        attachments = {**attachments, "install": Attachment("file", str(iso), "raw")}
        seed = bench.directory / "instances" / domain.instance / "seed.iso"
        await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
        seed.write_bytes(bytes(2048 * 16))
        seed.chmod(0o644)
        await bench.hypervisor.ensure_running(domain.instance, 1)
        await bench.ready(domain)
        assert (
            tap_of(domain.instance, 0)
            in (await run(["ip", "-n", namespace, "link", "show", "master", "br-lan"], timeout_s=20)).text
        )
        with pytest.raises(Refused, match="another network namespace"):
            await ensure_private_libvirtd(bench.directory)
    finally:
        for one in await bench.hypervisor.domains():
            await bench.hypervisor.ensure_stopped(one.instance)
        await stop_private_libvirtd(bench.directory)
        await bench.close()


async def test_two_daemons_side_by_side_do_not_see_each_others_guests(bench: LibvirtBench) -> None:
    other = LibvirtBench()
    await other.open()
    try:
        domain = await running(bench)
        assert await other.hypervisor.domains() == ()
        assert (await found(bench, domain)).state == "running"
    finally:
        await other.close()


async def test_what_opens_a_guest_is_closed_to_other_users(bench: LibvirtBench) -> None:
    domain = await running(bench)
    own = bench.directory / "instances" / domain.instance
    assert {path.name for path in own.iterdir()} == {"agent.sock", "console.log", "console.sock", "ready.sock", "run.json", "vnc"}
    assert (own / "vnc/vnc.sock").is_socket()
    assert (own / "vnc").stat().st_mode & 0o077 == 0
    pid = (await found(bench, domain)).pid
    assert Path(f"/proc/{pid}").stat().st_uid == (own / "vnc").stat().st_uid != 0
    for path in (own / "console.sock", own / "ready.sock", own / "agent.sock"):
        assert not path.stat().st_mode & 0o002
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory closed to others, with a path that leaves room for sockets (pytest's own does not)."""
    with tempfile.TemporaryDirectory(prefix="cvh-", dir="/tmp") as directory:
        yield Path(directory)


async def test_a_directory_that_qemu_may_not_pass_through_is_refused(short: Path) -> None:
    closed = short / "closed"
    closed.mkdir(mode=0o755)
    with pytest.raises(Refused, match="may not pass through"):
        await ensure_private_libvirtd(closed / "state")
    assert find_private_libvirtd(closed / "state") == 0


async def test_a_directory_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with pytest.raises(Refused, match="unix socket"):
        await ensure_private_libvirtd(long)
    with pytest.raises(Refused, match="unix socket"):
        LibvirtHypervisor("qemu:///system", long, files=private_files(long))


async def test_a_daemon_that_was_never_there_is_unavailable(short: Path) -> None:
    hypervisor = LibvirtHypervisor(f"qemu:///system?socket={short}/none", short)
    try:
        with pytest.raises(Unavailable, match="libvirt does not answer"):
            await hypervisor.domains()
    finally:
        await hypervisor.close()


async def in_state(bench: LibvirtBench, domain: Domain, state: str) -> bool:
    return (await found(bench, domain)).state == state


def another_boot(bench: LibvirtBench) -> None:
    """As if the machine had been booted since libvirtd's last start."""
    (bench.directory / "libvirt/boot").write_text(f"{uuid.uuid4()}\n")
