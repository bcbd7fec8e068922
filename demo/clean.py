"""Take the demo back: its instances, its Covey, its libvirtd, its bridge and its state directory."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo import answers, make_namespace, start_covey

from covey.host.hypervisor.private import stop_private_libvirtd

COVEY = Path(__file__).resolve().parent.parent / "bin" / "covey"
ENDS_WITHIN_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    state: Path = parser.parse_args().state
    if not state.exists():
        print("There is no demo to remove.")
        return
    if not (state / "covey.log").exists():
        sys.exit(f"demo: {state} was not made by the demo, so it is left as it is")
    os.environ["COVEY_STATE"] = str(state)
    netns = os.environ.get("COVEY_DEMO_NETNS", "")
    if not answers():
        print("Covey does not run; it is started once more, as it alone knows what it made")
        make_namespace(netns)
        start_covey(state, netns)
    for noun in ("instance", "network"):
        for name in names(noun):
            print(f"removing {noun} {name}", flush=True)
            if subprocess.run([COVEY, noun, "remove", name, "--yes"], check=False, stdout=subprocess.DEVNULL).returncode:
                sys.exit(f"demo: {noun} {name} could not be removed, so {state} stays, too; mend it and run this again")
    end_covey(state)
    asyncio.run(stop_private_libvirtd(state))
    if netns and Path("/run/netns", netns).exists():
        subprocess.run(["ip", "netns", "delete", netns], check=True)
    shutil.rmtree(state)
    print(f"removed {state}")


def names(noun: str) -> list[str]:
    """What there is of a noun."""
    done = subprocess.run([COVEY, noun, "list", "--columns", "name", "--no-header"], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"demo: nothing was removed: {done.stderr.strip()}")
    return done.stdout.split()


def end_covey(state: Path) -> None:
    """End `covey up` by the pid that the demo wrote, if that is still it."""
    try:
        pid = int((state / "covey.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if os.fsencode(state) not in command:
        return  # the number is somebody else's by now
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDS_WITHIN_S
    while Path(f"/proc/{pid}").exists() and b"\0" in Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
