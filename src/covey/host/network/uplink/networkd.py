"""systemd.network(5): a card's file is left as it is, and overruled by three of ours. The last of them makes the card a port: before it
is there the other two change nothing that matters, so that no moment of the writing leaves the machine without its address."""

from __future__ import annotations

from pathlib import Path

from covey.base.errors import Refused, check
from covey.model.uplink import FileChange, Uplink

NAME = "systemd-networkd"
FOLDER = "etc/systemd/network"
PREFIX = "00-covey"
_LINKS = "run/systemd/netif/links"
# What a [Network] section says of the card itself, and not of the addresses on it.
_OF_THE_CARD = ("VLAN", "MACVLAN", "IPVLAN", "LLDP", "EmitLLDP")
_OF_THE_CARD_SECTIONS = ("Match", "Link")
_NOT_PLAIN = ("Bridge", "Bond", "VRF", "BatmanAdvanced")


def file_of(root: Path, index: int) -> str:
    """The file by which networkd configured an interface, "" for one that it leaves alone."""
    try:
        text = (root / _LINKS / str(index)).read_text()
    except OSError:
        return ""
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return told.get("NETWORK_FILE", "") if told.get("ADMIN_STATE", "") not in ("unmanaged", "") else ""


def changes(root: Path, uplink: Uplink, index: int, bridge: str) -> tuple[FileChange, ...]:
    about = f"interface {uplink.name}"
    origin = root / file_of(root, index).lstrip("/")
    check(origin.is_file(), Refused(f"its file {origin} is not there", about, "see: networkctl status"))
    check(
        origin.name > f"{PREFIX}-",
        Refused(f"{origin} comes before any file of Covey's, and would win", about, "give it a name that begins with 10-"),
    )
    folder = root / FOLDER
    port, bridged = split(origin.read_text(), uplink, bridge)
    texts = {
        f"{PREFIX}-{bridge}.netdev": _netdev(uplink, bridge),
        f"{PREFIX}-{bridge}.network": bridged,
        f"{PREFIX}-{uplink.name}.network": port,
    }
    for name in texts:
        path = folder / name
        check(not path.exists(), Refused("it is there already", str(path), "remove it, if it is of no use"))
    return tuple(FileChange(str(folder / name), None, text) for name, text in texts.items())


def _netdev(uplink: Uplink, bridge: str) -> str:
    return (
        f"# Made by Covey (covey node prepare).\n[NetDev]\nName={bridge}\nKind=bridge\nMACAddress={uplink.mac}\n"
        f"MTUBytes={uplink.mtu}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
    )


def split(text: str, uplink: Uplink, bridge: str) -> tuple[str, str]:
    """Pure: what remains the card's, and what is the bridge's from now on."""
    card, bridged = list[str](), list[str]()
    section = ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("["):
            section = bare.strip("[]")
            if section == "Link":
                card += ["", bare]
            if section not in _OF_THE_CARD_SECTIONS:
                bridged += ["", bare]
        elif not bare or bare.startswith(("#", ";")):
            continue
        elif section == "Link":
            card.append(bare)
        elif section == "Network" and bare.partition("=")[0].strip() in _NOT_PLAIN:
            raise Refused(f"its file has {bare}", f"interface {uplink.name}", "Covey takes over plain cards only")
        elif section != "Match" and not (section == "Network" and bare.partition("=")[0].strip() in _OF_THE_CARD):
            bridged.append(bare)
    kept = [line for line in _section(text, "Network") if line.partition("=")[0].strip() in _OF_THE_CARD]
    head = "# Made by Covey (covey node prepare)."
    port = [head, "[Match]", f"Name={uplink.name}", *card, "", "[Network]", f"Bridge={bridge}", "LinkLocalAddressing=no", *kept]
    return "\n".join(port) + "\n", "\n".join((head, "[Match]", f"Name={bridge}", *bridged)) + "\n"


def _section(text: str, wanted: str) -> list[str]:
    found, section = list[str](), ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("["):
            section = bare.strip("[]")
        elif section == wanted and bare and not bare.startswith(("#", ";")):
            found.append(bare)
    return found
