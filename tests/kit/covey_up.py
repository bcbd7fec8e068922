"""A whole Covey for a story: `covey up` in a short directory and a network namespace of its own, driven by its command line alone.

What it is made of is seen from outside: by /proc, files and sockets. `close` ends everything of it and proves that nothing is left.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.bootsector import ticking, write_image
from tests.kit.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
COVEY = ROOT / "bin" / "covey"
SCRATCH = Path(os.environ.get("COVEY_TEST_SCRATCH", "/var/tmp"))
START_WITHIN_S = 60.0
END_WITHIN_S = 20.0
COMMAND_LIMIT_S = 90.0
DONE, FAILED, BAD_INPUT, NO_ANSWER, FINDINGS, GOES_ON = range(6)  # exit statuses (rule C)
SMALL = "--memory 16M"
LIBVIRTD = b"/usr/sbin/libvirtd"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended and what it said."""

    line: str
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ covey {self.line}\n{self.out}{self.err}[exit {self.status}]"


class CoveyUp:
    """One Covey. `directory` is for whatever a story needs besides, `state` is its state directory, `netns` where its guests are."""

    def __init__(self, hosts: str = "real", *options: str, state: Path | None = None, shares: bool = False) -> None:
        """With `shares` it takes part in a store of several: then records move to etcd as soon as two of a cluster do."""
        self.hosts = hosts
        self.options = options
        self.directory = Path(tempfile.mkdtemp(prefix=f"cvs{os.getpid()}-", dir=SCRATCH))
        self.directory.chmod(0o711)  # QEMU's user must get through
        self.state = state or self.directory / "s"
        self.netns = f"cvs{os.getpid()}-{next(_numbers)}"
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = self.directory / "covey.toml"
        self._settings.write_text(f"[store]\nshared = {str(shares).lower()}\n")
        if hosts == "real":
            self.make_namespace()
            self._share_mounts()

    # --- running -------------------------------------------------------------------------------------------------------------------
    def launch(self) -> subprocess.Popen[bytes]:
        """Begin `covey up` without waiting for it."""
        namespace = ("--netns", self.netns) if self.hosts == "real" else ()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COVEY, "up", "--state", self.state, "--hosts", self.hosts, *namespace, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"COVEY_CONFIG": str(self._settings), **os.environ},  # counts unless the story names a file itself
            )
        return self.process

    def launch_alone(self, program: str) -> subprocess.Popen[bytes]:
        """Begin one of the two programs without the other, as where the other's service is stopped; `stop` ends it."""
        words = ("--parent", str(os.getpid()), "--state", str(self.state), "--hosts", self.hosts, "--netns", self.netns)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [ROOT / ".venv/bin/python", "-P", "-m", "covey.main", program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    async def start(self) -> None:
        """`covey up` runs, its controller answers, and knows its node."""
        self.launch()
        try:
            await eventually(self.answers, within=START_WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-2000:]}") from None

    async def answers(self) -> bool:
        assert self.process is None or self.process.poll() is None, f"covey up ended: {self.log.read_text()[-2000:]}"
        answer = await self.ask("node list --columns answers --no-header")
        return (answer.status == DONE and "no" not in answer.out.split()) or "no cluster" in answer.err

    async def initialise(self) -> None:
        """A cluster in which what is removed is gone at once: a story is to leave nothing."""
        await self.do("cluster init lab --node-name n1 --accelerator tcg --keep-removed 0s")

    async def stop(self) -> None:
        """End `covey up` as Ctrl-C does; guests run on."""
        assert self.process
        self.process.terminate()
        await eventually(lambda: self.process is None or self.process.poll() is not None, within=END_WITHIN_S)
        self.process = None

    @property
    def daemons(self) -> dict[str, int]:
        """The pids of `agent` and `controller`, as far as they run."""
        found = {}
        for pid, words in self.processes().items():
            if b"covey.main" in words:
                found[words[words.index(b"covey.main") + 1].decode()] = pid
        return found

    @property
    def libvirtd(self) -> int:
        """The pid of its private libvirtd, 0 when it does not run."""
        return next((pid for pid, words in self.processes().items() if words[0] == LIBVIRTD), 0)

    @property
    def guests(self) -> dict[str, int]:
        """The pids of its QEMUs, by the UUID of the instance."""
        found = {}
        for pid, words in self.processes().items():
            if b"qemu-system" in words[0] and b"-uuid" in words:
                found[words[words.index(b"-uuid") + 1].decode()] = pid
        return found

    def processes(self) -> dict[int, list[bytes]]:
        """Everything that runs with its state directory in the command line: pid and words."""
        return {pid: words for pid, words in command_lines() if str(self.state).encode() in b" ".join(words)}

    def kill(self, pids: Iterable[int]) -> None:
        """SIGKILL, all at once. What ended meanwhile is as good as killed."""
        pids = list(pids)
        assert all(pid > 1 for pid in pids), f"0 and 1 are not of this Covey: {pids}"
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def kill_up(self) -> None:
        """SIGKILL `covey up`, which takes controller and agent with it; guests and libvirtd run on."""
        assert self.process
        self.kill([self.process.pid])
        self.process.wait()
        self.process = None
        await eventually(lambda: not self.daemons, within=END_WITHIN_S)

    async def kill_host(self) -> None:
        """Everything of it dies in one moment, as by a power cut."""
        self.kill(self.processes())
        if self.process:
            self.process.wait()
            self.process = None
        await eventually(lambda: not self.processes(), within=END_WITHIN_S)

    # --- asking --------------------------------------------------------------------------------------------------------------------
    async def ask(
        self, line: str, *more: str, stdin: bytes | None = None, within: float = COMMAND_LIMIT_S, **environment: str
    ) -> Answer:
        """Run a command to its end. `line` is split as a shell would; `more` are further words, taken as they are."""
        return await ask_covey([*shlex.split(line), *more], {"COVEY_STATE": str(self.state), **environment}, stdin, within)

    async def do(self, line: str, *more: str, stdin: bytes | None = None, within: float = COMMAND_LIMIT_S) -> str:
        """Run a command that must succeed; what it said."""
        answer = await self.ask(line, *more, stdin=stdin, within=within)
        assert answer.status == DONE, answer
        return answer.out

    async def fail(
        self, line: str, *more: str, status: int = FAILED, says: Iterable[str] = (), stdin: bytes | None = None
    ) -> str:
        """Run a command that must fail with `status`, in words that hold each of `says`, and without a traceback; all it said."""
        answer = await self.ask(line, *more, stdin=stdin)
        said = answer.out + answer.err
        assert answer.status == status, answer
        assert "Traceback" not in said, answer
        for words in says:
            assert words in said, f"{words!r} is not in:\n{answer}"
        return said

    async def json(self, line: str, *more: str) -> Any:
        return json.loads(await self.do(line, "--json", *more))

    async def instance(self, name: str) -> dict[str, Any]:
        return dict(await self.json(f"instance info {name}"))

    async def state_of(self, name: str) -> str:
        return str((await self.instance(name))["state"])

    async def becomes(self, name: str, state: str, within: float = 30.0) -> None:
        """Wait until the instance is in that state."""

        async def is_so() -> bool:
            return await self.state_of(name) == state

        await eventually(is_so, within)

    async def findings(self) -> list[dict[str, Any]]:
        """What `cluster verify` finds."""
        answer = await self.ask("cluster verify --json")
        assert answer.status in (DONE, FINDINGS), answer
        return list(json.loads(answer.out)["findings"])

    async def records(self) -> dict[str, Any]:
        """All that is recorded of objects, without what is only measured."""
        return {
            noun: [_recorded(each) for each in await self.json(f"{noun} list")]
            for noun in ("instance", "image", "pool", "network")
        }

    async def console(self, name: str) -> str:
        """What the guest has printed."""
        return await self.do(f"instance console {name} --log")

    async def ticks(self, name: str) -> int:
        """The counter that a boot-sector guest printed last; 0 before the first."""
        whole = [line for line in (await self.console(name)).split("\n")[:-1] if line.startswith("T")]
        return int(whole[-1][1:9], 16) if whole else 0

    async def goes_on(self, name: str) -> None:
        """The guest counts on: it lives."""
        before = await self.ticks(name)

        async def counted() -> bool:
            return await self.ticks(name) > before

        await eventually(counted, within=20.0)

    # --- what a story needs --------------------------------------------------------------------------------------------------------
    def a_guest(self, file: str = "tick.raw", **traits: Any) -> Path:
        """A raw disk with a boot-sector guest (see tests.kit.bootsector.ticking)."""
        return write_image(self.directory / file, ticking(**traits))

    async def add_image(self, name: str = "tick", **traits: Any) -> None:
        """An image of a boot-sector guest; it obeys the power button and lets go of disks, unless said otherwise."""
        source = self.a_guest(f"{name}.raw", **({"obeys": True, "lets_go": True} | traits))
        await self.do(f"image add {name} --source", str(source))

    def files(self) -> dict[str, int]:
        """The files of objects below the state directory, with their sizes: disks, images, seeds, definitions, guests' directories."""
        kept = ("pools", "images", "seeds", "guests", "fake", "libvirt/etc/qemu")
        paths = (path for part in kept for path in (self.state / part).rglob("*") if path.is_file() or path.is_dir())
        logs = ("console.log", "run.json")
        return {
            str(path.relative_to(self.state)): path.stat().st_size for path in paths if path.name not in logs and path.is_file()
        }

    def within(self, *argv: str) -> str:
        """A command of the machine's, in the network namespace of the guests."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.netns}", *argv], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def virsh(self, *arguments: str) -> str:
        """What somebody does to its libvirt behind Covey's back."""
        uri = f"qemu:///system?socket={self.state}/libvirt/sockets/libvirt-sock"
        done = subprocess.run(["virsh", "-c", uri, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def volume(self, instance: dict[str, Any], index: int = 0) -> Path:
        """The file of an instance's disk in the pool `default`."""
        disk = next(disk for disk in instance["disks"] if disk["index"] == index)
        return self.state / "pools/default/volumes" / f"{disk['volume']}.{disk['format']}"

    def make_namespace(self) -> None:
        subprocess.run(["ip", "netns", "add", self.netns], check=True, timeout=20)
        subprocess.run(["ip", "-n", self.netns, "link", "set", "lo", "up"], check=True, timeout=20)

    def _share_mounts(self) -> None:
        """What is mounted below `directory` later is seen in every mount namespace, as on any machine that systemd runs."""
        subprocess.run(["mount", "--bind", self.directory, self.directory], check=True, timeout=20)
        subprocess.run(["mount", "--make-shared", self.directory], check=True, timeout=20)

    def remove_namespace(self) -> None:
        if Path("/run/netns", self.netns).exists():
            subprocess.run(["ip", "netns", "delete", self.netns], check=True, timeout=20)

    # --- ending --------------------------------------------------------------------------------------------------------------------
    async def close(self) -> None:
        """End all of it, and prove that nothing is left: no process, no mount, no namespace, no file."""
        try:
            if self.process and self.process.poll() is None:
                await self.stop()
                assert not self.daemons, "covey up ended and left a daemon behind"
        finally:
            keepers = {pid for pid, words in self.processes().items() if b"private_init" in b" ".join(words)}
            self.kill(set(self.processes()) - keepers)
            await eventually(lambda: not self.processes(), within=END_WITHIN_S)
            if self.hosts == "real":
                self.remove_namespace()
            unmount_below(self.directory)
            shutil.rmtree(self.directory)


@asynccontextmanager
async def a_covey(hosts: str = "real", *options: str, initialised: bool = True, shares: bool = False) -> AsyncIterator[CoveyUp]:
    """A Covey that runs, with a cluster of one node, and (real) the network `default` and the image `tick`. KEEP=1 leaves it there."""
    covey = CoveyUp(hosts, *options, shares=shares)
    try:
        await covey.start()
        if initialised:
            await covey.initialise()
            await covey.add_image()
            await covey.do("network add default --subnet 10.77.0.0/24")
        yield covey
    finally:
        if os.environ.get("KEEP"):
            print(f"KEEP: left as it is: COVEY_STATE={covey.state} {COVEY}, log {covey.log}, namespace {covey.netns}")
        else:
            await covey.close()


async def ask_covey(
    words: list[str], environment: dict[str, str], stdin: bytes | None = None, within: float = COMMAND_LIMIT_S
) -> Answer:
    """Run a command of Covey's to its end."""
    process = await asyncio.create_subprocess_exec(
        COVEY,
        *words,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"no end within {within:g} s: covey {shlex.join(words)}") from None
    assert process.returncode is not None
    return Answer(shlex.join(words), process.returncode, out.decode(), err.decode())


def command_lines() -> list[tuple[int, list[bytes]]]:
    """Every process that has a command line, by pid."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if words != [b""]:
                found.append((int(entry.name), words))
    return found


def mounts_below(directory: Path) -> list[str]:
    """Mount points in this mount namespace below a directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        point for point in (line.split()[4] for line in lines) if point.startswith(f"{directory}/") or point == str(directory)
    ]


def unmount_below(directory: Path) -> None:
    for mount in sorted(mounts_below(directory), reverse=True):
        subprocess.run(["umount", mount], check=True, timeout=20)


def tmpfs(place: Path, *options: str) -> Path:
    """A small file system of its own at `place`; `close` of the Covey whose directory it is in unmounts it."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(("mode=0711", *options)), "covey-story", str(place)], check=True, timeout=20
    )
    return place


_MEASURED = {"since_at", "cpu_percent", "memory_used", "free", "promised", "used", "remark", "nodes", "size"}


def _recorded(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _MEASURED}
