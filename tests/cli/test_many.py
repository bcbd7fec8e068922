"""instance add -f: all or nothing to begin with, then all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.canned import a_job, a_plan
from tests.cli.conftest import Covey
from tests.cli.server import Asked, FakeServer, Reply, problem

TWO = """\
- name: web1
  image: debian-12
  memory: 2G
  disk: [20G, "100G,pool=hdd", {size: 1T, format: raw}]
  network: lan
  ssh-key: id.pub
  tag: [web, stage]
  wait: ready
  timeout: 5m
- name: web2
  cpus: 2
  nic: none
  start: no
"""


@pytest.fixture
def good(server: FakeServer) -> FakeServer:
    numbers = iter(range(21, 99))

    def answer(asked: Asked) -> Reply:
        number = next(numbers)
        server.on("GET", f"/v1/jobs/{number}", a_job(number, title=f"instance add {asked.body['name']}"))
        return Reply(202, a_job(number, "queued"))

    server.on("POST", "/v1/instances", answer)
    server.on("POST", "/v1/plans", planned())
    return server


def planned(**problems: dict[str, Any]) -> Callable[[Asked], Reply]:
    """Plans of all entries but those that have a problem."""

    def answer(asked: Asked) -> Reply:
        names = [body["name"] for body in asked.body["instances"]]
        plans = [
            {"plan": None, "problem": problems[name]}
            if name in problems
            else {"plan": a_plan(f"add instance {name}"), "problem": None}
            for name in names
        ]
        return Reply(200, {"plans": plans})

    return answer


def handed_in(server: FakeServer) -> list[Asked]:
    return [asked for asked in server.of("POST") if asked.path == "/v1/instances"]


def test_a_file_adds_many(covey: Covey, good: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA anna\n")
    (tmp_path / "many.yaml").write_text(TWO)
    outcome = covey("instance", "add", "-f", str(tmp_path / "many.yaml"), "--reason", "course")
    assert outcome.status == 0, outcome.err
    assert outcome.out == (
        "2 instances to add\n"
        "job 21  instance add web1  done: add instance web1 on n1\n"
        "job 22  instance add web2  done: add instance web1 on n1\n"
        "2 jobs: 2 succeeded\n"
    )
    first, second = handed_in(good)
    assert first.query == {"reason": "course"}
    assert first.body == {
        "name": "web1",
        "image": "debian-12",
        "memory": 2 * 2**30,
        "disks": [{"size": 20 * 2**30}, {"size": 100 * 2**30, "pool": "hdd"}, {"size": 2**40, "format": "raw"}],
        "nics": [{"network": "lan"}],
        "ssh_keys": ["ssh-ed25519 AAAA anna"],
        "tags": ["web", "stage"],
        "wait_ready": True,
        "ready_timeout_s": 300.0,
    }
    assert second.body == {"name": "web2", "cpus": 2, "nics": [], "start": False}


def test_a_dry_run_of_a_file_shows_every_plan(covey: Covey, good: FakeServer) -> None:
    outcome = covey("instance", "add", "-f", "-", "-n", stdin="- name: a\n- name: b\n")
    assert "plan: add instance a\n" in outcome.out
    assert "plan: add instance b\n" in outcome.out
    assert handed_in(good) == []


def test_entries_are_planned_together_and_their_user_data_stays_here(covey: Covey, good: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("#cloud-config\npassword: hunter2\n")
    (tmp_path / "many.yaml").write_text("- {name: a, user-data: web.yaml}\n- name: b\n")
    assert covey("instance", "add", "-f", str(tmp_path / "many.yaml"), "-n").status == 0
    (asked,) = good.asked
    assert asked.body == {"instances": [{"name": "a", "user_data": "#cloud-config\n"}, {"name": "b"}]}


def test_more_entries_than_one_question_holds_are_planned_in_portions(covey: Covey, good: FakeServer) -> None:
    text = "".join(f"- {{name: pc{number}, notes: {'x' * 3000}}}\n" for number in range(700))
    assert covey("instance", "add", "-f", "-", "-n", stdin=text).status == 0
    portions = [asked.body["instances"] for asked in good.asked]
    assert [body["name"] for portion in portions for body in portion] == [f"pc{number}" for number in range(700)]
    assert len(portions) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- name: web1\n- {name: WEB, cpus: 1}\n", "standard input line 2, WEB: name: 'WEB' cannot be a name"),
        ("- name: web1\n- cpus: 1\n", "standard input line 2: the name is missing"),
        ("- name: web1\n- name: web2\n  memroy: 1G\n", "line 2, web2: there is no 'memroy' (did you mean memory?)"),
        ("- name: web1\n- name: web1\n", "line 2, web1: name: web1 is taken by standard input line 1, web1"),
        ("- name: web1\n- name: web2\n  memory: 2X\n", "line 2, web2: memory: '2X' is not a size"),
        ("- name: web1\n- name: web2\n  memory: [1]\n", "line 2, web2: memory: [1] is not a size"),
        ("- name: web1\n- name: web2\n  cpus: two\n", "line 2, web2: cpus: expected int, found str"),
        ("- name: web1\n- name: web2\n  disk: 20G,pol=x\n", "line 2, web2: disk: there is no 'pol' in it"),
        ("- name: web1\n- name: web2\n  disk: [20G, pool=x]\n", "line 2, web2: disks.1.size: a disk needs a size"),
        ("- name: web1\n- name: web2\n  ssh-key: /no/such\n", "line 2, web2: ssh_key /no/such: cannot be read"),
        ("- name: web1\n- name: web2\n  wait: forever\n", "line 2, web2: wait: 'forever' cannot be waited for"),
        ("- name: web1\n- name: web2\n  start: maybe\n", "line 2, web2: start: is yes or no"),
        ("- name: web1\n- web2\n", "line 2: an entry is a mapping"),
        ("- name: web1\n- name: web2\n  nic: [{mac: zz}]\n", "line 2, web2: nics.0.mac: 'zz' is not a unicast MAC address"),
        ("name: web1\n", "standard input: it holds no list of instances"),
        ("", "standard input: it holds no list of instances"),
        ("- name: [\n", "it is not YAML"),
        ("\0", "it is not YAML"),
        ("- name: web1\n  notes: a\x1b[31mb\n", "it is not YAML"),
        ("- name: web1\n- name: !!python/object/apply:os.system [id]\n", "it is not YAML"),
    ],
)  # fmt: skip
def test_one_bad_entry_is_named_and_none_is_added(covey: Covey, good: FakeServer, text: str, complaint: str) -> None:
    outcome = covey("instance", "add", "-f", "-", stdin=text)
    assert outcome.status == 2
    assert complaint in outcome.err
    assert good.asked == []


def test_what_only_the_server_knows_stops_all_too(covey: Covey, server: FakeServer) -> None:
    server.on("POST", "/v1/plans", planned(b=problem("NotFound", 404, "there is no image of that name", "image x").body))
    outcome = covey("instance", "add", "-f", "-", stdin="- name: a\n- {name: b, image: x}\n")
    assert outcome.status == 2
    assert outcome.err == (
        "standard input line 2, b: image x: there is no image of that name\n"
        "covey: instance add: 1 of 2 cannot be, so none is added\n"
        "  try: mend the file, give it again\n"
    )
    assert handed_in(server) == []


def test_no_answer_is_not_the_files_fault(covey: Covey, state: Path) -> None:
    assert covey("instance", "add", "-f", "-", stdin="- name: a\n").status == 3


@pytest.mark.parametrize("more", [["web1"], ["--cpus", "2"], ["--no-start"], ["--disk", "2G"]])
def test_with_a_file_everything_is_said_in_it(covey: Covey, server: FakeServer, more: list[str]) -> None:
    assert covey("instance", "add", "-f", "x.yaml", *more).status == 2
    assert server.asked == []


def test_what_no_longer_fits_is_told_once_and_stops_the_rest(covey: Covey, server: FakeServer) -> None:
    full = problem("NoSpace", 409, "network lan has no free address", "instance b")

    def answer(asked: Asked) -> Reply:
        return full if asked.body["name"] == "b" else Reply(202, a_job(21))

    server.on("POST", "/v1/instances", answer)
    server.on("POST", "/v1/plans", planned())
    server.on("GET", "/v1/jobs/21", a_job(21))
    outcome = covey("instance", "add", "-f", "-", stdin="".join(f"- name: {name}\n" for name in "abcd"))
    assert outcome.status == 1
    assert outcome.err == (
        "covey: instance b: network lan has no free address\n1 of 4 were handed in; b and 2 behind it were not\n"
    )
    assert [asked.body["name"] for asked in handed_in(server)] == ["a", "b"]
