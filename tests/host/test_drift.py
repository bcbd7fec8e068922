"""What of a domain's XML betrays another hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from covey.host.hypervisor.definition import FORM, WITHOUT_IO_THREAD
from covey.host.hypervisor.drift import definition_drift, run_drift
from covey.host.hypervisor.places import guest_files
from covey.host.hypervisor.xml import render_domain
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk
from covey.model.pool import Place, Volume

INSTANCE = "0a1b2c3d-1111-4222-8333-444455556666"
FIRST = Volume("5f0a3c1e-0000-4000-8000-000000000001", Place("file", "/srv/pool"), "qcow2", 2**30)
SECOND = replace(FIRST, id="5f0a3c1e-0000-4000-8000-000000000002")
ISO = "5f0a3c1e-0000-4000-8000-000000000003"
WEB = Domain(INSTANCE, "web1", 2, 64 * 2**20, "tcg", "pc-q35-7.2", (DomainDisk(0, FIRST),), iso=ISO)
FILES = guest_files(Path("/var/lib/covey/instances"), INSTANCE, Path("/var/lib/covey/seed.iso"))


def described(domain: Domain, form: int = FORM) -> str:
    """As libvirt tells it back: with the memory that the guest begins with."""
    attachments = {one.id: Attachment("file", f"/srv/{one.id}", "qcow2") for one in (FIRST, SECOND)}
    text = render_domain(domain, attachments | {ISO: Attachment("file", "/srv/iso", "raw")}, 1, "job-1", FILES, form=form)
    return text.replace("</memory>", '</memory>\n<currentMemory unit="KiB">65536</currentMemory>', 1)


def test_what_covey_rendered_is_as_it_should_be() -> None:
    assert definition_drift(WEB, described(WEB), FILES) == ()
    assert run_drift(WEB, WEB, described(WEB), FILES) == ()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<vcpu>2</vcpu>", "<vcpu>4</vcpu>", "vcpu is 4, not 2"),
        ('<currentMemory unit="KiB">65536', '<currentMemory unit="KiB">32768', "currentMemory is 32768, not 65536"),
        ('machine="pc-q35-7.2"', 'machine="pc-q35-6.0"', "in os: type machine is pc-q35-6.0, not pc-q35-7.2"),
        ("<title>web1</title>", "", "<title> is gone"),
        ('cache="none"', 'cache="unsafe"', "disk vda: in disk: driver cache is unsafe, not none"),
        ("<devices>", '<devices><hostdev mode="subsystem" />', "a hostdev that Covey did not define"),
        ('<panic model="isa" />', "", "a panic is gone"),
    ],
)
def test_another_hand_is_told_by_what_it_changed(old: str, new: str, sentence: str) -> None:
    text = described(WEB)
    assert old in text
    assert definition_drift(WEB, text.replace(old, new, 1), FILES) == (sentence,)


def test_what_libvirt_adds_is_no_drift() -> None:
    text = described(WEB).replace("<devices>", '<devices><input type="mouse" bus="ps2" /><controller type="sata" index="0" />')
    assert definition_drift(WEB, text.replace("<vcpu>", '<vcpu placement="static">'), FILES) == ()


def test_how_a_kernel_is_asked_for_files_is_no_drift() -> None:
    assert 'io="threads"' in described(WEB)
    assert definition_drift(WEB, described(WEB).replace('io="threads"', 'io="io_uring"'), FILES) == ()


def test_what_an_older_release_rendered_is_as_that_release_said_it() -> None:
    old = described(WEB, WITHOUT_IO_THREAD)
    assert definition_drift(WEB, old, FILES, WITHOUT_IO_THREAD) == ()
    assert run_drift(WEB, WEB, old, FILES, WITHOUT_IO_THREAD) == ()
    assert definition_drift(WEB, old, FILES) == ("<iothreads> is gone", "disk vda: in disk: driver iothread is gone, not 1")


def test_io_threads_of_raw_xml_are_no_drift() -> None:
    raw = replace(WEB, raw_xml="<iothreads>4</iothreads>")
    assert definition_drift(raw, described(raw), FILES) == ()


def test_what_covey_plugged_in_is_no_drift_of_the_run_and_what_another_did_is() -> None:
    grown = replace(WEB, disks=(*WEB.disks, DomainDisk(1, SECOND)))
    assert run_drift(WEB, grown, described(grown), FILES) == ()
    assert run_drift(WEB, WEB, described(grown), FILES) == ("disk vdb that Covey did not define",)


def test_a_drive_whose_disc_was_taken_out_is_no_drift() -> None:
    empty = described(WEB).replace('<source file="/srv/iso" />', "")
    ejected = replace(WEB, iso="")
    assert run_drift(ejected, ejected, empty, FILES) == ()


def test_devices_of_raw_xml_are_the_administrators() -> None:
    raw = replace(WEB, raw_xml="<devices><watchdog model='i6300esb'/></devices>")
    assert definition_drift(raw, described(raw).replace("i6300esb", "i6300esb' action='reset".replace("'", '"')), FILES) == ()
