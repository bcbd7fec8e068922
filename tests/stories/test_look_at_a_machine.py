"""covey node prepare looks at a machine, on which no Covey runs yet."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest

from covey.host.network.ears import cards, hear
from tests.kit.uplinks import INTERFACES, Machine

# Sent from the LAN's side by a program that begins there: a frame of LLDP, as a switch sends it every 30 s.
SEND = """
import socket, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0x88cc))
for _ in range(100):
    link.send(bytes.fromhex(sys.argv[1]))
    time.sleep(0.1)
"""
FRAME = bytes.fromhex("0180c200000e02000000660188cc") + b"".join(
    struct.pack("!H", kind << 9 | len(value)) + value
    for kind, value in ((1, b"\x04\x02\0\0\0\0\x01"), (2, b"\x05Gi0/12"), (3, b"\0\x78"), (5, b"sw1"), (0, b""))
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


def test_a_look_finds_what_there_is_and_changes_nothing(machine: Machine) -> None:
    before = machine.looks()
    said = machine.covey("node", "prepare", "--accelerator", "tcg", "--json")
    assert said.status == 0, said.text
    found = {finding["object"]: finding for finding in json.loads(said.text)}
    assert found["virtualisation"]["what"].startswith("a guest ran")
    assert found["nic eth0"]["severity"] == "ok" and "heard 10.66.0.1" in found["nic eth0"]["what"]
    assert found["default route"]["what"].startswith("10.66.0.1 by eth0")
    assert found["bridge"]["fix"] == "covey node prepare --bridge br0 --nic eth0"
    assert {"processors", "memory", "libvirtd", "clock", "disks", "name servers"} <= set(found) | {"disks"}
    assert machine.looks() == before and not machine.state.exists()


def test_an_address_of_another_network_is_an_error_and_such_a_card_is_not_taken_over(machine: Machine) -> None:
    machine.does("ifdown", "-a")
    machine.interfaces.write_text(INTERFACES.replace("10.66.0", "10.77.0"))
    machine.boot()
    with machine.lan_talks():
        said = machine.covey("node", "prepare", "--accelerator", "tcg")
    assert said.status == 4, said.text
    assert "10.77.0.5/24 is not of this network" in said.text and "10.66.0.1" in said.text
    said = machine.covey("node", "prepare", "--bridge", "br0", "--nic", "eth0", "--yes")
    assert said.status == 1 and "its gateway 10.77.0.1 does not answer on it" in said.text
    assert "br0" not in machine.links()


def test_the_switch_is_heard(machine: Machine) -> None:
    with machine.lan_runs("python3", "-c", SEND, FRAME.hex()):
        heard = machine.call(lambda: hear(cards()))
    assert heard["eth0"].switches == ("sw1 port Gi0/12",)
    assert "10.66.0.1" in heard["eth0"].neighbours and heard["eth0"].answering == ("10.66.0.1",)
