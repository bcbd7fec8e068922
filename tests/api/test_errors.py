"""Errors: one shape, whatever happens; and nothing is reached without credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from covey.base.errors import KINDS
from tests.api.flock import ADMIN, EXPIRED, VIEWER, AsPeer, Flock, a_client

WRONG: list[tuple[str, str, bytes, int]] = [
    ("GET", "/", b"", 404),
    ("GET", "/v1", b"", 404),
    ("GET", "/v1/instances/", b"", 404),
    ("GET", "/docs", b"", 404),
    ("GET", "/openapi.json", b"", 404),
    ("GET", "/v1/instances/none", b"", 404),
    ("GET", "/v1/instances/%00", b"", 404),
    ("GET", "/v1/instances/%ff%fe", b"", 404),
    ("GET", "/v1/instances/" + "a" * 5000, b"", 404),
    ("GET", "/v1/instances/..%2f..%2fetc", b"", 404),
    ("PUT", "/v1/instances", b"", 405),
    ("TRACE", "/v1/instances", b"", 405),
    ("DELETE", "/v1/cluster", b"", 405),
    ("GET", "/v1/instances?colour=red", b"", 400),
    ("GET", "/v1/instances?filter=colour=red", b"", 400),
    ("GET", "/v1/instances?fields=colour", b"", 400),
    ("GET", "/v1/instances?limit=-1", b"", 400),
    ("GET", "/v1/instances?limit=1e3", b"", 400),
    ("GET", "/v1/instances?limit=" + "9" * 5000, b"", 400),
    ("GET", "/v1/instances?at_least=99999999999999999999", b"", 400),
    ("GET", "/v1/instances?" + "&".join(f"a{n}=1" for n in range(200)), b"", 400),
    ("GET", "/v1/jobs/0", b"", 404),
    ("GET", "/v1/jobs/x", b"", 400),
    ("GET", "/v1/jobs/-1", b"", 400),
    ("GET", "/v1/jobs/" + "9" * 400, b"", 400),
    ("GET", "/v1/jobs/1?wait_s=nan", b"", 400),
    ("GET", "/v1/jobs/1?wait_s=1e999", b"", 400),
    ("GET", "/v1/jobs?after=x", b"", 400),
    ("GET", "/v1/events?since=yesterday", b"", 400),
    ("GET", "/v1/events/stream?since=yesterday", b"", 400),
    ("POST", "/v1/jobs/1/cancel", b"", 409),
    ("POST", "/v1/jobs/99/cancel", b"", 404),
    ("POST", "/v1/instances", b"", 400),
    ("POST", "/v1/instances", b"{", 400),
    ("POST", "/v1/instances", b"[]", 400),
    ("POST", "/v1/instances", b"null", 400),
    ("POST", "/v1/instances", b"\xff\xfe", 400),
    ("POST", "/v1/instances", b'{"name": "web1", "colour": 1}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "seed": "1"}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "secret": "1"}', 400),
    ("POST", "/v1/instances", b'{"name": 1}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "cpus": "2"}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "cpus": 2.5}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "cpus": true}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "memory": 1e400}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "memory": %s}' % (b"9" * 5000), 400),
    ("POST", "/v1/instances", b'{"name": "web1", "ready_timeout_s": NaN}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "ready_timeout_s": Infinity}', 400),
    ("POST", "/v1/instances", b'{"name": "\\ud800"}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "notes": "\\udfff\\ud800"}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "notes": "\\u0000"}', 400),
    ("POST", "/v1/instances", b'{"name": "web1", "disks": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    ("POST", "/v1/instances", b'{"name": "web1", "disks": [{"size": 0}]}', 400),
    ("POST", "/v1/instances?dry_run=yes", b'{"name": "web1"}', 400),
    ("POST", "/v1/instances?dry_run=", b'{"name": "web1"}', 400),
    ("POST", "/v1/instances?dryrun=true", b'{"name": "web1"}', 400),
    ("POST", "/v1/instances?after=1,x", b'{"name": "web1"}', 400),
    ("POST", "/v1/instances?reason=a%0ab", b'{"name": "web1"}', 400),
    ("POST", "/v1/instances/none/start", b"", 404),
    ("POST", "/v1/instances/none/disks/x/grow", b'{"size": 1048576}', 400),
    ("POST", "/v1/instances/none/disks/99/grow", b'{"size": 1048576}', 400),
    ("POST", "/v1/cluster", b'{"name": "twice"}', 409),
    ("POST", "/v1/cluster/fix", b"{}", 400),
    ("POST", "/v1/tokens", b'{"name": "x", "expires_at": "tomorrow"}', 400),
    ("POST", "/v1/tokens", b'{"name": "x", "expires_at": "0001-01-01T00:00:00+23:59"}', 400),
    ("POST", "/v1/tokens", b'{"name": "x", "expires_at": 5}', 400),
    ("POST", "/v1/tokens", b'{"name": "x", "expires_at": "1970-01-01T00:00:00Z"}', 400),
    ("POST", "/v1/tokens", b'{"name": "x", "expires_at": "2020-01-01T00:00:00Z"}', 409),
    ("POST", "/v1/instances", b" " * (2**20 + 1), 413),
]


def check_shape(answer: httpx2.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "object", "hint", "request_id"}
    assert problem["title"] in KINDS
    assert problem["type"] == f"https://covey.invalid/errors/{problem['title']}"
    assert problem["status"] == status
    assert problem["detail"]


@pytest.mark.parametrize(("method", "path", "body", "status"), WRONG, ids=[f"{m} {p[:60]} {b[:40]!r}" for m, p, b, _ in WRONG])
async def test_every_error_has_one_shape(
    flock: Flock, root: httpx2.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    check_shape(await root.request(method, path, content=body), status)


@pytest.mark.parametrize("path", ["/", "/v1/openapi.json", "/v1/instances", "/v1/nothing", "/v1/jobs/1/stream", "/docs"])
@pytest.mark.parametrize(
    "authorization", ["", "Basic cm9vdDo=", "Bearer", "Bearer  ", f"Bearer {EXPIRED}", f"Bearer {ADMIN}x", "Bearer \xff"]
)
async def test_nothing_is_reached_without_credentials(flock: Flock, path: str, authorization: str) -> None:
    async with a_client(flock.app) as client:
        headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
        answer = await client.get(path, headers=headers)
    check_shape(answer, 401)
    assert answer.json()["title"] == "Denied"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_viewer_sees_but_does_not_touch(flock: Flock) -> None:
    async with a_client(flock.app, VIEWER) as eye:
        for path in ("/v1/instances", "/v1/status", "/v1/nodes/n1", "/v1/jobs", "/v1/events", "/v1/openapi.json"):
            assert (await eye.get(path)).status_code == 200
        for method, path in (
            ("GET", "/v1/tokens"),
            ("GET", "/v1/instances/web1/console/log"),
            ("POST", "/v1/nodes/n1/ping"),
            ("POST", "/v1/nodes/n1/ping?dry_run=true"),
            ("DELETE", "/v1/tokens/boss"),
            ("POST", "/v1/jobs/1/cancel"),
            ("POST", "/v1/cluster/verify"),
        ):
            check_shape(await eye.request(method, path), 403)


async def test_a_body_is_cut_off_at_the_limit_even_if_its_length_is_not_announced(root: httpx2.AsyncClient) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 2**16
            yield b" " * 2**16

    check_shape(await root.post("/v1/instances", content=pieces()), 413)


async def test_what_may_be_done_at_an_address_is_told(root: httpx2.AsyncClient) -> None:
    answer = await root.put("/v1/instances/web1")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


async def test_a_mistake_of_coveys_is_told_as_one_and_its_words_stay_within(flock: Flock) -> None:
    flock.nodes.inventories = None  # type: ignore[assignment]  # a broken part, as a bug would leave one
    async with a_client(AsPeer(flock.app)) as root:
        answer = await root.post("/v1/cluster/verify")
    check_shape(answer, 500)
    assert "NoneType" not in answer.text.replace("TypeError", "")
    assert "Traceback" not in answer.text
