"""How a running guest moves: by Covey, and by plain libvirt, which sends everything in the clear.

Two nodes of a lab on this machine, one guest of each: Covey's, with a qcow2 disk on an image, and its twin, defined by virsh from the same
description. By turns each goes to the other node and back, and the pairs of the same direction are compared. `blackout` is for how long
the guest stood still, by QEMU's own word of the move (libvirt's completed figures); `total` the time of libvirt's whole move, and of
Covey's step that does it; `command` is all of `covey instance migrate`: checks, volumes, records, the command line itself. `virsh migrate --live
--copy-storage-inc` goes by TCP between the nodes' networks, with the disk made before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.kit.bootsector import ticking, write_image

from bench.guest import interval
from bench.rig import percentile, report, scratch
from covey.lab.layout import NETWORK

NAME, MIB = "bench", 2**20
TWIN = "11111111-2222-4333-8444-555555555555"
SIZE = 64 * MIB
LIMIT_S = 240
PAIRS = 32


@dataclass(frozen=True, slots=True)
class Move:
    """Seconds."""

    blackout: float
    total: float
    command: float = 0.0


class Nodes:
    """The lab's two nodes, and who asks there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {**os.environ, "COVEY_LAB_DIR": str(directory)}

    def lab(self, *words: str) -> str:
        return _output(
            sys.executable, "-P", "-m", "covey.cli", "lab", *words[:1], "--name", NAME, *words[1:], env=self._environment
        )

    def covey(self, *words: str) -> str:
        return self.lab("shell", "n1", "--", "covey", *words)

    def virsh(self, node: str, *words: str) -> str:
        return self.lab("shell", node, "--", "virsh", "-c", self.uri(node), *words)

    def uri(self, node: str) -> str:
        return f"qemu+unix:///system?socket={self.state(node)}/libvirt/sockets/libvirt-sock"

    def state(self, node: str) -> Path:
        return self.directory / NAME / node / "state"


def main() -> None:
    given = arguments()
    with scratch() as directory, two_nodes(directory) as nodes:
        image = directory / "tick.raw"
        write_image(image, ticking(), SIZE)
        nodes.covey("image", "add", "tick", "--source", str(image), "--quiet")
        nodes.covey("network", "add", "site", "--type", "adopted", "--bridge", "br0", "--quiet")
        nodes.covey("instance", "add", "web1", "--image", "tick", "--memory", given.memory, "--node", "n1", "--quiet")
        twin = Twin(nodes)
        pairs: list[tuple[Move, Move]] = []
        for number in range(given.pairs):
            source, target = ("n1", "n2") if number % 2 == 0 else ("n2", "n1")
            if number % 4 < 2:
                ours = by_covey(nodes, source, target)
                pairs.append((ours, twin.move(source, target)))
            else:
                its = twin.move(source, target)
                pairs.append((by_covey(nodes, source, target), its))
        report(given, figures(pairs))


def figures(pairs: list[tuple[Move, Move]]) -> dict[str, float]:
    found: dict[str, float] = {"pairs": float(len(pairs))}
    for name in ("blackout", "total"):
        ours, plain = ([getattr(pair[which], name) for pair in pairs] for which in (0, 1))
        middle, low, high = interval([one / other for one, other in zip(ours, plain, strict=True)])
        found |= {
            f"{name}_ms": 1000 * percentile(ours),
            f"plain_{name}_ms": 1000 * percentile(plain),
            f"{name}_ratio": middle,
            f"{name}_ratio_low": low,
            f"{name}_ratio_high": high,
        }
    return {**found, "command_ms": 1000 * percentile([pair[0].command for pair in pairs])}


def by_covey(nodes: Nodes, source: str, target: str) -> Move:
    nodes.covey("node", "clear", target, "--quiet")  # what it left there the last time, if that has not gone yet
    begun = time.monotonic()
    nodes.covey("instance", "migrate", "web1", "--to", target, "--quiet")
    took = time.monotonic() - begun
    said = (nodes.directory / NAME / source / "log").read_text().rpartition("a guest has moved")[2]  # by the agent that it left
    return Move(_figure(said, "stood_s"), _figure(said, "took_s"), took)


def _figure(said: str, name: str) -> float:
    found = re.search(rf"{name}=([0-9.]+)", said)
    assert found, said
    return float(found[1])


class Twin:
    """The same guest, in the hands of virsh alone. Each node has a directory for its disk and sockets."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._guest = json.loads(nodes.covey("instance", "info", "web1", "--json"))
        for node in ("n1", "n2"):
            place = self._place(node)
            place.mkdir(mode=0o711)
            shutil.chown(place, "libvirt-qemu", "kvm")
        self._text = nodes.virsh("n1", "dumpxml", self._guest["id"], "--inactive")
        self._make_disk("n1")
        path = nodes.directory / "twin.xml"
        path.write_text(self._definition("n1", self._text))
        nodes.virsh("n1", "define", str(path))
        nodes.virsh("n1", "start", TWIN)
        time.sleep(2)

    def move(self, source: str, target: str) -> Move:
        self._make_disk(target)
        live = self._nodes.directory / "live.xml"
        text = self._nodes.virsh(source, "dumpxml", TWIN, "--migratable")
        live.write_text(text.replace(str(self._place(source)), str(self._place(target))))
        address = NETWORK.address(int(target[1:]))
        words = ("--live", "--copy-storage-inc", "--migrate-disks", "vda", "--undefinesource", "--persistent", "--auto-converge")
        uris = (
            "--desturi",
            self._nodes.uri(target),
            "--migrateuri",
            f"tcp://{address}",
            "--xml",
            str(live),
            "--persistent-xml",
            str(live),
        )
        begun = time.monotonic()
        self._nodes.virsh(source, "migrate", TWIN, *words, *uris)
        took = time.monotonic() - begun
        told = self._nodes.virsh(target, "domjobinfo", TWIN, "--completed")
        (self._place(source) / "disk.qcow2").unlink()
        return Move(_milliseconds(told, "Total downtime"), _milliseconds(told, "Time elapsed") or took)

    def _place(self, node: str) -> Path:
        return self._nodes.directory / f"twin-{node}"

    def _make_disk(self, node: str) -> None:
        disk = self._place(node) / "disk.qcow2"
        image = self._nodes.directory / "tick.raw"
        image.chmod(0o644)
        _output("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image), str(disk), str(SIZE))
        shutil.chown(disk, "libvirt-qemu", "kvm")

    def _definition(self, node: str, text: str) -> str:
        """Covey's, but for what must be its own: names, files, sockets, MAC address."""
        root = ElementTree.fromstring(text)  # noqa: S314  (libvirtd wrote it)
        for tag in ("name", "uuid"):
            element = root.find(tag)
            if element is not None:
                element.text = TWIN
        for tag in ("metadata", "title"):
            element = root.find(tag)
            if element is not None:
                root.remove(element)
        place = str(self._place(node))
        devices = root.find("devices")
        assert devices is not None
        for seed in devices.findall("disk[@device='cdrom']"):
            devices.remove(seed)
        for element in devices.iter():
            for key in ("path", "socket", "file"):
                if element.get(key, "").startswith("/var/") or element.get(key, "").startswith(str(self._nodes.directory)):
                    name = "disk.qcow2" if element.tag == "source" and key == "file" else Path(element.get(key, "")).name
                    element.set(key, f"{place}/{name}")
            if element.tag == "mac":
                element.set("address", "52:54:00:77:77:77")
            if element.tag == "target" and element.get("dev", "").startswith("cvt"):
                element.set("dev", "twin0")
        return ElementTree.tostring(root, encoding="unicode")


def _milliseconds(told: str, what: str) -> float:
    """Seconds of a line of `virsh domjobinfo`: "Total downtime: 34 ms"."""
    for line in told.splitlines():
        if line.startswith(f"{what}:"):
            return float(line.split()[-2]) / 1000
    return 0.0


@contextmanager
def two_nodes(directory: Path) -> Iterator[Nodes]:
    nodes = Nodes(directory)
    try:
        nodes.lab("up", "--nodes", "2", "--accelerator", "tcg")
        yield nodes
    finally:
        nodes.lab("down")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--memory", default="64M")
    return parser.parse_args()


def _output(*argv: str, env: dict[str, Any] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}{done.stdout}"
    return done.stdout


if __name__ == "__main__":
    main()
