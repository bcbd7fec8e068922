"""What is written so that a card comes up as a bridge's port at the next boot: ifupdown's file, networkd's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.base.errors import Refused
from covey.host.network.uplink import ifupdown
from covey.host.network.uplink.keepers import changes, check_unchanged, find_keeper
from covey.model.uplink import FileChange, Uplink

CARD = Uplink("eth0", "02:00:00:00:66:05", 9000, (), (), False, {})
STATIC = """\
source interfaces.d/*
auto lo eth0
iface lo inet loopback
iface eth0 inet static
    address 10.0.0.5/24  # ours
    gateway 10.0.0.1
    dns-nameservers 10.0.0.1
    up ip route add 10.9.0.0/16 dev eth0
    up ethtool -K eth0 tso off
allow-hotplug eth1
iface eth1 inet dhcp
"""


def at(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_bridge_gets_the_stanza_of_the_card_with_all_its_options() -> None:
    lines = ifupdown.rewrite(STATIC, CARD, "br0").splitlines()
    assert lines[1:3] == ["auto lo", "auto br0"]
    stanza = lines[lines.index("iface br0 inet static") : lines.index("allow-hotplug eth1")]
    for line in ("    address 10.0.0.5/24  # ours", "    gateway 10.0.0.1", "    dns-nameservers 10.0.0.1"):
        assert line in stanza
    assert "    up ip route add 10.9.0.0/16 dev br0" in stanza
    assert "    up ethtool -K eth0 tso off" in stanza  # of the card, not of what it carries
    assert "    pre-up ip link set dev eth0 mtu 9000" in stanza
    assert lines[-1] == "iface eth0 inet manual"
    assert lines[lines.index("allow-hotplug eth1") + 1] == "iface eth1 inet dhcp"


def test_a_card_that_was_plugged_in_becomes_a_bridge_that_is_started() -> None:
    lines = ifupdown.rewrite("allow-hotplug eth0\niface eth0 inet dhcp\n", CARD, "br0").splitlines()
    assert lines[0:2] == ["auto br0", "iface br0 inet dhcp"]


def test_the_second_stanza_does_not_make_the_bridge_once_more() -> None:
    text = ifupdown.rewrite("auto eth0\niface eth0 inet dhcp\niface eth0 inet6 auto\n", CARD, "br0")
    assert text.count("master br0") == 1 and "iface br0 inet6 auto" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iface eth0 inet static\n  wpa-ssid home\n", "wpa-ssid"),
        ("iface eth0 inet static inherits base\n", "inherits"),
        ("iface eth0 inet static\n  up echo \\\n  twice\n", "go on in the next"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        ifupdown.rewrite(text, CARD, "br0")


def test_the_stanza_is_found_in_the_files_that_are_read_in(tmp_path: Path) -> None:
    at(tmp_path, "etc/network/interfaces", "source /etc/network/interfaces.d/*\n")
    where = at(tmp_path, "etc/network/interfaces.d/eth0", "iface eth0 inet dhcp\n")
    assert find_keeper(tmp_path, "eth0", 2) == "ifupdown"
    (file,) = changes(tmp_path, "ifupdown", CARD, 2, "br0")
    assert (file.path, file.before) == (str(where), "iface eth0 inet dhcp\n")


def test_stanzas_in_two_files_are_refused(tmp_path: Path) -> None:
    at(tmp_path, "etc/network/interfaces", "source-directory interfaces.d\niface eth0 inet6 auto\n")
    at(tmp_path, "etc/network/interfaces.d/eth0", "iface eth0 inet dhcp\n")
    with pytest.raises(Refused, match="several files"):
        changes(tmp_path, "ifupdown", CARD, 2, "br0")


def test_a_bridge_that_is_configured_already_is_refused(tmp_path: Path) -> None:
    at(tmp_path, "etc/network/interfaces", "iface eth0 inet dhcp\niface br0 inet manual\n")
    with pytest.raises(Refused, match="has a stanza for it already"):
        changes(tmp_path, "ifupdown", CARD, 2, "br0")


def a_networkd(root: Path, file: str = "etc/systemd/network/10-eth0.network", text: str = "") -> None:
    at(
        root,
        file,
        text or "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nVLAN=eth0.7\n[Link]\nMTUBytes=9000\n[Route]\nGateway=10.0.0.1\n",
    )
    at(root, "run/systemd/netif/links/2", f"ADMIN_STATE=configured\nNETWORK_FILE=/{file}\n")


def test_networkd_is_overruled_by_files_of_which_the_last_makes_the_difference(tmp_path: Path) -> None:
    a_networkd(tmp_path)
    assert find_keeper(tmp_path, "eth0", 2) == "systemd-networkd"
    netdev, bridged, port = changes(tmp_path, "systemd-networkd", CARD, 2, "br0")
    assert [Path(file.path).name for file in (netdev, bridged, port)] == [
        "00-covey-br0.netdev",
        "00-covey-br0.network",
        "00-covey-eth0.network",
    ]
    assert "Kind=bridge\nMACAddress=02:00:00:00:66:05" in (netdev.after or "")
    assert bridged.after and "Name=br0" in bridged.after and "DHCP=yes" in bridged.after and "[Route]" in bridged.after
    assert "VLAN" not in bridged.after and "Link" not in bridged.after
    assert port.after and "Bridge=br0" in port.after and "VLAN=eth0.7" in port.after and "MTUBytes=9000" in port.after


def test_a_file_of_networkd_that_would_win_is_refused(tmp_path: Path) -> None:
    a_networkd(tmp_path, "etc/systemd/network/00-a.network")
    with pytest.raises(Refused, match="would win"):
        changes(tmp_path, "systemd-networkd", CARD, 2, "br0")


@pytest.mark.parametrize(
    ("name", "text", "keeper", "hint"),
    [
        ("run/NetworkManager/NetworkManager.pid", "7\n", "NetworkManager", "nmcli"),
        ("run/systemd/netif/links/2", "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n", "netplan", "netplan try"),
        ("etc/hostname", "n1\n", "", "/etc/network/interfaces"),
    ],
)  # fmt: skip
def test_what_others_configure_is_refused_with_the_way_to_do_it(
    tmp_path: Path, name: str, text: str, keeper: str, hint: str
) -> None:
    at(tmp_path, name, text)
    assert find_keeper(tmp_path, "eth0", 2) == keeper
    with pytest.raises(Refused) as refused:
        changes(tmp_path, keeper, CARD, 2, "br0")
    assert hint in refused.value.hint


def test_a_file_that_somebody_else_wrote_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = at(tmp_path, "interfaces", "new\n")
    check_unchanged((FileChange(str(path), "new\n", "after\n"), FileChange(str(tmp_path / "none"), None, "after\n")))
    with pytest.raises(Refused, match="meanwhile"):
        check_unchanged((FileChange(str(path), "old\n", "after\n"),))
