"""What people see, letter by letter."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.canned import (
    a_cluster,
    a_failed_job,
    a_finding,
    a_forward,
    a_job,
    a_network,
    a_node,
    a_plan,
    a_pool,
    a_status,
    a_token,
    a_verification,
    an_event,
    an_image,
    an_instance,
    course_of_a_job,
    steps,
    three_instances,
)
from tests.cli.conftest import Covey, Outcome
from tests.cli.server import FakeServer, Reply, Stream, problem

Golden = Callable[..., Outcome]
ORPHAN = a_finding()
MIRROR = a_finding(
    "domain:1", severity="error", object="instance db1", name="lost-process", what="it should run, but does not",
    why="QEMU is gone since 02:11", fix="covey instance start db1", fixable=False,
)  # fmt: skip


def test_instance_list(golden: Golden, server: FakeServer) -> None:
    server.collection("instances", three_instances())
    golden("instance-list", "instance", "list")


def test_instance_list_with_other_columns(golden: Golden, server: FakeServer) -> None:
    server.collection("instances", three_instances())
    golden("instance-list-columns", "instance", "list", "--columns", "name,cpu,memory_used,tags,since,mac")


def test_instance_list_of_nothing(golden: Golden, server: FakeServer) -> None:
    server.collection("instances", [])
    golden("instance-list-empty", "instance", "list")


def test_instance_info(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/instances/web1", an_instance())
    server.collection("jobs", [a_job(398, title="instance reboot web1", reason="kernel update")])
    golden("instance-info", "instance", "info", "web1")


def test_instance_info_of_a_stopped_one(golden: Golden, server: FakeServer) -> None:
    stopped = an_instance(
        state="stopped",
        desired="stopped",
        desired_by="guest",
        reason="guest",
        pid=0,
        ready=False,
        cpu_percent=None,
        memory_used=None,
    )
    server.on("GET", "/v1/instances/web1", stopped)
    server.collection("jobs", [])
    golden("instance-info-stopped", "instance", "info", "web1")


def test_instance_add(golden: Golden, server: FakeServer) -> None:
    server.on("POST", "/v1/instances", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job())))
    golden("instance-add", "instance", "add", "web1", "--image", "debian-12", "--wait", "ready")


def test_instance_add_that_fails(golden: Golden, server: FakeServer) -> None:
    server.on("POST", "/v1/instances", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream((*course_of_a_job()[:4], ("job", a_failed_job(), ""))))
    golden("instance-add-fails", "instance", "add", "web1")


def test_instance_add_by_dry_run(golden: Golden, server: FakeServer) -> None:
    plan = a_plan(warnings=["pool default has little room"], awaits={"condition": "ready", "deadline_s": 600.0})
    server.on("POST", "/v1/instances", plan)
    golden("instance-add-dry-run", "instance", "add", "web1", "--dry-run")


def test_a_name_that_is_taken(golden: Golden, server: FakeServer) -> None:
    refusal = problem("Refused", 409, "the name is taken", "instance web1", "covey instance info web1")
    server.on("POST", "/v1/instances", refusal)
    golden("name-taken", "instance", "add", "web1")


def test_nothing_to_do(golden: Golden, server: FakeServer) -> None:
    done = a_job(7, title="instance start web1", summary="instance web1 runs already", reasons=[])
    server.on("POST", "/v1/instances/web1/start", Reply(202, done))
    golden("nothing-to-do", "instance", "start", "web1")


def test_cluster_verify(golden: Golden, server: FakeServer) -> None:
    server.on("POST", "/v1/cluster/verify", a_verification(MIRROR, ORPHAN))
    assert golden("cluster-verify", "cluster", "verify").status == 4


def test_cluster_verify_when_all_is_well(golden: Golden, server: FakeServer) -> None:
    server.on("POST", "/v1/cluster/verify", a_verification())
    golden("cluster-verify-well", "cluster", "verify")


def test_cluster_verify_and_mend(golden: Golden, server: FakeServer) -> None:
    server.on("POST", "/v1/cluster/verify", a_verification(ORPHAN), a_verification())
    repair = a_job(413, title="repair: remove orphan volume 5f3", steps=steps("done", "done", "done", "done"))
    server.on("POST", "/v1/cluster/fix", {"jobs": [repair], "left": []})
    server.on("GET", "/v1/jobs/413", repair)
    golden("cluster-verify-fix", "cluster", "verify", "--fix", "--yes")


def test_cluster_info(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/cluster", a_cluster())
    golden("cluster-info", "cluster", "info")


def test_status(golden: Golden, server: FakeServer) -> None:
    crash = {
        "severity": "error", "object": "instance web9", "what": "crashed 5 times; given up",
        "since_at": "2026-11-20T02:14:00.000Z", "fix": "covey instance console web9",
    }  # fmt: skip
    server.on("GET", "/v1/status", a_status(crash))
    assert golden("status", "status").status == 4


def test_status_when_all_is_well(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/status", a_status())
    golden("status-well", "status")


def test_status_of_several_nodes_says_who_leads(golden: Golden, server: FakeServer) -> None:
    leader = {"node": "n2", "epoch": 7, "since_at": "2026-11-20T05:14:00.000Z"}
    server.on("GET", "/v1/status", {**a_status(), "nodes": {"all": 3, "answering": 3}, "leader": leader})
    golden("status-several", "status")


def test_job_list(golden: Golden, server: FakeServer) -> None:
    server.collection("jobs", [a_job(413, "running", reason="kernel update"), a_failed_job()])
    golden("job-list", "job", "list")


REQUEST = {
    "kind": "instance.add",
    "name": "web1",
    "cpus": 0,
    "memory": 2 * 2**30,
    "image": "debian-12",
    "disks": [{"size": 20 * 2**30, "pool": "", "format": ""}, {"size": 0, "pool": "hdd", "format": "raw"}],
    "nics": [{"network": "lan", "mac": "", "address": "auto", "up": False, "limit_in": 10**8, "rules": []}],
    "tags": ["web", "stage"],
    "notes": "ask anna before you touch it, and if she is away then ask whoever has the key",
    "start": False,
    "wait_ready": True,
    "ready_timeout_s": 300.0,
    "of_a_newer_release": "this",
}


def test_job_info(golden: Golden, server: FakeServer) -> None:
    waiting = {"condition": "ready", "deadline_at": "2026-11-20T05:40:00.000Z"}
    found = a_job(
        412,
        "waiting",
        steps=steps("done", "done", "done", "done"),
        waiting=waiting,
        reason="for anna",
        after=[411],
        request=REQUEST,
    )
    server.on("GET", "/v1/jobs/412", found)
    golden("job-info", "job", "info", "412")


DISKS = [
    {"instance": "db1", "node": "n1", "index": 0, "size": 100 * 2**30, "pool": "hdd", "format": "raw", "image": "", "volume": "v-1"},
    {"instance": "web1", "node": "n1", "index": 0, "size": 20 * 2**30, "pool": "default", "format": "qcow2", "image": "debian-12", "volume": "v-2"},
]  # fmt: skip
NIC = {
    "instance": "web1", "node": "n1", "index": 0, "network": "lan", "mac": "02:c0:7e:11:22:33", "address": "10.77.0.10", "address6": "fd00:77::10",
    "up": True, "guarded": True, "also": [], "limit_in": 10**8, "limit_out": 0, "firewalls": ["web"], "tap": "cvn1",
    "rules": [{"direction": "in", "protocol": "tcp", "ports": "80", "peer": ""}],
}  # fmt: skip


def test_disk_list(golden: Golden, server: FakeServer) -> None:
    server.collection("disks", DISKS)
    golden("disk-list", "disk", "list")


def test_nic_list_of_one_instance(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/instances/web1", {"name": "web1"})
    server.collection("nics", [NIC, {**NIC, "index": 1, "address": "", "address6": "", "up": False, "guarded": False}])
    golden("nic-list", "nic", "list", "web1")
    assert server.asked[-1].query["filter"] == "instance=web1"
    golden(
        "nic-list-columns",
        "nic",
        "list",
        "web1",
        "--columns",
        "nic,limit_in,limit-out,firewalls,rules",
        "--filter",
        "network=lan",
    )
    assert server.asked[-1].query["filter"] == "instance=web1 network=lan"


def test_the_parts_of_an_instance_that_is_not_there_are_not_none(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/instances/web9", problem("NotFound", 404, "there is no instance of that name", "instance web9"))
    assert covey("disk", "list", "web9").status == covey("nic", "list", "web9").status == 1


def test_job_info_of_a_failure_with_its_log(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/jobs/412", a_failed_job())
    golden("job-info-log", "job", "info", "412", "--log")


def test_job_watch_of_a_blocked_one(golden: Golden, server: FakeServer) -> None:
    blocked = a_job(412, "queued", blocked={"object": "instance web1", "by": 411})
    server.on("GET", "/v1/jobs/412", blocked)
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job())))
    golden("job-watch", "job", "watch", "412")


def test_job_cancel(golden: Golden, server: FakeServer) -> None:
    server.on(
        "POST", "/v1/jobs/412/cancel", Reply(202, a_job(412, "undoing", steps=steps("done", "running", "pending", "pending")))
    )
    error = {"title": "Refused", "status": 409, "detail": "cancelled by root", "object": "job 412", "hint": ""}
    cancelled = a_job(412, "cancelled", steps=steps("undone", "undone", "pending", "pending"), error=error)
    server.on("GET", "/v1/jobs/412/stream", Stream((("job", cancelled, ""),)))
    golden("job-cancel", "job", "cancel", "412")


def test_event_list(golden: Golden, server: FakeServer) -> None:
    items = [an_event(1, "instance web1 was shut down from within"), an_event(2, "job 12 instance start web1 succeeded in 3.2 s")]
    server.on("GET", "/v1/events", {"items": items, "next": None})
    golden("event-list", "event", "list", "--since", "2h")


def test_node_list(golden: Golden, server: FakeServer) -> None:
    silent = a_node("n2", answers=False, cpus=0, memory=0, memory_free=0, instances=0, memory_promised=0)
    server.collection("nodes", [a_node(), silent])
    golden("node-list", "node", "list")


def test_node_info(golden: Golden, server: FakeServer) -> None:
    server.on("GET", "/v1/nodes/n1", a_node(problems=["libvirt does not answer since 05:12"]))
    golden("node-info", "node", "info", "n1")


def test_image_list_and_info(golden: Golden, server: FakeServer) -> None:
    server.collection("images", [an_image(), an_image("web-12", state="adding", size=0, file_size=0, users=[])])
    server.on("GET", "/v1/images/debian-12", an_image())
    golden("image-list", "image", "list")
    golden("image-info", "image", "info", "debian-12")


def test_pool_list_and_info(golden: Golden, server: FakeServer) -> None:
    server.collection("pools", [a_pool()])
    server.on("GET", "/v1/pools/default", a_pool())
    golden("pool-list", "pool", "list")
    golden("pool-info", "pool", "info", "default")


def test_network_list_and_info(golden: Golden, server: FakeServer) -> None:
    server.collection("networks", [a_network()])
    server.on("GET", "/v1/networks/lan", a_network())
    golden("network-list", "network", "list")
    golden("network-info", "network", "info", "lan")


def test_forward_list_and_info(golden: Golden, server: FakeServer) -> None:
    server.collection("forwards", [a_forward()])
    server.on("GET", "/v1/forwards/tcp-8080", a_forward())
    golden("forward-list", "forward", "list")
    golden("forward-info", "forward", "info", "tcp/8080")


def test_token_list(golden: Golden, server: FakeServer) -> None:
    server.collection("tokens", [a_token(), a_token("anna", "2027-01-01T00:00:00.000Z")])
    golden("token-list", "token", "list")


def test_instance_info_of_one_that_waits_for_its_next_start(golden: Golden, server: FakeServer) -> None:
    waits = [{"field": "memory", "now": "2G", "then": "4G"}, {"field": "max_cpus", "now": "none", "then": "8"}]
    web1 = an_instance(memory=4 * 2**30, max_cpus=8, pending=waits, remark="at next start: memory 4G, max cpus 8")
    server.on("GET", "/v1/instances/web1", web1)
    server.collection("jobs", [])
    golden("instance-info-waits", "instance", "info", "web1")
