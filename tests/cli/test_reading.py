"""Lists, documents, events, and everything that can go wrong on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covey import __version__
from covey.base.errors import KINDS
from covey.cli import forward, image, instance, network, node, pool, token
from covey.cli.text import Column
from covey.service import listing
from tests.cli.canned import (
    a_forward,
    a_job,
    a_network,
    a_node,
    a_pool,
    a_token,
    an_event,
    an_image,
    an_instance,
    three_instances,
)
from tests.cli.conftest import Covey
from tests.cli.server import FakeServer, Reply, Stream, problem

AWKWARD = [
    "wéb",
    "web 1",
    "../jobs",
    "web1/start",
    "$(id)",
    "web1;id",
    "'",
    "%2e%2e",
    "-",
    "\udcff",
    "\x1b[31m",
    "a" * 64,
    "",
    "名前",
]


# --- lists -----------------------------------------------------------------------------------------------------------------------
def test_only_what_is_shown_is_fetched(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances())
    covey("instance", "list", "--columns", "name,address", "--filter", "state=running tag=web memory>2G")
    assert server.asked[0].query == {
        "filter": "state=running tag=web memory>2G",
        "fields": "name,addresses",
        "limit": "1000",
    }


def test_a_list_goes_over_all_pages(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", [an_instance(f"web{number}") for number in range(2500)])
    outcome = covey("instance", "list", "--columns", "name", "--no-header")
    assert outcome.out.split() == [f"web{number}" for number in range(2500)]
    assert len(server.asked) == 3


def test_of_what_was_removed_the_latest_comes_first(covey: Covey, server: FakeServer) -> None:
    removed = [{"name": f"web{day}", "removed_at": f"2026-11-{day}T05:00:00Z"} for day in (18, 20, 19)]
    server.collection("removed", removed)
    shown = covey("instance", "list", "--removed", "--columns", "name", "--no-header")
    assert shown.out.split() == ["web20", "web19", "web18"]
    assert json.loads(covey("instance", "list", "--removed", "--json", "--columns", "name").out)[0] == {"name": "web20"}


def test_a_list_as_json_is_the_objects_themselves(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", three_instances())
    assert json.loads(covey("instance", "list", "--json").out) == three_instances()
    chosen = json.loads(covey("instance", "list", "--json", "--columns", "name,memory").out)
    assert chosen[1] == {"name": "web1", "memory": 2 * 2**30}


def test_no_header_means_rows_only(covey: Covey, server: FakeServer) -> None:
    server.collection("networks", [a_network()])
    assert covey("network", "list", "--columns", "name,nat", "--no-header").out == "lan  yes\n"


def test_one_that_does_not_run_has_no_pid_to_be_killed(covey: Covey, server: FakeServer) -> None:
    server.collection("instances", [an_instance(state="stopped", pid=0)])
    assert covey("instance", "list", "--columns", "pid", "--no-header").out == "-\n"


def test_one_that_was_given_up_is_not_said_to_be_started_again(covey: Covey, server: FakeServer) -> None:
    given_up = an_instance(state="crashed", reason="crashed", pid=0, gave_up=True, remark="gave up after 6 crashes")
    server.on("GET", "/v1/instances/web1", given_up)
    server.collection("jobs", [])
    lines = covey("instance", "info", "web1").out.splitlines()
    assert lines[0] == "web1  crashed on n1 since 2026-11-18 22:04:00 (1d 7h)"
    assert (
        lines[3] == "  It stays down, as it crashed too often: covey instance console web1 --log, then: covey instance start web1"
    )


def test_an_unknown_column_is_refused_with_the_known_ones(covey: Covey, server: FakeServer) -> None:
    outcome = covey("instance", "list", "--columns", "name,adress")
    assert outcome.status == 2
    assert outcome.err == "covey: --columns: there is no column 'adress'\n  try: did you mean address?\n"


@pytest.mark.parametrize(
    ("columns", "noun", "document"),
    [
        (instance.looks.COLUMNS, listing.INSTANCE, an_instance()),
        (node.COLUMNS, listing.NODE, a_node()),
        (pool.COLUMNS, listing.POOL, a_pool()),
        (network.COLUMNS, listing.NETWORK, a_network()),
        (forward.COLUMNS, listing.FORWARD, a_forward()),
        (image.COLUMNS, listing.IMAGE, an_image()),
        (token.COLUMNS, listing.TOKEN, a_token()),
    ],
)
def test_columns_and_canned_documents_are_of_the_service(
    columns: tuple[Column, ...], noun: listing.Noun, document: dict[str, object]
) -> None:
    assert set(document) == noun.fields
    assert {field for column in columns for field in column.fields} <= noun.fields
    assert all(column.show(document, 0.0) for column in columns if column.name != "remark")


def test_a_list_of_jobs_ends_at_its_limit_and_says_so(covey: Covey, server: FakeServer) -> None:
    server.collection("jobs", [a_job(number) for number in range(90, 0, -1)])
    outcome = covey("job", "list", "--limit", "2")
    assert outcome.out.splitlines()[-1] == "the newest 2 jobs; more: --limit"
    assert outcome.out.count("instance add web1") == 2


def test_what_a_guest_says_cannot_reach_the_terminal_as_control(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/instances/web1", an_instance(ready_status="\x1b]0;owned\x07", notes="two\nlines"))
    server.collection("jobs", [])
    out = covey("instance", "info", "web1").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "Notes   two lines" in out


@pytest.mark.parametrize("noun", ["instance", "node", "image", "pool", "network"])
def test_every_info_as_json_is_the_object_itself(covey: Covey, server: FakeServer, noun: str) -> None:
    server.on("GET", f"/v1/{noun}s/x", {"name": "x", "größe": 1})
    assert json.loads(covey(noun, "info", "x", "--json").out) == {"name": "x", "größe": 1}


def test_the_console_log_comes_as_it_is(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/instances/web1/console/log", Reply(raw=b"boot\r\nlogin: "))
    outcome = covey("instance", "console", "web1", "--log", "--bytes", "1K")
    assert outcome.out == "boot\r\nlogin: "
    assert server.asked[0].query == {"bytes": "1024"}


# --- events ----------------------------------------------------------------------------------------------------------------------
def test_events_are_asked_for_since_a_while(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/events", {"items": [], "next": None})
    covey("event", "list", "--since", "2h", "--filter", "object=*web1")
    query = server.asked[0].query
    assert query["since"].endswith("Z")
    assert (query["filter"], query["limit"]) == ("object=*web1", "1000")


@pytest.mark.parametrize("since", ["2026-11-20T05:00:00Z", "3.120.0"])
def test_a_time_or_a_cursor_is_handed_on_as_it_is(covey: Covey, server: FakeServer, since: str) -> None:
    server.on("GET", "/v1/events", {"items": [], "next": None})
    covey("event", "list", "--since", since)
    assert server.asked[0].query["since"] == since


def test_following_goes_on_after_the_last_event_and_across_a_break(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/events", {"items": [an_event(1, "one")], "next": "1.1.0"})
    two, other, three = an_event(2, "two"), an_event(3, "other", "instance db1"), an_event(4, "three")
    server.on(
        "GET",
        "/v1/events/stream",
        Stream((("event", two, two["cursor"]), ("event", other, other["cursor"]))),
        Stream((("reset", {"cursor": "2.0.0"}, "2.0.0"), ("event", three, three["cursor"]))),
        problem("Denied", 403, "no more"),
    )
    outcome = covey("event", "list", "--follow", "--no-header", "--columns", "text", "--filter", "object=*web1")
    assert outcome.out == "one\ntwo\nthree\n"
    assert "some events were missed" in outcome.err
    assert outcome.status == 3
    resumed = [asked.headers.get("Last-Event-ID") for asked in server.asked if asked.path.endswith("stream")]
    assert resumed == ["1.1.0", "1.3.0", "1.4.0"]


@pytest.mark.parametrize("arguments", [["--filter", "colour=red"], ["--since", "yesterday"], ["--follow", "--json"]])
def test_events_that_cannot_be_asked_for(covey: Covey, server: FakeServer, arguments: list[str]) -> None:
    assert covey("event", "list", *arguments).status == 2
    assert server.asked == []


# --- errors ----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_exits_as_its_kind_does(covey: Covey, server: FakeServer, kind: str) -> None:
    server.on("GET", "/v1/cluster", problem(kind, KINDS[kind].status, "no", "cluster", "look"))
    outcome = covey("cluster", "info")
    assert outcome.status == KINDS[kind].exit_code
    assert outcome.err == "covey: cluster: no\n  try: look\n"
    assert outcome.out == ""


@pytest.mark.parametrize(("status", "exit"), [(400, 2), (401, 3), (404, 1), (413, 2), (418, 1), (500, 3), (502, 3)])
def test_an_answer_that_is_not_ours_is_told_by_its_status(covey: Covey, server: FakeServer, status: int, exit: int) -> None:
    server.on("GET", "/v1/cluster", Reply(status, raw=b"<html>"))
    outcome = covey("cluster", "info")
    assert outcome.status == exit
    assert f"answered {status}" in outcome.err


def test_an_answer_that_is_not_json_is_no_answer(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/cluster", Reply(200, raw=b"<html>"))
    assert covey("cluster", "info").status == 3


def test_no_server_says_how_to_start_one(covey: Covey, state: Path) -> None:
    outcome = covey("instance", "list")
    assert outcome.status == 3
    assert outcome.err == (f"covey: {state}/covey.sock: no Covey answers there\n  try: is it running? covey up --state {state}\n")


def test_a_service_that_does_not_run_is_looked_at_with_systemctl(covey: Covey, state: Path) -> None:
    (state / "covey.sock").symlink_to("/run/none/covey.sock")
    outcome = covey("instance", "list")
    assert outcome.status == 3
    assert outcome.err.endswith("no Covey answers there\n  try: is it running? systemctl status 'covey-*'\n")


def test_a_socket_that_nobody_listens_on_is_no_server(covey: Covey, state: Path) -> None:
    import socket

    left = socket.socket(socket.AF_UNIX)
    left.bind(str(state / "covey.sock"))
    left.close()
    assert covey("instance", "list").status == 3


def test_a_path_too_long_for_a_socket_is_bad_input(covey: Covey) -> None:
    assert covey("--state", "/" + "x" * 120, "instance", "list").status == 2


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("verb", ["info", "start", "remove", "console"])
def test_awkward_names_are_errors_and_reach_no_server(covey: Covey, server: FakeServer, verb: str, name: str) -> None:
    outcome = covey("instance", verb, *(["--yes"] if verb == "remove" else []), "--", name)
    assert outcome.status == 2
    assert outcome.err.startswith("covey: instance")
    assert "Traceback" not in outcome.err
    assert "\x1b" not in outcome.err
    assert server.asked == []


@pytest.mark.parametrize("text", ["wéb & 名前", "\udcff", "a=b c", "\x00"])
def test_awkward_texts_are_handed_on_or_refused(covey: Covey, server: FakeServer, text: str) -> None:
    server.on("PATCH", "/v1/nodes/n1", Reply(202, a_job()))
    assert covey("node", "modify", "n1", "--notes", text, "--reason", text).status in (0, 2)


def test_it_says_its_version(covey: Covey) -> None:
    assert covey("--version").out == f"covey {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("instances", "instance"), ("instnce", "instance"), ("stauts", "status")])
def test_a_noun_that_is_not_known_names_the_nearest(covey: Covey, typed: str, meant: str) -> None:
    outcome = covey(typed, "list")
    assert outcome.status == 2
    assert f"Did you mean '{meant}'?" in outcome.err


def test_up_is_refused_a_place_in_which_it_could_not_work(covey: Covey, tmp_path: Path) -> None:
    nowhere = covey("up", "--state", str(tmp_path / "new"), "--netns", "no-such-namespace")
    assert nowhere.status == 2
    assert "ip netns add no-such-namespace" in nowhere.err
    deep = covey("up", "--state", str(tmp_path / ("new" * 40)), "--hosts", "fake")
    assert deep.status == 2
    assert "too long" in deep.err
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_is_not_known_names_the_nearest(covey: Covey) -> None:
    outcome = covey("instance", "lst")
    assert outcome.status == 2
    assert outcome.err == "covey: instance: no such command 'lst'. Did you mean 'list'?\n  try: covey instance --help\n"


@pytest.mark.parametrize(("theirs", "ours"), [("show", "info"), ("delete", "remove"), ("create", "add"), ("edit", "modify")])
def test_the_word_of_another_system_is_answered_with_ours(covey: Covey, theirs: str, ours: str) -> None:
    outcome = covey("instance", theirs, "web1")
    assert outcome.status == 2
    assert f"Did you mean {ours!r}?" in outcome.err
    assert "Did you mean" not in covey("event", theirs).err, "events are only listed"


@pytest.mark.parametrize(
    "arguments",
    [
        "instance add",
        "instance add web1 --memory 2X",
        "instance add web1 --disk 20G,30G",
        "instance add web1 --disk 20G,size=30G",
        "instance add web1 --disk ,pool=",
        "instance add web1 --nic none --nic lan",
        "instance add web1 --nic lan --network lan",
        "instance add web1 --timeout 5m",
        "instance add web1 --ssh-key /no/such",
        "instance add web1 --user-data /no/such",
        "instance add web1 --no-wait --wait-timeout 5s",
        "instance stop web1 --now --timeout 5s",
        "instance modify web1",
        "instance modify web1 --tag a --no-tag",
        "instance console web1 --bytes 1K",
        "disk grow web1 zero 1G",
        "disk grow web1 0 +x",
        "job info x",
        "cluster modify",
        "cluster verify --fix --json",
        "image add x",
        "image build x --hook /no/such",
        "status --nonsense",
        "nonsense",
    ],
)
def test_bad_input_is_told_and_reaches_no_server(covey: Covey, server: FakeServer, arguments: str) -> None:
    outcome = covey(*arguments.split())
    assert outcome.status == 2
    assert outcome.err.startswith("covey: ")
    assert "\n  try: " in outcome.err
    assert server.asked == []


def test_covey_alone_shows_what_there_is(covey: Covey) -> None:
    outcome = covey()
    assert outcome.status == 2
    assert "Nouns:" in outcome.err


def test_a_fault_of_our_own_is_a_sentence_too(covey: Covey, server: FakeServer) -> None:
    server.on("GET", "/v1/cluster", {"name": "half a document"})
    outcome = covey("cluster", "info")
    assert outcome.status == 1
    assert outcome.err.startswith("covey: a fault of covey's own: KeyError")
    assert "Traceback" not in outcome.err


def test_debugging_shows_the_whole_of_it(covey: Covey, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_DEBUG", "1")
    outcome = covey("cluster", "info")
    assert outcome.status == 3
    assert "Traceback" in outcome.err
