"""Changes: taken in once, shown before, refused when they cannot be; secrets stay secret."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from covey.base.errors import StepFailed
from covey.model.record import IDEMPOTENCY, SECRETS
from tests.api.flock import GIB, AsPeer, Flock, a_client, done

WEB = {"name": "web1", "disks": [{"size": GIB}]}
USER_DATA = "#cloud-config\npassword: hunter2hunter2\n"


async def test_a_change_is_a_job_and_then_the_world_is_another_one(flock: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post("/v1/instances", json=WEB, params={"reason": "a shop"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    job = await done(root, answer)
    assert (job["state"], job["user"], job["reason"]) == ("succeeded", "root", "a shop")
    assert [step["state"] for step in job["steps"]] == ["done", "done", "done"]
    web = (await root.get("/v1/instances/web1")).json()
    assert (web["node"], web["disks"][0]["pool"], web["desired"]) == ("n1", "default", "running")


@pytest.mark.parametrize("query", ["dry_run=true&dry_run=false", "dry_run=false&dry_run=true", "reason=a&reason=a"])
async def test_what_is_asked_twice_is_refused(flock: Flock, root: httpx2.AsyncClient, query: str) -> None:
    answer = await root.post(f"/v1/instances?{query}", json=WEB)
    assert (answer.status_code, answer.json()["detail"]) == (400, "it is given twice")
    assert (await root.get("/v1/instances")).json()["items"] == []


async def test_a_dry_run_shows_the_plan_and_changes_nothing(flock: Flock, root: httpx2.AsyncClient) -> None:
    before = flock.feed.view.revision
    answer = await root.post("/v1/instances?dry_run=true", json=WEB)
    plan = answer.json()
    assert answer.status_code == 200
    assert plan["steps"][0]["node"] == "n1" and plan["steps"][0]["meaning"]
    assert plan["claims"][0]["pool"] == "default"
    assert flock.feed.view.revision == before
    assert (await root.get("/v1/instances")).json()["items"] == []


async def test_instances_are_planned_one_behind_the_other_and_nothing_changes(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/networks", json={"name": "lan", "subnet": "10.77.0.0/24"}))
    wanted = [{"name": name, "nics": [{"network": "lan"}]} for name in ("web1", "web2", "web1", "web3")]
    answer = await root.post("/v1/plans", json={"instances": wanted})
    assert answer.status_code == 200
    one, two, again, three = answer.json()["plans"]
    gets = [next(reason for reason in each["plan"]["reasons"] if "gets" in reason) for each in (one, two, three)]
    assert gets == ["NIC 0 gets 10.77.0.2", "NIC 0 gets 10.77.0.3", "NIC 0 gets 10.77.0.4"]
    assert again["plan"] is None and again["problem"]["detail"] == "the name is taken"
    assert (await root.get("/v1/instances")).json()["items"] == []


async def test_room_is_counted_over_all_that_are_planned_together(flock: Flock, root: httpx2.AsyncClient) -> None:
    wanted = [{"name": name, "disks": [{"size": 500 * GIB, "format": "raw"}]} for name in ("web1", "web2")]
    one, two = (await root.post("/v1/plans", json={"instances": wanted})).json()["plans"]
    assert one["plan"] and two["problem"]["title"] == "NoSpace"


async def test_what_was_shown_is_what_is_done(flock: Flock, root: httpx2.AsyncClient) -> None:
    digest = (await root.post("/v1/instances?dry_run=true", json=WEB)).json()["digest"]
    other = await root.post(f"/v1/instances?expect={digest}", json={**WEB, "start": False})
    assert other.status_code == 409 and "plan_changed" in other.json()["detail"]
    job = await done(root, await root.post(f"/v1/instances?expect={digest}", json=WEB))
    assert job["state"] == "succeeded" and job["digest"] == digest


async def test_many_that_are_removed_together_do_not_change_each_others_plans(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/networks", json={"name": "lan", "subnet": "10.77.0.0/24"}))
    for number, name in enumerate(("web1", "web2", "web3")):
        await done(root, await root.post("/v1/instances", json={"name": name, "nics": [{"network": "lan"}]}))
        await done(root, await root.post("/v1/forwards", json={"port": f"tcp/{8080 + number}", "instance": name}))
    plans = {name: await root.delete(f"/v1/instances/{name}?dry_run=true") for name in ("web1", "web2", "web3")}
    jobs = [await root.delete(f"/v1/instances/{name}?expect={plan.json()['digest']}") for name, plan in plans.items()]
    assert [(await done(root, job))["state"] for job in jobs] == ["succeeded"] * 3


async def test_the_impossible_is_refused_at_once_and_makes_no_job(flock: Flock, root: httpx2.AsyncClient) -> None:
    jobs = len((await root.get("/v1/jobs")).json()["items"])
    answer = await root.post("/v1/instances", json={**WEB, "memory": 2**43})
    assert (answer.status_code, answer.json()["title"]) == (409, "NoSpace")
    assert len((await root.get("/v1/jobs")).json()["items"]) == jobs


async def test_what_comes_after_a_job_is_planned_when_that_has_ended(flock: Flock, root: httpx2.AsyncClient) -> None:
    flock.nodes.slow.add("volume@1")
    first = (await root.post("/v1/instances", json=WEB)).json()["id"]
    second = await root.post(f"/v1/instances/web1/disks?after={first}", json={"size": GIB})
    assert second.status_code == 202
    assert second.json()["after"] == [first]
    flock.nodes.go.set()
    assert (await done(root, second))["state"] == "succeeded"


async def test_a_failed_step_is_told_and_what_was_done_is_taken_back(flock: Flock, root: httpx2.AsyncClient) -> None:
    flock.nodes.errors["running@1"] = StepFailed("QEMU: cannot allocate memory", "instance web1", "take less")
    job = await done(root, await root.post("/v1/instances", json=WEB))
    assert job["state"] == "failed"
    assert (job["error"]["title"], job["error"]["detail"]) == ("StepFailed", "QEMU: cannot allocate memory")
    assert [step["state"] for step in job["steps"]] == ["undone", "undone", "failed"]
    assert (await root.get("/v1/instances/web1")).status_code == 404


# --- idempotency keys ----------------------------------------------------------------------------------------------------------------
async def test_the_same_change_under_the_same_key_is_the_same_job(flock: Flock, root: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    first = await root.post("/v1/instances", json=WEB, headers=headers)
    await done(root, first)
    again = await root.post("/v1/instances", json=WEB, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["state"] == "succeeded"


async def test_two_at_once_under_one_key_are_one_job(flock: Flock, root: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(root.post("/v1/nodes/n1/ping", headers={"idempotency-key": "many"}) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_another_change_under_the_same_key_is_refused(flock: Flock, root: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    await root.post("/v1/instances", json=WEB, headers=headers)
    other = await root.post("/v1/instances", json={**WEB, "name": "web2"}, headers=headers)
    assert (other.status_code, other.json()["title"]) == (409, "Refused")


async def test_another_secret_under_the_same_key_is_another_change(flock: Flock, root: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    await root.post("/v1/instances", json={**WEB, "user_data": USER_DATA}, headers=headers)
    other = await root.post("/v1/instances", json={**WEB, "user_data": "#cloud-config\n"}, headers=headers)
    assert other.status_code == 409


async def test_a_key_belongs_to_its_user(flock: Flock, root: httpx2.AsyncClient) -> None:
    mine = await root.post("/v1/nodes/n1/ping", headers={"idempotency-key": "one"})
    async with a_client(flock.app, "a" * 64) as boss:
        theirs = await boss.post("/v1/nodes/n1/ping", headers={"idempotency-key": "one"})
    assert mine.json()["id"] != theirs.json()["id"]


async def test_what_is_refused_leaves_its_key_unused(flock: Flock, root: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    assert (await root.post("/v1/nodes/n9/ping", headers=headers)).status_code == 404
    assert (await root.post("/v1/nodes/n1/ping", headers=headers)).status_code == 202


async def test_a_key_is_kept_hashed(flock: Flock, root: httpx2.AsyncClient) -> None:
    await root.post("/v1/nodes/n1/ping", headers={"idempotency-key": "a/b/../c"})
    keys = [entry.key for entry in (await flock.store.list(IDEMPOTENCY)).entries]
    assert len(keys) == 1 and "a/b" not in keys[0]


# --- If-Match ------------------------------------------------------------------------------------------------------------------------
async def test_a_change_of_what_was_not_looked_at_is_refused(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/instances", json=WEB))
    etag = (await root.get("/v1/instances/web1")).headers["etag"]
    await done(root, await root.patch("/v1/instances/web1", json={"notes": "first"}, headers={"if-match": etag}))
    late = await root.patch("/v1/instances/web1", json={"notes": "second"}, headers={"if-match": etag})
    assert (late.status_code, late.json()["title"]) == (412, "Conflict")
    assert (await root.get("/v1/instances/web1")).json()["notes"] == "first"


async def test_telemetry_does_not_make_an_object_another_one_to_those_who_change_it(
    flock: Flock, root: httpx2.AsyncClient
) -> None:
    await done(root, await root.post("/v1/instances", json=WEB))
    etag = (await root.get("/v1/instances/web1")).headers["etag"]
    flock.tell(load1=3.0)
    answer = await root.patch("/v1/instances/web1", json={"notes": "mine"}, headers={"if-match": etag})
    assert answer.status_code == 202


@pytest.mark.parametrize("etag", ["1-2", '"x"', "nonsense"])
async def test_what_is_no_etag_does_not_match(flock: Flock, root: httpx2.AsyncClient, etag: str) -> None:
    answer = await root.patch("/v1/nodes/n1", json={"notes": "x"}, headers={"if-match": etag})
    assert answer.status_code in (400, 412)


# --- secrets (P13) -------------------------------------------------------------------------------------------------------------------
async def test_user_data_reaches_the_node_and_nothing_else(flock: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post("/v1/instances", json={**WEB, "user_data": USER_DATA})
    job = await done(root, answer)
    seen = await asyncio.gather(
        *(root.get(path) for path in ("/v1/jobs", "/v1/events", "/v1/instances", "/v1/instances/web1", "/v1/status"))
    )
    for text in (answer.text, json.dumps(job), *(one.text for one in seen)):
        assert "hunter2" not in text
    assert [list(secrets.values()) for secrets in flock.nodes.seen_secrets] == [[USER_DATA]]
    for prefix in ("state/", "history/", IDEMPOTENCY):
        assert all(b"hunter2" not in entry.value for entry in (await flock.store.list(prefix)).entries)
    assert [entry.value.decode() for entry in (await flock.store.list(SECRETS)).entries] == [USER_DATA]


async def test_user_data_goes_with_its_instance(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/instances", json={**WEB, "user_data": USER_DATA}))
    assert (await done(root, await root.delete("/v1/instances/web1")))["state"] == "succeeded"
    assert len((await flock.store.list(SECRETS)).entries) == 1, "it may come back, and needs it then"
    assert (await done(root, await root.delete("/v1/instances/web1?purge=true")))["state"] == "succeeded"
    assert (await flock.store.list(SECRETS)).entries == ()


async def test_user_data_goes_with_a_job_that_failed(flock: Flock, root: httpx2.AsyncClient) -> None:
    flock.nodes.errors["running@1"] = StepFailed("no", "instance web1")
    assert (await done(root, await root.post("/v1/instances", json={**WEB, "user_data": USER_DATA})))["state"] == "failed"
    assert (await flock.store.list(SECRETS)).entries == ()


async def test_user_data_goes_with_a_job_that_never_began(flock: Flock, root: httpx2.AsyncClient) -> None:
    flock.nodes.slow.add("volume@1")
    first = (await root.post("/v1/instances", json=WEB)).json()["id"]
    second = await root.post(f"/v1/instances?after={first}", json={**WEB, "user_data": USER_DATA})
    assert (await root.post(f"/v1/jobs/{second.json()['id']}/cancel")).status_code == 202
    assert (await flock.store.list(SECRETS)).entries == ()
    flock.nodes.go.set()


async def test_a_tokens_secret_is_shown_once_and_kept_nowhere(flock: Flock, root: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "token"}
    body = {"name": "monitor", "role": "viewer", "expires_at": "2099-01-01T00:00:00Z"}
    answer = await root.post("/v1/tokens", json=body, headers=headers)
    secret = answer.json()["secret"]
    await done(root, answer)
    assert secret not in (await root.post("/v1/tokens", json=body, headers=headers)).text
    assert all(secret.encode() not in entry.value for entry in (await flock.store.list("")).entries)
    assert secret not in (await root.get("/v1/tokens")).text
    async with a_client(flock.app, secret) as monitor:
        assert (await monitor.get("/v1/instances")).status_code == 200
        assert (await monitor.get("/v1/tokens")).status_code == 403
    await done(root, await root.delete("/v1/tokens/monitor"))
    async with a_client(flock.app, secret) as monitor:
        assert (await monitor.get("/v1/instances")).status_code == 401


# --- every change there is ------------------------------------------------------------------------------------------------------------
async def test_a_life_of_an_instance(flock: Flock, root: httpx2.AsyncClient) -> None:
    async def change(method: str, path: str, body: object = None) -> None:
        job = await done(root, await root.request(method, path, json=body))
        assert job["state"] == "succeeded", job

    await change("POST", "/v1/networks", {"name": "lan", "subnet": "10.77.0.0/24"})
    await change("POST", "/v1/images", {"name": "debian-12", "source": "/srv/debian.qcow2"})
    await change("POST", "/v1/image-builds", {"name": "built", "packages": ["vim"]})
    await change("POST", "/v1/pools", {"name": "hdd", "path": "/srv/hdd"})
    flock.tell()
    await change("POST", "/v1/instances", {"name": "web1", "image": "debian-12", "tags": ["web"], "nics": [{"network": "lan"}]})
    await change("POST", "/v1/instances/web1/disks", {"size": GIB, "pool": "hdd"})
    await change("POST", "/v1/instances/web1/disks/1/grow", {"size": 2 * GIB})
    web = (await root.get("/v1/instances/web1")).json()
    assert (web["image"], web["disks"][1]["size"], web["addresses"]) == ("debian-12", 2 * GIB, ["10.77.0.2"])
    assert (await root.get("/v1/images/debian-12")).json()["users"] == ["web1"]
    assert (await root.delete("/v1/images/debian-12")).status_code == 409
    await change("DELETE", "/v1/instances/web1/disks/1")
    await change("POST", "/v1/instances/web1/disks/1/restore")
    await change("DELETE", "/v1/instances/web1/disks/1?purge=true")
    await change("PATCH", "/v1/instances/web1", {"tags": ["web", "shop"]})
    for verb in ("reboot", "reset", "stop", "start"):
        await change("POST", f"/v1/instances/web1/{verb}")
    await change("DELETE", "/v1/instances/web1?reason=moved")
    (kept,) = (await root.get("/v1/removed")).json()["items"]
    assert (kept["name"], kept["what"], kept["by"], kept["reason"]) == ("web1", "instance", "root", "moved")
    assert (await root.delete("/v1/images/debian-12")).status_code == 409
    await change("POST", "/v1/instances/web1/restore", {"name": "web2"})
    assert (await root.get("/v1/instances/web2")).json()["addresses"] == ["10.77.0.2"]
    await change("DELETE", "/v1/instances/web2?purge=true")
    assert (await root.get("/v1/removed")).json()["items"] == []
    await change("DELETE", "/v1/images/debian-12")
    await change("DELETE", "/v1/networks/lan")
    await change("DELETE", "/v1/pools/hdd")
    await change("PATCH", "/v1/nodes/n1", {"notes": "rack 2"})
    await change("PATCH", "/v1/cluster", {"defaults": {"memory": 2 * GIB}})
    cluster = (await root.get("/v1/cluster")).json()
    assert (cluster["defaults"]["memory"], cluster["defaults"]["stop_graceful_s"]) == (2 * GIB, 120.0)


async def test_verify_finds_and_fix_mends(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/instances", json=WEB))
    found = (await root.post("/v1/cluster/verify")).json()
    names = {finding["name"]: finding for finding in found["findings"]}
    assert set(names) == {"missing-volume", "missing-domain"}
    fixed = await root.post("/v1/cluster/fix", json={"findings": [finding["id"] for finding in found["findings"]]})
    assert fixed.status_code == 202
    assert [job["title"] for job in fixed.json()["jobs"]] == ["repair: instance web1"]
    assert [finding["name"] for finding in fixed.json()["left"]] == ["missing-volume"]


async def test_status_says_what_to_do(flock: Flock, root: httpx2.AsyncClient) -> None:
    status = (await root.get("/v1/status")).json()
    assert (status["well"], status["leader"]["node"]) == (True, "n1")
    flock.feed.tell(next(iter(flock.feed.view.telemetry)), None)
    status = (await root.get("/v1/status")).json()
    assert (status["well"], status["summary"]) == (False, "1 error")
    assert status["findings"][0]["object"] == "node n1"


async def test_nobody_else_on_the_machine_comes_in(flock: Flock) -> None:
    async with a_client(AsPeer(flock.app, uid=65534)) as nobody:
        assert (await nobody.get("/v1/instances")).status_code == 401
