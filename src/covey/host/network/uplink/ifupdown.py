"""/etc/network/interfaces(5): a card's stanzas become its bridge's. Text in, text out; one file, replaced in one rename, so that no
moment of the writing can leave half of it."""

from __future__ import annotations

import re
from pathlib import Path

from covey.base.errors import Refused, check
from covey.model.uplink import FileChange, Uplink

NAME = "ifupdown"
MAIN = "etc/network/interfaces"
_HEADS = ("iface", "mapping", "auto", "source", "source-directory", "no-auto-down", "no-scripts", "rename", "template")
_BLOCKS = ("iface", "mapping")
_AT_START = re.compile(r"auto|allow-\S+")
_COMMANDS = ("up", "down", "pre-up", "post-up", "pre-down", "post-down")
_ABOUT_ROUTES = re.compile(r"\bip\b.*\b(route|rule|addr|address|neigh)\b|\broute (add|del)\b")
_OTHERS_BUSINESS = ("bridge_ports", "bridge-ports", "bond-master", "bond-slaves", "wpa-ssid", "wpa-conf", "wireless-essid")
_MOST_FILES = 100


def files(root: Path) -> list[Path]:
    """The main file and those that it reads in."""
    found, waiting = list[Path](), [root / MAIN]
    while waiting and len(found) < _MOST_FILES:
        path = waiting.pop(0)
        if path in found or not path.is_file():
            continue
        found.append(path)
        for words in _lines(path.read_text(errors="replace")):
            if words[0] in ("source", "source-directory") and len(words) > 1:
                waiting += _sourced(root, words[0], words[1])
    return found


def _sourced(root: Path, how: str, pattern: str) -> list[Path]:
    base = root / (pattern.lstrip("/") if pattern.startswith("/") else f"etc/network/{pattern}")
    matches = sorted(base.parent.glob(base.name))
    if how == "source":
        return matches
    return [path for folder in matches for path in sorted(folder.glob("*")) if re.fullmatch(r"[a-zA-Z0-9_-]+", path.name)]


def has(root: Path, nic: str) -> bool:
    return bool(_with_stanza(root, nic))


def _with_stanza(root: Path, nic: str) -> list[Path]:
    found = []
    for path in files(root):
        if any(words[:2] == ["iface", nic] for words in _lines(path.read_text(errors="replace"))):
            found.append(path)
    return found


def change(root: Path, uplink: Uplink, bridge: str) -> FileChange:
    """The file with the card's stanzas, as it becomes. Raises Refused where a person must do it."""
    holding = _with_stanza(root, uplink.name)
    about = f"interface {uplink.name}"
    check(
        len(holding) == 1,
        Refused(f"its stanzas are in several files: {', '.join(map(str, holding))}", about, "put them into one of them"),
    )
    for path in files(root):
        for words in _lines(path.read_text(errors="replace")):
            check(
                words[:2] != ["iface", bridge],
                Refused(f"{path} has a stanza for it already", f"bridge {bridge}", "choose another name, or take that one out"),
            )
            check(
                words[0] != "mapping" or uplink.name not in words[1:],
                Refused(f"{path} maps it", about, "replace the mapping by a plain stanza"),
            )
    before = holding[0].read_text()
    return FileChange(str(holding[0]), before, rewrite(before, uplink, bridge))


def rewrite(text: str, uplink: Uplink, bridge: str) -> str:
    """Pure: `auto NIC` and `iface NIC ...` with all its options become the bridge's; the card itself is left to the bridge."""
    nic = uplink.name
    check(
        not any(line.endswith("\\") for line in text.splitlines()),
        Refused("it has lines that go on in the next one", f"interface {nic}", "write each of them as one line"),
    )
    done: list[str] = []
    block: list[str] = []  # the words that began the stanza in which we are
    bridged = False
    for line in text.splitlines():
        words = line.split("#", 1)[0].split() if not line.lstrip().startswith("#") else []
        if words and (words[0] in _HEADS or _AT_START.fullmatch(words[0])):
            block = words if words[0] in _BLOCKS else []
        if words and _AT_START.fullmatch(words[0]) and nic in words[1:]:
            done += _started(words, nic, bridge)
        elif words[:2] == ["iface", nic]:
            _check_stanza(words, nic)
            done.append(f"iface {bridge} {' '.join(words[2:])}")
            if not bridged:
                done += _making(uplink, bridge)
            bridged = True
        elif block[:2] == ["iface", nic]:
            check(
                not words or words[0] not in _OTHERS_BUSINESS,
                Refused(f"its stanza has {words[0] if words else ''}", f"interface {nic}", "Covey takes over plain cards only"),
            )
            done.append(_moved(line, words, nic, bridge))
        else:
            done.append(line)
    return "\n".join((*done, *_card(nic))) + "\n"


def _started(words: list[str], nic: str, bridge: str) -> list[str]:
    """`auto lo eth0`: the bridge in the place of the card. A bridge is never plugged in: what came with the card is `auto` now."""
    others = [word for word in words[1:] if word != nic]
    kept = [f"{words[0]} {' '.join(others)}"] if others else []
    return [*kept, f"auto {bridge}"]


def _check_stanza(words: list[str], nic: str) -> None:
    check(
        "inherits" not in words and len(words) == 4 and words[2] in ("inet", "inet6"),
        Refused(f"Covey does not understand `{' '.join(words)}`", f"interface {nic}", "write it as: iface NAME inet METHOD"),
    )


def _making(uplink: Uplink, bridge: str) -> list[str]:
    """Commands that need no package but iproute2, and may be repeated."""
    nic = uplink.name
    return [
        f"    # {nic} is its port; so made by Covey (covey node prepare)",
        f"    pre-up ip link show dev {bridge} > /dev/null 2>&1 || ip link add name {bridge} address {uplink.mac} type bridge",
        f"    pre-up ip link set dev {bridge} type bridge stp_state 0",
        f"    pre-up ip link set dev {bridge} type bridge forward_delay 0",
        f"    pre-up ip link set dev {nic} mtu {uplink.mtu}",
        f"    pre-up ip link set dev {nic} master {bridge}",
        f"    pre-up ip link set dev {bridge} mtu {uplink.mtu}",
        f"    pre-up echo 1 > /proc/sys/net/ipv6/conf/{nic}/disable_ipv6 || true",
        f"    pre-up ip link set dev {nic} up",
    ]


def _moved(line: str, words: list[str], nic: str, bridge: str) -> str:
    if words and words[0] in _COMMANDS and _ABOUT_ROUTES.search(line):
        return re.sub(rf"\bdev {re.escape(nic)}(?=\s|$)", f"dev {bridge}", line)
    return line


def _card(nic: str) -> list[str]:
    return ["", f"iface {nic} inet manual"]


def _lines(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := line.split("#", 1)[0].split())]
