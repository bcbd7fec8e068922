"""GET /metrics: for whoever may read, and for nobody else."""

from __future__ import annotations

import httpx2

from tests.api.flock import VIEWER, Flock, a_client, done


async def test_a_viewer_may_scrape_and_a_stranger_may_not(flock: Flock) -> None:
    async with a_client(flock.app, VIEWER) as eye, a_client(flock.app) as stranger:
        answer = await eye.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'covey_node_up{node="n1"} 1' in answer.text
        assert (await stranger.get("/metrics")).status_code == 401


async def test_what_was_done_is_counted(root: httpx2.AsyncClient) -> None:
    before = (await root.get("/metrics")).text
    await done(root, await root.post("/v1/nodes/n1/ping"))
    await root.get("/v1/instances/none")
    after = (await root.get("/metrics")).text
    for line in (
        'covey_jobs_ended_total{state="succeeded"}',
        'covey_api_requests_total{operation="ping_node",status="202"}',
        'covey_api_requests_total{operation="show_instance",status="404"}',
        "covey_store_commit_seconds_count",
        'covey_step_seconds_count{kind="answer@1",outcome="done"}',
    ):
        assert number(after, line) > number(before, line), line


def number(text: str, line: str) -> float:
    """The value of a sample, 0 before there is one."""
    found = [one.rpartition(" ")[2] for one in text.splitlines() if one.startswith(f"{line} ")]
    return float(found[0]) if found else 0.0
