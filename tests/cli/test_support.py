"""The support bundle: everything that helps, nothing that is secret, whatever does not answer."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Covey
from tests.cli.server import FakeServer, Reply, problem

# One of each kind, planted in every place that a bundle is made from.
SECRETS = {
    "token": "tok-5b1e7f0c9d",
    "password": "hunter2-of-anna",
    "key": "b3BlbnNzaC1rZXktdjEAAAA",
    "url": "pw-in-an-address",
    "xml": "vnc-secret-77",
    "yaml": "pass-of-a-yaml-line",
    "userdata": "userdata-c0ffee",
}
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRETS['key']}\n-----END OPENSSH PRIVATE KEY-----"
SENTENCE = (
    f"password={SECRETS['password']} from https://anna:{SECRETS['url']}@mirror/x with Authorization: Bearer {SECRETS['token']} {KEY}\n"
    f"users:\n  - root-password: {SECRETS['yaml']}\n"
)
DOCUMENT = {
    "name": "web1",
    "notes": SENTENCE,
    "request": {"user_data": SECRETS["userdata"], "inner": [{"api_key": SECRETS["token"]}]},
    "secret": SECRETS["token"],
    "log": SENTENCE,
}
COLLECTIONS = ("nodes", "instances", "pools", "networks", "firewalls", "forwards", "images", "snapshots", "removed", "jobs")


@pytest.fixture
def telling(server: FakeServer) -> FakeServer:
    """A server all of whose answers hold secrets."""
    for path in ("status", "cluster", "cluster/export"):
        server.on("GET", f"/v1/{path}", DOCUMENT)
    for collection in COLLECTIONS:
        server.on("GET", f"/v1/{collection}", {"items": [DOCUMENT], "next": None})
    server.on("GET", "/v1/events", {"items": [{"text": SENTENCE}]})
    server.on("POST", "/v1/cluster/verify", {"findings": [DOCUMENT]})
    server.on("GET", "/metrics", Reply(200, raw=SENTENCE.encode()))
    return server


@pytest.fixture
def planted(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory and a settings file with secrets in them."""
    for name, text in {
        "libvirt/etc/qemu/4d5d.xml": f"<domain><graphics type='vnc' passwd='{SECRETS['xml']}'/></domain>",
        "libvirt/log/libvirtd.log": SENTENCE,
        "tls/ca.key": KEY,
        "seeds/4d5d.iso": SECRETS["userdata"],
        "store/covey.db": SECRETS["userdata"],
        "guests/4d5d/console.log": SENTENCE,
    }.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(text)
    settings = state / "covey.toml"
    settings.write_text(f"# {SENTENCE}\n")
    monkeypatch.setenv("COVEY_CONFIG", str(settings))
    return state


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        found = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        return {name: opened.read().decode() for name, opened in found.items() if opened}


def test_no_secret_is_in_it_wherever_it_was(covey: Covey, telling: FakeServer, planted: Path) -> None:
    file = planted / "help.tar.gz"
    outcome = covey("support", "bundle", "--file", str(file))
    assert outcome.status == 0, outcome.err
    parts = unpacked(file)
    found = [(name, kind) for name, text in parts.items() for kind, secret in SECRETS.items() if secret in text]
    assert found == []
    assert "(hidden)" in parts["api/jobs.json"] and "(hidden)" in parts["machine/libvirt/4d5d.xml"]


def test_all_that_helps_is_in_it(covey: Covey, telling: FakeServer, planted: Path) -> None:
    file = planted / "help.tar.gz"
    covey("support", "bundle", "--file", str(file), "--since", "2h")
    parts = unpacked(file)
    assert {f"api/{name}.json" for name in (*COLLECTIONS, "status", "cluster", "export", "verify", "events")} <= set(parts)
    assert {"README.txt", "MISSING.txt", "versions.txt", "api/metrics.txt", "machine/covey.toml"} <= set(parts)
    assert {"machine/libvirt/4d5d.xml", "machine/libvirt/libvirtd.log", "machine/addresses.txt"} <= set(parts)
    assert json.loads(parts["api/instances.json"])[0]["name"] == "web1"
    assert "tls/ca.key" in parts["machine/state-directory.txt"]  # that it is there, not what is in it
    assert file.stat().st_mode & 0o777 == 0o600
    assert telling.of("POST")[0].path == "/v1/cluster/verify"


def test_what_does_not_answer_is_named_and_the_rest_is_there(covey: Covey, telling: FakeServer, planted: Path) -> None:
    telling.on("POST", "/v1/cluster/verify", problem("Refused", 409, "there is no cluster yet", "cluster"))
    file = planted / "help.tar.gz"
    outcome = covey("support", "bundle", "--file", str(file))
    assert outcome.status == 0
    assert "not in it: api/verify.json: cluster: there is no cluster yet" in outcome.err
    parts = unpacked(file)
    assert "api/verify.json: cluster" in parts["MISSING.txt"]
    assert "api/verify.json" not in parts and "api/jobs.json" in parts


def test_a_dead_server_leaves_what_the_machine_says(covey: Covey, planted: Path) -> None:
    file = planted / "help.tar.gz"
    outcome = covey("support", "bundle", "--file", str(file))
    assert outcome.status == 0
    assert "not in it: api/status.json" in outcome.err
    assert "machine/libvirt/4d5d.xml" in unpacked(file)


def test_of_a_machine_elsewhere_only_its_server_is_asked(
    covey: Covey, planted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("COVEY_STATE")
    monkeypatch.setenv("COVEY_SERVER", "https://127.0.0.1:1")
    for name in ("COVEY_TOKEN_FILE", "COVEY_CA"):
        (tmp_path / name).write_text("x")
        monkeypatch.setenv(name, str(tmp_path / name))
    file = tmp_path / "far.tar.gz"
    assert covey("support", "bundle", "--file", str(file)).status == 0
    assert not [name for name in unpacked(file) if name.startswith("machine/")]


def test_an_existing_file_is_not_written_over(covey: Covey, telling: FakeServer, planted: Path) -> None:
    file = planted / "covey.toml"
    before = file.read_text()
    assert covey("support", "bundle", "--file", str(file)).status == 2
    assert file.read_text() == before


def test_without_verify_the_nodes_are_left_alone(covey: Covey, telling: FakeServer, planted: Path) -> None:
    covey("support", "bundle", "--file", str(planted / "help.tar.gz"), "--no-verify")
    assert telling.of("POST") == []
