"""What an agent takes of the store that several share, and what it gives up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from covey.agent.keeping import Keeping
from covey.agent.membership import Memberships
from covey.agent.place import Place
from covey.agent.tasks import EpochFile
from covey.base.certificates import issue
from covey.base.clock import SystemClock
from covey.base.errors import Refused
from covey.base.tls import ensure_authority
from covey.model.membership import Membership
from covey.model.sharing import Seat, Share

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


class Desk:
    """The machine n2, of a cluster whose leader gives it `share`."""

    def __init__(self, directory: Path) -> None:
        cluster, etcd = directory / "cluster", directory / "authority-of-etcd"
        for authority in (cluster, etcd):
            authority.mkdir()
            ensure_authority(authority, datetime.now(UTC))
        self.store, self.tls = directory / "store", directory / "tls"
        self.memberships = Memberships(directory / "identity", N2, EpochFile(None))
        self.keeping = Keeping(self.store, self.tls, self.memberships, N2, SystemClock())
        self.cluster = cluster
        self.share = Share(
            (cluster / "ca.pem").read_text(),
            (cluster / "ca.key").read_text(),
            (etcd / "ca.pem").read_text(),
            (etcd / "ca.key").read_text(),
            ("10.0.0.1:7446", "10.0.0.2:7446"),
            Seat("b", "a=https://10.0.0.1:7447,b=https://10.0.0.2:7447"),
        )

    def join(self) -> None:
        membership = Membership("c1", "demo", "n2", "10.0.0.2:7444", (N1, N2))
        certificate = issue(self.cluster, self.memberships.ask(), N2)
        self.memberships.join(membership, certificate, (self.cluster / "ca.pem").read_text(), is_new=True)

    @property
    def place(self) -> Place:
        return Place(self.store)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.join()
    return desk


def test_a_machine_of_no_cluster_takes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(Refused, match="no node of several"):
        desk.keeping.take(desk.share)
    assert not desk.store.exists()


def test_the_authority_of_another_cluster_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="not the authority"):
        desk.keeping.take(replace(desk.share, authority=desk.share.store_authority))
    assert not desk.tls.exists()


def test_what_it_takes_says_where_etcd_is_and_how_its_own_member_starts(desk: Desk) -> None:
    desk.keeping.take(desk.share)
    said = json.loads(desk.place.pointer.read_text())
    assert said["endpoints"] == ["10.0.0.2:7446", "10.0.0.1:7446"], "the own one first"
    assert said["controllers"] == "10.0.0.2:7445"
    environment = dict(line.split("=", 1) for line in desk.place.environment.read_text().splitlines())
    assert environment["ETCD_LISTEN_CLIENT_URLS"] == "https://10.0.0.2:7446", "at no other address"
    assert environment["ETCD_INITIAL_CLUSTER_STATE"] == "existing"
    assert environment["ETCD_CLIENT_CERT_AUTH"] == environment["ETCD_PEER_CLIENT_CERT_AUTH"] == "true"
    for key in (desk.tls / "ca.key", *desk.place.directory.glob("*.key"), desk.place.environment):
        assert key.stat().st_mode & 0o777 == 0o600, key


def test_taking_it_again_changes_nothing(desk: Desk) -> None:
    desk.keeping.take(desk.share)
    desk.place.data("b").mkdir()
    before = {path: path.stat().st_mtime_ns for path in desk.store.rglob("*") if path.is_file()}
    desk.keeping.take(desk.share)
    other = replace(desk.share, seat=Seat("b", "b=https://10.0.0.2:7447"))  # of a member that has begun, that counts no more
    desk.keeping.take(other)
    assert {path: path.stat().st_mtime_ns for path in desk.store.rglob("*") if path.is_file()} == before


def test_another_seat_begins_without_what_the_one_before_has_left(desk: Desk) -> None:
    desk.keeping.take(desk.share)
    desk.place.data("b").mkdir()
    desk.keeping.take(replace(desk.share, seat=Seat("c", "c=https://10.0.0.2:7447")))
    assert not desk.place.data("b").exists()
    desk.place.data("c").mkdir()
    desk.keeping.take(replace(desk.share, seat=None))
    assert not desk.place.environment.exists() and not list(desk.place.directory.glob("data-*"))
    assert desk.place.pointer.exists(), "its controller goes on with the members elsewhere"


def test_who_gives_it_up_keeps_no_key_that_signs_for_the_cluster(desk: Desk) -> None:
    desk.keeping.take(desk.share)
    desk.place.data("b").mkdir()
    desk.keeping.drop()
    assert list(desk.store.rglob("*")) == []
    assert not list(desk.tls.glob("*.key")) and not (desk.tls / "ca.pem").exists()


def test_an_authority_of_its_own_is_left_to_a_machine_that_shares_nothing(desk: Desk) -> None:
    desk.tls.mkdir()
    (desk.tls / "ca.key").write_text("its own")
    desk.keeping.drop()
    assert (desk.tls / "ca.key").read_text() == "its own"


def test_keys_are_not_shown(desk: Desk) -> None:
    assert "PRIVATE" not in repr(desk.share)
