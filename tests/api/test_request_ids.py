"""Each request has an id: told to its client, kept with its job, and in every line of the log that it causes."""

from __future__ import annotations

import httpx2
import pytest
import structlog

from covey.base.errors import Bug
from covey.client.problem import error_from
from tests.api.flock import Flock, done

HEADER = "x-request-id"
ID = "build-7.example_2"


async def test_every_answer_carries_an_id_of_its_own(root: httpx2.AsyncClient) -> None:
    seen = {(await root.get(path)).headers[HEADER] for path in ("/v1/nodes", "/v1/nodes", "/v1/nowhere", "/v1/jobs/77")}
    assert len(seen) == 4


async def test_a_client_may_bring_its_own(root: httpx2.AsyncClient) -> None:
    answer = await root.get("/v1/nodes", headers={HEADER: ID})
    assert answer.headers[HEADER] == ID


@pytest.mark.parametrize("unsound", ["", "a b", "x" * 65, "a\tb", "naïve".encode().decode("latin-1"), "a=b"])
async def test_an_id_that_could_forge_a_line_of_the_log_is_replaced(root: httpx2.AsyncClient, unsound: str) -> None:
    answer = await root.get("/v1/nodes", headers=[(HEADER.encode(), unsound.encode("latin-1"))])
    assert answer.headers[HEADER] not in ("", unsound)


async def test_whoever_is_refused_learns_the_id_too(flock: Flock) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=flock.app), base_url="http://covey") as stranger:
        answer = await stranger.get("/v1/nodes", headers={HEADER: ID})
    assert answer.status_code == 401
    assert answer.headers[HEADER] == answer.json()["request_id"] == ID


async def test_a_job_keeps_the_id_of_the_request_that_brought_it_in(root: httpx2.AsyncClient) -> None:
    job = await done(root, await root.post("/v1/nodes/n1/ping", headers={HEADER: ID}))
    assert (job["state"], job["request_id"]) == ("succeeded", ID)
    found = (await root.get("/v1/jobs", params={"filter": f"request_id={ID}"})).json()["items"]
    assert [each["id"] for each in found] == [job["id"]]


async def test_what_the_engine_logs_of_a_job_carries_both_ids(root: httpx2.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        job = await done(root, await root.post("/v1/nodes/n1/ping", headers={HEADER: ID}))
    (over,) = [line for line in lines if line["event"] == "job over"]
    assert (over["job"], over["request"], over["state"], over["title"]) == (job["id"], ID, "succeeded", "node ping n1")


def test_a_fault_of_coveys_own_is_told_with_the_id_by_which_the_log_knows_it() -> None:
    problem: dict[str, object] = {"title": "Bug", "detail": "KeyError", "hint": "see its log", "request_id": ID}
    error = error_from(problem)
    assert isinstance(error, Bug)
    assert error.hint == f"see its log (request {ID})"
    assert ID not in error_from({**problem, "title": "Refused"}).hint
