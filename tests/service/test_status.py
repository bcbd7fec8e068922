"""covey status: each thing that can be wrong is told with its object and its remedy, and nothing else is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from covey.model import record as records
from covey.model.job import Debris, EndedJob, PlanRecord
from covey.model.plan import Plan, Uses
from covey.model.pool import Pool, Space
from covey.model.steps.node import EnsureAnswer
from covey.service.health import status
from covey.service.inside import Copy
from covey.store.protocol import Put
from tests.api.flock import GIB, NODE, AsPeer, Flock, a_client, a_flock, a_telemetry, initialised
from tests.kit.builders import a_job, an_instance, an_observed


@pytest.fixture
async def flock(tmp_path: Path) -> AsyncIterator[Flock]:
    async with a_flock(tmp_path) as flock:
        async with a_client(AsPeer(flock.app)) as client:
            await initialised(flock, client)
        yield flock


async def test_before_init_the_way_to_begin_is_told(tmp_path: Path) -> None:
    async with a_flock(tmp_path) as flock:
        told = status(flock.inside)
    assert (told["cluster"], told["summary"]) == (None, "there is no cluster here yet")
    assert told["findings"][0]["fix"] == "covey cluster init NAME"


async def test_a_settings_file_that_everybody_can_change_is_told_of(flock: Flock, tmp_path: Path) -> None:
    file = tmp_path / "covey.toml"
    file.write_text("")
    file.chmod(0o666)
    told = status(replace(flock.inside, config=str(file)))
    (finding,) = told["findings"]
    assert (finding["object"], finding["severity"]) == (str(file), "warning")
    assert finding["fix"] == f"chown root {file}; chmod o-w {file}"


async def test_a_healthy_cluster_is_well(flock: Flock) -> None:
    web = an_instance("web1", node=NODE)
    await flock.put(web, an_observed(web))
    told = status(flock.inside)
    assert (told["well"], told["findings"], told["instances"]) == (True, [], {"all": 1, "running": 1})


@pytest.mark.parametrize(
    ("state", "changes", "desired", "severity", "words"),
    [
        ("crashed", {"gave_up": True, "crashes": (1.0, 2.0)}, "running", "error", "given up"),
        ("crashed", {"restart_at": 9e9}, "running", "warning", "by itself"),
        ("paused", {}, "running", "error", "paused"),
        ("missing", {}, "running", "error", "no such domain"),
        ("stopped", {}, "running", "error", "should run"),
        ("running", {}, "stopped", "warning", "should be stopped"),
    ],
)
async def test_an_instance_that_is_not_as_wanted_is_told_of(
    flock: Flock, state: str, changes: dict[str, Any], desired: str, severity: str, words: str
) -> None:
    web = an_instance("web1", node=NODE, desired=desired)
    await flock.put(web, an_observed(web, state, **changes))
    (finding,) = status(flock.inside)["findings"]
    assert (finding["object"], finding["severity"]) == ("instance web1", severity)
    assert words in finding["what"] and finding["fix"] and finding["since_at"]


@pytest.mark.parametrize(("state", "desired"), [("running", "stopped"), ("stopped", "running")])
async def test_what_a_job_is_about_to_bring_about_is_no_finding(flock: Flock, state: str, desired: str) -> None:
    web = an_instance("web1", node=NODE, desired=desired)
    await flock.put(web, an_observed(web, state), PlanRecord(7, Plan("stop web1", uses=Uses(exclusive=(f"instance/{web.id}",)))))
    assert status(flock.inside)["findings"] == []


async def test_a_pool_below_its_floor_is_told_of(flock: Flock) -> None:
    pool = next(flock.feed.view.all("pool", Pool))
    flock.tell(pools={pool.id: Space(100 * GIB, GIB)})
    (finding,) = status(flock.inside)["findings"]
    assert (finding["object"], finding["severity"]) == ("pool default", "warning")


async def test_a_pool_that_cannot_be_reached_is_told_of(flock: Flock) -> None:
    flock.tell(pools={})
    (finding,) = status(flock.inside)["findings"]
    assert (finding["object"], finding["severity"]) == ("pool default", "error")


async def test_a_node_whose_agent_has_lost_its_identity_is_told_of_with_the_way_back(flock: Flock) -> None:
    flock.feed.tell("5f0a3c1e-0000-4000-8000-0000000000aa", a_telemetry(flock.feed))
    flock.feed.tell(NODE, None)
    (silent, *_) = status(flock.inside)["findings"]
    assert silent["object"] == "node n1"
    assert f"Write {NODE} into it" in silent["fix"]


async def test_debris_and_problems_of_nodes_are_told_of(flock: Flock) -> None:
    await flock.put(Debris("3.0", 3, EnsureAnswer(node=NODE), "no answer", 1.0))
    flock.tell(problems=("libvirt does not answer",))
    assert {finding["object"] for finding in status(flock.inside)["findings"]} == {"debris 3.0", "node n1"}


async def test_a_store_that_lives_on_its_reserve_is_told_of(flock: Flock) -> None:
    told = status(replace(flock.inside, reserve_used=lambda: True))
    assert [finding["object"] for finding in told["findings"]] == ["store"]


async def test_where_the_records_are_is_told_and_a_copy_that_does_not_answer(flock: Flock) -> None:
    assert status(flock.inside)["copies"] == []
    told = status(replace(flock.inside, copies=lambda: (Copy("n1", 0.0), Copy("n2", 7.0))))
    assert told["copies"] == ["n1", "n2"]
    (finding,) = told["findings"]
    assert (finding["severity"], finding["object"]) == ("warning", "store")
    assert "on n2 does not answer" in finding["what"] and "covey node info n2" in finding["fix"]


async def test_a_job_that_needs_repair_is_told_of_until_another_has_done_its_work(flock: Flock) -> None:
    plan = Plan("grow", uses=Uses(exclusive=("instance/1",)))
    error = {"kind": "StepFailed", "what": "the device is gone", "object": "disk web1/0", "hint": "covey disk grow web1 0 9G"}

    async def ended(id: int, state: str, error: dict[str, Any] | None) -> None:
        job = EndedJob(a_job(id, state=state, error=error, ended_at=2.0), plan)
        waiting = flock.inside.history.until_ended(id, 5.0)
        await flock.store.txn([], [Put(f"{records.HISTORY}{id:010d}", records.to_bytes(job))])
        assert await waiting

    await ended(90, "needs_repair", error)
    (finding,) = status(flock.inside)["findings"]
    assert (finding["object"], finding["fix"]) == ("job 90", "covey disk grow web1 0 9G")
    await ended(91, "failed", error)
    assert len(status(flock.inside)["findings"]) == 1
    await ended(92, "succeeded", None)
    assert status(flock.inside)["well"]
