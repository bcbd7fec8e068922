"""Where the server is, and who comes: a socket on this machine, or a host over TLS with a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from covey.base.config import find_file, read_settings
from covey.base.errors import BadInput, Denied, check

DEFAULT_PORT = 7443
_LONGEST_SOCKET = 107  # bytes, unix(7): sun_path with its closing zero


@dataclass(frozen=True, slots=True)
class LocalDoor:
    """A Covey on this machine: the kernel says who comes, no token is needed."""

    state: str

    @property
    def socket(self) -> str:
        return str(Path(self.state) / "covey.sock")

    @property
    def started_by(self) -> str:
        """The command with which to see to it that it runs. An installed Covey has its socket elsewhere, and leads there."""
        is_service = Path(self.socket).is_symlink()
        return "systemctl status 'covey-*'" if is_service else f"covey up --state {self.state}"

    def __str__(self) -> str:
        return self.socket


@dataclass(frozen=True, slots=True)
class RemoteDoor:
    """A Covey elsewhere. `ca` is the file with the one authority that is trusted, `token` the bearer's secret."""

    host: str
    port: int
    token: str
    ca: str

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"https://{self.authority}"


Door = LocalDoor | RemoteDoor


def find_door(environ: Mapping[str, str], options: Mapping[str, str | None]) -> Door:
    """The door that the options name (`state`, `server`, `token_file`, `ca`), else the environment (COVEY_STATE, COVEY_SERVER,
    COVEY_TOKEN_FILE, COVEY_CA), else this machine's, whose settings file says where it is. Raises BadInput, and Denied when the token cannot be read."""
    state, server = options.get("state") or "", options.get("server") or ""
    if not state and not server:
        state, server = environ.get("COVEY_STATE", ""), environ.get("COVEY_SERVER", "")
    check(
        not (state and server),
        BadInput("a state directory and a server are both named", "environment", "unset COVEY_STATE or COVEY_SERVER"),
    )
    if server:
        return _remote(
            server,
            options.get("token_file") or environ.get("COVEY_TOKEN_FILE", ""),
            options.get("ca") or environ.get("COVEY_CA", ""),
        )
    door = LocalDoor(state or read_settings(find_file("", environ)).state)
    check(
        len(door.socket.encode(errors="surrogateescape")) <= _LONGEST_SOCKET and "\0" not in door.socket,
        BadInput("the path of its socket is too long", f"state directory {door.state}", "choose a shorter directory"),
    )
    return door


def _remote(server: str, token_file: str, ca: str) -> RemoteDoor:
    host, port = parse_server(server)
    check(token_file, BadInput("no token is named", server, "set COVEY_TOKEN_FILE to the file that holds it"))
    check(ca, BadInput("no authority is named", server, "set COVEY_CA to a copy of the server's ca.pem"))
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Denied("the token cannot be read", token_file, "name a readable file in COVEY_TOKEN_FILE") from error
    check(token.isprintable() and token, Denied("there is no token in it", token_file, "make one: covey token add NAME"))
    return RemoteDoor(host, port, token, ca)


def parse_server(text: str) -> tuple[str, int]:
    """Host and port of https://host:port. Raises BadInput."""
    from urllib.parse import urlsplit

    wrong = BadInput(f"{text[:80]!r} is not an address of a server", "server", f"write it like https://n1:{DEFAULT_PORT}")
    try:
        url = urlsplit(text)
        port = url.port or DEFAULT_PORT
    except ValueError:
        raise wrong from None
    check(
        url.scheme == "https" and url.hostname and url.path in ("", "/") and not (url.username or url.query or url.fragment),
        wrong,
    )
    return url.hostname or "", port
