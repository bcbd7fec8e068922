"""The only network card of a machine becomes a bridge's port; what is not confirmed is rolled back, whoever is killed."""

from __future__ import annotations

import asyncio
import difflib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.errors import StepFailed
from covey.host.network.uplink.takeover import Takeovers
from tests.kit.eventually import eventually
from tests.kit.uplinks import DHCP, INTERFACES, NETWORKD, Machine

TAKE = ("node", "prepare", "--bridge", "br0", "--nic", "eth0", "--yes")
MOST_SILENCE_S = 2.0


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


def begin(machine: Machine, *more: str) -> None:
    """Taken over, and not waited for."""
    said = machine.covey(*TAKE, "--no-wait", *more)
    assert said.status == 0, said.text
    assert "Confirm before" in said.text and "--confirm" in said.text


def test_a_dry_run_shows_it_all_and_changes_nothing(machine: Machine) -> None:
    before = machine.looks()
    said = machine.covey(*TAKE, "--dry-run")
    assert said.status == 0, said.text
    for words in (
        "10.66.0.5/24, fd66::5/64",
        "default via 10.66.0.1",
        "10.66.0.1 answers",
        "-auto eth0",
        "+auto br0",
        "ifupdown",
    ):
        assert words in said.text
    assert (machine.looks(), machine.interfaces.read_text()) == (before, INTERFACES)


async def test_it_is_taken_over_confirmed_and_comes_back_after_a_reboot(machine: Machine) -> None:
    links, routes = machine.looks()
    with machine.pinged("10.66.0.5") as four, machine.pinged("fd66::5") as six:
        begin(machine)
        assert machine.answers() and machine.answers("fd66::5")
        assert machine.interfaces.read_text() == INTERFACES  # a reboot now would end in the old state
        said = machine.covey("node", "prepare", "--confirm")
        assert said.status == 0, said.text
    print(
        f"longest silence: {four.longest_silence_s:.2f} s of {four.sent} pings, IPv6 {six.longest_silence_s:.2f} s of {six.sent}"
    )
    assert four.longest_silence_s < MOST_SILENCE_S and six.longest_silence_s < MOST_SILENCE_S
    after, routes_after = machine.looks()
    card = next(link for link in after if link["ifname"] == "eth0")
    bridge = next(link for link in after if link["ifname"] == "br0")
    before = next(link for link in links if link["ifname"] == "eth0")
    assert (card["master"], card["addresses"]) == ("br0", [])
    assert {key: bridge[key] for key in ("mtu", "address", "addresses")} == {
        k: before[k] for k in ("mtu", "address", "addresses")
    }
    assert routes_after == [[route.replace("eth0", "br0") for route in family] for family in routes]
    await eventually(lambda: not machine.guards())
    machine.pull()
    assert not machine.answers()
    machine.plug()
    machine.boot()
    assert machine.answers() and machine.answers("fd66::5"), machine.interfaces.read_text()
    await eventually(lambda: machine.looks()[1] == routes_after)  # its link-local address is tried out for a second


async def test_what_nobody_confirms_is_rolled_back_though_the_command_was_killed(machine: Machine) -> None:
    before = machine.looks()
    with machine.pinged("10.66.0.5") as pings:
        process = machine.start(*TAKE, "--confirm-within", "15s")
        await eventually(lambda: "br0" in machine.links())
        await eventually(lambda: machine.covey("node", "prepare", "--bridge", "br1", "--nic", "eth0").status == 1)
        os.killpg(process.pid, signal.SIGHUP)  # the terminal is gone
        process.communicate(timeout=10)
        assert "br0" in machine.links()
        await eventually(lambda: "br0" not in machine.links(), within=40.0)
        await eventually(lambda: not machine.guards())
    assert (machine.looks(), machine.interfaces.read_text()) == (before, INTERFACES), differ(before, machine.looks())
    assert pings.longest_silence_s < MOST_SILENCE_S
    said = machine.covey("node", "prepare", "--confirm")
    assert said.status == 1 and "nobody confirmed it within 15 s" in said.text


async def test_a_command_that_is_killed_at_its_work_is_rolled_back_at_once(machine: Machine) -> None:
    before = machine.looks()
    process = machine.start(*TAKE)
    await eventually(lambda: "br0" in machine.links())
    machine.lan_does("ip", "link", "set", "eth0", "down")  # the gateway does not answer, so the command is still at work
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    await eventually(lambda: "br0" not in machine.links(), within=40.0)
    machine.lan_does("ip", "link", "set", "eth0", "up")
    await eventually(lambda: machine.answers())
    await eventually(lambda: not machine.guards())
    assert machine.looks() == before, differ(before, machine.looks())


def test_a_gateway_that_falls_silent_ends_it(machine: Machine) -> None:
    before = machine.looks()
    work = Takeovers(machine.state / "takeover", machine.directory)

    def take_over() -> None:
        intent = work.plan("eth0", "br0")
        work.begin(intent, 60.0, silence)

    def silence() -> None:
        machine.lan_does("ip", "link", "set", "eth0", "arp", "off")

    with pytest.raises(StepFailed, match=r"10\.66\.0\.1 does not answer any more"):
        machine.call(take_over)
    machine.lan_does("ip", "link", "set", "eth0", "arp", "on")
    assert machine.looks() == before, differ(before, machine.looks())
    assert machine.answers()


def test_a_confirmation_that_cannot_be_written_changes_no_file_and_may_be_repeated(machine: Machine) -> None:
    work = Takeovers(machine.state / "takeover", machine.directory)
    taken = machine.call(lambda: work.begin(work.plan("eth0", "br0"), 60.0, lambda: None))
    in_the_way = machine.interfaces.with_name(".interfaces.new")
    in_the_way.mkdir()
    with pytest.raises(StepFailed, match="cannot be written"):
        work.confirm()
    assert (machine.interfaces.read_text(), work.now()) == (INTERFACES, taken)
    in_the_way.rmdir()
    assert work.confirm().state == "confirmed"
    assert "auto br0" in machine.interfaces.read_text()


def test_a_confirmation_that_died_at_its_work_is_rolled_back_with_its_files(machine: Machine) -> None:
    work = Takeovers(machine.state / "takeover", machine.directory)
    before = machine.looks()
    taken = machine.call(lambda: work.begin(work.plan("eth0", "br0"), 0.5, lambda: None))
    (file,) = taken.files
    machine.interfaces.write_text(file.after or "")
    state = machine.state / "takeover/takeover.json"
    state.write_text(state.read_text().replace('"waiting"', '"confirming"'))
    machine.call(lambda: work.guard(lambda: None, lambda seconds: False))
    assert (machine.interfaces.read_text(), machine.looks()) == (INTERFACES, before)


async def test_of_two_guards_one_may_be_killed_and_the_command_says_that_it_was_rolled_back(machine: Machine) -> None:
    process = machine.start(*TAKE, "--confirm-within", "2s")
    await eventually(lambda: "br0" in machine.links())
    os.kill(machine.guards()[0], signal.SIGKILL)
    said, _ = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 1 and "rolled back: nobody confirmed it within 2 s" in said
    assert "br0" not in machine.links() and machine.answers()
    await eventually(lambda: not machine.guards())


async def test_with_both_guards_killed_it_stays_until_somebody_rolls_back(machine: Machine) -> None:
    before = machine.looks()
    begin(machine, "--confirm-within", "1s")
    for guard in machine.guards():
        os.kill(guard, signal.SIGKILL)
    over = time.monotonic() + 1
    await eventually(lambda: time.monotonic() > over)
    assert machine.covey("node", "prepare", "--confirm").status == 1
    assert "br0" in machine.links() and machine.interfaces.read_text() == INTERFACES
    said = machine.covey("node", "prepare", "--roll-back")
    assert said.status == 0, said.text
    assert machine.looks() == before, differ(before, machine.looks())


async def test_an_address_by_dhcp_moves_with_the_client_that_renews_it() -> None:
    machine = Machine(DHCP)
    try:
        with machine.lan_leases():
            machine.boot()
            assert machine.answers()
            with machine.pinged("10.66.0.5") as pings:
                begin(machine)
                said = machine.covey("node", "prepare", "--confirm")
                assert said.status == 0 and "but" not in said.text, said.text
            print(f"longest silence: {pings.longest_silence_s:.2f} s of {pings.sent} pings")
            assert pings.longest_silence_s < MOST_SILENCE_S
            (client,) = machine.pids(b"dhclient")
            assert b"br0" in Path(f"/proc/{client}/cmdline").read_bytes()
            assert "br0=br0" in machine.does("cat", "/run/network/ifstate")
            machine.pull()
            machine.plug()
            machine.boot()
            assert machine.answers() and "dev br0" in machine.does("ip", "route", "show", "default")
    finally:
        machine.close()


async def test_networkd_is_overruled_now_and_after_a_reboot() -> None:
    machine = Machine(networkd=NETWORKD)
    try:
        machine.boot()
        await eventually(machine.answers)
        with machine.pinged("10.66.0.5") as pings:
            begin(machine)
            said = machine.covey("node", "prepare", "--confirm")
            assert said.status == 0, said.text
            assert "systemctl restart systemd-networkd" in said.text  # there is no D-Bus here, so that it could not be told
            machine.start_networkd()
            await eventually(lambda: "br0" in machine.does("ip", "route", "show", "10.99.0.0/16"))
            assert machine.answers()
        print(f"longest silence: {pings.longest_silence_s:.2f} s of {pings.sent} pings")
        assert pings.longest_silence_s < MOST_SILENCE_S
        machine.pull()
        machine.plug()
        machine.boot()
        await eventually(machine.answers)
        await eventually(lambda: machine.answers("fd66::5"))
        (card,) = (link for link in machine.looks()[0] if link["ifname"] == "eth0")
        assert (card["master"], card["addresses"]) == ("br0", [])
    finally:
        machine.close()


def differ(before: object, after: object) -> str:
    return "\n".join(difflib.ndiff(str(before).split("{"), str(after).split("{")))
