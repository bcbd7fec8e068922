"""Documents as the API answers them."""

from __future__ import annotations

from typing import Any


def an_instance(name: str = "web1", **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "id": "5f30c2a4-7a51-4c1e-9d0e-6b1f0a2c9e11",
        "node": "n1",
        "cpus": 2,
        "memory": 2 * 2**30,
        "machine": "pc-q35-7.2",
        "state": "running",
        "since_at": "2026-11-18T22:04:00.000Z",
        "reason": "",
        "desired": "running",
        "desired_by": "root",
        "generation": 3,
        "pid": 8123,
        "ready": True,
        "ready_at": "2026-11-18T22:04:21.000Z",
        "ready_status": "ready",
        "ready_s": 21.0,
        "addresses": ["10.77.0.11"],
        "disks": [
            {"index": 0, "size": 20 * 2**30, "pool": "default", "format": "qcow2", "image": "debian-12", "volume": "9a1e"},
        ],
        "nics": [
            {
                "index": 0,
                "network": "lan",
                "mac": "02:c0:7e:11:22:33",
                "address": "10.77.0.11",
                "address6": "",
                "up": True,
                "guarded": True,
                "also": [],
                "limit_in": 0,
                "limit_out": 0,
                "firewalls": [],
                "rules": [],
                "tap": "cvt0f1e2d3c4b-0",
            }
        ],
        "firewalls": [],
        "forwards": [],
        "iso": "",
        "image": "debian-12",
        "tags": ["web", "stage"],
        "owner": "",
        "protected": False,
        "notes": "",
        "ssh_keys": [],
        "created_at": "2026-11-18T22:03:00.000Z",
        "protection": "none (plain)",
        "remark": "",
        "max_cpus": 0,
        "max_memory": 0,
        "firmware": "bios",
        "cpu_model": "",
        "boot": [],
        "raw_xml": "",
        "pending": [],
        "cpu_percent": 3.2,
        "memory_used": 1181116006,
        "restart_at": None,
        "crashes": 0,
        "gave_up": False,
        **other,
    }


def three_instances() -> list[dict[str, Any]]:
    disk = {"index": 0, "size": 200 * 2**30, "pool": "hdd", "format": "raw", "image": "", "volume": "77aa"}
    return [
        an_instance(
            "db1", cpus=8, memory=16 * 2**30, disks=[disk], addresses=["10.77.0.12"], tags=[],
            remark="at next start: memory 24G",
        ),
        an_instance(),
        an_instance(
            "web9", cpus=1, memory=2**30, state="crashed", addresses=[], disks=[], protection="none (no disk)",
            remark="gave up after 5 crashes", cpu_percent=None, memory_used=None, pid=0, ready=False,
        ),
    ]  # fmt: skip


def a_plan(summary: str = "add instance web1 on n1", **other: Any) -> dict[str, Any]:
    titles = (("volume 20G of web1", "undoable"), ("cloud-init seed", "undoable"), ("running", "undoable"))
    return {
        "summary": summary,
        "digest": "c0ffee0123456789",
        "steps": [
            {"number": n, "kind": f"k{n}@1", "node": "n1", "title": title, "role": role, "meaning": "."}
            for n, (title, role) in enumerate(titles, 1)
        ],
        "reasons": ["n1 has the most free memory (41 of 64 GiB)", "NIC 0 gets 10.77.0.11"],
        "warnings": [],
        "claims": [],
        "awaits": None,
        **other,
    }


def a_removal(name: str = "web1") -> dict[str, Any]:
    step = {"number": 1, "kind": "absent@1", "node": "n1", "title": "stopped", "role": "forward", "meaning": "."}
    return a_plan(
        f"remove instance {name} with 1 disk",
        digest=f"digest-of-{name}",
        steps=[step, {**step, "number": 2, "title": f"no volume of {name}"}],
        reasons=[],
        warnings=["what is on its disks is lost"],
    )


def a_step(number: int, title: str, state: str, seconds: float | None = None, role: str = "undoable") -> dict[str, Any]:
    return {
        "number": number, "kind": f"k{number}@1", "node": "n1", "title": title, "role": role, "state": state, "seconds": seconds,
    }  # fmt: skip


def a_job(id: int = 412, state: str = "succeeded", **other: Any) -> dict[str, Any]:
    ended = state in ("succeeded", "failed", "cancelled", "superseded", "needs_repair")
    return {
        "id": id,
        "kind": "instance.add",
        "title": "instance add web1",
        "object": "instance web1",
        "user": "anna",
        "reason": "",
        "state": state,
        "created_at": "2026-11-20T05:29:54.000Z",
        "planned_at": None if state == "queued" else "2026-11-20T05:29:54.100Z",
        "ended_at": "2026-11-20T05:30:00.100Z" if ended else None,
        "after": [],
        "step": 0,
        "steps": [],
        "summary": "" if state == "queued" else "add instance web1 on n1",
        "reasons": [] if state == "queued" else ["n1 has the most free memory (41 of 64 GiB)", "NIC 0 gets 10.77.0.11"],
        "warnings": [],
        "waiting": None,
        "blocked": None,
        "error": None,
        "left": [],
        "log": "",
        "progress": None,
        "digest": "c0ffee0123456789",
        "request": {"kind": "instance.add", "name": "web1"},
        **other,
    }


def steps(*states: str) -> list[dict[str, Any]]:
    """Four steps of an addition in these states."""
    titles = ("volume 20G of web1", "cloud-init seed", "domain defined", "running")
    took = (3.1, 0.4, 0.02, 1.2)
    return [
        a_step(number, title, state, None if state in ("pending", "failed") else seconds)
        for number, (title, state, seconds) in enumerate(zip(titles, states, took, strict=True), 1)
    ]


def course_of_a_job(id: int = 412) -> list[tuple[str, Any, str]]:
    """What the stream of a job that succeeds tells."""
    done, running, pending = "done", "running", "pending"
    return [
        ("job", a_job(id, "running", steps=steps(running, pending, pending, pending)), ""),
        ("progress", {"step": 1, "text": "copying debian-12", "done": 41.0, "total": 100.0}, ""),
        ("job", a_job(id, "running", steps=steps(done, running, pending, pending)), ""),
        ("job", a_job(id, "running", steps=steps(done, done, done, running)), ""),
        (
            "job",
            a_job(
                id, "waiting", steps=steps(done, done, done, done),
                waiting={"condition": "ready", "deadline_at": "2026-11-20T05:40:00.000Z"},
            ),
            "",
        ),
        ("job", a_job(id, "succeeded", steps=steps(done, done, done, done)), ""),
    ]  # fmt: skip


def a_failed_job(id: int = 412) -> dict[str, Any]:
    error = {
        "type": "https://covey.invalid/errors/StepFailed",
        "title": "StepFailed",
        "status": 500,
        "detail": "QEMU: cannot allocate memory (2 GiB asked, 1.4 free)",
        "object": "instance web1",
        "hint": "covey node info n1",
    }
    return a_job(
        id, "failed", steps=steps("undone", "undone", "undone", "failed"), error=error, log="define ok\ncannot allocate memory\n"
    )


def a_node(name: str = "n1", **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "id": "1f0e",
        "notes": "rack 4",
        "created_at": "2026-11-01T08:00:00.000Z",
        "answers": True,
        "as_of": "2026-11-20T05:29:59.000Z",
        "address": "",
        "storage_address": "",
        "drained_at": None,
        "drain_reason": "",
        "state": "ready",
        "hostname": name,
        "boot_id": "b007",
        "kernel": "6.1.0-50-amd64",
        "hypervisor": "QEMU emulator version 7.2.9",
        "uptime_s": 1_000_000.0,
        "cpus": 16,
        "cpu_percent": 12.0,
        "load1": 1.5,
        "memory": 64 * 2**30,
        "memory_free": 41 * 2**30,
        "memory_promised": 19 * 2**30,
        "memory_reserved": 2**30,
        "cpu_models": ["host", "x86-64-v2"],
        "firmwares": ["bios", "uefi"],
        "instances": 3,
        "pools": [{"pool": "default", "size": 2**40, "free": 6 * 2**37, "claimed": 0, "promised": 220 * 2**30}],
        "problems": [],
        **other,
    }


def a_pool(name: str = "default") -> dict[str, Any]:
    room = {"node": "n1", "size": 2**40, "free": 6 * 2**37, "claimed": 0, "promised": 220 * 2**30}
    return {
        "name": name, "id": "9001", "template": "file", "path": "/var/lib/covey/pools/default", "format": "qcow2",
        "created_at": "2026-11-01T08:00:00.000Z", "nodes": [room], "users": ["db1", "web1"],
    }  # fmt: skip


def an_image(name: str = "debian-12", **other: Any) -> dict[str, Any]:
    return {
        "name": name, "id": "1a6e", "source": "built: bookworm", "state": "ready", "format": "qcow2", "size": 2 * 2**30,
        "file_size": 700 * 2**20, "sha256": "9f86d081", "recipe": None, "notes": "", "created_at": "2026-11-01T09:00:00.000Z",
        "users": ["web1"], **other,
    }  # fmt: skip


def a_network(name: str = "lan") -> dict[str, Any]:
    return {
        "name": name, "id": "4e7", "bridge": "cv-lan", "links": [], "subnet": "10.77.0.0/24", "gateway": "10.77.0.1",
        "pool_first": "10.77.0.2", "pool_last": "10.77.0.254", "nat": True, "dns": ["10.77.0.1"],
        "subnet6": "", "gateway6": "", "pool6_first": "", "pool6_last": "", "nat6": False, "type": "nat", "uplink": "", "reserved": ["10.77.0.5"], "host_ports": ["tcp/22"], "forwards": ["tcp-8080"], "notes": "",
        "created_at": "2026-11-01T08:10:00.000Z", "addresses_used": 2, "users": ["db1", "web1"],
    }  # fmt: skip


def a_cluster() -> dict[str, Any]:
    return {
        "name": "school", "id": "c1", "accelerator": "tcg", "accelerator_why": "/dev/kvm is there but a guest does not start by it",
        "mac_prefix": "02:c0:7e", "created_at": "2026-11-01T08:00:00.000Z", "notes": "", "nodes": 1, "instances": 3,
        "backup": {
            "made_at": "2026-11-20T03:12:09.000Z", "node": "n1", "size": 217_000, "failed_at": None, "error": "",
            "file": "/var/lib/covey/backups/covey-school-20261120T031209Z.backup",
        },
        "defaults": {
            "cpus": 1, "memory": 2**30, "machine": "pc-q35-7.2", "stop_graceful_s": 120.0, "ready_timeout_s": 600.0,
            "crash_restarts": 5, "crash_window_s": 3600.0, "keep_removed_s": 7 * 86400.0,
        },
    }  # fmt: skip


def a_token(name: str = "ci", expires_at: str | None = None) -> dict[str, Any]:
    return {"name": name, "id": name, "role": "viewer", "created_at": "2026-11-02T10:00:00.000Z", "expires_at": expires_at}


def a_finding(id: str = "orphan:1", **other: Any) -> dict[str, Any]:
    return {
        "id": id, "severity": "warning", "object": "volume n1:5f3", "name": "orphan", "what": "8 GiB that no record names",
        "why": "made by job 377 (failed)", "fix": "covey cluster verify --fix", "fixable": True, **other,
    }  # fmt: skip


def a_verification(*findings: dict[str, Any]) -> dict[str, Any]:
    return {"findings": list(findings), "checks": 214, "nodes": 1, "instances": 143, "seconds": 1.23}


def a_status(*findings: dict[str, Any]) -> dict[str, Any]:
    return {
        "cluster": "school", "well": not findings, "summary": "1 error" if findings else "all is well", "findings": list(findings),
        "nodes": {"all": 1, "answering": 1}, "leader": None, "copies": [], "instances": {"all": 3, "crashed": 1, "running": 2}, "jobs": {"running": 1},
        "as_of": "2026-11-20T05:30:00.000Z",
    }  # fmt: skip


def an_event(number: int, text: str, object: str = "instance web1") -> dict[str, Any]:
    return {
        "cursor": f"1.{number}.0", "at": f"2026-11-20T05:2{number}:00.000Z", "kind": "instance.state", "object": object,
        "text": text, "job": None,
    }  # fmt: skip


def a_forward() -> dict[str, Any]:
    return {
        "name": "tcp-8080", "protocol": "tcp", "port": 8080, "network": "lan", "instance": "web1", "to_port": 80,
        "addresses": ["10.77.0.11", "fd00:77::b"], "sources": ["192.0.2.0/24"], "created_at": "2026-11-18T08:10:00.000Z",
    }  # fmt: skip
