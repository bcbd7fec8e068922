"""Sizes and durations as people write them. Within Covey sizes are bytes (int) and durations seconds."""

from __future__ import annotations

import re

from covey.base.errors import BadInput

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s*([BKMGTP]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kKMGT]?)(?:bit(?:/s)?)?", re.ASCII)
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}
LARGEST_SIZE = 2**60


def parse_size(text: str | int, object: object = "") -> int:
    """Bytes of "20G", "1.5 TiB" or 1024. Units are powers of 1024. Raises BadInput beyond 1 EiB or when it is no size."""
    if isinstance(text, int):
        size = text
    else:
        match = _SIZE.fullmatch(text.strip())
        if not match:
            raise BadInput(f"{text!r} is not a size", object, "write a number and a unit, such as 20G or 512M")
        size = int(float(match[1]) * _UNITS[match[2].upper()]) if "." in match[1] else int(match[1]) * _UNITS[match[2].upper()]
    if not 0 <= size <= LARGEST_SIZE:
        raise BadInput(f"{text} is out of range for a size", object, "sizes are between 0 and 1 EiB")
    return size


def humane_size(size: float) -> str:
    """A size in at most five characters: 20G, 1.5T, 512M."""
    value = float(size)
    for unit in ("B", "K", "M", "G", "T", "P"):
        if abs(value) < 1023.95 or unit == "P":
            if unit == "B" or value >= 99.95 or value == int(value):
                return f"{value:.0f}{unit}" if unit != "B" else f"{int(value)}"
            return f"{value:.1f}{unit}"
        value /= 1024
    raise AssertionError("unreachable: the loop ends at P")


def exact_size(size: int) -> str:
    """A size as people write it, without any rounding: 20G, 1536M, 1000."""
    for unit in ("P", "T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def parse_rate(text: str | int, object: object = "") -> int:
    """Bits a second of "100M", "1G", "64kbit" or 8000: networks count in thousands. Raises BadInput."""
    match = _RATE.fullmatch(str(text).strip())
    if not match:
        raise BadInput(f"{text!r} is not a rate", object, "write bits a second, such as 100M or 1G, or 0 for no limit")
    return int(float(match[1]) * 1000 ** " KMGT".index((match[2] or " ").upper()))


def humane_rate(bits: int) -> str:
    """100Mbit/s."""
    value = float(bits)
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.95 or unit == "T":
            return f"{value:.4g}{unit}bit/s"
        value /= 1000
    raise AssertionError("unreachable: the loop ends at T")


def parse_duration(text: str | float, object: object = "") -> float:
    """Seconds of "30m", "2h", "1d" or 90. Raises BadInput."""
    if isinstance(text, int | float):
        return float(text)
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise BadInput(f"{text!r} is not a duration", object, "write a number and a unit, such as 30s, 10m, 2h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def humane_duration(seconds: float) -> str:
    """A duration in two units at most: 12s, 3m 20s, 1d 7h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit} {rest}{small_unit}" if rest else f"{whole // size}{unit}"
    raise AssertionError("unreachable: 60 s and more are minutes")
