"""Clients that cost: what each may take is bounded before anybody knows who it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from covey.api import listen
from covey.api.listen import LARGEST_HEAD, MOST_IN_LINE, Address, listening
from covey.base.tls import ensure_server_certificate
from tests.api.flock import Flock
from tests.kit.eventually import eventually

HEADS = {
    "headers": b"GET /v1/jobs HTTP/1.1\r\n" + b"a: b\r\n" * LARGEST_HEAD,
    "header": b"GET /v1/jobs HTTP/1.1\r\nx: " + b"a" * 10 * LARGEST_HEAD,
    "address": b"GET /v1/" + b"a" * 10 * LARGEST_HEAD,
    "trailer": b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: " + b"a" * 10 * LARGEST_HEAD,
}


async def answer_to(path: Path, sent: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        async with asyncio.timeout(10):
            try:
                writer.write(sent)
                await writer.drain()
            except ConnectionError:
                pass  # it has had enough
            try:
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.close()


@pytest.mark.parametrize("kind", HEADS)
async def test_a_head_without_end_is_cut_off(flock: Flock, tmp_path: Path, kind: str) -> None:
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        answer = await answer_to(tmp_path / "s", HEADS[kind])
        assert kind == "trailer" or not answer or json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "BadInput"


async def test_a_body_may_be_larger_than_a_head(flock: Flock, tmp_path: Path) -> None:
    body = json.dumps({"notes": "x" * 60_000}).encode() + b" " * 4 * LARGEST_HEAD
    head = f"PATCH /v1/nodes/n1 HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        assert b" 202 " in (await answer_to(tmp_path / "s", head.encode() + body))[:20]


async def test_requests_that_wait_in_line_are_bounded(flock: Flock, tmp_path: Path) -> None:
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        answer = await answer_to(tmp_path / "s", b"GET /v1/status HTTP/1.1\r\n\r\n" * (MOST_IN_LINE * 10))
        assert answer.count(b" 200 OK") <= MOST_IN_LINE
        few = b"GET /v1/status HTTP/1.1\r\n\r\n" * 9 + b"GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n"
        assert (await answer_to(tmp_path / "s", few)).count(b" 200 OK") == 10


@pytest.mark.parametrize("begun", [b"", b"GET /v1/status HTTP/1.1\r\nHo", b"GET /v1/status HTTP/1.1\r\n\r\nGET /"])
async def test_who_never_ends_a_head_is_sent_away(
    flock: Flock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(listen, "HEAD_WITHIN_S", 0.2)
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        await answer_to(tmp_path / "s", begun)


async def test_connections_are_bounded_and_those_that_only_knock_count(
    flock: Flock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(listen, "HANDSHAKE_WITHIN_S", 1.0)
    files = ensure_server_certificate(tmp_path / "tls", ("127.0.0.1",))
    async with listening(flock.app, tmp_path / "s", flock.inside.closing, Address("127.0.0.1", 0, files)) as port:
        knocking = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "one too many is closed at once"
        writer.close()
        assert b" 200 OK" in await answer_to(tmp_path / "s", b"GET /v1/status HTTP/1.0\r\n\r\n"), "the other door is not full"
        for reader, writer in knocking:
            async with asyncio.timeout(5):
                assert await reader.read() == b"", "a handshake has its time"
            writer.close()

        async def is_let_in() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            try:
                async with asyncio.timeout(0.2):
                    return await reader.read() != b""
            except TimeoutError:
                return True
            except ConnectionError:
                return False
            finally:
                writer.close()

        await eventually(is_let_in)
