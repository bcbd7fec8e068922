"""To which cluster this machine belongs, and who may give it orders: kept in files, so that it is known before anybody is asked (S18)."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from covey.base.clock import Clock, SystemClock
from covey.base.config import parse_address
from covey.base.errors import Refused, check, require
from covey.base.files import remove_durably, write_durably
from covey.base.identity import CertificateFiles, Identity, files_in
from covey.base.units import humane_duration
from covey.model import codec
from covey.model.membership import Membership

if TYPE_CHECKING:
    from covey.agent.tasks import EpochFile  # a controller, too, reads memberships: it does without what agents import
    from covey.model.order import Charge

log = structlog.get_logger()


class Memberships:
    """The one membership of this machine, or none; `changed` is set when the door must open elsewhere, or with another certificate."""

    def __init__(self, directory: Path, node: str, epochs: EpochFile, clock: Clock = SystemClock()) -> None:
        """`directory` is for the key, the certificates and the membership itself."""
        self._clock = clock
        self._directory = directory
        self._node = node
        self._epochs = epochs
        self._file = directory / "membership.json"
        self.changed = asyncio.Event()
        self.present = read_membership(directory)
        self._shown = self._stamp()  # of the certificate that the door shows

    @property
    def files(self) -> CertificateFiles:
        return files_in(self._directory)

    def ask(self) -> str:
        """A signing request for this machine's key."""
        from covey.base.certificates import ask_for_certificate  # here and below: agents on their own do without its memory

        return ask_for_certificate(self._directory)

    def join(self, membership: Membership, certificate: str, authority: str, is_new: bool) -> None:
        """Belong to a cluster, with the certificate that it issued; the same one again renews it. `is_new` for a machine that comes from
        outside: what a controller of its own once ordered counts no more. Raises BadInput for a certificate that is not ours, Refused
        while the machine belongs to another cluster."""
        before = self.present
        check(
            before is None or before.cluster == membership.cluster,
            Refused(f"this machine is {before} already", membership.cluster_name, "remove it there first: covey node remove"),
        )
        from covey.base.certificates import keep_certificate

        keep_certificate(self._directory, certificate, authority, self._node)
        if is_new:
            self._epochs.forget()
        self._keep(membership)
        self._show()
        log.info("this machine belongs to a cluster", cluster=membership.cluster_name, node=membership.name)

    def due(self) -> str:
        """A signing request for a new certificate when the present one will soon end; else "". One that another program of this machine has
        put there meanwhile is shown from now on."""
        from covey.base.certificates import RENEW_BEFORE, seconds_left

        if self.present is None:
            return ""
        if self._stamp() != self._shown:
            self._show()
        return self.ask() if seconds_left(self.files, self._clock) < RENEW_BEFORE.total_seconds() else ""

    @property
    def trouble(self) -> str:
        """What a person should know of the certificate, "" for nothing."""
        from covey.base.certificates import WARN_BEFORE, seconds_left

        left_s = seconds_left(self.files, self._clock) if self.present else WARN_BEFORE.total_seconds()
        if left_s >= WARN_BEFORE.total_seconds():
            return ""
        ends = f"ends in {humane_duration(left_s)}" if left_s > 0 else "has ended"
        return f"its certificate {ends}, and no leader has renewed it: does the machine with the cluster's authority lead?"

    def renew(self, certificate: str, authority: str) -> None:
        """Show another certificate from now on. Raises BadInput for one that is not ours, Refused for a machine that is no node of several."""
        from covey.base.certificates import keep_certificate

        check(self.present, Refused("this machine is no node of several", "certificate"))
        keep_certificate(self._directory, certificate, authority, self._node)
        self._show()

    @property
    def is_alone(self) -> bool:
        """Whether there is surely no other node: what is defined here runs nowhere else."""
        return self.present is None or self.present.nodes in ((), (self._node,))

    def follow(self, charge: Charge, by: str) -> None:
        """Nodes, names and addresses are these from now on, as a leader says that came by the address `by` ("" by this machine's socket). An
        address counts once somebody has come by it: until then the agent goes on listening where it was reached before."""
        if self.present is None or not charge.nodes:
            return
        told = replace(self.present, nodes=charge.nodes, cluster_name=charge.cluster_name, name=charge.name or self.present.name)
        if charge.address and (by in ("", charge.address) or charge.address == self.present.address):
            told = replace(told, address=charge.address, storage_address=charge.storage_address)
        told = replace(told, also=tuple(door for door in told.also if door not in replace(told, also=()).listens_at))
        if told != self.present:
            moves = told.listens_at != self.present.listens_at
            self._keep(told)
            if moves:
                self.changed.set()

    async def ensure_open(self, address: str) -> None:
        """As host/doors.py says."""
        present = require(self.present, Refused("this machine is no node of several: it listens for nobody", address))
        if address not in present.listens_at:
            _check_free(address)
            self._keep(replace(present, also=(*present.also, address)))
            self.changed.set()

    async def ensure_closed(self, address: str) -> None:
        """As host/doors.py says."""
        if self.present and address in self.present.also:
            self._keep(replace(self.present, also=tuple(door for door in self.present.also if door != address)))
            self.changed.set()

    def leave(self) -> None:
        """Belong to none any more; the key stays."""
        remove_durably(self._file)
        remove_durably(self.files.certificate)
        self.present = None
        self._epochs.forget()
        self.changed.set()

    def check_is_of(self, cluster: str) -> None:
        """Raises Refused for a leader of another cluster (by id) than the one that this machine belongs to."""
        check(
            self.present is None or self.present.cluster == cluster,
            Refused(f"this machine is {self.present}", "agent", "its own controller leads nothing any more"),
        )

    def check_may_order(self, who: Identity) -> None:
        """Raises Refused for whoever came over the network and is no controller of a node of our cluster."""
        nodes = self.present.nodes if self.present else ()
        check(
            who.controller in nodes and who.controller,
            Refused(
                f"node {who.controller or who.agent or 'without a name'} is none of this cluster (any more)",
                "agent",
                "was it removed? join it again: covey node invite",
            ),
        )

    def _show(self) -> None:
        self._shown = self._stamp()
        self.changed.set()

    @property
    def shown(self) -> int:
        """Which certificate the doors are to show: another number for another one."""
        return self._shown

    def _stamp(self) -> int:
        """When the certificate was written; 0 without one."""
        return self.files.certificate.stat().st_mtime_ns if self.files.certificate.exists() else 0

    def _keep(self, membership: Membership) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._file, json.dumps(codec.encode(membership)).encode())
        self.present = membership


def listening_socket(address: str) -> socket.socket:
    """One that is bound to HOST:PORT and does not listen yet. Raises OSError."""
    host, port = parse_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    return listener


def _check_free(address: str) -> None:
    try:
        listening_socket(address).close()
    except OSError as error:
        elsewhere = error.errno == errno.EADDRNOTAVAIL
        raise Refused(
            f"the agent cannot listen at {address}: {'it is no address of this machine' if elsewhere else error.strerror}",
            "address",
            "give the machine that address first; see there: ip address" if elsewhere else "see there: ss -tlnp",
        ) from error


def read_membership(directory: Path) -> Membership | None:
    """The membership whose files are in a directory, None when the machine belongs to no cluster but its own."""
    file = directory / "membership.json"
    return codec.decode(Membership, json.loads(file.read_text())) if file.exists() else None
