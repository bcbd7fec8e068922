"""What Covey costs when nothing happens: controller and agent together, on real hosts with their libvirt. `rss_mb` is resident memory,
`cpu_percent` of one core over the time measured. The floor: `floor_rss_mb`, two bare interpreters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from bench.rig import Up, arguments, report, scratch
from covey.host.hypervisor.private import stop_private_libvirtd

SETTLE_S = 15.0
MEASURE_S = 45.0


def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        up = Up(directory / "state")
        try:
            up.covey("cluster", "init", "bench", "--accelerator", "tcg")
            time.sleep(SETTLE_S)
            cpu, begun = up.cpu_s(), time.monotonic()
            time.sleep(MEASURE_S)
            figures = {
                "rss_mb": sum(resident_mb(pid) for pid in up.pids),
                "cpu_percent": 100 * (up.cpu_s() - cpu) / (time.monotonic() - begun),
                "floor_rss_mb": 2 * bare_interpreter_mb(),
            }
        finally:
            up.stop()
            asyncio.run(stop_private_libvirtd(up.state))
    report(given, figures)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


def bare_interpreter_mb() -> float:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        time.sleep(0.5)
        resident = resident_mb(child.pid)
        child.communicate(b"\n")
    return resident


if __name__ == "__main__":
    main()
