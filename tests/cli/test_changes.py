"""How changes are asked for, confirmed, handed in and waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.canned import (
    a_failed_job,
    a_finding,
    a_job,
    a_plan,
    a_removal,
    a_verification,
    an_instance,
    course_of_a_job,
    steps,
    three_instances,
)
from tests.cli.conftest import Covey
from tests.cli.server import Asked, FakeServer, Reply, Stream, problem

DRY = ["--dry-run"]
ADD_LATER = ["instance", "add", "web1", "--no-wait"]


def taken(server: FakeServer, method: str, path: str, job: dict[str, Any] | None = None) -> None:
    """The change is planned, taken in, and done at once."""
    ended = job or a_job(summary="done already")
    server.on(method, path, lambda asked: Reply(200, a_removal()) if "dry_run" in asked.query else Reply(202, ended))


def handed_in(server: FakeServer) -> list[Asked]:
    return [asked for asked in server.asked if asked.method != "GET" and "dry_run" not in asked.query]


IN_FULL = """instance add web1 --cpus 4 --memory 1.5G --image debian-12 --disk pool=ssd --disk 100G,pool=hdd,format=raw
    --nic lan --nic network=dmz,mac=02:c0:7e:00:00:01,address=none --uuid 5f30c2a4-7a51-4c1e-9d0e-6b1f0a2c9e11
    --ssh-key {keys} --user-data - --tag web --tag stage --notes x --wait ready --timeout 5m"""


# --- what is sent ----------------------------------------------------------------------------------------------------------------
CHANGES: list[tuple[list[str], str, str, Any]] = [
    (["instance", "start", "web1"], "POST", "/v1/instances/web1/start", {}),
    (["instance", "start", "web1", "--wait", "ready"], "POST", "/v1/instances/web1/start", {"wait_ready": True}),
    (["instance", "stop", "web1"], "POST", "/v1/instances/web1/stop", {}),
    (["instance", "stop", "web1", "--now"], "POST", "/v1/instances/web1/stop", {"graceful_s": 0.0}),
    (["instance", "stop", "web1", "--timeout", "10m"], "POST", "/v1/instances/web1/stop", {"graceful_s": 600.0}),
    (
        ["instance", "reboot", "web1", "--timeout", "5s", "--wait", "ready"],
        "POST",
        "/v1/instances/web1/reboot",
        {"graceful_s": 5.0, "wait_ready": True},
    ),
    (["instance", "reset", "web1", "-y"], "POST", "/v1/instances/web1/reset", {}),
    (["instance", "modify", "web1", "--tag", "a", "--tag", "b"], "PATCH", "/v1/instances/web1", {"tags": ["a", "b"]}),
    (
        ["instance", "modify", "web1", "--cpus", "4", "--max-memory", "8G", "--max-cpus", "none", "--reboot"],
        "PATCH",
        "/v1/instances/web1",
        {"cpus": 4, "max_memory": 2**33, "max_cpus": 0, "restart": True},
    ),
    (
        ["instance", "modify", "web1", "--firmware", "uefi", "--boot", "disk,network", "--iso", "none", "--raw-xml", "none"],
        "PATCH",
        "/v1/instances/web1",
        {"firmware": "uefi", "boot": ["disk", "network"], "iso": "", "raw_xml": ""},
    ),
    (["instance", "start", "web1", "--iso", "rescue"], "POST", "/v1/instances/web1/start", {"iso": "rescue"}),
    (["instance", "rename", "web1", "www"], "POST", "/v1/instances/web1/rename", {"new_name": "www"}),
    (["instance", "modify", "web1", "--no-tag", "--notes", ""], "PATCH", "/v1/instances/web1", {"tags": [], "notes": ""}),
    (["instance", "remove", "web1", "-y"], "DELETE", "/v1/instances/web1", None),
    (
        ["instance", "modify", "web1", "--protected", "--owner", "anna"],
        "PATCH",
        "/v1/instances/web1",
        {"protected": True, "owner": "anna"},
    ),
    (["instance", "modify", "web1", "--no-protected"], "PATCH", "/v1/instances/web1", {"protected": False}),
    (["instance", "remove", "web1", "-y", "--purge"], "DELETE", "/v1/instances/web1", None),
    (["instance", "restore", "web1"], "POST", "/v1/instances/web1/restore", {}),
    (
        ["instance", "restore", "web1", "--name", "old", "--start"],
        "POST",
        "/v1/instances/web1/restore",
        {"name": "old", "start": True},
    ),
    (["disk", "restore", "web1", "1", "--to", "web2"], "POST", "/v1/instances/web1/disks/1/restore", {"to": "web2"}),
    (["disk", "add", "web1", "50G", "--pool", "ssd"], "POST", "/v1/instances/web1/disks", {"size": 50 * 2**30, "pool": "ssd"}),
    (["disk", "grow", "web1", "0", "40G"], "POST", "/v1/instances/web1/disks/0/grow", {"size": 40 * 2**30}),
    (["disk", "grow", "web1", "0", "+10G"], "POST", "/v1/instances/web1/disks/0/grow", {"size": 30 * 2**30}),
    (["disk", "remove", "web1", "1", "-y"], "DELETE", "/v1/instances/web1/disks/1", None),
    (["instance", "clone", "web1", "web2"], "POST", "/v1/instances/web1/clone", {"name": "web2"}),
    (
        ["instance", "clone", "web1", "web2", "--full", "--snapshot", "a", "--start"],
        "POST",
        "/v1/instances/web1/clone",
        {"name": "web2", "full": True, "snapshot": "a", "start": True},
    ),
    (["instance", "clone", "a", "b", "--identical"], "POST", "/v1/instances/a/clone", {"name": "b", "identical": True}),
    (["snapshot", "add", "web1"], "POST", "/v1/instances/web1/snapshots", {}),
    (["snapshot", "add", "web1", "a", "--notes", "b"], "POST", "/v1/instances/web1/snapshots", {"name": "a", "notes": "b"}),
    (["snapshot", "revert", "web1", "a", "-y"], "POST", "/v1/instances/web1/snapshots/a/revert", {}),
    (["snapshot", "revert", "web1", "a", "--stop", "-y"], "POST", "/v1/instances/web1/snapshots/a/revert", {"stop": True}),
    (["snapshot", "remove", "web1", "a", "-y"], "DELETE", "/v1/instances/web1/snapshots/a", None),
    (["pool", "add", "hdd", "--path", "/srv/hdd"], "POST", "/v1/pools", {"name": "hdd", "path": "/srv/hdd"}),
    (["pool", "remove", "hdd", "-y"], "DELETE", "/v1/pools/hdd", None),
    (
        ["network", "add", "lan", "--subnet", "10.7.0.0/24", "--no-nat", "--dns", "10.7.0.2", "--pool-first", "10.7.0.9"],
        "POST",
        "/v1/networks",
        {"name": "lan", "subnet": "10.7.0.0/24", "nat": False, "dns": ["10.7.0.2"], "pool_first": "10.7.0.9"},
    ),
    (["network", "remove", "lan", "-y"], "DELETE", "/v1/networks/lan", None),
    (["image", "add", "d12", "--source", "/srv/d12.img"], "POST", "/v1/images", {"name": "d12", "source": "/srv/d12.img"}),
    (["image", "add", "d12", "--source", "http://h/x"], "POST", "/v1/images", {"name": "d12", "source": "http://h/x"}),
    (
        ["image", "build", "w", "--package", "nginx", "--package", "vim", "--size", "4G"],
        "POST",
        "/v1/image-builds",
        {"name": "w", "packages": ["nginx", "vim"], "size": 4 * 2**30},
    ),
    (["image", "remove", "d12", "-y"], "DELETE", "/v1/images/d12", None),
    (["node", "ping", "n1"], "POST", "/v1/nodes/n1/ping", {}),
    (["node", "modify", "n1", "--notes", "x"], "PATCH", "/v1/nodes/n1", {"notes": "x"}),
    (["token", "remove", "ci", "-y"], "DELETE", "/v1/tokens/ci", None),
    (["cluster", "init", "school"], "POST", "/v1/cluster", {"name": "school"}),
    (
        ["cluster", "init", "lab", "--accelerator", "tcg", "--memory", "2G"],
        "POST",
        "/v1/cluster",
        {"name": "lab", "accelerator": "tcg", "defaults": {"memory": 2 * 2**30}},
    ),
    (["cluster", "modify", "--name", "lab"], "PATCH", "/v1/cluster", {"name": "lab"}),
    (["cluster", "modify", "--cpus", "2"], "PATCH", "/v1/cluster", {"defaults": {"cpus": 2}}),
]


@pytest.mark.parametrize(("arguments", "method", "path", "body"), CHANGES, ids=[" ".join(change[0]) for change in CHANGES])
def test_a_change_is_sent_as_the_api_wants_it(
    covey: Covey, server: FakeServer, arguments: list[str], method: str, path: str, body: Any
) -> None:
    server.on("GET", "/v1/instances/web1", an_instance())
    taken(server, method, path)
    outcome = covey(*arguments)
    assert outcome.status == 0, outcome.err
    [asked] = handed_in(server)
    assert (asked.method, asked.path, asked.body) == (method, path, body)


@pytest.mark.parametrize(("arguments", "method", "path", "body"), CHANGES, ids=[" ".join(change[0]) for change in CHANGES])
def test_a_dry_run_shows_the_plan_and_hands_nothing_in(
    covey: Covey, server: FakeServer, arguments: list[str], method: str, path: str, body: Any
) -> None:
    server.on("GET", "/v1/instances/web1", an_instance())
    taken(server, method, path)
    outcome = covey(*[argument for argument in arguments if argument != "-y"], "-n")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("plan: remove instance web1 with 1 disk")
    assert "warning: what is on its disks is lost" in outcome.out
    assert handed_in(server) == []
    assert server.asked[-1].query == {"dry_run": "true", **({"purge": "true"} if "--purge" in arguments else {})}


def test_an_instance_is_asked_for_in_full(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    taken(server, "POST", "/v1/instances")
    keys = tmp_path / "keys.pub"
    keys.write_text("# mine\nssh-ed25519 AAAA anna\n\nssh-rsa BBBB\n")
    outcome = covey(*IN_FULL.format(keys=keys).split(), stdin="#cloud-config\n")
    assert outcome.status == 0, outcome.err
    assert handed_in(server)[0].body == {
        "name": "web1",
        "cpus": 4,
        "memory": 3 * 2**29,
        "image": "debian-12",
        "disks": [{"pool": "ssd"}, {"size": 100 * 2**30, "pool": "hdd", "format": "raw"}],
        "nics": [{"network": "lan"}, {"network": "dmz", "mac": "02:c0:7e:00:00:01", "address": "none"}],
        "uuid": "5f30c2a4-7a51-4c1e-9d0e-6b1f0a2c9e11",
        "ssh_keys": ["ssh-ed25519 AAAA anna", "ssh-rsa BBBB"],
        "user_data": "#cloud-config\n",
        "tags": ["web", "stage"],
        "notes": "x",
        "wait_ready": True,
        "ready_timeout_s": 300.0,
    }


@pytest.mark.parametrize(
    ("first_line", "is_known"),
    [
        ("#cloud-config", True),
        ("#!/bin/sh", True),
        ("Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0", True),
        ("## template: jinja", True),
        ("packages: [nginx]", False),
        ("\ufeff#cloud-config", False),
    ],
)
def test_user_data_that_cloud_init_would_pass_over_is_pointed_out_and_sent(
    covey: Covey, server: FakeServer, first_line: str, is_known: bool
) -> None:
    taken(server, "POST", "/v1/instances")
    outcome = covey("instance", "add", "web1", "--user-data", "-", stdin=f"{first_line}\n")
    assert outcome.status == 0, outcome.err
    assert ("begin it with #cloud-config" in outcome.err) is not is_known
    assert handed_in(server)[0].body["user_data"] == f"{first_line}\n"


def test_what_is_not_said_is_left_to_the_cluster(covey: Covey, server: FakeServer) -> None:
    taken(server, "POST", "/v1/instances")
    covey("instance", "add", "web1")
    covey("instance", "add", "web2", "--nic", "none", "--no-start")
    assert [asked.body for asked in handed_in(server)] == [{"name": "web1"}, {"name": "web2", "nics": [], "start": False}]


def test_every_submission_has_a_key_of_its_own(covey: Covey, server: FakeServer) -> None:
    taken(server, "POST", "/v1/nodes/n1/ping")
    covey("node", "ping", "n1")
    covey("node", "ping", "n1")
    keys = [asked.headers["Idempotency-Key"] for asked in handed_in(server)]
    assert len(set(keys)) == 2


def test_reason_and_predecessors_go_with_the_job(covey: Covey, server: FakeServer) -> None:
    taken(server, "POST", "/v1/nodes/n1/ping")
    covey("node", "ping", "n1", "--reason", "is it there? yes & no", "--after", "12", "--after", "13")
    assert handed_in(server)[0].query == {"reason": "is it there? yes & no", "after": "12,13"}


def test_a_relative_path_means_the_same_to_a_server_on_this_machine(
    covey: Covey, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(server, "POST", "/v1/images")
    monkeypatch.chdir(tmp_path)
    covey("image", "add", "d12", "--source", "d12.img")
    assert handed_in(server)[0].body["source"] == str(tmp_path / "d12.img")


# --- confirming ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arguments",
    [
        "instance remove web1",
        "instance reset web1",
        "disk remove web1 0",
        "nic remove web1 0",
        "snapshot revert web1 a",
        "snapshot remove web1 a",
        "pool remove hdd",
        "network remove lan",
        "image remove d12",
        "token remove ci",
        "cluster verify --fix",
        "instance stop --filter tag=web",
    ],
)
def test_what_must_be_confirmed_is_refused_where_nobody_can_be_asked(covey: Covey, server: FakeServer, arguments: str) -> None:
    server.collection("instances", three_instances())
    outcome = covey(*arguments.split())
    assert outcome.status == 2
    assert outcome.err == (
        "covey: this must be confirmed, and there is no terminal to ask on\n  try: add --yes, or look first with --dry-run\n"
    )
    assert handed_in(server) == []


def test_what_was_shown_is_what_is_done(covey: Covey, server: FakeServer) -> None:
    taken(server, "DELETE", "/v1/instances/web1")
    outcome = covey("instance", "remove", "web1", "--yes")
    assert outcome.out.startswith("plan: remove instance web1 with 1 disk\n")
    assert handed_in(server)[0].query == {"expect": "digest-of-web1"}


def test_a_removal_after_a_job_is_planned_after_it(covey: Covey, server: FakeServer) -> None:
    taken(server, "DELETE", "/v1/instances/web1")
    covey("instance", "remove", "web1", "--yes", "--after", "12")
    assert [asked.query for asked in server.asked] == [{"after": "12"}]


def test_quiet_says_nothing_when_all_goes_well(covey: Covey, server: FakeServer) -> None:
    server.on("DELETE", "/v1/instances/web1", a_removal(), Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job())))
    outcome = covey("instance", "remove", "web1", "-y", "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


# --- many ------------------------------------------------------------------------------------------------------------------------
def test_a_filter_stands_for_all_that_match(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances())
    for number, name in enumerate(("db1", "web1", "web9"), 21):
        job = a_job(number, title=f"instance stop {name}", steps=steps("done", "done", "done", "done"))
        server.on("POST", f"/v1/instances/{name}/stop", Reply(202, {**job, "state": "queued"}))
        server.on("GET", f"/v1/jobs/{number}", job)
    outcome = covey("instance", "stop", "--filter", "tag=web", "--yes")
    assert outcome.status == 0
    assert (
        outcome.out
        == "".join(
            f"job {number}  instance stop {name}  done in 6.1 s\n" for number, name in ((21, "db1"), (22, "web1"), (23, "web9"))
        )
        + "3 jobs: 3 succeeded\n"
    )
    assert server.asked[0].query == {"filter": "tag=web", "fields": "name", "limit": "1000"}


def test_removing_many_sends_what_was_shown_of_each(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances()[:2])
    for name in ("db1", "web1"):
        server.on("DELETE", f"/v1/instances/{name}", a_removal(name), Reply(202, a_job(5)))
    covey("instance", "remove", "--filter", "tag=web", "--yes", "--no-wait")
    assert [asked.query["expect"] for asked in handed_in(server)] == ["digest-of-db1", "digest-of-web1"]


def test_one_refusal_does_not_stop_the_others(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances()[:2])
    server.on("POST", "/v1/instances/db1/start", problem("NoSpace", 409, "n1 has no memory for it", "instance db1"))
    server.on("POST", "/v1/instances/web1/start", Reply(202, a_job(5)))
    server.on("GET", "/v1/jobs/5", a_job(5))
    outcome = covey("instance", "start", "--filter", "tag=web", "--yes")
    assert outcome.status == 1
    assert "instance db1: n1 has no memory for it" in outcome.err
    assert outcome.out.startswith("job 5  ")


def test_a_filter_that_nothing_matches_is_nothing_to_do(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", [])
    outcome = covey("instance", "stop", "--filter", "tag=none", "--yes")
    assert (outcome.status, outcome.out) == (0, "no instance matches: nothing to do\n")


@pytest.mark.parametrize("arguments", [["instance", "start"], ["instance", "start", "web1", "--filter", "tag=web"]])
def test_one_is_named_or_many_are_filtered(covey: Covey, server: FakeServer, arguments: list[str]) -> None:
    assert covey(*arguments).status == 2
    assert server.asked == []


# --- waiting ---------------------------------------------------------------------------------------------------------------------
def test_not_waiting_prints_the_number_and_nothing_else(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/instances", Reply(202, a_job(412, "queued")))
    assert covey(*ADD_LATER).out == "412\n"


def test_a_failed_job_is_a_failed_command(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_failed_job()))
    assert covey("node", "ping", "n1").status == 1


def test_waiting_ends_in_time_and_the_job_goes_on(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job()[:3]), hold=True))
    outcome = covey("node", "ping", "n1", "--wait-timeout", "0.2s")
    assert outcome.status == 5
    assert outcome.err == "job 412 goes on: covey job watch 412\n"


def test_waiting_for_many_ends_in_time_too(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances()[:1])
    server.on("POST", "/v1/instances/db1/start", Reply(202, a_job(5, "queued")))
    server.on("GET", "/v1/jobs/5", a_job(5, "running"))
    outcome = covey("instance", "start", "--filter", "tag=web", "--yes", "--wait-timeout", "0.1s")
    assert outcome.status == 5
    assert "1 job may go on: 5" in outcome.err


def test_a_stream_that_breaks_off_is_taken_up_again(covey: Covey, server: FakeServer) -> None:
    course = course_of_a_job()
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course[:3])), Stream(tuple(course[3:])))
    server.on("GET", "/v1/jobs/412", a_job(412, "running"))
    outcome = covey("node", "ping", "n1")
    assert outcome.status == 0
    assert outcome.out.count("volume 20G of web1") == 1
    assert outcome.out.endswith("done in 6.1 s\n")


def test_a_server_that_begins_anew_is_waited_for(covey: Covey, server: FakeServer) -> None:
    away = problem("Unavailable", 503, "it is starting")
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", away, away, Stream(tuple(course_of_a_job())))
    assert covey("node", "ping", "n1").status == 0


def test_a_kept_connection_that_the_server_closed_is_opened_again(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances()[:1])
    server.on("POST", "/v1/instances/db1/start", Reply(202, a_job(5), cut=True))
    server.on("GET", "/v1/jobs/5", a_job(5))
    assert covey("instance", "start", "--filter", "tag=web", "-y").status == 0


def test_watching_a_job_exits_as_it_did(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/jobs/412", a_failed_job())
    assert covey("job", "watch", "412").status == 1


# --- cancelling ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("job", "status", "sentence"),
    [
        (a_job(412, "queued"), 0, "job 412 would be cancelled; it has done nothing yet"),
        (
            a_job(412, "running", steps=steps("done", "running", "pending", "pending")),
            0,
            "job 412 would be cancelled; its steps 2, 1 would be undone",
        ),
        (a_job(412, "waiting"), 0, "job 412 would no longer wait; what was done stays"),
        (a_job(412, "succeeded"), 1, "job 412: it is over already: succeeded"),
    ],
)
def test_a_dry_run_of_cancelling_says_what_would_be_undone(
    covey: Covey, server: FakeServer, job: dict[str, Any], status: int, sentence: str
) -> None:
    server.on("GET", "/v1/jobs/412", job)
    outcome = covey("job", "cancel", "412", "-n")
    assert outcome.status == status
    assert sentence in outcome.out + outcome.err
    assert handed_in(server) == []


def test_a_job_that_succeeded_before_it_could_be_cancelled_is_told(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/jobs/412/cancel", Reply(202, a_job()))
    assert covey("job", "cancel", "412").status == 1


# --- tokens and repairs ----------------------------------------------------------------------------------------------------------
def test_a_token_is_printed_alone_and_once(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/tokens", Reply(202, {**a_job(9, "queued"), "secret": "s3cret"}))
    server.on("GET", "/v1/jobs/9/stream", Stream((("job", a_job(9), ""),)))
    outcome = covey("token", "add", "ci", "--role", "admin", "--expires", "30d")
    assert outcome.out == "s3cret\n"
    assert "shown once" in outcome.err
    body = handed_in(server)[0].body
    assert (body["name"], body["role"]) == ("ci", "admin")
    assert body["expires_at"].endswith("Z")


def test_a_token_that_could_not_be_made_is_not_printed(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/tokens", Reply(202, {**a_failed_job(9), "secret": "s3cret"}))
    outcome = covey("token", "add", "ci")
    assert outcome.status == 1
    assert "s3cret" not in outcome.out + outcome.err


def test_mending_touches_only_what_can_be_mended(covey: Covey, server: FakeServer) -> None:
    unfixable = a_finding("domain:1", severity="error", fixable=False)
    server.on("POST", "/v1/cluster/verify", a_verification(a_finding(), unfixable), a_verification(unfixable))
    server.on("POST", "/v1/cluster/fix", {"jobs": [a_job(413)], "left": []})
    server.on("GET", "/v1/jobs/413", a_job(413))
    outcome = covey("cluster", "verify", "--fix", "--yes")
    assert outcome.status == 4
    assert [asked.body for asked in server.asked if asked.path == "/v1/cluster/fix"] == [{"findings": ["orphan:1"]}]


def test_a_dry_run_of_mending_mends_nothing(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/cluster/verify", a_verification(a_finding()))
    outcome = covey("cluster", "verify", "--fix", *DRY)
    assert outcome.status == 0
    assert outcome.out.endswith("1 finding can be mended: volume n1:5f3\n")
    assert len(server.asked) == 1


def test_a_plan_without_a_way_back_says_where_it_begins(covey: Covey, server: FakeServer) -> None:
    server.on("DELETE", "/v1/instances/web1", a_removal())
    assert "1  stopped, n1            (no way back)" in covey("instance", "remove", "web1", *DRY).out


def test_a_plan_without_steps_says_so(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/instances/web1/start", a_plan("instance web1 runs already", steps=[], reasons=[]))
    assert covey("instance", "start", "web1", *DRY).out == "plan: instance web1 runs already\n  no steps are needed\n"


@pytest.mark.parametrize("noun", ["firewall", "forward", "image", "network", "pool", "token"])
def test_other_nouns_are_removed_by_a_filter_too(covey: Covey, server: FakeServer, noun: str) -> None:
    server.collection(f"{noun}s", [{"name": "old1"}, {"name": "old2"}])
    for number, name in enumerate(("old1", "old2"), 21):
        job = a_job(number, title=f"{noun} remove {name}")
        server.on("DELETE", f"/v1/{noun}s/{name}", a_plan(f"remove {noun} {name}"), Reply(202, {**job, "state": "queued"}))
        server.on("GET", f"/v1/jobs/{number}", job)
    outcome = covey(noun, "remove", "--filter", "name=old*", "--yes", "--reason", "tidy")
    assert outcome.status == 0, outcome.err
    assert outcome.out.endswith("2 jobs: 2 succeeded\n")
    assert [asked.query["reason"] for asked in server.of("DELETE") if "dry_run" not in asked.query] == ["tidy", "tidy"]
    assert covey(noun, "remove").status == covey(noun, "remove", "x", "--filter", "name=x").status == 2


def test_many_without_a_terminal_and_without_yes_are_refused(covey: Covey, server: FakeServer) -> None:
    server.collection("images", [{"name": "old1"}])
    outcome = covey("image", "remove", "--filter", "name=old*")
    assert outcome.status == 2
    assert "no terminal to ask on" in outcome.err
    assert server.of("DELETE") == []
