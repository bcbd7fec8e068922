"""The whole API under random requests made from its own document: as an admin, as a viewer and as nobody. The seeds are fixed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from covey.api.app import openapi
from covey.api.listen import Address, listening
from covey.api.operation import LARGEST_NUMBER
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate
from tests.api.flock import ADMIN, VIEWER, AsPeer, a_client, a_flock, initialised

EXAMPLES = 15  # of each operation and mode
LIMIT_S = 20.0
ENDLESS = {"follow_events"}  # a stream that does not end has no answer to check
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Server:
    url: str
    document: dict[str, Any]
    ca: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The API in a thread with a loop of its own, over TLS: schemathesis is no guest in an event loop."""
    directory = tmp_path_factory.mktemp("fuzz")
    files = ensure_server_certificate(directory / "tls", ("127.0.0.1",))
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Server]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(directory, files, ready)))
    thread.start()
    loop, over, server = ready.result(timeout=30)
    yield server
    loop.call_soon_threadsafe(over.set)
    thread.join(timeout=30)
    assert not thread.is_alive()


async def _serve(directory: Path, files: CertificateFiles, ready: Future[Any]) -> None:
    over = asyncio.Event()
    try:
        async with a_flock(directory) as flock:
            async with a_client(AsPeer(flock.app)) as client:
                await initialised(flock, client)
            async with listening(flock.app, directory / "s", flock.inside.closing, Address("127.0.0.1", 0, files)) as port:
                server = Server(f"https://127.0.0.1:{port}", openapi(flock.app), str(files.ca))
                ready.set_result((asyncio.get_running_loop(), over, server))
                await over.wait()
    except BaseException as error:
        if not ready.done():
            ready.set_exception(error)
        raise


def every_operation(server: Server) -> Iterator[Any]:
    for result in schemathesis.openapi.from_dict(server.document).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.definition.raw["operationId"] not in ENDLESS:
            yield operation


def try_all(server: Server, secret: str, mode: GenerationMode, checks: list[Any]) -> set[int]:
    """Random requests to every operation; each answer is checked. Returns the statuses that came."""
    seen: set[int] = set()
    with requests.Session() as session:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        for operation in every_operation(server):

            @seed(20261120)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def once(case: Case[Any]) -> None:
                wait_for = case.query.get("at_least")
                if isinstance(wait_for, int) and 0 <= wait_for <= LARGEST_NUMBER:
                    case.query["at_least"] = 1  # what lies in the future would be waited for
                answer = case.call(base_url=server.url, session=session, headers=headers, timeout=LIMIT_S, verify=server.ca)
                seen.add(answer.status_code)
                assert answer.status_code != 500, answer.text
                refused = (
                    {negative_data_rejection} if answer.status_code == 413 else set()
                )  # it does not count that one as a refusal
                case.validate_response(answer, checks=[check for check in checks if check not in refused])

            once()
    return seen


def test_an_admins_well_formed_requests_are_answered_as_documented(server: Server) -> None:
    seen = try_all(server, ADMIN, GenerationMode.POSITIVE, CHECKS)
    assert {200, 400, 404} <= seen


def test_an_admins_malformed_requests_are_refused_as_documented(server: Server) -> None:
    seen = try_all(server, ADMIN, GenerationMode.NEGATIVE, [*CHECKS, negative_data_rejection])
    assert 400 in seen


def test_a_viewer_changes_nothing(server: Server) -> None:
    seen = try_all(server, VIEWER, GenerationMode.POSITIVE, CHECKS)
    assert 403 in seen and 202 not in seen


def test_nobody_gets_anything_but_a_refusal(server: Server) -> None:
    assert try_all(server, "", GenerationMode.POSITIVE, CHECKS) == {401}
