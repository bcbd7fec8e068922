"""Room for disks: the file system below the state directory, disks with nothing on them, volume groups of LVM."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covey.base.errors import CoveyError
from covey.base.run import run
from covey.base.units import humane_size
from covey.model.preflight import ERROR, OK, WARNING, Disk, Finding

_GOOD = ("ext4", "xfs", "btrfs", "zfs")
_FAR = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")
_LEAST_FREE, _LITTLE_FREE = 2 * 2**30, 20 * 2**30  # bytes
_COLUMNS = "PATH,TYPE,SIZE,FSTYPE,PTTYPE,MOUNTPOINTS,RO,MODEL"


def look_at_place(path: Path, mounts: str) -> Finding:
    """The file system in which a directory is, or will be. `mounts` is the text of /proc/self/mounts."""
    present = next(each for each in (path, *path.parents) if each.exists())
    room = os.statvfs(present)
    free = room.f_bavail * room.f_frsize
    kind = kind_of(present.resolve(), mounts)
    what = f"{humane_size(free)} free of {humane_size(room.f_blocks * room.f_frsize)}, {kind}"
    about = f"directory {path}"
    if free < _LEAST_FREE:
        return Finding(ERROR, about, what, "an image and a few disks need more", "name another with --state, or make room")
    if kind in _FAR:
        return Finding(WARNING, about, what, "it is on another machine: records need a disk of this one", "keep --state here")
    if kind not in _GOOD:
        return Finding(WARNING, about, what, "it is neither ext4 nor xfs, on which Covey is tested", "")
    if free < _LITTLE_FREE:
        return Finding(WARNING, about, what, "few disks will fit", "give it a disk of its own, or add a pool elsewhere")
    return Finding(OK, about, what)


def kind_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds a path."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        _, point, found, *_ = line.split()
        point = point.replace("\\040", " ")
        if len(point) >= len(best) and (path == Path(point) or Path(point) in path.parents):
            best, kind = point, found
    return kind


async def look_at_disks() -> tuple[Finding, ...]:
    try:
        told = await run(["lsblk", "--json", "--bytes", "--output", _COLUMNS], timeout_s=20, object="disks")
    except CoveyError as error:
        return (Finding(WARNING, "disks", f"cannot be listed: {error.what}", "", "see: lsblk"),)
    return judge_disks(parse_disks(told.text))


def parse_disks(text: str) -> tuple[Disk, ...]:
    return tuple(
        Disk(one["path"], int(one["size"] or 0), (one.get("model") or "").strip(), _is_free(one))
        for one in json.loads(text)["blockdevices"]
        if one["type"] == "disk" and not one["path"].startswith(("/dev/zram", "/dev/ram", "/dev/loop", "/dev/nbd"))
    )


def _is_free(one: dict[str, Any]) -> bool:
    mounted = any(one.get("mountpoints") or [one.get("mountpoint")])
    return not (one.get("fstype") or one.get("pttype") or one.get("children") or mounted or one.get("ro")) and bool(one["size"])


def judge_disks(disks: tuple[Disk, ...]) -> tuple[Finding, ...]:
    free = [disk for disk in disks if disk.is_free]
    return tuple(
        Finding(
            OK,
            f"disk {disk.path}",
            f"{humane_size(disk.size)}{f' {disk.model}' if disk.model else ''}, nothing on it: free for a pool",
        )
        for disk in free
    ) or (Finding(OK, "disks", f"{len(disks)}, none of them free: pools are directories"),)


async def look_at_volume_groups() -> tuple[Finding, ...]:
    """Nothing is said where LVM is not installed."""
    try:
        told = await run(
            ["vgs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", "vg_name,vg_size,vg_free"],
            timeout_s=20,
            object="LVM",
        )
    except CoveyError:
        return ()
    return tuple(_volume_groups(told.text))


def _volume_groups(text: str) -> Iterator[Finding]:
    for group in json.loads(text)["report"][0]["vg"]:
        free, all = int(group["vg_free"]), int(group["vg_size"])
        yield Finding(OK, f"volume group {group['vg_name']}", f"{humane_size(free)} free of {humane_size(all)}")
