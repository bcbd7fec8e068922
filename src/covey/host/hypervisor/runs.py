"""How each guest's last run began and ended, told so that a crash of anything at any moment does not make it a lie.

libvirt knows why a guest stopped only until libvirtd itself restarts, and never whether it was Covey that asked. So the driver keeps
one small file a guest. It is written *before* each order is given, and settled afterwards against what libvirt shows and what
libvirtd wrote into the guest's log:

    starting  a start was about to be ordered; until the guest is seen running, what holds is the end of the run before
    running   the guest was seen running; if it does not run now, it ended by itself, and the rules below say how
    stopping  Covey was about to ask it to stop; if it does not run now, it did as it was asked
    ended     not running, and `how` says why
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from covey.base.errors import BadInput
from covey.base.files import write_durably
from covey.model.codec import decode, encode

STARTING, RUNNING, STOPPING, ENDED = "starting", "running", "stopping", "ended"
GUEST, COVEY, CRASHED = "guest", "covey", "crashed"

LOG_TAIL = 64 * 1024
_BEGINNING = re.compile(rb"^[^\n]*: starting up libvirt version", re.MULTILINE)
_ENDING = re.compile(rb"^[^\n]*: shutting down, reason=([a-z]+)$", re.MULTILINE)
# libvirtd itself sends SIGTERM to the QEMU of a guest that has powered off: that signal says nothing.
_SIGNAL = re.compile(rb"^[^\n]*: terminating on signal \d+\b(?! from pid \d+ \([^\n)]*(?:libvirtd|virtqemud)\))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """One guest's last run. `wanted` is the generation being started while `phase` is starting."""

    phase: str = ENDED
    generation: int = 0
    how: str = ""
    wanted: int = 0

    def awaits(self, generation: int) -> bool:
        """Whether that start is none that was begun here: another machine's, which comes."""
        return self.phase != STARTING and generation > self.generation

    def about_to_start(self, generation: int) -> Run:
        return replace(self, phase=STARTING, wanted=generation)

    def not_started(self) -> Run:
        return replace(self, phase=ENDED, wanted=0)

    def seen_running(self, generation: int) -> Run:
        return Run(RUNNING, generation)

    def about_to_stop(self) -> Run:
        return replace(self, phase=STOPPING)

    def ended(self, how: str) -> Run:
        return Run(ENDED, self.generation, how)


@dataclass(frozen=True, slots=True)
class Words:
    """What the guest's log says of its last run: libvirtd's reason ("" when it wrote none: it was not there to see the end), and
    whether a signal that was not libvirtd's ended QEMU."""

    reason: str = ""
    by_signal: bool = False


def settle(run: Run, active: bool, generation: int, reason: str, words: Words) -> Run:
    """The run as it must be told now. `active` and `generation` are libvirt's view of the running guest; `reason` is libvirt's for
    an inactive one: shutdown, destroyed, crashed, or unknown."""
    if active:
        return run if run.phase in (RUNNING, STOPPING) and run.generation == generation else run.seen_running(generation)
    if run.phase == RUNNING:
        return run.ended(how_it_ended(reason, words))
    if run.phase == STOPPING:
        return run.ended(COVEY)
    return run


def how_it_ended(reason: str, words: Words) -> str:
    """Who ended a run that Covey did not. QEMU ended by a signal from the host (its shutdown, somebody's kill) reports a proper
    shutdown all the same: that is no wish of the guest's."""
    told = reason if reason != "unknown" else words.reason
    if told == "shutdown":
        return CRASHED if words.by_signal else GUEST
    return COVEY if told == "destroyed" else CRASHED


def read_run(path: Path) -> Run:
    """The run kept at `path`; one that never was when there is none."""
    try:
        return decode(Run, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Run()
    except (ValueError, BadInput):
        return Run(RUNNING)  # a damaged disk: nothing says that anybody wanted it stopped


def write_run(path: Path, run: Run) -> None:
    """Raises OSError."""
    write_durably(path, json.dumps(encode(run)).encode())


def last_words(log: Path) -> Words:
    """What libvirtd's log of a guest says of its last run; nothing when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            tail = file.read()
    except FileNotFoundError:
        return Words()
    beginnings = list(_BEGINNING.finditer(tail))
    last_run = tail[beginnings[-1].start() :] if beginnings else tail
    endings = _ENDING.findall(last_run)
    return Words(endings[-1].decode() if endings else "", bool(_SIGNAL.search(last_run)))
