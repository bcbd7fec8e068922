"""A machine's part of etcd, in files: certificates of an authority that signs for nothing else, and how its member starts (S18).

    store/etcd.json       where etcd is, when the records are there: what the controller reads when it starts
    store/home            of which cluster the records came home to this machine
    store/etcd/           ca.pem, ca.key       etcd's own authority: members and controllers have it, light nodes never
                          server.pem, .key     of this machine's member, to clients and to other members
                          client.pem, .key     of this machine's controller
                          member.env           how the member starts; while it is there, it runs
                          data-ID/             what the member keeps

Who comes to etcd needs a certificate of that authority, so one of an agent's does not do. A controller's names no address: etcd 3.4 would
take it from there alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covey.base.clock import Clock
from covey.base.errors import Refused
from covey.base.files import remove_durably, write_durably
from covey.base.identity import CertificateFiles
from covey.model.sharing import CLIENTS, CONTROLLERS, MEMBERS, Seat, beside

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Shared:
    """What etcd.json says: etcd's members that take clients, the nearest first; our certificate for it; and where this controller takes in
    what others pass on: HOST:PORT, or "unix:" and a path."""

    endpoints: tuple[str, ...]
    files: CertificateFiles
    controllers: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files are: `store` is the state directory's own."""

    store: Path

    @property
    def pointer(self) -> Path:
        return self.store / "etcd.json"

    @property
    def directory(self) -> Path:
        return self.store / "etcd"

    @property
    def home(self) -> Path:
        """Says of which cluster the records have come home to this machine, though it began on another one."""
        return self.store / "home"

    @property
    def environment(self) -> Path:
        return self.directory / "member.env"

    @property
    def present_data(self) -> str:
        """Where the member keeps its records that is to run here now, "" for none."""
        said = dict(line.split("=", 1) for line in _text(self.environment).splitlines())
        return said.get("ETCD_DATA_DIR", "")

    def data(self, seat: str) -> Path:
        return self.directory / f"data-{seat}"


def read_shared(path: Path) -> Shared | None:
    """None without the file: the records are this machine's own. Raises Refused for one that makes no sense."""
    if not path.exists():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        files = CertificateFiles(*(path.parent / str(said[name]) for name in ("certificate", "key", "ca")))
        return Shared(tuple(map(str, said["endpoints"])), files, str(said["controllers"]))
    except (ValueError, KeyError, TypeError) as error:
        advice = "restore it, or remove it if the records are this machine's own"
        raise Refused(f"it does not say where etcd is: {error!r}", str(path), advice) from error


def write_shared(place: Place, agent: str, endpoints: tuple[str, ...]) -> None:
    """Say where etcd is, the own member first; `agent` is where this node's agent listens."""
    own = beside(agent, CLIENTS)
    ordered = sorted(endpoints, key=lambda endpoint: (endpoint != own, endpoint))
    files = {"certificate": "etcd/client.pem", "key": "etcd/client.key", "ca": "etcd/ca.pem"}
    said = {"endpoints": ordered, **files, "controllers": beside(agent, CONTROLLERS)}
    write_if_new(place.pointer, json.dumps(said, indent=1).encode())


def is_home(place: Place, cluster: str) -> bool:
    """Whether the records of that cluster have come home to this machine."""
    return place.home.exists() and place.home.read_text() == cluster


def ensure_certificates(place: Place, agent: str, node: str, clock: Clock) -> None:
    """This machine's own, under the authority that is there; or under one that is made."""
    from covey.base.tls import ensure_client_certificate, ensure_server_certificate  # agents on their own do without its memory

    host = agent.rpartition(":")[0].strip("[]")
    ensure_server_certificate(place.directory, tuple(dict.fromkeys((host, *LOOPBACK))), clock)
    ensure_client_certificate(place.directory, node, clock)


def seat_member(place: Place, agent: str, seat: Seat) -> None:
    """The member of that seat starts, if it does not run already; what another one has left goes."""
    data = place.data(seat.id)
    environment = member_environment(place, agent, seat)
    if not (data.exists() and f"ETCD_DATA_DIR={data}\n" in _text(place.environment)):
        write_if_new(place.environment, "".join(f"{key}={value}\n" for key, value in environment.items()).encode())
    for left in place.directory.glob("data-*"):
        if left != data:
            shutil.rmtree(left)


def unseat_member(place: Place) -> None:
    """No member runs here any more, and nothing of it is left."""
    if place.environment.exists():
        remove_durably(place.environment)
    for left in place.directory.glob("data-*"):
        shutil.rmtree(left, ignore_errors=True)  # one that is ending may write until it has


def member_environment(place: Place, agent: str, seat: Seat) -> Mapping[str, str]:
    """What etcd is told. It listens at the node's own address and at no other, and has everybody show a certificate."""
    client, peer = f"https://{beside(agent, CLIENTS)}", f"https://{beside(agent, MEMBERS)}"
    files = place.directory
    return {
        "ETCD_NAME": seat.id,
        "ETCD_DATA_DIR": str(place.data(seat.id)),
        "ETCD_LISTEN_CLIENT_URLS": client,
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "ETCD_INITIAL_CLUSTER": seat.cluster,
        "ETCD_INITIAL_CLUSTER_STATE": "new" if seat.is_first else "existing",
        "ETCD_INITIAL_CLUSTER_TOKEN": "covey",
        "ETCD_PRE_VOTE": "true",
        "ETCD_CLIENT_CERT_AUTH": "true",
        "ETCD_CERT_FILE": str(files / "server.pem"),
        "ETCD_KEY_FILE": str(files / "server.key"),
        "ETCD_TRUSTED_CA_FILE": str(files / "ca.pem"),
        "ETCD_PEER_CLIENT_CERT_AUTH": "true",
        "ETCD_PEER_CERT_FILE": str(files / "server.pem"),
        "ETCD_PEER_KEY_FILE": str(files / "server.key"),
        "ETCD_PEER_TRUSTED_CA_FILE": str(files / "ca.pem"),
        # who it is says the authority; a machine may well come from another of its addresses than the one in its certificate
        "ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION": "true",
        "ETCD_LOGGER": "zap",
        "ETCD_LOG_LEVEL": "warn",
    }


def drop_share(place: Place) -> None:
    """This machine shares no store any more."""
    if place.pointer.exists():
        remove_durably(place.pointer)
    unseat_member(place)
    if place.directory.exists():
        shutil.rmtree(place.directory, ignore_errors=True)


def drop_member(place: Place) -> None:
    """This machine shares no store for the moment, but it may begin to: etcd's authority stays, which others know."""
    if place.pointer.exists():
        remove_durably(place.pointer)
    unseat_member(place)
    for file in place.directory.glob("*") if place.directory.exists() else ():
        if file.is_file() and file.name not in ("ca.pem", "ca.key"):
            remove_durably(file)


def write_if_new(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Whether it was not so already."""
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, data, mode)
    return True


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
