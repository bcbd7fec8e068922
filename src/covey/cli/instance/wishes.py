"""What is asked of a new instance, from options or from a file, as the body of the API's request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput, check
from covey.base.units import parse_duration, parse_size
from covey.cli.instance.files import read_text
from covey.cli.instance.platform import PLATFORM, platform_of
from covey.cli.text import complain

_IS_KEY = re.compile(r"(ssh|ecdsa|sk)-\S+ [A-Za-z0-9+/=]{20,}")
DISK_KEYS = ("size", "pool", "format")
NIC_KEYS = ("network", "mac", "address", "address6")
# A mapping may say these, too, as the API takes them: `cluster export` writes them so.
NIC_SETTINGS = ("up", "guarded", "also", "limit_in", "limit_out", "firewalls", "rules")
_PLAIN = ("name", "cpus", "max_cpus", "image", "iso", "uuid", "notes", "owner", "machine", "node")
CLOUD_INIT_KNOWS = ("#!", "#cloud-", "#include", "#part-handler", "## template:")
KEYS = (
    *_PLAIN,
    *PLATFORM,
    "memory",
    "max_memory",
    "disk",
    "network",
    "nic",
    "firewall",
    "ssh_key",
    "user_data",
    "tag",
    "protected",
    "start",
    "wait",
    "timeout",
)


def body_of(wishes: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The request's fields; what was not asked for is left to the cluster. Files are read relative to `directory`. Raises BadInput."""
    body = {key: wishes[key] for key in _PLAIN if wishes.get(key) not in (None, "")}
    for key in ("memory", "max_memory"):
        if wishes.get(key) is not None:
            body[key] = _size(wishes[key], key)
    body |= platform_of(wishes, directory)
    disks = _list(wishes.get("disk"))
    if disks:
        body["disks"] = [_disk(disk) for disk in disks]
    nics = _nics(_list(wishes.get("network")), _list(wishes.get("nic")))
    if nics is not None:
        body["nics"] = nics
    if wishes.get("ssh_key"):
        body["ssh_keys"] = [key for file in _list(wishes["ssh_key"]) for key in keys_of(file, directory)]
    if wishes.get("user_data"):
        body["user_data"] = _user_data(wishes["user_data"], directory)
    if wishes.get("firewall"):
        body["firewalls"] = _list(wishes["firewall"])
    if wishes.get("tag"):
        body["tags"] = _list(wishes["tag"])
    if wishes.get("protected"):
        body["protected"] = True
    if wishes.get("start") is False:
        body["start"] = False
    _add_wait(body, wishes.get("wait"), wishes.get("timeout"))
    return body


def _user_data(file: Any, directory: Path) -> str:
    """What cloud-init cannot know for its own is let through, since the image may have something else that reads it; but it is said."""
    text = read_text(file, directory, "user_data")
    begins_known = text.lstrip().lower().startswith(CLOUD_INIT_KNOWS)
    if not begins_known and "mime-version:" not in text[:4096].lower():
        complain(
            f"user_data {file}: cloud-init will pass over it, for its first line says nothing of what it is",
            "begin it with #cloud-config, or with #!/bin/sh for a script",
        )
    return text


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
    return [_nic(nic) for nic in nics] or None


def _nic(wish: Any) -> dict[str, Any]:
    return _parts(wish, (*NIC_KEYS, *NIC_SETTINGS) if isinstance(wish, Mapping) else NIC_KEYS, "nic")


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


def keys_of(file: str, directory: Path = Path()) -> list[str]:
    """The public keys of a file: a line each, comments and empty lines aside. A key itself may stand in the file's place."""
    if _IS_KEY.match(file):
        return [file.strip()]
    lines = [line.strip() for line in read_text(file, directory, "ssh_key").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    check(keys, BadInput("there is no key in it", f"ssh_key {file}", "name a .pub file"))
    return keys
