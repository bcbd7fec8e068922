"""disk export and import, from the command line."""

from __future__ import annotations

from pathlib import Path

from covey.base.qcow2 import CLUSTER, Layout, runs_of
from tests.cli.canned import a_job, a_plan
from tests.cli.conftest import Covey
from tests.cli.server import FakeServer, Reply, problem

CONTENT = "/v1/instances/web1/disks/0/content"
IMPORT = "/v1/instances/web1/disks/import"
SIZE = 2**30 + 512
LAYOUT = Layout(SIZE, runs_of([(0, 1), (2**30, 512)]))
QCOW2 = b"".join([*LAYOUT.tables(), b"first".ljust(CLUSTER, b"\0"), b"last".ljust(CLUSTER, b"\0")])


def test_a_disk_is_written_as_it_comes(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", CONTENT, Reply(raw=QCOW2))
    outcome = covey("disk", "export", "web1", "0", str(tmp_path / "d"), "--snapshot", "s1")
    assert (outcome.status, outcome.err) == (0, "")
    assert (tmp_path / "d").read_bytes() == QCOW2
    assert server.asked[-1].query == {"format": "qcow2", "snapshot": "s1"}


def test_a_raw_file_has_holes_where_the_disk_holds_nothing(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", CONTENT, Reply(raw=QCOW2))
    assert covey("disk", "export", "web1", "0", str(tmp_path / "d"), "--format", "raw").status == 0
    assert server.asked[-1].query == {"format": "qcow2"}
    found = (tmp_path / "d").stat()
    assert (found.st_size, found.st_blocks * 512 < 2**20) == (SIZE, True)
    with (tmp_path / "d").open("rb") as file:
        assert file.read(6) == b"first\0"
        file.seek(2**30)
        assert file.read().rstrip(b"\0") == b"last"


def test_standard_output_gets_the_disk_and_nothing_else(covey: Covey, server: FakeServer) -> None:
    server.on("GET", CONTENT, Reply(raw=b"all of it"))
    assert covey("disk", "export", "web1", "0", "-", "--format", "raw").out == "all of it"
    assert server.asked[-1].query == {"format": "raw"}


def test_what_breaks_off_leaves_no_file(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    for format in ("qcow2", "raw"):
        for came in (CLUSTER // 2, len(QCOW2) - 1):
            server.on("GET", CONTENT, Reply(raw=QCOW2, short=came, cut=True))
            outcome = covey("disk", "export", "web1", "0", str(tmp_path / "d"), "--format", format)
            assert outcome.status == 3
            assert "broke off" in outcome.err
            assert list(tmp_path.glob("d*")) == []


def test_what_is_no_disk_of_coveys_leaves_no_raw_file(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", CONTENT, Reply(raw=bytes(2 * CLUSTER)))
    outcome = covey("disk", "export", "web1", "0", str(tmp_path / "d"), "--format", "raw")
    assert (outcome.status, "not understood" in outcome.err) == (3, True)
    assert not (tmp_path / "d").exists()


def test_nothing_is_written_over(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", CONTENT, Reply(raw=QCOW2))
    for name in ("d", "d.part"):
        (tmp_path / name).write_bytes(b"mine")
        outcome = covey("disk", "export", "web1", "0", str(tmp_path / "d"))
        assert (outcome.status, (tmp_path / name).read_bytes()) == (1, b"mine")
        (tmp_path / name).unlink()
    assert covey("disk", "export", "web1", "0", str(tmp_path / "no" / "d")).status == 2


def test_a_refusal_of_the_server_is_told_and_leaves_no_file(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", CONTENT, problem("Refused", 409, "it runs", "instance web1", "covey snapshot add web1 NAME"))
    outcome = covey("disk", "export", "web1", "0", str(tmp_path / "d"))
    assert (outcome.status, "snapshot add" in outcome.err) == (1, True)
    assert list(tmp_path.glob("d*")) == []


def test_an_image_is_planned_then_sent_and_its_job_followed(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"#" * (3 * 2**20))
    server.on("POST", IMPORT, a_plan(), Reply(202, a_job()))
    outcome = covey("disk", "import", "web1", str(tmp_path / "d"), "--from", "raw", "--pool", "ssd", "--reason", "moving")
    assert outcome.status == 0, outcome.err
    planned, sent = server.of("POST")
    assert (planned.query["dry_run"], planned.query["length"], planned.body) == ("true", str(3 * 2**20), None)
    assert sent.body == b"#" * (3 * 2**20)
    assert sent.query == {"pool": "ssd", "source_format": "raw", "reason": "moving"}
    assert sent.headers["Idempotency-Key"]


def test_what_is_refused_beforehand_is_not_sent(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"#" * 2**20)
    server.on("POST", IMPORT, problem("NoSpace", 409, "no room", "pool default", "use another pool"))
    assert covey("disk", "import", "web1", str(tmp_path / "d")).status == 1
    assert len(server.of("POST")) == 1


def test_a_dry_run_sends_nothing(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"#" * 2**20)
    server.on("POST", IMPORT, a_plan())
    assert "plan:" in covey("disk", "import", "web1", str(tmp_path / "d"), "--dry-run").out
    assert len(server.of("POST")) == 1


def test_a_server_that_reads_no_further_is_heard(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    with (tmp_path / "d").open("wb") as file:
        file.truncate(2**26)
    full = problem("NoSpace", 409, "no room for more of what is sent", "pool default", "use another pool")
    server.on("POST", IMPORT, a_plan(), full)
    server.reads_at_most = 2**20
    outcome = covey("disk", "import", "web1", str(tmp_path / "d"))
    assert (outcome.status, "no room for more" in outcome.err) == (1, True)


def test_only_a_file_that_can_be_read_is_sent(covey: Covey, server: FakeServer, tmp_path: Path) -> None:
    for file, trouble in ((tmp_path, "not a regular file"), (tmp_path / "nothing", "No such file")):
        outcome = covey("disk", "import", "web1", str(file))
        assert (outcome.status, trouble in outcome.err) == (2, True), outcome.err
    assert server.asked == []
