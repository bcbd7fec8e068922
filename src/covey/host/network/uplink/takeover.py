"""Taking over a card, from before the first change until it is confirmed or rolled back.

All that is needed to go back is in one file, written durably before the first change (S18). Whoever works on it holds a lock beside it,
which the kernel lets go when that process dies. Files that configure the network at boot are written on confirmation only: a reboot
before it ends in the old state, without anybody's doing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from covey.base.errors import CoveyError, Refused, StepFailed, Unavailable, check, require
from covey.base.files import remove_durably, write_durably
from covey.host.network.check import check_interface_name
from covey.host.network.kernel import netlink
from covey.host.network.uplink.keepers import changes, check_unchanged, find_keeper
from covey.host.network.uplink.move import check_bridge_is_free, give_back, take_over
from covey.host.network.uplink.read import find_link, read_uplink
from covey.host.network.uplink.wire import who_answers
from covey.model import codec
from covey.model.uplink import CHANGING, CONFIRMED, CONFIRMING, ROLLED_BACK, WAITING, FileChange, Takeover, Uplink

GATEWAY_WITHIN_S = 3.0
LOCK_PATIENCE_S = 3.0
CHANGING_WITHIN_S = 60.0  # guards are to start, the kernel and the gateway to answer
CONFIRM = "covey node prepare --confirm"
log = structlog.get_logger()
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Intent:
    """What taking over a card would change, and what must still be so afterwards."""

    bridge: str
    uplink: Uplink
    keeper: str
    files: tuple[FileChange, ...]
    answering: dict[str, str]  # gateways that answer, by their MAC addresses


class Takeovers:
    """Those of this machine: one at a time, kept in `directory`. Blocking; each call works in the network namespace of its thread."""

    def __init__(self, directory: Path, root: Path = Path("/")) -> None:
        self.directory = directory
        self._root = root
        self._file = directory / "takeover.json"

    # --- reading -------------------------------------------------------------------------------------------------------------------
    def now(self) -> Takeover | None:
        """The last takeover of this boot; None when there was none."""
        try:
            told = codec.from_bytes(Takeover, self._file.read_bytes())
        except FileNotFoundError:
            return None
        return told if told.boot_id == boot_id() else None

    def plan(self, nic: str, bridge: str) -> Intent:
        """What would be done. Raises BadInput, NotFound and Refused."""
        check_interface_name(bridge, "--bridge")
        check_interface_name(nic, "--nic")  # both get into commands that run at boot
        self._check_none_is_open()
        with netlink(f"interface {nic}") as kernel:
            uplink = read_uplink(kernel, nic)
            check_bridge_is_free(kernel, bridge)
            index = find_link(kernel, nic)["index"]
        keeper = find_keeper(self._root, nic, index)
        files = changes(self._root, keeper, uplink, index, bridge)
        answering = _answering(nic, uplink)
        silent = [gateway for gateway in uplink.gateways if ":" not in gateway and gateway not in answering]
        check(
            not silent,
            Refused(
                f"its gateway {', '.join(silent)} does not answer on it: is {_sources(uplink)[0]} of this network?"
                if silent and _sources(uplink)
                else "its gateway does not answer on it",
                f"interface {nic}",
                "see who is heard there: covey node prepare",
            ),
        )
        return Intent(bridge, uplink, keeper, files, answering)

    # --- changing ------------------------------------------------------------------------------------------------------------------
    def begin(self, intent: Intent, window_s: float, start_guards: Callable[[], None]) -> Takeover:
        """Take the card over; guards, started before, roll back whatever is not confirmed within `window_s`. Raises what the change
        raises, then all is as it was."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked():
            self._check_none_is_open()
            began = self._write(_open_takeover(intent, window_s))
        try:
            start_guards()
            with self.locked():
                self._change(began, intent)
                return self._write(replace(began, state=WAITING, deadline=boottime() + window_s, until=time.time() + window_s))
        except BaseException as error:
            with self.locked():
                self._go_back(began, f"it failed: {error}")
            raise

    def _change(self, began: Takeover, intent: Intent) -> None:
        about = f"interface {intent.uplink.name}"
        check(self.now() == began, Refused("the change was given up before it began", about, "try again"))
        with netlink(about) as kernel:
            check(
                read_uplink(kernel, intent.uplink.name).timeless == intent.uplink.timeless,
                Refused("its addresses or routes changed meanwhile", about, "try again"),
            )
            take_over(kernel, intent.uplink, intent.bridge)
        _check_gateways(intent)

    def confirm(self) -> Takeover:
        """It stays, from now on at every boot, too. Raises Refused when there is nothing to confirm (any more)."""
        with self.locked():
            now = require(
                self.now(), Refused("there is nothing to confirm", "covey node prepare", "begin with --bridge and --nic")
            )
            check(now.state != CONFIRMED, Refused("it is confirmed already", f"bridge {now.bridge}"))
            check(
                now.state in (WAITING, CONFIRMING) and boottime() < now.deadline,
                Refused(f"it was rolled back: {now.why or 'nobody confirmed it in time'}", f"bridge {now.bridge}", "begin anew"),
            )
            check_unchanged(now.files)
            confirming = self._write(replace(now, state=CONFIRMING, **_me()))
            try:
                for file in now.files:
                    _write_file(file.path, file.after)
            except OSError as error:
                _put_back(now.files)
                self._write(replace(now, state=WAITING))
                what = f"{error.filename or now.files[0].path} cannot be written: {error.strerror}"
                raise StepFailed(what, f"bridge {now.bridge}", "mend that, and confirm again before the time is up") from error
            return self._write(replace(confirming, state=CONFIRMED))

    def roll_back(self, why: str) -> Takeover:
        """All is as it was before. Raises Refused when nothing is open."""
        with self.locked():
            hint = "what was confirmed stays: put its files right, and reboot"
            nothing = Refused("there is nothing to roll back", "covey node prepare", hint)
            now = require(self.now(), nothing)
            check(not now.is_over, nothing)
            return self._go_back(now, why)

    def guard(self, on_ready: Callable[[], None], pause: Callable[[float], bool]) -> None:
        """Watch over the open takeover until it is over, and roll it back when its time is up, when the process that changes dies at
        its work, or when `pause` (which sleeps) says that this guard must end. Blocking."""
        now = self.now()
        on_ready()
        while now is not None and not now.is_over:
            is_told_to_end = pause(0.1)
            if now.state == CHANGING and now.changer and not _lives(now.changer, now.changer_began):
                self._guarded_roll_back(now, "the process that changed it died at its work")
            elif boottime() >= now.deadline:
                hung = now.state == CHANGING
                self._guarded_roll_back(now, "the change hung" if hung else f"nobody confirmed it within {now.window_s:g} s")
            elif is_told_to_end:
                self._guarded_roll_back(now, "its guard was ended")
            try:
                now = self.now()
            except (CoveyError, OSError) as error:
                log.warning("the takeover cannot be read; what was read last holds", error=str(error))

    def _guarded_roll_back(self, seen: Takeover, why: str) -> None:
        """Roll back, unless another has done it or it is confirmed by now. What the kernel refuses is tried again by the caller."""
        try:
            with self.locked(kill=True):
                now = self.now()
                if now is not None and now.state in (seen.state, CONFIRMING) and now.deadline == seen.deadline:
                    self._go_back(now, why)
        except (CoveyError, OSError) as error:
            log.warning("rolling back failed; trying again", error=str(error))

    # --- within the lock -----------------------------------------------------------------------------------------------------------
    def _go_back(self, now: Takeover, why: str) -> Takeover:
        if now.state == CONFIRMING:
            _put_back(now.files)
        with netlink(f"interface {now.uplink.name}") as kernel:
            give_back(kernel, now.uplink, now.bridge)
        return self._write(replace(now, state=ROLLED_BACK, why=why))

    def _check_none_is_open(self) -> None:
        now = self.now()
        check(
            now is None or now.is_over,
            Refused("a takeover waits to be confirmed", f"bridge {now.bridge if now else ''}", f"{CONFIRM}, or --roll-back"),
        )

    def _write(self, takeover: Takeover) -> Takeover:
        write_durably(self._file, codec.to_bytes(takeover))
        return takeover

    @contextmanager
    def locked(self, kill: bool = False) -> Iterator[None]:
        """Hold the lock. One who keeps it for seconds hangs: it is killed, with `kill`; else Unavailable is raised."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = boottime() + LOCK_PATIENCE_S
            while not _try_lock(descriptor):
                if boottime() >= deadline:
                    check(kill, Unavailable("another covey works on it", str(self.directory), "wait a moment"))
                    self._kill_changer()
                    deadline = boottime() + LOCK_PATIENCE_S
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def _kill_changer(self) -> None:
        now = self.now()
        if now and now.changer and now.changer != os.getpid() and _lives(now.changer, now.changer_began):
            os.kill(now.changer, signal.SIGKILL)


def _open_takeover(intent: Intent, window_s: float) -> Takeover:
    return Takeover(
        bridge=intent.bridge,
        uplink=intent.uplink,
        keeper=intent.keeper,
        files=intent.files,
        boot_id=boot_id(),
        deadline=boottime() + CHANGING_WITHIN_S,
        until=time.time() + CHANGING_WITHIN_S,
        window_s=window_s,
        state=CHANGING,
        **_me(),
    )


def _check_gateways(intent: Intent) -> None:
    """A gateway that answered through the card answers through the bridge. Raises StepFailed."""
    answer = who_answers(intent.bridge, intent.uplink.mac, _sources(intent.uplink), intent.answering, GATEWAY_WITHIN_S)
    silent = ", ".join(set(intent.answering) - set(answer))
    check(
        not silent,
        StepFailed(f"the gateway {silent} does not answer any more", f"bridge {intent.bridge}", "does the switch allow bridges?"),
    )


def _answering(nic: str, uplink: Uplink) -> dict[str, str]:
    gateways = [gateway for gateway in uplink.gateways if ":" not in gateway]
    return who_answers(nic, uplink.mac, _sources(uplink), gateways, GATEWAY_WITHIN_S) if gateways else {}


def _sources(uplink: Uplink) -> list[str]:
    return [address.local for address in uplink.addresses if ":" not in address.local]


def _put_back(files: tuple[FileChange, ...]) -> None:
    """What is as it was is not written again: the disk may be full."""
    for file in reversed(files):
        path = Path(file.path)
        if (path.read_text() if path.exists() else None) != file.before:
            _write_file(file.path, file.before)


def _write_file(path: str, text: str | None) -> None:
    if text is None:
        if Path(path).exists():
            remove_durably(Path(path))
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_durably(Path(path), text.encode(), 0o644)


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _me() -> dict[str, Any]:
    return {"changer": os.getpid(), "changer_began": _began(os.getpid())}


def _began(pid: int) -> int:
    """When a process began, in ticks since boot; 0 for one that is gone (or is only waited for)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if words[0] in "ZX" else int(words[19])


def _lives(pid: int, began: int) -> bool:
    return _began(pid) == began


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
