"""What this machine has of the store that several share: it takes its part from the leader, and gives it up when it is no node any more."""

from __future__ import annotations

from pathlib import Path

import structlog

from covey.agent.membership import Memberships
from covey.agent.place import Place, drop_share, ensure_certificates, seat_member, unseat_member, write_if_new, write_shared
from covey.base.clock import Clock
from covey.base.errors import Refused, check, require
from covey.base.files import remove_durably
from covey.model.sharing import Share

_OWN = ("ca.pem", "ca.key", "server.pem", "server.key")
log = structlog.get_logger()


class Keeping:
    """Files only (S18): etcd and the controller see by them what they are to do."""

    def __init__(self, store: Path, tls: Path, memberships: Memberships, node: str, clock: Clock) -> None:
        """`store` is where the records are, `tls` where the authority is that the API's door has."""
        self._place = Place(store)
        self._tls = tls
        self._memberships = memberships
        self._node = node
        self._clock = clock

    def take(self, share: Share) -> None:
        """This machine carries a controller, and a member of etcd if it has a seat. Raises Refused for one that is no node of several, and
        for the authority of another cluster."""
        membership = require(self._memberships.present, Refused("this machine is no node of several", "store"))
        own = self._memberships.files.ca.read_text()
        check(share.authority == own, Refused("that is not the authority of this machine's cluster", "store"))
        place, agent = self._place, membership.address
        authorities = (
            (self._tls, share.authority, share.authority_key),
            (place.directory, share.store_authority, share.store_authority_key),
        )
        for directory, certificate, key in authorities:
            write_if_new(directory / "ca.key", key.encode())
            write_if_new(directory / "ca.pem", certificate.encode(), 0o644)
        ensure_certificates(place, agent, self._node, self._clock)
        if share.seat:
            seat_member(place, agent, share.seat)
        else:
            unseat_member(place)
        if share.endpoints:
            write_shared(place, agent, share.endpoints)
        log.info("this machine shares the store", endpoints=list(share.endpoints), seat=share.seat.id if share.seat else "")

    def drop(self) -> None:
        """It shares nothing any more: no records, no authority that signs for the cluster."""
        if self._place.home.exists():
            remove_durably(self._place.home)
        if not self._place.pointer.exists() and not self._place.environment.exists():
            return
        drop_share(self._place)
        for name in _OWN:
            if (self._tls / name).exists():
                remove_durably(self._tls / name)
        log.info("this machine shares the store no more")
