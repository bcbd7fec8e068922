"""What is done within guests, and what a hostile guest may answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

import pytest

from covey.base.errors import Refused, StepFailed
from covey.host.guest import inside
from covey.host.hypervisor.protocol import Hypervisor
from covey.model.guest import LARGEST_OUTPUT, GuestFacts, GuestFileSystem, GuestInterface


class Scripted:
    """A guest that answers what it was told to; what it has no answer to it refuses."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def ask_guest(self, instance: str, command: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        self.asked.append((command, arguments))
        answer = self.answers.get(command)
        if isinstance(answer, list) and command == "guest-exec-status":
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer is None:
            raise Refused("its guest agent does not answer", f"instance {instance}")
        return answer


def a_guest(**answers: Any) -> tuple[Scripted, Hypervisor]:
    guest = Scripted(**answers)
    return guest, cast(Hypervisor, guest)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_a_guest_tells_of_itself() -> None:
    _, hypervisor = a_guest(
        guest_network_get_interfaces=[
            {"name": "lo"},
            {"name": "eth0", "hardware-address": "02:c0", "ip-addresses": [{"ip-address": "10.77.0.2", "prefix": 24}]},
        ],
        guest_get_osinfo={"pretty-name": "Debian", "kernel-release": "6.1"},
        guest_get_host_name={"host-name": "web1"},
        guest_get_fsinfo=[{"mountpoint": "/", "type": "ext4", "total-bytes": 9, "used-bytes": 4}],
    )
    assert await inside.facts(hypervisor, "i") == GuestFacts(
        "web1", "Debian", "6.1", (GuestInterface("eth0", "02:c0", ("10.77.0.2/24",)),), (GuestFileSystem("/", "ext4", 9, 4),)
    )


async def test_an_old_agent_tells_what_it_can() -> None:
    _, hypervisor = a_guest(guest_network_get_interfaces=[])
    assert await inside.facts(hypervisor, "i") == GuestFacts()


async def test_a_guest_without_an_agent_is_refused() -> None:
    with pytest.raises(Refused):
        await inside.facts(a_guest()[1], "i")


@pytest.mark.parametrize("nonsense", [{}, "x", [1, None, "x"], [{"name": ["x"] * 999, "ip-addresses": {"a": 1}}], [{}] * 100_000])
async def test_nonsense_from_a_guest_is_bounded_and_breaks_nothing(nonsense: Any) -> None:
    _, hypervisor = a_guest(
        guest_network_get_interfaces=nonsense, guest_get_osinfo=nonsense, guest_get_host_name=nonsense, guest_get_fsinfo=nonsense
    )
    told = await inside.facts(hypervisor, "i")
    assert len(told.interfaces) <= inside.MOST_SHOWN
    assert all(len(each.name) <= inside.LONGEST_TEXT for each in told.interfaces)


async def test_a_command_runs_to_its_end_word_by_word() -> None:
    guest, hypervisor = a_guest(
        guest_exec={"pid": 7},
        guest_exec_status=[
            {"exited": False},
            {"exited": True, "exitcode": 3, "out-data": encoded("hi\n"), "err-data": encoded("oh")},
        ],
    )
    ended = await inside.run(hypervisor, "i", ("ls", "$(reboot)"), 5.0)
    assert (ended.status, ended.signal, ended.cut) == (3, 0, False)
    assert (base64.b64decode(ended.stdout), base64.b64decode(ended.stderr)) == (b"hi\n", b"oh")
    assert guest.asked[0] == ("guest-exec", {"path": "ls", "arg": ["$(reboot)"], "capture-output": True})


async def test_a_command_that_does_not_end_is_killed() -> None:
    guest, hypervisor = a_guest(guest_exec={"pid": 7}, guest_exec_status=[{"exited": False}])
    with pytest.raises(StepFailed, match=r"not ended within 0.1 s.*--timeout"):
        await inside.run(hypervisor, "i", ("sleep", "9"), 0.1)
    assert guest.asked[-1] == ("guest-exec", {"path": "kill", "arg": ["-KILL", "7"]})


async def test_output_beyond_the_limit_is_cut_and_that_is_said() -> None:
    _, hypervisor = a_guest(
        guest_exec={"pid": 7},
        guest_exec_status=[{"exited": True, "exitcode": 0, "out-data": encoded("x" * (LARGEST_OUTPUT + 1))}],
    )
    ended = await inside.run(hypervisor, "i", ("yes",), 5.0)
    assert ended.cut
    assert len(base64.b64decode(ended.stdout)) == LARGEST_OUTPUT


async def test_output_that_is_no_base64_is_left_out() -> None:
    _, hypervisor = a_guest(guest_exec={"pid": 7}, guest_exec_status=[{"exited": True, "signal": 9, "out-data": "???"}])
    ended = await inside.run(hypervisor, "i", ("yes",), 5.0)
    assert (ended.stdout, ended.signal, ended.cut) == ("", 9, True)


async def test_a_password_goes_as_the_agent_wants_it() -> None:
    guest, hypervisor = a_guest(guest_set_user_password={})
    await inside.set_password(hypervisor, "i", "root", "s p ü")
    assert guest.asked == [("guest-set-user-password", {"username": "root", "password": encoded("s p ü"), "crypted": False})]


async def test_keys_are_added_or_put_in_place_of_all_others() -> None:
    guest, hypervisor = a_guest(guest_ssh_add_authorized_keys={})
    await inside.set_keys(hypervisor, "i", "root", ("ssh-ed25519 A",), reset=True)
    assert guest.asked == [("guest-ssh-add-authorized-keys", {"username": "root", "keys": ["ssh-ed25519 A"], "reset": True})]
