"""Two guests compared: their definitions, and what was measured of them."""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from random import Random

import pytest
from bench.definitions import Difference, differences, reason_of
from bench.guest import interval, keep_in, kept_in

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


def test_the_middle_of_ratios_is_the_median_of_the_means_of_all_pairs() -> None:
    middle, low, high = interval([1.0] * 5 + [2.0, 2.0])
    assert (round(middle, 3), low, round(high, 3)) == (1.0, 1.0, 2.0)


@pytest.mark.parametrize(("count", "cut"), [(6, 0), (7, 2), (10, 8), (20, 52)])
def test_so_many_means_lie_outside_as_tables_of_signed_ranks_say(count: int, cut: int) -> None:
    """Hollander and Wolfe, table A.4, at 95 %."""
    logs = [2.0 ** (number - count) for number in range(count)]
    _, low, _ = interval([exp(value) for value in logs])
    means = sorted((one + other) / 2 for number, one in enumerate(logs) for other in logs[number:])
    assert log(low) == pytest.approx(means[cut])


def test_the_true_ratio_lies_between_about_95_times_in_100() -> None:
    draw = Random(1)
    rounds = [[1.1 * exp(draw.gauss(0, 0.2)) for _ in range(12)] for _ in range(400)]
    held = sum(low <= 1.1 <= high for _, low, high in map(interval, rounds))
    assert 370 <= held <= 392


def test_rounds_of_other_guests_or_loads_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "rounds"
    for of, speed in (("these", 1.0), ("others", 2.0), ("these", 3.0)):
        keep_in(file, of, {"disk_read": {"covey": speed, "equal": 1.0}})
    assert [found["disk_read"]["covey"] for found in kept_in(file, "these")] == [1.0, 3.0]
    assert kept_in(tmp_path / "none yet", "these") == []
