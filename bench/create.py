"""How long an instance takes from `POST` to "QEMU is running", from an image of 1 GB and of 20 GB: a clone does not grow with its image.

The floor, in the same run: the same by hand: `qemu-img create` of the overlay, and libvirt's define and start of the same domain XML.
Real libvirt and QEMU; medians of alternating rounds.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import libvirt

from bench.rig import Up, arguments, connections, percentile, report, scratch
from covey.host.hypervisor.private import stop_private_libvirtd

ROUNDS = 7
GB = 10**9


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        for size in (1, 20):
            make_image(directory / f"{size}g.raw", size * GB)
        up = Up(directory / "state")
        try:
            up.covey("cluster", "init", "bench", "--accelerator", "tcg")
            for size in (1, 20):
                up.covey("image", "add", f"image{size}", "--source", str(directory / f"{size}g.raw"))
                (directory / f"{size}g.raw").unlink()
            figures = await rounds(up)
        finally:
            up.stop()
            await stop_private_libvirtd(up.state)
    report(given, figures)


def make_image(path: Path, size: int) -> None:
    """A raw file whose every MiB holds something, so that its size is real to whoever reads it, and cheap on disk."""
    with path.open("wb") as file:
        for offset in range(0, size, 2**20):
            file.seek(offset)
            file.write(b"covey")
        file.truncate(size // 512 * 512)


async def rounds(up: Up) -> dict[str, float]:
    taken: dict[str, list[float]] = {"create_1g_s": [], "create_20g_s": [], "floor_s": []}
    async with connections(up.state, 1) as (http,):
        for number in range(ROUNDS):
            for size in (1, 20):
                name = f"i{size}-{number}"
                body = {"name": name, "image": f"image{size}", "memory": 2**26, "nics": []}
                begun = time.monotonic()
                job = await http.json("POST", "/v1/instances", body)
                ended = await http.json("GET", f"/v1/jobs/{job['id']}?wait_s=60")
                taken[f"create_{size}g_s"].append(time.monotonic() - begun)
                assert ended["state"] == "succeeded", ended
            instance = await http.json("GET", f"/v1/instances/i1-{number}")
            taken["floor_s"].append(await asyncio.to_thread(by_hand, up, instance["id"], number))
            for size in (1, 20):
                job = await http.json("DELETE", f"/v1/instances/i{size}-{number}")
                await http.json("GET", f"/v1/jobs/{job['id']}?wait_s=60")
    return {name: percentile(values) for name, values in taken.items()}


def by_hand(up: Up, like: str, number: int) -> float:
    """Seconds for `qemu-img create`, define and start of a domain like Covey's own, which is taken as the pattern and stopped first."""
    connection = libvirt.open(f"qemu:///system?socket={find_socket(up.state)}")
    pattern = connection.lookupByUUIDString(like)
    tree = ElementTree.fromstring(pattern.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))  # noqa: S314  (libvirt's own)
    name = f"floor-{number}"
    for element in tree.findall("./uuid"):
        tree.remove(element)
    tree.find("./name").text = name  # type: ignore[union-attr]
    source = tree.find("./devices/disk[@device='disk']/source")
    assert source is not None
    backing = backing_file(source.get("file") or "")
    disk = Path(source.get("file") or "").with_name(f"{name}.qcow2")
    source.set("file", str(disk))
    devices = tree.find("./devices")
    assert devices is not None
    for kind in ("channel", "serial", "console", "graphics"):  # their sockets belong to the pattern
        for element in devices.findall(kind):
            devices.remove(element)
    text = ElementTree.tostring(tree, encoding="unicode")
    begun = time.monotonic()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, disk], check=True)
    subprocess.run(["chown", "libvirt-qemu:kvm", disk], check=True)
    domain = connection.defineXML(text)
    domain.create()
    taken = time.monotonic() - begun
    domain.destroy()
    domain.undefine()
    disk.unlink()
    connection.close()
    return taken


def backing_file(path: str) -> str:

    told = subprocess.run(["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True).stdout
    return str(json.loads(told)["backing-filename"])


def find_socket(state: Path) -> Path:
    return next(path for path in state.glob("libvirt/**/libvirt-sock"))


if __name__ == "__main__":
    asyncio.run(main())
