"""What is only so on a terminal: questions, live lines, Ctrl-C; and what is so without one: pipes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.cli.canned import a_job, a_removal, course_of_a_job, three_instances
from tests.cli.server import FakeServer, Reply, Stream
from tests.cli.terminal import ENVIRONMENT, LIMIT_S, PROGRAM, on_terminal


def handed_in(server: FakeServer) -> int:
    return sum(asked.method != "GET" and "dry_run" not in asked.query for asked in server.asked)


def a_removable(server: FakeServer) -> None:
    server.on(
        "DELETE",
        "/v1/instances/web1",
        lambda asked: Reply(200, a_removal()) if "dry_run" in asked.query else Reply(202, a_job(5, summary="removed")),
    )


def test_yes_is_done(server: FakeServer, state: Path) -> None:
    a_removable(server)
    with on_terminal(state, "instance", "remove", "web1") as terminal:
        terminal.expect("go on? [y/N] ")
        assert "what is on its disks is lost" in terminal.seen
        terminal.type("y\n")
        assert terminal.end() == 0
    assert handed_in(server) == 1


def test_anything_else_is_no(server: FakeServer, state: Path) -> None:
    a_removable(server)
    with on_terminal(state, "instance", "remove", "web1") as terminal:
        terminal.expect("go on? [y/N] ")
        terminal.type("\n")
        assert terminal.end() == 1
        assert "nothing was changed" in terminal.seen
    assert handed_in(server) == 0


def test_ctrl_c_at_the_question_is_no(server: FakeServer, state: Path) -> None:
    a_removable(server)
    with on_terminal(state, "instance", "remove", "web1") as terminal:
        terminal.expect("go on? [y/N] ")
        terminal.signal(signal.SIGINT)
        assert terminal.end() == 1
        assert "Traceback" not in terminal.seen
    assert handed_in(server) == 0


def test_many_are_named_and_counted_before_the_question(server: FakeServer, state: Path) -> None:
    server.collection("instances", three_instances())
    with on_terminal(state, "instance", "stop", "--filter", "tag=web") as terminal:
        terminal.expect("this is 3 instances: go on? [y/N] ")
        assert "db1, web1, web9" in terminal.seen
        terminal.type("no\n")
        assert terminal.end() == 1
    assert handed_in(server) == 0


def test_ctrl_c_lets_go_of_a_job(server: FakeServer, state: Path) -> None:
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job()[:3]), hold=True))
    with on_terminal(state, "node", "ping", "n1") as terminal:
        terminal.expect("running   2  cloud-init seed")
        terminal.signal(signal.SIGINT)
        assert terminal.end() == 5
        assert "job 412 goes on: covey job watch 412" in terminal.seen
        assert "Traceback" not in terminal.seen


def test_a_terminal_shows_the_step_under_way(server: FakeServer, state: Path) -> None:
    server.on("POST", "/v1/nodes/n1/ping", Reply(202, a_job(412, "queued")))
    server.on("GET", "/v1/jobs/412/stream", Stream(tuple(course_of_a_job())))
    with on_terminal(state, "node", "ping", "n1") as terminal:
        assert terminal.end() == 0
        assert "running   1  volume 20G of web1, n1 ... copying debian-12 41 %" in terminal.seen
        assert terminal.seen.rstrip().endswith("done in 6.1 s")


def test_a_reader_that_has_enough_is_no_error(server: FakeServer, state: Path) -> None:
    server.collection("instances", three_instances() * 2000)
    process = subprocess.Popen(
        [*PROGRAM, "instance", "list", "--no-header"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "COVEY_STATE": str(state)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"db1")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(LIMIT_S)


def test_the_program_in_the_work_tree_starts(state: Path) -> None:
    program = Path(__file__).parents[2] / "bin" / "covey"
    done = subprocess.run([program, "--help"], capture_output=True, env=ENVIRONMENT, timeout=LIMIT_S, check=True)
    assert done.stdout.startswith(b"Usage: covey")


def test_without_its_environment_the_program_says_what_to_do(tmp_path: Path) -> None:
    copy = tmp_path / "bin" / "covey"
    copy.parent.mkdir()
    copy.write_bytes((Path(__file__).parents[2] / "bin" / "covey").read_bytes())
    copy.chmod(0o755)
    done = subprocess.run([copy, "status"], capture_output=True, env=ENVIRONMENT, timeout=LIMIT_S, check=False)
    assert done.returncode == 3
    assert b"run make setup" in done.stderr
