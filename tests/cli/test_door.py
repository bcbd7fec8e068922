"""Which server is meant, and over TLS: whom to trust."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.errors import BadInput, CoveyError, Denied, Unavailable
from covey.base.tls import ensure_server_certificate, server_context
from covey.client.client import Client
from covey.client.connection import Connection
from covey.client.door import LocalDoor, RemoteDoor, find_door
from covey.client.stream import parse_events


@pytest.fixture
def remote(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("s3cret\n")
    return {"COVEY_SERVER": "https://n1:7443", "COVEY_TOKEN_FILE": str(tmp_path / "token"), "COVEY_CA": "/ca.pem"}


def test_this_machine_is_meant_unless_said_otherwise() -> None:
    door = find_door({}, {})
    assert isinstance(door, LocalDoor)
    assert door.socket == "/var/lib/covey/covey.sock"


def test_a_state_directory_names_its_socket() -> None:
    assert find_door({"COVEY_STATE": "/srv/a"}, {}) == LocalDoor("/srv/a")


def test_an_option_goes_before_the_environment(remote: dict[str, str]) -> None:
    assert find_door(remote, {"state": "/srv/b"}) == LocalDoor("/srv/b")
    assert find_door({"COVEY_STATE": "/srv/a", **remote}, {"server": "https://n2"}) == RemoteDoor("n2", 7443, "s3cret", "/ca.pem")


def test_a_server_is_a_host_a_port_a_token_and_an_authority(remote: dict[str, str]) -> None:
    assert find_door(remote, {}) == RemoteDoor("n1", 7443, "s3cret", "/ca.pem")
    six = find_door({**remote, "COVEY_SERVER": "https://[::1]:8000/"}, {})
    assert isinstance(six, RemoteDoor)
    assert six.authority == "[::1]:8000"


def test_both_at_once_is_no_choice(remote: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        find_door({"COVEY_STATE": "/srv/a", **remote}, {})


@pytest.mark.parametrize(
    "url", ["http://n1:7443", "n1:7443", "https://", "https://n1:port", "https://n1/x", "https://me@n1", "https://n1:99999"]
)
def test_a_token_goes_nowhere_but_to_an_https_server(remote: dict[str, str], url: str) -> None:
    with pytest.raises(BadInput):
        find_door({**remote, "COVEY_SERVER": url}, {})


@pytest.mark.parametrize("missing", ["COVEY_TOKEN_FILE", "COVEY_CA"])
def test_without_token_or_authority_nobody_is_asked(remote: dict[str, str], missing: str) -> None:
    del remote[missing]
    with pytest.raises(BadInput):
        find_door(remote, {})


@pytest.mark.parametrize("content", [b"", b"\xff", b"two\nlines"])
def test_a_token_must_be_one_readable_line(remote: dict[str, str], content: bytes) -> None:
    Path(remote["COVEY_TOKEN_FILE"]).write_bytes(content)
    with pytest.raises(Denied):
        find_door(remote, {})


class _Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"you": "%s"}' % self.headers["Authorization"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _TlsServer(http.server.HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust this server hangs up: that is what is tested."""


@pytest.fixture
def tls(tmp_path: Path, remote: dict[str, str]) -> Iterator[dict[str, str]]:
    files = ensure_server_certificate(tmp_path / "tls", ("127.0.0.1",))
    server = _TlsServer(("127.0.0.1", 0), _Greeting)
    server.socket = server_context(files).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    port = server.server_address[1]
    yield {**remote, "COVEY_SERVER": f"https://127.0.0.1:{port}", "COVEY_CA": str(files.ca)}
    server.shutdown()
    server.server_close()
    thread.join(5)


def ask(environ: dict[str, str]) -> dict[str, object]:
    connection = Connection.find(environ)
    try:
        return Client(connection).get("cluster")
    finally:
        connection.close()


def test_over_tls_the_token_is_shown(tls: dict[str, str]) -> None:
    assert ask(tls) == {"you": "Bearer s3cret"}


def test_a_server_of_another_authority_is_not_trusted(tls: dict[str, str], tmp_path: Path) -> None:
    other = ensure_server_certificate(tmp_path / "other", ("127.0.0.1",))
    with pytest.raises(Denied, match="not trusted"):
        ask({**tls, "COVEY_CA": str(other.ca)})


def test_a_server_of_another_name_is_not_trusted(tls: dict[str, str]) -> None:
    with pytest.raises(Denied, match="not trusted"):
        ask({**tls, "COVEY_SERVER": tls["COVEY_SERVER"].replace("127.0.0.1", "localhost")})


def test_an_authority_that_cannot_be_read_is_bad_input(tls: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ca\.pem"):
        ask({**tls, "COVEY_CA": str(tmp_path / "token")})


def test_a_server_that_is_away_gives_no_answer(remote: dict[str, str], tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path / "tls", ("127.0.0.1",))
    with pytest.raises(Unavailable):
        ask({**remote, "COVEY_SERVER": "https://127.0.0.1:1", "COVEY_CA": str(files.ca)})


def test_only_tls_13_is_spoken(tls: dict[str, str], tmp_path: Path) -> None:
    from covey.client.connection import trusted

    assert trusted(tls["COVEY_CA"]).minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_stream_is_read_as_the_standard_says() -> None:
    text = b': hi\n\nevent: job\r\ndata: {"a":\r\ndata: 1}\r\n\r\nid: 1.2.3\ndata:[2]\n\nretry: 5\n\nevent: cut\ndata: 3\n'
    events = list(parse_events(text.splitlines(keepends=True)))
    assert [(event.name, event.data, event.id) for event in events] == [("job", {"a": 1}, ""), ("message", [2], "1.2.3")]


def test_a_stream_of_something_else_is_an_error() -> None:
    with pytest.raises(CoveyError):
        list(parse_events([b"data: <html>\n", b"\n"]))
