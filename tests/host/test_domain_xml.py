"""A Domain becomes libvirt's XML: what is in it, what a user's words can do to it, and that libvirt's own schema takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.kit.hypervisors import LibvirtBench

from covey.base.errors import BadInput, NotFound, Refused
from covey.host.hypervisor.definition import (
    FORM,
    WITHOUT_IO_THREAD,
    Mark,
    definition_text,
    digest,
    with_disk,
    without_disk,
)
from covey.host.hypervisor.places import GuestFiles, guest_files
from covey.host.hypervisor.sighting import parse_mark, volumes
from covey.host.hypervisor.xml import (
    SPARE_PORTS,
    boot_orders,
    disk_target,
    mark_element,
    printable,
    render_disk,
    render_domain,
    render_mark,
)
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, DomainNic
from covey.model.pool import Place, Volume
from covey.model.rawxml import COMMANDLINE

INSTANCE = "0a1b2c3d-1111-4222-8333-444455556666"
FIRST = Volume("5f0a3c1e-0000-4000-8000-000000000001", Place("file", "/srv/pool"), "qcow2", 2**30)
SECOND = Volume("5f0a3c1e-0000-4000-8000-000000000002", Place("file", "/srv/pool"), "raw", 2**30)
ISO = "5f0a3c1e-0000-4000-8000-000000000003"
ATTACHMENTS = {
    ISO: Attachment("file", "/srv/images/debian.iso", "raw"),
    FIRST.id: Attachment("file", f"/srv/pool/{FIRST.id}.qcow2", "qcow2"),
    SECOND.id: Attachment("block", f"/dev/vg0/{SECOND.id}", "raw"),
}
SMALL = Domain(INSTANCE, "web1", 1, 16 * 2**20, "tcg", "pc-q35-7.2", (DomainDisk(0, FIRST),))
LARGE = Domain(
    instance=INSTANCE,
    title="web1.example.org",
    cpus=4,
    memory=2**31,
    accelerator="kvm",
    machine="pc-q35-7.2",
    disks=(DomainDisk(0, FIRST), DomainDisk(1, SECOND)),
    nics=(DomainNic(0, "02:c0:7e:11:22:33", "br-lan"),),
    iso=ISO,
    seed=True,
)
GOLDEN = Path(__file__).parent / "golden"


def files() -> GuestFiles:
    return guest_files(Path("/var/lib/covey/instances"), INSTANCE, Path("/var/lib/covey/seeds") / f"{INSTANCE}.iso")


def rendered(domain: Domain, generation: int = 0, job: str = "job-1") -> str:
    return render_domain(domain, ATTACHMENTS, generation, job, files())


def parsed(domain: Domain) -> ElementTree.Element:
    return ElementTree.fromstring(rendered(domain))  # noqa: S314


@pytest.mark.parametrize(("name", "domain"), [("small", SMALL), ("large", LARGE)])
def test_the_xml_is_the_golden_one(name: str, domain: Domain) -> None:
    text = (
        rendered(domain, 3, "job-7").replace(definition_text(domain).replace("&", "&amp;"), "...").replace(digest(domain), "...")
    )
    assert text == (GOLDEN / f"domain-{name}.xml").read_text()


@pytest.mark.real
async def test_libvirts_schema_takes_the_xml_and_qemus_driver_defines_it() -> None:
    bench = LibvirtBench()
    await bench.open()
    try:
        for domain in (
            SMALL,
            replace(LARGE, accelerator="tcg"),
            replace(SMALL, disks=()),
            replace(SMALL, title="<&> \"'täst \x00\n"),
        ):
            await bench.hypervisor.ensure_defined(domain, ATTACHMENTS, "job-1")
            assert printable(domain.title) in bench.virsh("list", "--all", "--title")
            found = await bench.hypervisor.domain(INSTANCE)
            assert found and found.definition == digest(domain)
    finally:
        await bench.close()


def test_the_same_values_give_the_same_text() -> None:
    assert rendered(LARGE) == rendered(LARGE)


def test_a_title_is_text_whatever_it_holds() -> None:
    title = "</title><on_poweroff>preserve</on_poweroff> & \"quoted\" 'täst' 試験"
    root = parsed(replace(SMALL, title=title))
    assert root.findtext("title") == title
    assert root.findtext("on_poweroff") == "destroy"


def test_control_characters_of_a_title_are_replaced() -> None:
    assert printable("a\x00b\nc\ud800") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"


def test_a_kvm_guest_has_the_hosts_cpu_and_an_emulated_one_a_fixed_model() -> None:
    kvm, tcg = parsed(replace(SMALL, accelerator="kvm")), parsed(SMALL)
    assert (kvm.get("type"), tcg.get("type")) == ("kvm", "qemu")
    assert kvm.find("cpu[@mode='host-passthrough']") is not None
    assert tcg.findtext("cpu/model") == "qemu64"
    assert parsed(replace(SMALL, firmware="uefi")).findtext("cpu/model") == "Nehalem"


def test_an_emulated_cpu_is_of_the_second_level_and_one_that_was_asked_for_is_as_it_is() -> None:
    usual, asked = (parsed(replace(SMALL, cpu_model=model)) for model in ("", "qemu64"))
    assert [feature.get("name") for feature in usual.iterfind("cpu/feature")] == ["ssse3", "sse4.1", "sse4.2", "popcnt"]
    assert asked.find("cpu/feature") is None


def test_the_machine_type_is_the_pinned_one() -> None:
    machine = parsed(replace(SMALL, machine="pc-q35-6.2")).find("os/type")
    assert machine is not None
    assert machine.get("machine") == "pc-q35-6.2"


def test_a_cd_boots_before_the_first_disk_and_the_seed_never() -> None:
    orders = {
        target.get("dev"): boot.get("order")
        for disk in parsed(LARGE).iterfind("devices/disk")
        if (target := disk.find("target")) is not None and (boot := disk.find("boot")) is not None
    }
    assert orders == {"sda": "1", "vda": "2"}


def test_the_first_disk_boots_when_there_is_no_cd() -> None:
    assert parsed(SMALL).find("devices/disk/boot[@order='1']") is not None


def test_a_full_pool_pauses_the_guest_and_nothing_is_cached() -> None:
    driver = parsed(SMALL).find("devices/disk/driver")
    assert driver is not None
    assert (driver.get("cache"), driver.get("error_policy"), driver.get("discard")) == ("none", "enospace", "unmap")


def test_a_guest_can_find_a_disk_by_its_volume() -> None:
    serial = parsed(SMALL).findtext("devices/disk/serial")
    assert serial == FIRST.id.replace("-", "")[:20]


def test_there_are_free_ports_for_disks_to_come() -> None:
    few = len(parsed(SMALL).findall("devices/controller[@model='pcie-root-port']"))
    more = len(parsed(LARGE).findall("devices/controller[@model='pcie-root-port']"))
    assert few > SPARE_PORTS
    assert more == few + 3  # a disk, a NIC and the seed's controller


def test_a_guest_that_ends_badly_is_not_started_again_by_libvirt() -> None:
    root = parsed(SMALL)
    assert [root.findtext(event) for event in ("on_poweroff", "on_reboot", "on_crash")] == ["destroy", "restart", "destroy"]


def test_the_mark_survives_libvirts_xml() -> None:
    mark = Mark(7, "job-9", LARGE)
    assert parse_mark(render_mark(mark)) == mark
    assert parse_mark(ElementTree.tostring(mark_element(mark), encoding="unicode")) == mark


def test_a_mark_that_names_no_form_is_of_a_release_before_there_were_io_threads() -> None:
    old = parse_mark(render_mark(Mark(7, "job-9", LARGE)).replace(f' form="{FORM}"', ""))
    assert old == Mark(7, "job-9", LARGE, WITHOUT_IO_THREAD)
    assert old.digest == digest(LARGE)
    assert not old.has_io_thread


def test_every_disk_is_served_by_the_one_io_thread() -> None:
    root = parsed(LARGE)
    assert root.findtext("iothreads") == "1"
    assert [driver.get("iothread") for driver in root.iterfind("devices/disk[@device='disk']/driver")] == ["1", "1"]


def test_io_threads_of_raw_xml_are_the_administrators() -> None:
    root = parsed(replace(SMALL, raw_xml="<iothreads>4</iothreads>"))
    assert [part.text for part in root.iterfind("iothreads")] == ["4"]
    assert root.find("devices/disk/driver[@iothread]") is None


def test_somebody_elses_metadata_is_no_mark() -> None:
    assert parse_mark("<domain generation='x'>{}</domain>") is None
    assert parse_mark("<domain>no JSON</domain>") is None


def test_an_accelerator_nobody_knows_is_bad_input() -> None:
    with pytest.raises(BadInput):
        rendered(replace(SMALL, accelerator="xen"))


def test_a_volume_without_attachment_is_not_found() -> None:
    with pytest.raises(NotFound):
        render_domain(SMALL, {}, 0, "job-1", files())


def test_disks_are_named_from_vda_to_vdz() -> None:
    assert (disk_target(0), disk_target(25)) == ("vda", "vdz")
    for index in (-1, 26):
        with pytest.raises(BadInput):
            disk_target(index)


def test_volumes_are_told_in_the_order_of_their_disks() -> None:
    assert volumes(rendered(replace(LARGE, disks=LARGE.disks[::-1]))) == (FIRST.id, SECOND.id)


def test_a_disk_alone_is_as_it_is_in_the_whole() -> None:
    alone = ElementTree.fromstring(render_disk(DomainDisk(1, SECOND), ATTACHMENTS[SECOND.id]))  # noqa: S314
    (whole,) = [one for one in parsed(LARGE).iterfind("devices/disk") if one.find("target[@dev='vdb']") is not None]
    ElementTree.indent(whole)
    ElementTree.indent(alone)
    whole.tail = None
    assert ElementTree.tostring(alone) == ElementTree.tostring(whole)


def test_a_file_is_reached_as_the_machine_allows_and_a_device_by_native_io() -> None:
    file, device = Attachment("file", "/srv/a.raw", "raw"), Attachment("block", "/dev/a", "raw")
    found = [render_disk(DomainDisk(1, SECOND), attachment, "io_uring") for attachment in (file, device)]
    assert ['io="io_uring"' in text for text in found] == [True, False]
    assert 'io="native"' in found[1]
    whole = ElementTree.fromstring(render_domain(SMALL, ATTACHMENTS, 0, "job-1", files(), "io_uring"))  # noqa: S314
    assert whole.find("devices/disk/driver[@io='io_uring']") is not None


def test_equal_definitions_have_equal_digests_and_others_do_not() -> None:
    assert digest(SMALL) == digest(replace(SMALL))
    assert digest(SMALL) != digest(replace(SMALL, cpus=2))


def test_a_disk_added_and_taken_away_leaves_the_definition_as_it_was() -> None:
    assert without_disk(with_disk(SMALL, DomainDisk(1, SECOND)), 1) == SMALL


def test_a_volume_is_one_disk_only() -> None:
    with pytest.raises(Refused):
        with_disk(SMALL, DomainDisk(1, FIRST))
    with pytest.raises(Refused):
        with_disk(SMALL, DomainDisk(0, SECOND))


def test_sockets_with_too_long_a_path_are_refused() -> None:
    with pytest.raises(Refused, match="unix socket"):
        guest_files(Path("/" + "x" * 80), INSTANCE, Path("/seed"))


def test_room_to_grow_is_cpus_that_are_off_and_a_device_that_memory_is_plugged_by() -> None:
    root = parsed(replace(SMALL, cpus=2, max_cpus=4, memory=21 * 2**20, max_memory=2**30 + 1))
    vcpu = root.find("vcpu")
    assert vcpu is not None
    assert (vcpu.get("current"), vcpu.text) == ("2", "4")
    cell = root.find("cpu/numa/cell")
    assert cell is not None
    assert (cell.get("cpus"), cell.get("memory")) == ("0-3", str(21 * 1024))
    blocks = (2**30 - 21 * 2**20) // (2 * 2**20)
    assert root.findtext("devices/memory[@model='virtio-mem']/target/size") == str(blocks * 2048)


def test_without_a_maximum_there_is_no_room_to_grow() -> None:
    root = parsed(replace(SMALL, cpus=2, max_cpus=2, max_memory=SMALL.memory))
    assert root.find("vcpu[@current]") is None
    assert root.find("devices/memory") is None
    assert root.find("maxMemory") is None


def test_the_usual_boot_order_is_the_cdrom_then_the_first_disk() -> None:
    assert boot_orders(LARGE) == {"cdrom": 1, "disk/0": 2}
    assert boot_orders(replace(LARGE, boot=("network", "disk"))) == {"nic/0": 1, "disk/0": 2}
    assert boot_orders(replace(SMALL, boot=("cdrom", "network"))) == {}


def test_a_nic_that_is_booted_from_has_its_rom() -> None:
    nic = parsed(replace(LARGE, boot=("network",))).find("devices/interface")
    assert nic is not None
    assert nic.find("rom") is None
    assert nic.find("boot[@order='1']") is not None


def test_uefi_is_ovmf_with_variables_of_the_guests_own() -> None:
    os = parsed(replace(SMALL, firmware="uefi")).find("os")
    assert os is not None
    assert os.findtext("nvram") == str(files().nvram)
    assert os.find("loader[@secure='no']") is not None


@pytest.mark.parametrize(
    ("accelerator", "model", "mode", "name"),
    [
        ("tcg", "", "custom", "qemu64"),
        ("kvm", "", "host-passthrough", None),
        ("tcg", "host", "maximum", None),
        ("kvm", "x86-64-v3", "custom", "Haswell-noTSX"),
        ("tcg", "Penryn", "custom", "Penryn"),
    ],
)
def test_a_cpu_model_is_a_level_a_name_or_the_hosts(accelerator: str, model: str, mode: str, name: str | None) -> None:
    cpu = parsed(replace(SMALL, accelerator=accelerator, cpu_model=model)).find("cpu")
    assert cpu is not None
    assert (cpu.get("mode"), cpu.findtext("model")) == (mode, name)


def test_raw_xml_comes_last() -> None:
    raw = "<devices><watchdog model='i6300esb'/></devices><qemu:commandline><qemu:arg value='-s'/></qemu:commandline>"
    root = parsed(replace(SMALL, raw_xml=raw))
    devices = root.find("devices")
    assert devices is not None
    assert devices[-1].tag == "watchdog"
    assert root[-1].tag == COMMANDLINE
