"""Within guests, from the command line."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.cli.conftest import Covey
from tests.cli.server import FakeServer, Reply, problem

GUEST = "/v1/instances/web1/guest"
RUN = f"{GUEST}/run"


def ended(status: int = 0, stdout: str = "", stderr: str = "", signal: int = 0, cut: bool = False) -> Reply:
    texts = {name: base64.b64encode(text.encode()).decode() for name, text in (("stdout", stdout), ("stderr", stderr))}
    return Reply(200, {"status": status, "signal": signal, "cut": cut, **texts})


def test_exec_hands_on_words_outputs_and_status(covey: Covey, server: FakeServer) -> None:
    server.on("POST", RUN, ended(7, "out\n", "err\n"))
    outcome = covey("instance", "exec", "web1", "--timeout", "5m", "--", "ls", "-l", "$(reboot)")
    assert (outcome.status, outcome.out, outcome.err) == (7, "out\n", "err\n")
    assert server.asked[-1].body == {"argv": ["ls", "-l", "$(reboot)"], "timeout_s": 300.0}


def test_exec_tells_of_a_signal_as_shells_do(covey: Covey, server: FakeServer) -> None:
    server.on("POST", RUN, ended(signal=9))
    assert covey("instance", "exec", "web1", "--", "x").status == 137


def test_exec_says_that_output_was_cut(covey: Covey, server: FakeServer) -> None:
    server.on("POST", RUN, ended(cut=True))
    assert "the rest was left out" in covey("instance", "exec", "web1", "--", "yes").err


def test_a_guest_without_an_agent_says_what_to_install(covey: Covey, server: FakeServer) -> None:
    hint = "in the guest: install qemu-guest-agent"
    server.on("POST", RUN, problem("Refused", 409, "its guest agent does not answer", "instance web1", hint))
    outcome = covey("instance", "exec", "web1", "--", "id")
    assert outcome.status == 1
    assert "install qemu-guest-agent" in outcome.err


def test_a_password_is_read_from_standard_input_and_never_shown(covey: Covey, server: FakeServer) -> None:
    server.on("POST", f"{GUEST}/password", Reply(200, {"user": "root"}))
    outcome = covey("instance", "set-password", "web1", "root", stdin="s3cret\nmore\n")
    assert outcome.status == 0
    assert "s3cret" not in outcome.out + outcome.err
    assert server.asked[-1].body == {"user": "root", "password": "s3cret"}


def test_keys_come_from_files(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("# mine\nssh-ed25519 AAAA anna\n")
    server.on("POST", f"{GUEST}/ssh-keys", Reply(200, {"user": "root"}))
    covey("instance", "set-ssh-keys", "web1", "root", str(tmp_path / "id.pub"), "--reset")
    assert server.asked[-1].body == {"user": "root", "keys": ["ssh-ed25519 AAAA anna"], "reset": True}
