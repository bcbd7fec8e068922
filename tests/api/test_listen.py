"""The doors: who is let in where, and that they close."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from covey.api.listen import Address, listening
from covey.base.errors import Refused, Unavailable
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate
from tests.api.flock import ADMIN, EXPIRED, VIEWER, Flock


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return ensure_server_certificate(tmp_path / "tls", ("127.0.0.1",))


def over_socket(path: Path) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(path)), base_url="http://covey", timeout=10)


async def test_root_comes_in_by_the_socket_which_is_closed_to_others(flock: Flock, tmp_path: Path) -> None:
    async with listening(flock.app, tmp_path / "s", flock.inside.closing), over_socket(tmp_path / "s") as root:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        answer = await root.post("/v1/nodes/n1/ping", headers={"connection": "close"})
        assert answer.json()["user"] == "root"


async def test_over_the_network_a_token_is_needed(flock: Flock, tmp_path: Path, files: CertificateFiles) -> None:
    context = ssl.create_default_context(cafile=str(files.ca))
    async with listening(flock.app, tmp_path / "s", flock.inside.closing, Address("127.0.0.1", 0, files)) as port:
        async with httpx2.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{port}") as client:
            for secret, status in ((ADMIN, 200), (VIEWER, 200), (EXPIRED, 401), ("x", 401)):
                answer = await client.get("/v1/instances", headers={"authorization": f"Bearer {secret}"})
                assert answer.status_code == status
            assert (await client.get("/v1/openapi.json")).status_code == 401
            assert (await client.get("/nothing")).status_code == 401
        for secret, status in (("", 401), (VIEWER, 403)):
            headers = {"authorization": f"Bearer {secret}"} if secret else {}
            with pytest.raises(InvalidStatus) as raised:
                async with connect(f"wss://127.0.0.1:{port}/v1/instances/web1/console", ssl=context, additional_headers=headers):
                    pass
            assert raised.value.response.status_code == status
            assert json.loads(raised.value.response.body)["title"] == "Denied"


async def test_only_tls_1_3_is_spoken(flock: Flock, tmp_path: Path, files: CertificateFiles) -> None:
    older = ssl.create_default_context(cafile=str(files.ca))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(flock.app, tmp_path / "s", flock.inside.closing, Address("127.0.0.1", 0, files)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=older)


async def test_what_is_no_http_gets_an_error_of_our_shape(flock: Flock, tmp_path: Path) -> None:
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"EHLO covey\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 400 " in head and json.loads(body)["status"] == 400
        writer.close()


async def test_the_doors_close_within_three_seconds_whatever_is_open(flock: Flock, tmp_path: Path) -> None:
    flock.nodes.slow.add("answer@1")
    path = tmp_path / "s"
    async with over_socket(path) as client:
        async with listening(flock.app, path, flock.inside.closing):
            id = (await client.post("/v1/nodes/n1/ping")).json()["id"]
            waiting = asyncio.create_task(client.get(f"/v1/jobs/{id}?wait_s=50"))
            begun = [asyncio.Event(), asyncio.Event()]
            paths = ("/v1/events/stream", f"/v1/jobs/{id}/stream")
            streams = [asyncio.create_task(_read(path, *each)) for each in zip(paths, begun, strict=True)]
            async with asyncio.timeout(10):
                for event in begun:
                    await event.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 3.0
        assert (await waiting).json()["id"] == id
        assert all(await asyncio.gather(*streams))
        assert not path.exists()


async def _read(path: Path, stream: str, begun: asyncio.Event) -> bytes:
    """All of a stream, to its good end."""
    read = b""
    async with over_socket(path) as client, client.stream("GET", stream) as answer:
        async for piece in answer.aiter_bytes():
            read += piece
            begun.set()
    return read


async def test_a_socket_that_was_left_behind_is_taken_over_and_one_in_use_is_not(flock: Flock, tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with listening(flock.app, path, asyncio.Event()):
        with pytest.raises(Refused, match="listens there already"):
            async with listening(flock.app, path, asyncio.Event()):
                pass
    path.touch()
    async with listening(flock.app, path, asyncio.Event()), over_socket(path) as root:
        assert (await root.get("/v1/status")).status_code == 200


async def test_an_address_of_somebody_else_is_refused_and_leaves_nothing(
    flock: Flock, tmp_path: Path, files: CertificateFiles
) -> None:
    with pytest.raises(Unavailable, match="cannot listen"):
        async with listening(flock.app, tmp_path / "s", asyncio.Event(), Address("192.0.2.1", 7443, files)):
            pass
    assert not (tmp_path / "s").exists()
