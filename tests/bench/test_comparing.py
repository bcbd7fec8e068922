"""Two guests compared: their definitions, and what was measured of them."""

from __future__ import annotations

import pytest
from bench.definitions import Difference, differences, reason_of
from bench.guest import interval

DEFINITION = """<domain type='qemu'>
  <memory unit='KiB'>1024</memory>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' cache='none'/><target dev='vda' bus='virtio'/><alias name='{alias}'/></disk>
    <controller type='pci' index='1' model='pcie-root-port'/>
    <controller type='pci' index='2' model='pcie-root-port'/>
    <rng model='virtio'/>
  </devices>
</domain>"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1024<", "2048<", Difference("memory", "1024", "2048")),
        ("cache='none'", "", Difference("devices/disk vda/driver cache", "none", "")),
        ("'vda'", "'vdb'", Difference("devices/disk vda", "file disk", "")),
        ("<rng model='virtio'/>", "", Difference("devices/rng", "virtio", "")),
        ("index='2' model='pcie-root-port'/>", "index='2' model='pcie-root'/>", Difference("devices/controller pci pcie-root-port times", "2", "1")),
        ("<rng", "<sound model='ich9'/><rng", Difference("devices/sound", "", "ich9")),
    ],
)  # fmt: skip
def test_a_difference_is_told_by_its_place_and_both_sides(old: str, new: str, expected: Difference) -> None:
    assert old in DEFINITION
    assert expected in differences(DEFINITION, DEFINITION.replace(old, new))


def test_where_devices_are_and_how_libvirt_calls_them_is_no_difference() -> None:
    assert differences(DEFINITION, DEFINITION.replace("{alias}", "other").replace("index='2'", "index='9'")) == []


def test_a_reason_holds_only_for_what_it_was_given_for() -> None:
    assert reason_of(Difference("devices/disk vda/driver cache", "none", ""))
    assert not reason_of(Difference("devices/disk vda/driver cache", "unsafe", ""))
    assert not reason_of(Difference("devices/hostdev", "subsystem", ""))


@pytest.mark.parametrize(("count", "low", "high"), [(7, 0, 6), (9, 1, 7), (15, 3, 11), (31, 9, 21)])
def test_the_median_lies_between_these_values_with_a_confidence_of_95_percent(count: int, low: int, high: int) -> None:
    values = [float(number) for number in range(count)]
    assert interval(values[::-1]) == (count // 2, low, high)
