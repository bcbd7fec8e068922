"""Within guests, over the API: who may, what is kept of it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from covey.base.errors import Refused
from tests.api.flock import VIEWER, Flock, a_client
from tests.kit.builders import an_instance, an_observed
from tests.kit.eventually import eventually

WEB = an_instance("web1")
GUEST = "/v1/instances/web1/guest"
PASSWORD = {"user": "root", "password": "correct horse"}


@pytest.fixture
async def running(flock: Flock) -> Flock:
    await flock.put(WEB, an_observed(WEB))
    return flock


async def _event(root: httpx2.AsyncClient, kind: str) -> dict[str, Any]:
    """The one event of that kind, as soon as it is told."""
    found: list[dict[str, Any]] = []

    async def is_told() -> bool:
        found[:] = [each for each in (await root.get("/v1/events")).json()["items"] if each["kind"] == kind]
        return bool(found)

    await eventually(is_told)
    assert len(found) == 1
    return found[0]


async def test_a_guest_tells_of_itself(running: Flock, root: httpx2.AsyncClient) -> None:
    assert (await root.get(GUEST)).json()["hostname"] == "web1"


async def test_a_command_is_run_and_kept_as_an_event_without_what_it_printed(running: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post(f"{GUEST}/run", json={"argv": ["ls", "a b"], "timeout_s": 5.0})
    assert (answer.status_code, answer.json()["status"], answer.json()["stdout"]) == (200, 3, "aGkK")
    assert running.nodes.asked == [("run", {"argv": ["ls", "a b"], "timeout_s": 5.0})]
    event = await _event(root, "instance.exec")
    assert event["text"] == "root runs in instance web1: ls 'a b'"
    assert "aGkK" not in json.dumps(event)


async def test_secrets_among_the_words_of_a_command_are_not_told_to_everybody(running: Flock, root: httpx2.AsyncClient) -> None:
    words = ["mysql", "--password=correct-horse", "https://anna:battery@example.org/"]
    assert (await root.post(f"{GUEST}/run", json={"argv": words})).status_code == 200
    assert running.nodes.asked[0][1]["argv"] == words
    text = (await _event(root, "instance.exec"))["text"]
    assert "mysql --password=(hidden) https://anna:(hidden)@example.org/" in text


async def test_a_key_is_one_line(running: Flock, root: httpx2.AsyncClient) -> None:
    """What stands on a second line is another key, and nobody would be told of it."""
    answer = await root.post(f"{GUEST}/ssh-keys", json={"user": "root", "keys": ["ssh-ed25519 AAAA a\nssh-ed25519 BBBB b"]})
    assert (answer.status_code, answer.json()["object"]) == (400, "keys")
    assert running.nodes.asked == []


async def test_a_password_is_set_and_is_nowhere_to_be_read(running: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post(f"{GUEST}/password", json=PASSWORD)
    assert (answer.status_code, answer.json()) == (200, {"user": "root"})
    assert (await _event(root, "instance.password"))["text"] == "root set the password of root in instance web1"
    told = (await root.get("/v1/events")).text + (await root.get("/v1/jobs")).text + answer.text
    assert "correct horse" not in told


async def test_a_password_that_cannot_be_is_refused_without_being_repeated(running: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post(f"{GUEST}/password", json={"user": "root", "password": "two\nlines"})
    assert answer.status_code == 400
    assert "lines" not in answer.json()["detail"]


async def test_keys_are_given(running: Flock, root: httpx2.AsyncClient) -> None:
    body = {"user": "root", "keys": ["ssh-ed25519 AAAA anna"], "reset": True}
    assert (await root.post(f"{GUEST}/ssh-keys", json=body)).status_code == 200
    assert running.nodes.asked == [("keys", body)]


async def test_viewers_look_and_do_nothing(running: Flock) -> None:
    async with a_client(running.app, VIEWER) as viewer:
        await _look_and_try(running, viewer)


async def _look_and_try(running: Flock, viewer: httpx2.AsyncClient) -> None:
    assert (await viewer.get(GUEST)).status_code == 200
    for verb, body in (("run", {"argv": ["id"]}), ("password", PASSWORD), ("ssh-keys", {"user": "root", "keys": []})):
        assert (await viewer.post(f"{GUEST}/{verb}", json=body)).status_code == 403
    assert [verb for verb, _ in running.nodes.asked] == ["facts"]


async def test_a_guest_that_does_not_run_or_has_no_agent_is_refused(running: Flock, root: httpx2.AsyncClient) -> None:
    running.nodes.errors["facts"] = Refused("its guest agent does not answer", "instance web1", "install qemu-guest-agent")
    assert (await root.get(GUEST)).status_code == 409
    await running.put(an_observed(WEB, "stopped"))
    answer = await root.post(f"{GUEST}/run", json={"argv": ["id"]})
    assert (answer.status_code, answer.json()["hint"]) == (409, "start it: covey instance start web1")


@pytest.mark.parametrize(
    "body",
    [{"argv": []}, {"argv": [""]}, {"argv": ["a\0b"]}, {"argv": ["a"], "timeout_s": 0.0}, {"argv": ["a"], "timeout_s": 1e9}],
)
async def test_what_is_no_command_is_refused(running: Flock, root: httpx2.AsyncClient, body: object) -> None:
    assert (await root.post(f"{GUEST}/run", json=body)).status_code == 400
    assert running.nodes.asked == []


async def test_a_picture_of_the_screen_is_png(running: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.get("/v1/instances/web1/screenshot")
    assert (answer.headers["content-type"], answer.content[:4]) == ("image/png", b"\x89PNG")
    await running.put(an_observed(WEB, "stopped"))
    assert (await root.get("/v1/instances/web1/screenshot")).status_code == 409
