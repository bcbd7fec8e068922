"""Whether the clock is right: certificates, logs and other nodes rely on it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from covey.model.preflight import OK, WARNING, Finding

DAEMONS = ("chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd")  # as /proc/PID/comm cuts them
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, adjtimex(2)
_LARGEST_ERROR_S = 1.0


class _Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("rest", ctypes.c_long * 32),
    ]


@dataclass(frozen=True, slots=True)
class Discipline:
    """What the kernel holds of its clock."""

    synchronised: bool
    error_s: float  # it is wrong by at most so much


def read_discipline() -> Discipline:
    told = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return Discipline(not told.status & _UNSYNCHRONISED, told.maxerror / 1e6)


def find_daemon(proc: Path) -> str:
    """The program that keeps the clock right, "" for none."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue  # it ended meanwhile
            if name in DAEMONS:
                return name
    return ""


def judge_clock(discipline: Discipline, daemon: str) -> Finding:
    if not daemon:
        why = "certificates and logs rely on the time, and so do other nodes"
        if discipline.synchronised:  # somebody outside does it, as for some virtual machines
            return Finding(OK, "clock", f"right within {discipline.error_s:.3f} s")
        return Finding(WARNING, "clock", "nothing keeps it right", why, "apt install chrony")
    if not discipline.synchronised:
        why = "it has found no time server that answers, or has just begun"
        return Finding(
            WARNING, "clock", f"{daemon} runs, but the clock is not synchronised", why, "see: chronyc sources, timedatectl"
        )
    if discipline.error_s > _LARGEST_ERROR_S:
        return Finding(WARNING, "clock", f"may be wrong by {discipline.error_s:.1f} s", "", "see: chronyc tracking")
    return Finding(OK, "clock", f"right within {discipline.error_s:.3f} s, by {daemon}")
