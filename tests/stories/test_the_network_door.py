"""Over TLS: nobody comes in without a token, and a token lets in only as far as its role goes."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest_asyncio

from tests.kit.covey_up import DONE, NO_ANSWER, Answer, CoveyUp, a_covey
from tests.kit.eventually import eventually

HOST = "127.0.0.1"


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey("fake", "--listen", f"{HOST}:{a_free_port()}") as covey:
        yield covey


async def a_token(covey: CoveyUp, name: str, *options: str) -> Path:
    """A new token's secret, in a file."""
    file = covey.directory / f"{name}.token"
    file.write_text(await covey.do(f"token add {name}", *options))
    return file


async def from_afar(covey: CoveyUp, token: Path, line: str) -> Answer:
    """A command as another machine runs it."""
    server = f"https://{covey.options[1]}"
    return await covey.ask(
        line, COVEY_STATE="", COVEY_SERVER=server, COVEY_TOKEN_FILE=str(token), COVEY_CA=str(covey.state / "tls/ca.pem")
    )


@contextmanager
def asked(covey: CoveyUp, path: str, secret: str = "", **headers: str) -> Iterator[http.client.HTTPResponse]:
    context = ssl.create_default_context(cafile=str(covey.state / "tls/ca.pem"))
    port = int(covey.options[1].rpartition(":")[2])
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=20)
    try:
        authorization = {"Authorization": f"Bearer {secret}"} if secret else {}
        connection.request(
            "GET", path, headers={**authorization, **{name.replace("_", "-"): value for name, value in headers.items()}}
        )
        yield connection.getresponse()
    finally:
        connection.close()


def status_of(covey: CoveyUp, path: str, secret: str = "") -> int:
    with asked(covey, path, secret) as response:
        return response.status


async def test_nobody_is_let_in_anywhere(covey: CoveyUp) -> None:
    for path in ("/v1/instances", "/v1/cluster", "/v1/events/stream", "/v1/tokens", "/openapi.json", "/nowhere"):
        assert await asyncio.to_thread(status_of, covey, path) == 401, path
        assert await asyncio.to_thread(status_of, covey, path, "covey-made-up") == 401, path
    wrong = covey.directory / "wrong.token"
    wrong.write_text("made-up\n")
    answer = await from_afar(covey, wrong, "instance list")
    assert answer.status == NO_ANSWER
    assert "Traceback" not in answer.err


async def test_a_viewer_sees_and_changes_nothing(covey: CoveyUp) -> None:
    viewer = await a_token(covey, "eve")
    assert (await from_afar(covey, viewer, "instance list --json")).out == "[]\n"
    for line in ("instance add web1", "network remove default --yes", "token add own --role admin", "job cancel 1"):
        answer = await from_afar(covey, viewer, line)
        assert answer.status == NO_ANSWER, answer
        assert "viewer" in answer.err
    assert await covey.json("instance list") == []


async def test_an_admin_does_everything_and_the_job_carries_the_name(covey: CoveyUp) -> None:
    admin = await a_token(covey, "anna", "--role", "admin")
    assert (await from_afar(covey, admin, "instance add web1 --image tick")).status == DONE
    (job, *_) = await covey.json("job list --filter object=web1")
    assert "anna" in job["user"]
    assert (await from_afar(covey, admin, "instance remove web1 --yes")).status == DONE
    await covey.do("token remove anna --yes")
    assert (await from_afar(covey, admin, "instance list")).status == NO_ANSWER


async def test_an_expired_token_lets_nobody_in(covey: CoveyUp) -> None:
    brief = await a_token(covey, "brief", "--expires", "2s")
    assert (await from_afar(covey, brief, "instance list")).status == DONE

    async def is_shut_out() -> bool:
        return (await from_afar(covey, brief, "instance list")).status == NO_ANSWER

    await eventually(is_shut_out)
    assert await asyncio.to_thread(status_of, covey, "/v1/instances", brief.read_text().strip()) == 401


async def test_secrets_are_kept_nowhere(covey: CoveyUp) -> None:
    secret = (await a_token(covey, "sly")).read_text().strip()
    holders = [path for path in covey.state.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert holders == []
    assert secret not in covey.log.read_text()


async def test_a_stream_of_events_goes_on_where_it_was_cut(covey: CoveyUp) -> None:
    secret = (await a_token(covey, "watch")).read_text().strip()
    (last, *_) = (await covey.json("event list"))[-1:]
    await covey.do("instance add s1 --image tick --no-start")
    await covey.do("instance add s2 --image tick --no-start")
    seen = await asyncio.to_thread(read_events, covey, secret, last["cursor"], "s1 by root succeeded")
    await covey.stop()
    await covey.start()
    await covey.do("instance add s3 --image tick --no-start")
    rest = await asyncio.to_thread(read_events, covey, secret, seen[-1][0], "s3 by root succeeded")
    told = [text for _, text in seen + rest if "was made" in text]
    assert len({cursor for cursor, _ in seen + rest}) == len(seen + rest), "none comes twice"
    assert [name for name in ("s1", "s2", "s3") if any(f"instance {name} was made" in text for text in told)] == [
        "s1",
        "s2",
        "s3",
    ]
    await covey.do("instance remove --filter 'name=s*' --yes")


def read_events(covey: CoveyUp, secret: str, after: str, until: str) -> list[tuple[str, str]]:
    """The events after a cursor, up to one that holds `until`: cursor and data of each."""
    found: list[tuple[str, str]] = []
    with asked(covey, "/v1/events/stream", secret, Last_Event_ID=after) as response:
        assert response.status == 200
        cursor = ""
        while not found or until not in found[-1][1]:
            line = response.readline().decode().strip()
            if line.startswith("id: "):
                cursor = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found.append((cursor, line.removeprefix("data: ")))
    return found
