"""From nothing to a real virtual server, by Covey's command line alone.

Every step may be repeated: what is there already is left as it is. Progress goes to standard output as it happens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
COVEY = HERE.parent / "bin" / "covey"
SUBNET = "10.77.0.0/24"
UP_WITHIN_S = 60
PAGE_WITHIN_S = 300  # of a guest that may be booting still, without KVM
NO_ANSWER = 3  # exit status of the command line
ENDED = {"succeeded", "failed", "cancelled", "superseded", "needs_repair"}  # states of jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    state: Path = parser.parse_args().state
    netns = os.environ.get("COVEY_DEMO_NETNS", "")
    os.environ["COVEY_STATE"] = str(state)

    begun = time.monotonic()
    step("Start Covey on its embedded store")
    make_namespace(netns)
    start_covey(state, netns)
    finish_what_was_begun()
    if "no cluster" in answer("cluster", "info"):
        covey("cluster", "init", "demo")
    if not exists("network", "default"):
        covey("network", "add", "default", "--subnet", SUBNET)
    step("Build a golden image of Debian 12 with cloud-init (one to three minutes)")
    if not exists("image", "debian-12"):
        covey("image", "build", "debian-12", "--suite", "bookworm")
    else:
        print("  image debian-12 is there already")
    step("Make the instance web1 from it, and wait until the guest says that it is ready (one to two minutes without KVM)")
    if not exists("instance", "web1"):
        covey("instance", "add", "web1", "--image", "debian-12", "--memory", "512M", "--disk", "4G",
              "--user-data", str(HERE / "web1.yaml"), "--wait", "ready", "--timeout", "15m")  # fmt: skip
    else:
        covey("instance", "start", "web1", "--wait", "ready")
    step("Fetch the page that its cloud-init put up, over the guest's network")
    address = one_line("instance", "list", "--filter", "name=web1", "--columns", "address", "--no-header")
    print(f"  http://{address}/ answers: {page(address, netns)}")
    covey("instance", "list")
    print(f"\nDone in {time.monotonic() - begun:.0f} s. web1 runs on, and so does Covey (log: {state}/covey.log).")
    print(f"  see it:     COVEY_STATE={state} bin/covey instance info web1")
    print(f"  enter it:   COVEY_STATE={state} bin/covey instance console web1     (user root, password covey; Ctrl-] leaves)")
    print("  a machine of your own: bin/covey node prepare says whether it is fit")
    print(f"  remove it:  COVEY_STATE={state} bin/covey instance remove web1      (all of the demo: make demo-clean)")


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def covey(*arguments: str) -> None:
    """Run a command of Covey in view; its failure ends the demo."""
    print(f"$ covey {' '.join(arguments)}", flush=True)
    done = subprocess.run([COVEY, *arguments], check=False)
    if done.returncode:
        sys.exit(
            f"demo: `covey {' '.join(arguments)}` ended with status {done.returncode}; nothing of the demo was removed (make demo-clean does)"
        )


def answer(*arguments: str) -> str:
    """What a command says, whether it succeeds or not."""
    done = subprocess.run([COVEY, *arguments], check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


def answers() -> bool:
    """Whether Covey can be reached."""
    return subprocess.run([COVEY, "status"], check=False, capture_output=True).returncode != NO_ANSWER


def one_line(*arguments: str) -> str:
    return answer(*arguments).strip()


def exists(noun: str, name: str) -> bool:
    return subprocess.run([COVEY, noun, "info", name], check=False, capture_output=True).returncode == 0


def make_namespace(name: str) -> None:
    if name and not Path("/run/netns", name).exists():
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)


def start_covey(state: Path, netns: str) -> None:
    """Start `covey up` beside us, unless it runs already, and wait until it answers."""
    if answers():
        return
    state.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (state / "covey.log").open("ab") as log:
        child = subprocess.Popen(
            [COVEY, "up", "--state", state, *(["--netns", netns] if netns else [])],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    (state / "covey.pid").write_text(str(child.pid))
    deadline = time.monotonic() + UP_WITHIN_S
    while not answers():
        if child.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"demo: Covey did not start: see {state}/covey.log")
        time.sleep(0.2)
    print(f"  covey up runs as process {child.pid}, its log is {state}/covey.log")


def finish_what_was_begun() -> None:
    """A run before this one may have been interrupted: its jobs go on without it."""
    for job in reversed(json.loads(answer("job", "list", "--json"))):
        if job["state"] not in ENDED:
            print(f"$ covey job watch {job['id']}", flush=True)
            subprocess.run([COVEY, "job", "watch", str(job["id"])], check=False)


def page(address: str, netns: str) -> str:
    """The page, fetched over the guests' network: from within the namespace, when the bridge lies in one."""
    if netns:
        fetch = [
            "nsenter",
            f"--net=/run/netns/{netns}",
            sys.executable,
            "-c",
            f"import urllib.request; print(urllib.request.urlopen('http://{address}/', timeout=5).read().decode())",
        ]
    deadline = time.monotonic() + PAGE_WITHIN_S
    while True:
        try:
            if netns:
                done = subprocess.run(fetch, check=True, capture_output=True, text=True)
                return done.stdout.strip()
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as reply:
                body: bytes = reply.read()
                return body.decode().strip()
        except (OSError, subprocess.CalledProcessError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"demo: http://{address}/ does not answer: {error}")
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(
            "\ndemo: interrupted. What it made stays, and Covey goes on with what it began: run it again, or make demo-clean"
        )
