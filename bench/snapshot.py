"""How long a snapshot of a running guest with a 20 GB disk takes from `POST` to its end, and a linked clone of it.

The floor, in the same run: `qemu-img create` of the empty volume above such a disk, which both need once at least.
Real libvirt and QEMU; medians of alternating rounds.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any

from bench.create import GB, ROUNDS, make_image
from bench.rig import Http, Up, arguments, connections, percentile, report, scratch
from covey.host.hypervisor.private import stop_private_libvirtd


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        image = directory / "20g.raw"
        make_image(image, 20 * GB)
        up = Up(directory / "state")
        try:
            up.covey("cluster", "init", "bench", "--accelerator", "tcg")
            up.covey("image", "add", "image20", "--source", str(image))
            image.unlink()
            figures = await rounds(up)
        finally:
            up.stop()
            await stop_private_libvirtd(up.state)
    report(given, figures)


async def rounds(up: Up) -> dict[str, float]:
    taken: dict[str, list[float]] = {"snapshot_20g_s": [], "clone_20g_s": [], "floor_s": []}
    async with connections(up.state, 1) as (http,):
        await done(http, "POST", "/v1/instances", {"name": "source", "image": "image20", "memory": 2**26, "nics": []})
        for number in range(ROUNDS):
            taken["snapshot_20g_s"].append(await done(http, "POST", "/v1/instances/source/snapshots", {"name": f"s{number}"}))
            taken["clone_20g_s"].append(await done(http, "POST", "/v1/instances/source/clone", {"name": f"c{number}"}))
            source = await http.json("GET", "/v1/instances/source")
            taken["floor_s"].append(await asyncio.to_thread(by_hand, up, source["disks"][0]["volume"]))
            await done(http, "DELETE", f"/v1/instances/c{number}?purge=true")
            await done(http, "DELETE", f"/v1/instances/source/snapshots/s{number}")
        await done(http, "DELETE", "/v1/instances/source?purge=true")
    return {name: percentile(values) for name, values in taken.items()}


async def done(http: Http, method: str, path: str, body: Any = None) -> float:
    """Seconds from the request to the end of its job."""
    begun = time.monotonic()
    job = await http.json(method, path, body)
    ended = await http.json("GET", f"/v1/jobs/{job['id']}?wait_s=60")
    assert ended["state"] == "succeeded", ended
    return time.monotonic() - begun


def by_hand(up: Up, volume: str) -> float:
    """Seconds for an empty volume of 20 GB above another."""
    below = up.state / "pools/default/volumes" / f"{volume}.qcow2"
    above = below.with_name("floor")
    begun = time.monotonic()
    subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, above, str(20 * GB)], check=True)
    taken = time.monotonic() - begun
    above.unlink()
    return taken


if __name__ == "__main__":
    asyncio.run(main())
