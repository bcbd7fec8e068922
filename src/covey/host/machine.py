"""What the kernel says of this machine, by /proc and /sys (proc(5), sysfs(5)).

Reading is quick and never waits for a disk: no thread is needed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covey.base.errors import Unavailable
from covey.model.machine import Facts, Load

# The names under which /proc/cpuinfo gives the model: x86, then POWER, then ARM boards; other ARM machines give none.
_MODEL_KEYS = ("model name", "cpu", "Hardware", "Model")


RESOLVER_FILES = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


@dataclass(frozen=True, slots=True)
class Ticks:
    """Processor time since boot, in clock ticks of all processors together."""

    busy: int
    total: int


class Machine(Protocol):
    """Both raise Unavailable when the kernel does not say what is asked."""

    def facts(self) -> Facts: ...

    def load(self) -> Load:
        """The processors' share is counted since the call before: one caller at a time."""
        ...


@dataclass(frozen=True, slots=True)
class FakeMachine:
    """A machine that says what it was told to say."""

    said: Facts
    busy: Load

    def facts(self) -> Facts:
        return self.said

    def load(self) -> Load:
        return self.busy


class HostMachine:
    """This machine, or the one whose /proc and /sys are recorded under other folders."""

    def __init__(
        self, proc: Path = Path("/proc"), sys: Path = Path("/sys"), resolvers: tuple[Path, ...] = RESOLVER_FILES
    ) -> None:
        self._resolver_files = resolvers
        self._proc = proc
        self._sys = sys
        self._before = Ticks(busy=0, total=0)

    def facts(self) -> Facts:
        return Facts(
            cpus=count_online(_read(self._sys / "devices/system/cpu/online")),
            memory=parse_memory(self._proc_text("meminfo"), "MemTotal"),
            boot_id=self._proc_text("sys/kernel/random/boot_id").strip(),
            hostname=self._proc_text("sys/kernel/hostname").strip(),
            kernel=self._proc_text("sys/kernel/osrelease").strip(),
            cpu_model=parse_cpu_model(self._proc_text("cpuinfo")),
            resolvers=parse_resolvers(self._resolver_text()),
        )

    def _resolver_text(self) -> str:
        """systemd-resolved keeps the real servers apart from the stub on the loopback that resolv.conf names then."""
        for path in self._resolver_files:
            if path.exists():
                return _read(path)
        return ""

    def load(self) -> Load:
        now = parse_ticks(self._proc_text("stat"))
        before, self._before = self._before, now
        return Load(
            memory_free=parse_memory(self._proc_text("meminfo"), "MemAvailable"),
            load1=float(self._proc_text("loadavg").split()[0]),
            cpu_percent=busy_percent(before, now),
            uptime_s=float(self._proc_text("uptime").split()[0]),
        )

    def _proc_text(self, name: str) -> str:
        return _read(self._proc / name)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", "this machine", "is /proc mounted?") from error


def count_online(text: str) -> int:
    """The number of processors in a list such as "0-3,6" (cpulists, as in cpuset(7))."""
    total = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def parse_memory(text: str, field: str) -> int:
    """Bytes of one line of /proc/meminfo, which counts in units of 1024. Raises Unavailable when it is missing."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise Unavailable(f"/proc/meminfo has no {field}", "this machine", "Covey needs Linux 3.14 or later")


def parse_cpu_model(text: str) -> str:
    """What the first processor in /proc/cpuinfo calls itself, "" when it does not say."""
    fields = dict[str, str]()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), " ".join(value.split()))
    return next((fields[key] for key in _MODEL_KEYS if fields.get(key)), "")


def parse_ticks(text: str) -> Ticks:
    """The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; then guests' time once
    more."""
    values = [int(word) for word in text.split("\n", 1)[0].split()[1:9]]
    idle = sum(values[3:5])
    return Ticks(busy=sum(values) - idle, total=sum(values))


def busy_percent(before: Ticks, now: Ticks) -> float:
    """How much of the time between two readings the processors worked. The kernel lets iowait go backwards at times
    (proc(5)), so that what comes out is kept between 0 and 100."""
    passed = now.total - before.total
    if passed <= 0:
        return 0.0
    return round(min(100.0, max(0.0, 100 * (now.busy - before.busy) / passed)), 1)


def parse_resolvers(text: str) -> tuple[str, ...]:
    """The name servers of a resolv.conf(5) that guests could ask as well: none of the loopback's, none that only a link knows."""
    servers = [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]
    return tuple(server for server in servers if _is_for_guests(server))


def _is_for_guests(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local)
