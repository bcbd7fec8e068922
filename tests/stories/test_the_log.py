"""The log of a whole Covey: one request is followed through it by its id, and no secret is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.kit.covey_up import CoveyUp

SECRET = "hunter2-of-the-user-data"  # noqa: S105  (planted: to be looked for)


async def test_a_request_is_followed_by_its_id_through_controller_and_agent(tmp_path: Path) -> None:
    settings = tmp_path / "covey.toml"
    settings.write_text('[log]\nform = "json"\nlevel = "debug"\n')
    covey = CoveyUp("fake", "--config", str(settings))
    try:
        await covey.start()
        await covey.initialise()
        await covey.do("network add default --subnet 10.77.0.0/24")
        body = {
            "name": "web1",
            "memory": 2**24,
            "user_data": f"#cloud-config\npassword: {SECRET}\n",
            "nics": [{"network": "gone"}],
        }
        transport = httpx2.AsyncHTTPTransport(uds=str(covey.state / "covey.sock"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://covey") as client:
            refused = await client.post("/v1/instances", json=body, headers={"x-request-id": "ticket-1"})
            assert refused.json()["request_id"] == "ticket-1"
            taken = await client.post("/v1/instances", json={**body, "nics": None}, headers={"x-request-id": "ticket-2"})
            job = (await client.get(f"/v1/jobs/{taken.json()['id']}", params={"wait_s": 20})).json()
        assert (job["state"], job["request_id"]) == ("succeeded", "ticket-2"), job
        await covey.stop()
        lines = log_lines(covey.log)
        own = [line for line in lines if line.get("request") == "ticket-2"]
        assert {"job taken in", "step begins", "step ends", "job over"} <= {line["event"] for line in own}
        assert {line["logger"].split(".")[1] for line in own} >= {"agent", "service", "engine"}
        assert all(str(line["job"]) == str(job["id"]) for line in own if "job" in line)
        assert [line["status"] for line in lines if line.get("request") == "ticket-1" and "status" in line] == [404]
        assert SECRET not in covey.log.read_text()
    finally:
        await covey.close()


def log_lines(file: Path) -> list[dict[str, Any]]:
    """What the daemons wrote: one JSON object a line, each with its time, level, logger and event."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if not line.startswith("covey runs with")]
    assert all({"at", "level", "logger", "event"} <= line.keys() for line in lines)
    return lines
