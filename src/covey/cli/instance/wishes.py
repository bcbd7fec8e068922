"""What is asked of a new instance, from options or from a file, as the body of the API's request."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput, check
from covey.base.units import parse_duration, parse_size

DISK_KEYS = ("size", "pool", "format")
NIC_KEYS = ("network", "mac", "address")
_PLAIN = ("name", "cpus", "image", "iso", "uuid", "notes")
KEYS = (*_PLAIN, "memory", "disk", "network", "nic", "ssh_key", "user_data", "tag", "start", "wait", "timeout")


def body_of(wishes: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The request's fields; what was not asked for is left to the cluster. Files are read relative to `directory`. Raises BadInput."""
    body = {key: wishes[key] for key in _PLAIN if wishes.get(key) not in (None, "")}
    if wishes.get("memory") is not None:
        body["memory"] = _size(wishes["memory"], "memory")
    disks = _list(wishes.get("disk"))
    if disks:
        body["disks"] = [_disk(disk) for disk in disks]
    nics = _nics(_list(wishes.get("network")), _list(wishes.get("nic")))
    if nics is not None:
        body["nics"] = nics
    if wishes.get("ssh_key"):
        body["ssh_keys"] = [key for file in _list(wishes["ssh_key"]) for key in _keys(file, directory)]
    if wishes.get("user_data"):
        body["user_data"] = _read(wishes["user_data"], directory, "user_data")
    if wishes.get("tag"):
        body["tags"] = _list(wishes["tag"])
    if wishes.get("start") is False:
        body["start"] = False
    _add_wait(body, wishes.get("wait"), wishes.get("timeout"))
    return body


def _add_wait(body: dict[str, Any], wait: Any, timeout: Any) -> None:
    check(wait in (None, "ready"), BadInput(f"{wait!r} cannot be waited for", "wait", "write ready, or leave it out"))
    if wait:
        body["wait_ready"] = True
    if timeout is not None:
        check(wait, BadInput("it goes with --wait ready", "timeout", "to stop waiting for the job: --wait-timeout"))
        body["ready_timeout_s"] = parse_duration(timeout, "timeout")


def _disk(wish: Any) -> dict[str, Any]:
    """A disk from "20G,pool=hdd,format=raw" or from a mapping of the same."""
    parts = _parts(wish, DISK_KEYS, "disk")
    if "size" in parts:
        parts["size"] = _size(parts["size"], "disk")
    return parts


def _nics(networks: Sequence[Any], nics: Sequence[Any]) -> list[dict[str, Any]] | None:
    """None when nothing was said: the cluster's choice."""
    check(not (networks and nics), BadInput("say it by --network or by --nic", "nic", "--nic network=lan,address=auto"))
    if networks:
        return [{"network": network} for network in networks]
    if "none" in nics:
        check(len(nics) == 1, BadInput("none goes with no other", "nic", "leave the others out"))
        return []
    return [_parts(nic, NIC_KEYS, "nic") for nic in nics] or None


def _parts(wish: Any, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """The parts of FIRST,KEY=VALUE,...; a first part without a key is the first of `keys`. Raises BadInput."""
    if isinstance(wish, Mapping):
        parts = dict(wish)
    else:
        parts = {}
        for position, part in enumerate(str(wish).split(",")):
            key, equals, value = part.strip().partition("=")
            if not equals:
                check(position == 0, BadInput(f"{part!r} lacks its key", what, f"write KEY=VALUE; keys: {', '.join(keys)}"))
                key, value = keys[0], part.strip()
            check(key not in parts, BadInput(f"{key} is said twice", what, "leave one out"))
            parts[key] = value
    for key, value in parts.items():
        check(key in keys, BadInput(f"there is no {key!r} in it", what, f"keys are {', '.join(keys)}"))
        check(value not in ("", None), BadInput(f"{key} is empty", what, f"write {key}=VALUE"))
    return parts


def _size(value: Any, what: str) -> int:
    check(isinstance(value, str | int) and not isinstance(value, bool), BadInput(f"{value!r} is not a size", what, "such as 2G"))
    return parse_size(value, what)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _keys(file: str, directory: Path) -> list[str]:
    """The public keys of a file: a line each, comments and empty lines aside."""
    lines = [line.strip() for line in _read(file, directory, "ssh_key").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    check(keys, BadInput("there is no key in it", f"ssh_key {file}", "name a .pub file"))
    return keys


def _read(file: Any, directory: Path, what: str) -> str:
    """A text file, or standard input for "-". Raises BadInput when it cannot be read as UTF-8 text."""
    try:
        return sys.stdin.read() if file == "-" else (directory / Path(str(file)).expanduser()).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", f"{what} {file}", "name a readable file") from error
    except ValueError as error:
        raise BadInput("is not UTF-8 text", f"{what} {file}", "name another file") from error
