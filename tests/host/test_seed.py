"""The seed that a guest reads at its first boot."""

from __future__ import annotations

import asyncio
import email
import io
import json
import shutil
import stat
import subprocess
from email.message import Message
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import yaml

from covey.base.run import run
from covey.host.guest.ready import READY_SCRIPT, READY_UNIT, render_boothook
from covey.host.guest.seed import VOLUME, ensure_seed, ensure_seed_absent, render_network_config, render_vendor_data
from covey.model.domain import READY_CHANNEL
from covey.model.seed import Seed, SeedNic

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDemoDemoDemoDemoDemoDemoDemoDemoDemoDemoDemo anna@school"
LAN = SeedNic("02:c0:7e:11:22:33", "10.77.0.10/24", "10.77.0.1", ("10.77.0.1", "10.77.0.2"))
BOTH = SeedNic("02:c0:7e:11:22:55", "10.77.0.11/24", "10.77.0.1", ("fd00:77::53",), "fd00:77::11/64", "fd00:77::1")
SIX = SeedNic("02:c0:7e:11:22:66", "", "", (), "fd00:77::12/64", "fd00:77::1")
BARE = SeedNic("02:c0:7e:11:22:44", "", "", ())


def a_seed(nics: tuple[SeedNic, ...] = (LAN, BARE)) -> Seed:
    return Seed("5f0a3c1e-0000-4000-8000-000000000001", "web1.school.lan", (KEY,), nics)


def read_iso(path: Path) -> dict[str, bytes]:
    """The files of an ISO by the names that Linux shows (Rock Ridge)."""
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        assert iso.pvd.volume_identifier.decode().strip() == VOLUME
        files = {}
        for child in iso.list_children(rr_path="/"):
            if child.is_file():
                out = io.BytesIO()
                iso.get_file_from_iso_fp(out, rr_path=f"/{child.rock_ridge.name().decode()}")
                files[child.rock_ridge.name().decode()] = out.getvalue()
        return files
    finally:
        iso.close()


def first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline()


def vendor_parts() -> dict[str, str]:
    """The parts of the vendor-data by file name."""
    message: Message = email.message_from_string(render_vendor_data())
    return {
        str(part.get_filename()): bytes(part.get_payload(decode=True)).decode()
        for part in message.walk()
        if not part.is_multipart()
    }


async def test_the_seed_holds_the_four_files_of_nocloud(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "", None)
    assert sorted(read_iso(path)) == ["meta-data", "network-config", "user-data", "vendor-data"]


async def test_meta_data_names_the_instance_its_host_name_and_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "", None)
    assert yaml.safe_load(read_iso(path)["meta-data"]) == {
        "instance-id": a_seed().instance,
        "local-hostname": "web1.school.lan",
        "public-keys": [KEY],
    }


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\nruncmd: [[echo, ünïcode]]\n",
        "#!/bin/sh\necho hello\n",
        "#!/bin/sh\r\necho no line feed at the end",
        'Content-Type: multipart/mixed; boundary="x"\n\n--x--\n',
    ],
)
async def test_user_data_is_passed_through_unchanged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), text, None)
    assert read_iso(path)["user-data"] == text.encode()


async def test_without_user_data_there_is_an_empty_cloud_config(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "", None)
    text = read_iso(path)["user-data"].decode()
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {}


def test_a_nic_gets_the_address_gateway_and_dns_of_its_mac_and_a_bare_one_gets_nothing() -> None:
    config = render_network_config((LAN, BARE))
    assert config["version"] == 2
    first, second = config["ethernets"].values()
    assert first["match"] == {"macaddress": LAN.mac}
    assert first["addresses"] == ["10.77.0.10/24"]
    assert first["gateway4"] == "10.77.0.1"
    assert first["nameservers"] == {"addresses": ["10.77.0.1", "10.77.0.2"]}
    assert second == {"match": {"macaddress": BARE.mac}, "dhcp4": False, "dhcp6": False}


def test_a_machine_without_nics_has_an_empty_network() -> None:
    assert render_network_config(()) == {"version": 2, "ethernets": {}}


def test_root_may_log_in_by_key_unless_the_user_says_otherwise() -> None:
    config: dict[str, Any] = yaml.safe_load(vendor_parts()["covey-root.cfg"])
    assert config == {"disable_root": False}


def test_the_report_is_installed_by_a_boothook_which_no_user_data_can_replace() -> None:
    assert vendor_parts()["covey-ready.sh"].strip() == render_boothook().strip()
    assert f"/dev/virtio-ports/{READY_CHANNEL}" in render_boothook()


@pytest.mark.parametrize("script", [render_boothook(), READY_SCRIPT])
async def test_the_scripts_are_understood_by_a_plain_shell(script: str) -> None:
    await run(["/bin/sh", "-n"], stdin=script.encode(), timeout_s=10)


def test_the_unit_closes_no_circle_with_the_end_of_the_boot() -> None:
    """cloud-final.service waits for multi-user.target, which waits for all it wants: neither order nor one-shot here."""
    assert "Type=simple" in READY_UNIT
    assert "cloud-final" not in READY_UNIT


async def test_the_report_is_one_line_of_json(tmp_path: Path) -> None:
    """The script runs as it is, with a FIFO for the port: it blocks until somebody reads, as the real port does."""
    port = tmp_path / "port"
    await run(["mkfifo", str(port)], timeout_s=10)
    script = READY_SCRIPT.replace(f"port=/dev/virtio-ports/{READY_CHANNEL}", f"port={port}")
    assert str(port) in script
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20):
            line = await asyncio.to_thread(first_line, port)
    finally:
        process.kill()
        await process.wait()
    report = json.loads(line)
    assert report["ready"] is True
    assert report["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert report["status"] == "done"
    assert isinstance(report["addresses"], list)
    assert report["seconds"] > 0


async def test_ensuring_a_seed_twice_is_ensuring_it_once(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "#cloud-config\n", None)
    first = path.stat()
    await ensure_seed(path, a_seed(), "#cloud-config\n", None)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    await ensure_seed(path, a_seed(), "#!/bin/sh\n", None)
    assert read_iso(path)["user-data"] == b"#!/bin/sh\n"


async def test_a_seed_is_for_its_owner_alone_because_user_data_may_hold_secrets(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "", (12345, 12346))
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (status.st_uid, status.st_gid) == (12345, 12346)


async def test_a_seed_of_which_a_kill_left_a_part_is_replaced_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    path.with_name(".seed.iso.new").write_bytes(b"half")
    await ensure_seed(path, a_seed(), "", None)
    path.with_name(".seed.iso.new").write_bytes(b"half")
    await ensure_seed_absent(path)
    await ensure_seed_absent(path)
    assert list(tmp_path.iterdir()) == []


async def test_a_seed_in_a_directory_that_is_gone_is_absent(tmp_path: Path) -> None:
    await ensure_seed_absent(tmp_path / "gone" / "seed.iso")


async def test_linux_reads_the_files_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    await ensure_seed(path, a_seed(), "", None)
    assert shutil.which("xorriso"), "xorriso is part of the test machine"
    listing = (await run(["xorriso", "-indev", str(path), "-ls", "/"], timeout_s=30)).text
    for name in ("meta-data", "network-config", "user-data", "vendor-data"):
        assert f"'{name}'" in listing


def test_a_nic_is_told_of_the_families_that_it_has() -> None:
    both, six = render_network_config((BOTH, SIX))["ethernets"].values()
    assert both["addresses"] == ["10.77.0.11/24", "fd00:77::11/64"]
    assert (both["gateway4"], both["gateway6"], both["nameservers"]) == (
        "10.77.0.1",
        "fd00:77::1",
        {"addresses": ["fd00:77::53"]},
    )
    assert (six["addresses"], six["gateway6"]) == (["fd00:77::12/64"], "fd00:77::1")
    assert "gateway4" not in six and not six["dhcp6"]


def test_a_gateway_outside_of_the_guests_subnet_is_on_the_link() -> None:
    alone = SeedNic("02:c0:7e:11:22:77", "192.0.2.30/32", "169.254.1.1", (), "2001:db8::30/128", "fd00:c07e::1")
    (nic,) = render_network_config((alone,))["ethernets"].values()
    assert (nic["gateway4"], nic["gateway6"]) == ("169.254.1.1", "fd00:c07e::1")
    assert nic["routes"] == [{"to": "169.254.1.1/32", "scope": "link"}, {"to": "fd00:c07e::1/128", "scope": "link"}]


def test_a_nic_of_a_network_whose_addresses_are_the_sites_affair_asks_for_one() -> None:
    (nic,) = render_network_config((SeedNic("02:c0:7e:11:22:88", "", "", (), asks=True),))["ethernets"].values()
    assert (nic["dhcp4"], nic["dhcp6"]) == (True, True)
