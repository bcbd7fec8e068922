"""What a machine says of itself: from recorded text, and from this machine."""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path

import pytest

from covey.base.errors import Unavailable
from covey.host.machine import (
    FakeMachine,
    HostMachine,
    Machine,
    Ticks,
    busy_percent,
    count_online,
    parse_cpu_model,
    parse_resolvers,
    parse_ticks,
)

RECORDED = {
    "proc/meminfo": "MemTotal:       16303428 kB\nMemFree:          812340 kB\nMemAvailable:    9001216 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7401P  24-Core Processor\n\n"
    "processor\t: 1\nmodel name\t: another\n",
    "proc/stat": "cpu  1000 0 500 8000 400 0 60 40 300 0\ncpu0 500 0 250 4000 200 0 30 20 0 0\nintr 1 2 3\n",
    "proc/loadavg": "1.25 0.75 0.50 3/812 20391\n",
    "proc/uptime": "361.87 1402.55\n",
    "proc/sys/kernel/random/boot_id": "0f9dbe4c-6d1f-4b8c-9c3c-3b8ad31c6c1f\n",
    "proc/sys/kernel/hostname": "n1.example.org\n",
    "proc/sys/kernel/osrelease": "6.1.0-50-amd64\n",
    "sys/devices/system/cpu/online": "0-3,6\n",
}


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    for name, text in RECORDED.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def machine(recorded: Path) -> Machine:
    return HostMachine(recorded / "proc", recorded / "sys")


def test_the_facts_of_a_recorded_machine(machine: Machine) -> None:
    facts = machine.facts()
    assert (facts.cpus, facts.memory) == (5, 16303428 * 1024)
    assert (facts.hostname, facts.kernel) == ("n1.example.org", "6.1.0-50-amd64")
    assert facts.boot_id == "0f9dbe4c-6d1f-4b8c-9c3c-3b8ad31c6c1f"
    assert facts.cpu_model == "AMD EPYC 7401P 24-Core Processor"


def test_the_load_of_a_recorded_machine_counts_from_boot_at_first(machine: Machine) -> None:
    load = machine.load()
    assert (load.memory_free, load.load1, load.uptime_s) == (9001216 * 1024, 1.25, 361.87)
    assert load.cpu_percent == 16.0


def test_the_second_reading_counts_from_the_first(machine: Machine, recorded: Path) -> None:
    machine.load()
    (recorded / "proc/stat").write_text("cpu  1075 0 500 8020 405 0 60 40 300 0\n")
    assert machine.load().cpu_percent == 75.0


def test_two_readings_in_the_same_tick_are_no_work(machine: Machine) -> None:
    machine.load()
    assert machine.load().cpu_percent == 0.0


def test_time_that_the_kernel_takes_back_never_leaves_0_to_100() -> None:
    assert busy_percent(Ticks(100, 1000), Ticks(90, 1010)) == 0.0
    assert busy_percent(Ticks(100, 1000), Ticks(130, 1010)) == 100.0


def test_waiting_for_a_disk_is_not_work_and_time_taken_by_a_hypervisor_is() -> None:
    assert parse_ticks("cpu  0 0 0 10 20 0 0 0 0 0\n") == Ticks(busy=0, total=30)
    assert parse_ticks("cpu  0 0 0 10 0 0 0 5 0 0\n") == Ticks(busy=5, total=15)


@pytest.mark.parametrize(("text", "number"), [("0\n", 1), ("0-1\n", 2), ("0,2-3,8-11\n", 7)])
def test_a_list_of_processors_is_counted(text: str, number: int) -> None:
    assert count_online(text) == number


def test_a_processor_that_does_not_say_its_model_has_none() -> None:
    assert parse_cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n") == ""


def test_a_kernel_that_does_not_say_is_unavailable(machine: Machine, recorded: Path) -> None:
    (recorded / "proc/meminfo").write_text("MemTotal: 1 kB\n")
    with pytest.raises(Unavailable, match="MemAvailable"):
        machine.load()
    (recorded / "proc/uptime").unlink()
    (recorded / "proc/meminfo").write_text(RECORDED["proc/meminfo"])
    with pytest.raises(Unavailable, match="uptime"):
        machine.load()


def test_this_machine_has_the_facts_that_other_sources_tell() -> None:
    facts = HostMachine().facts()
    assert facts.kernel == platform.release()
    assert facts.hostname == platform.node()
    assert facts.cpus == os.cpu_count()
    assert facts.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert str(uuid.UUID(facts.boot_id)) == facts.boot_id


def test_this_machine_has_a_load_in_bounds() -> None:
    machine = HostMachine()
    machine.load()
    load = machine.load()
    assert 0 <= load.cpu_percent <= 100
    assert 0 < load.memory_free <= machine.facts().memory
    assert load.uptime_s > 0


def test_a_fake_machine_says_what_a_real_one_said(machine: Machine) -> None:
    fake: Machine = FakeMachine(machine.facts(), machine.load())
    assert fake.facts() == machine.facts()
    assert fake.load().load1 == 1.25


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", ("192.0.2.1", "192.0.2.2")),
        ("# nameserver 192.0.2.9\nsearch example.org\noptions edns0\n", ()),
        ("nameserver 127.0.0.53\n", ()),
        ("nameserver ::1\nnameserver fe80::1%eth0\nnameserver\nnameserver nonsense\n", ()),
        ("nameserver 2001:db8::1\nnameserver 192.0.2.1\n", ("2001:db8::1", "192.0.2.1")),
    ],
)
def test_only_name_servers_that_guests_can_ask_are_told(text: str, servers: tuple[str, ...]) -> None:
    assert parse_resolvers(text) == servers
