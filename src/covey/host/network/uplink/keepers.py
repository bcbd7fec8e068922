"""Who configures the network of this machine at boot, and what it must be told so that a card comes up as a bridge's port."""

from __future__ import annotations

from pathlib import Path

from covey.base.errors import Refused, check
from covey.host.network.uplink import ifupdown, networkd
from covey.model.uplink import FileChange, Uplink

IFUPDOWN, NETWORKD = ifupdown.NAME, networkd.NAME
_HINTS = {
    "NetworkManager": (
        "let NetworkManager do it: nmcli connection add type bridge ifname {bridge} con-name {bridge} bridge.stp no; "
        "nmcli connection add type ethernet ifname {nic} master {bridge}; or move {nic} to /etc/network/interfaces first"
    ),
    "netplan": "let netplan do it: name {bridge} below bridges: in /etc/netplan with interfaces: [{nic}], then: netplan try",
    "": "write {nic} into /etc/network/interfaces first, so that it comes up at the next boot, too",
}


def find_keeper(root: Path, nic: str, index: int) -> str:
    """ifupdown, systemd-networkd, netplan, NetworkManager, or "" when nobody does."""
    if ifupdown.has(root, nic):
        return IFUPDOWN
    told = networkd.file_of(root, index)
    if told:
        return "netplan" if "netplan" in told else NETWORKD
    return "NetworkManager" if (root / "run/NetworkManager/NetworkManager.pid").exists() else ""


def changes(root: Path, keeper: str, uplink: Uplink, index: int, bridge: str) -> tuple[FileChange, ...]:
    """The files to be written, in this order; the last one is what makes the difference. Raises Refused where a person must do it."""
    if keeper == IFUPDOWN:
        return (ifupdown.change(root, uplink, bridge),)
    if keeper == NETWORKD:
        return networkd.changes(root, uplink, index, bridge)
    hint = _HINTS[keeper].format(nic=uplink.name, bridge=bridge)
    who = f"{keeper} configures it, and Covey does not write its files" if keeper else "nothing configures it at boot"
    raise Refused(who, f"interface {uplink.name}", hint)


def check_unchanged(files: tuple[FileChange, ...]) -> None:
    """Raises Refused when somebody else wrote one of the files meanwhile."""
    for file in files:
        path = Path(file.path)
        now = path.read_text() if path.exists() else None
        check(now in (file.before, file.after), Refused("it was changed meanwhile", file.path, "put it back, and confirm again"))
