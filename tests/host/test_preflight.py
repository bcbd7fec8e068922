"""What is found of a machine is judged: what is well, what is not, why, and what to do."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kit.builders import GIB

from covey.host.machine import FakeMachine
from covey.host.network.ears import parse_lldp
from covey.host.preflight import clock, hypervisor, network, processor, storage
from covey.host.preflight.clock import Discipline
from covey.model.machine import Facts, Load
from covey.model.preflight import Card, Finding, Heard

CARD = Card("eth0", "", "02:00:00:00:66:05", 1500, True, True, 1000, "", ("10.66.0.5/24",), ("10.66.0.1",))
HEARD = Heard(("10.66.0.1", "10.66.0.9"), (), ("10.66.0.1",))


def a_machine(memory: int = 64 * GIB, free: int = 60 * GIB) -> FakeMachine:
    return FakeMachine(Facts(4, memory, "boot", "n1", "6.1", "Xeon"), Load(free, 0.0, 0.0, 1.0))


def severity_and_fix(finding: Finding) -> tuple[str, str]:
    return finding.severity, finding.fix


# --- processors and memory ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("flags", "severity", "words"),
    [
        ("fpu vmx sse", "ok", "Intel VT-x"),
        ("fpu svm", "ok", "AMD-V"),
        ("fpu hypervisor", "warning", "itself virtual"),
        ("fpu", "warning", "firmware"),
    ],
)
def test_processors_without_virtualisation_are_told_of(tmp_path: Path, flags: str, severity: str, words: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name : Xeon\nflags\t\t: {flags}\n")
    found = processor.look_at_processors(a_machine(), tmp_path, tmp_path)
    assert found.severity == severity and words in f"{found.what} {found.why}"
    assert found.what.startswith("4 x Xeon")


def test_nested_virtualisation_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags : vmx\n")
    nested = tmp_path / "module/kvm_intel/parameters/nested"
    nested.parent.mkdir(parents=True)
    nested.write_text("Y\n")
    assert "nested guests too" in processor.look_at_processors(a_machine(), tmp_path, tmp_path).what


@pytest.mark.parametrize(
    ("memory", "free", "severity"), [(64, 60, "ok"), (2, 2, "warning"), (64, 0.5, "warning"), (0.5, 0.4, "error")]
)
def test_little_memory_is_told_of(memory: float, free: float, severity: str) -> None:
    assert processor.look_at_memory(a_machine(int(memory * GIB), int(free * GIB))).severity == severity


# --- the network -------------------------------------------------------------------------------------------------------------------
def judged(*cards: Card, heard: dict[str, Heard] | None = None) -> dict[str, Finding]:
    return {finding.object: finding for finding in network.judge_network(cards, heard or {"eth0": HEARD})}


def test_a_card_that_is_well_is_told_with_its_neighbours_and_its_switch() -> None:
    found = judged(CARD, heard={"eth0": replace(HEARD, switches=("sw1 port 12",))})
    assert found["nic eth0"] == Finding("ok", "nic eth0", "1 Gbit/s, 10.66.0.5/24; heard 10.66.0.1, 10.66.0.9; at sw1 port 12")
    assert found["default route"].severity == "ok"
    assert severity_and_fix(found["bridge"]) == ("warning", "covey node prepare --bridge br0 --nic eth0")


def test_an_address_of_another_network_is_an_error() -> None:
    found = judged(
        replace(CARD, addresses=("10.77.0.5/24",), gateways=("10.77.0.1",)), heard={"eth0": replace(HEARD, answering=())}
    )
    assert found["nic eth0"].severity == "error"
    assert "10.77.0.5/24 is not of this network" in found["nic eth0"].what and "10.66.0.1" in found["nic eth0"].why
    assert "10.77.0.1 by eth0 does not answer" in found["default route"].what


def test_a_stranger_beside_neighbours_of_the_own_network_is_no_finding() -> None:
    assert judged(CARD, heard={"eth0": Heard(("10.66.0.9", "192.168.7.7"))})["nic eth0"].severity == "ok"


def test_a_card_without_cable_counts_only_when_it_is_used() -> None:
    assert judged(CARD, replace(CARD, name="eth1", carrier=False, addresses=(), gateways=()))["nic eth1"].severity == "ok"
    assert judged(replace(CARD, carrier=False))["nic eth0"].severity == "warning"


def test_a_slow_card_is_told_of() -> None:
    assert judged(replace(CARD, speed=100))["nic eth0"].severity == "warning"


def test_a_bridge_with_the_card_in_it_is_what_guests_need() -> None:
    port = replace(CARD, master="br0", addresses=(), gateways=())
    bridge = replace(CARD, name="br0", kind="bridge")
    found = judged(port, bridge, heard={"br0": HEARD, "eth0": Heard()})
    assert found["bridge"] == Finding("ok", "bridge", "br0 with eth0 in it")
    assert "port of br0; heard 10.66.0.1" in found["nic eth0"].what
    assert found["default route"].what == "10.66.0.1 by br0"


def test_no_way_out_is_told_of() -> None:
    assert judged(replace(CARD, gateways=()))["default route"].severity == "warning"


@pytest.mark.parametrize(
    ("servers", "answering", "severity"),
    [((), (), "warning"), (("10.0.0.1",), (), "warning"), (("10.0.0.1", "10.0.0.2"), ("10.0.0.2",), "warning"), (("10.0.0.1",), ("10.0.0.1",), "ok")],
)  # fmt: skip
def test_name_servers_that_are_silent_are_told_of(servers: tuple[str, ...], answering: tuple[str, ...], severity: str) -> None:
    assert network.judge_names(servers, answering).severity == severity


def test_what_the_kernel_cannot_make_is_an_error_but_for_vlans() -> None:
    assert [finding.severity for finding in network.judge_kinds(("bridge", "vlan"))] == ["error", "warning"]
    assert [finding.severity for finding in network.judge_kinds(())] == ["ok"]


def test_a_switch_tells_its_name_and_port() -> None:
    def tlv(kind: int, value: bytes) -> bytes:
        return struct.pack("!H", kind << 9 | len(value)) + value

    frame = tlv(1, b"\x04\x02\0\0\0\0\x01") + tlv(2, b"\x05Gi0/12") + tlv(3, b"\0\x78") + tlv(5, b"sw1\n") + tlv(0, b"")
    assert parse_lldp(frame) == "sw1 port Gi0/12"
    assert parse_lldp(tlv(2, b"\x03\x02\0\0\0\0\x07") + tlv(0, b"")) == "a switch port 02:00:00:00:00:07"
    assert parse_lldp(b"\xff\xff\xff") == ""


# --- storage -----------------------------------------------------------------------------------------------------------------------
def test_a_disk_is_free_when_nothing_is_on_it() -> None:
    empty = {
        "path": "/dev/sdb",
        "type": "disk",
        "size": 500 * GIB,
        "fstype": None,
        "pttype": None,
        "mountpoints": [None],
        "ro": False,
    }
    used = (
        {**empty, "path": "/dev/sda", "pttype": "gpt", "children": [{}]},
        {**empty, "path": "/dev/sdc", "fstype": "LVM2_member"},
        {**empty, "path": "/dev/sdd", "mountpoints": ["/srv"]},
        {**empty, "path": "/dev/zram0"},
    )
    disks = storage.parse_disks(json.dumps({"blockdevices": [*used, empty]}))
    assert [disk.path for disk in disks if disk.is_free] == ["/dev/sdb"]
    assert [finding.object for finding in storage.judge_disks(disks)] == ["disk /dev/sdb"]


def test_the_file_system_of_a_directory_is_that_of_the_nearest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nserver:/x /srv nfs4 rw 0 0\n/dev/b /srv/my\\040disk xfs rw 0 0\n"
    assert [storage.kind_of(Path(path), mounts) for path in ("/var/lib", "/srv/vm", "/srv/my disk/vm")] == ["ext4", "nfs4", "xfs"]


def test_a_place_on_another_machine_is_told_of(tmp_path: Path) -> None:
    found = storage.look_at_place(tmp_path / "state", f"server:/x {tmp_path} nfs4 rw 0 0\n")
    assert found.severity in ("warning", "error") and "nfs4" in found.what


# --- clock and hypervisor ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("discipline", "daemon", "severity"),
    [
        (Discipline(True, 0.01), "chronyd", "ok"),
        (Discipline(True, 0.01), "", "ok"),
        (Discipline(False, 16.0), "chronyd", "warning"),
        (Discipline(False, 16.0), "", "warning"),
        (Discipline(True, 3.0), "ntpd", "warning"),
    ],
)
def test_a_clock_that_nobody_keeps_right_is_told_of(discipline: Discipline, daemon: str, severity: str) -> None:
    assert clock.judge_clock(discipline, daemon).severity == severity


def test_the_program_that_keeps_the_clock_is_found(tmp_path: Path) -> None:
    for pid, name in (("1", "systemd"), ("77", "chronyd"), ("self", "chronyd")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    assert clock.find_daemon(tmp_path) == "chronyd"
    assert clock.read_discipline().error_s >= 0.0


def test_guests_of_others_are_named_and_those_of_covey_are_not(tmp_path: Path) -> None:
    defined = tmp_path / "etc/libvirt/qemu"
    defined.mkdir(parents=True)
    (defined / "win.xml").write_text("<!-- made by virsh --><domain type='kvm'><name>win</name></domain>")
    running = ("guest=win,debug-threads=on", "guest=5f3c1f0e-0000-4000-8000-000000000001,x", "")
    for pid, name in enumerate(running, 100):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/cmdline").write_bytes(b"/usr/bin/qemu-system-x86_64\0-name\0" + name.encode() + b"\0")
    (tmp_path / "proc/7").mkdir()
    (tmp_path / "proc/7/cmdline").write_bytes(b"vi\0qemu-system-x86_64\0")
    found = hypervisor.look_at_foreign_guests(tmp_path)
    assert [(finding.object, finding.what.partition(";")[0]) for finding in found] == [
        ("guest QEMU of process 102", "runs"),
        ("guest win", "runs"),
    ]


def test_the_systems_libvirt_may_be_missing(tmp_path: Path) -> None:
    assert "does not run" in hypervisor.look_at_libvirt(tmp_path).what


async def test_a_program_that_is_missing_is_an_error_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = await hypervisor.look_at_programs()
    assert {finding.severity for finding in found} == {"error"}
    assert found[0].fix == "apt install libvirt-daemon-system"
