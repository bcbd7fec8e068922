"""The seed of one machine: a small ISO that cloud-init's NoCloud source reads at every boot.

Four files (cloud-init's documentation, "NoCloud"): meta-data (who), network-config (version 2), user-data (the user's,
passed through unchanged) and vendor-data (ours). SSH keys are in the meta-data, because there they are no part of any
cloud-config that the user's own could replace as a whole: cloud-init merges dictionaries, not lists.

The kernel of Debian's cloud images has no AHCI driver: attach the ISO as a virtio disk or by virtio-scsi, not as a SATA
CD-ROM.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import yaml

from covey.base.files import remove_durably, write_durably
from covey.host.faults import told_apart
from covey.host.guest.growth import GROWTH_BOOTHOOK
from covey.host.guest.ready import render_boothook
from covey.host.threads import in_thread
from covey.model.seed import Seed, SeedNic

VOLUME = "cidata"
# A boothook runs at every boot; cloud-init-per (cloud-init's documentation, "boothook") lets this be once an instance. Host keys
# and host name cloud-init makes anew by itself for a new instance.
SEAL_BOOTHOOK = """#!/bin/sh
cloud-init-per instance covey-seal sh -c 'rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup'
"""
NO_USER_DATA = "#cloud-config\n{}\n"


async def ensure_seed(path: Path, seed: Seed, user_data: str, owner: tuple[int, int] | None) -> None:
    """The ISO at `path` says what `seed` and `user_data` say, readable by `owner` (uid, gid) alone: user-data may hold
    secrets. A seed that says it already is left as it is. Raises NoSpace, and Unavailable when the directory is not there."""
    await in_thread(_write, path, render_files(seed, user_data), owner)


async def ensure_seed_absent(path: Path) -> None:
    """No seed is left at `path`."""
    await in_thread(_remove, path)


def render_files(seed: Seed, user_data: str) -> dict[str, bytes]:
    """The files of the seed by name."""
    return {
        "meta-data": _yaml(render_meta_data(seed)).encode(),
        "network-config": _yaml(render_network_config(seed.nics)).encode(),
        "user-data": (user_data or NO_USER_DATA).encode(),
        "vendor-data": render_vendor_data(seed.sealed).encode(),
    }


def render_meta_data(seed: Seed) -> dict[str, Any]:
    return {
        "instance-id": seed.identity or seed.instance,
        "local-hostname": seed.hostname,
        "public-keys": list(seed.ssh_keys),
    }


def render_network_config(nics: tuple[SeedNic, ...]) -> dict[str, Any]:
    """Netplan's version 2. NICs are found by MAC; one without an address is brought up with none (and no DHCP)."""
    return {"version": 2, "ethernets": {f"nic{number}": _render_nic(nic) for number, nic in enumerate(nics)}}


def _render_nic(nic: SeedNic) -> dict[str, Any]:
    if nic.asks:
        return {"match": {"macaddress": nic.mac}, "dhcp4": True, "dhcp6": True}
    config: dict[str, Any] = {"match": {"macaddress": nic.mac}, "dhcp4": False, "dhcp6": False}
    addresses = [address for address in (nic.address, nic.address6) if address]
    if addresses:
        config["addresses"] = addresses
    # Not a default route: every cloud-init since 2017 and every renderer understands these.
    for key, gateway in (("gateway4", nic.gateway), ("gateway6", nic.gateway6)):
        if gateway:
            config[key] = gateway
    routes = [
        _on_link(gateway)
        for address, gateway in ((nic.address, nic.gateway), (nic.address6, nic.gateway6))
        if gateway and ipaddress.ip_address(gateway) not in ipaddress.ip_interface(address).network
    ]
    if routes:
        config["routes"] = routes
    if addresses and nic.dns:
        config["nameservers"] = {"addresses": list(nic.dns)}
    return config


def _on_link(gateway: str) -> dict[str, Any]:
    """The way to a gateway that is in no subnet of the guest's: it is on the link. Not by `on-link` of a default route: cloud-init's own
    renderer for networkd does not know the word, and makes ::/64 of ::/0 (22.4)."""
    return {"to": f"{gateway}/{ipaddress.ip_address(gateway).max_prefixlen}", "scope": "link"}


def render_vendor_data(sealed: bool = False) -> str:
    """Three parts: root may log in by key (Debian's images forbid it), the reporter of readiness, and that CPUs and memory plugged
    in while the guest runs are used. The user's cloud-config wins over the first; nothing in it touches the others. A clone gets a
    machine id of its own by a fourth."""
    parts = MIMEMultipart(boundary="covey-part")
    for subtype, name, text in (
        ("cloud-config", "covey-root.cfg", _yaml({"disable_root": False}, "#cloud-config\n")),
        ("cloud-boothook", "covey-ready.sh", render_boothook()),
        ("cloud-boothook", "covey-growth.sh", GROWTH_BOOTHOOK),
        *((("cloud-boothook", "covey-seal.sh", SEAL_BOOTHOOK),) if sealed else ()),
    ):
        part = MIMEText(text, subtype, "us-ascii")
        part.add_header("Content-Disposition", "attachment", filename=name)
        parts.attach(part)
    return parts.as_string()


def _write(path: Path, files: dict[str, bytes], owner: tuple[int, int] | None) -> None:
    with told_apart(path.parent, "a seed"):
        if not (path.exists() and _read_iso(path) == files):
            write_durably(path, _render_iso(files), 0o600)
        if owner:
            os.chown(path, *owner)


def _remove(path: Path) -> None:
    if path.parent.exists():
        with told_apart(path.parent, "a seed"):
            path.with_name(f".{path.name}.new").unlink(missing_ok=True)  # of an ensure that was killed
            remove_durably(path)


def _yaml(value: dict[str, Any], first_line: str = "") -> str:
    return first_line + str(yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True))


def _render_iso(files: dict[str, bytes]) -> bytes:
    """An ISO 9660 with Rock Ridge and Joliet names."""
    import pycdlib  # when there is something to do: agents without guests do without its memory

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=VOLUME)
    for number, (name, content) in enumerate(sorted(files.items())):
        iso.add_fp(io.BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


def _read_iso(path: Path) -> dict[str, bytes]:
    """The files that an ISO of ours holds, none when it is not one. (Two ISOs of the same files differ by their dates.)"""
    import pycdlib  # when there is something to do: agents without guests do without its memory

    iso = pycdlib.PyCdlib()
    try:
        iso.open(str(path))
    except pycdlib.pycdlibexception.PyCdlibInvalidISO:
        return {}
    try:
        names = [child.file_identifier().decode("utf-16-be") for child in iso.list_children(joliet_path="/") if child.is_file()]
        files = {name: io.BytesIO() for name in names}
        for name, out in files.items():
            iso.get_file_from_iso_fp(out, joliet_path=f"/{name}")
        return {name: out.getvalue() for name, out in files.items()}
    finally:
        iso.close()
