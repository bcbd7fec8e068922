"""Who may give orders to an agent over the network: real TLS on the loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from covey.agent.agent import Agent
from covey.agent.keeping import Keeping
from covey.agent.listen import Doors
from covey.agent.membership import Memberships, read_membership
from covey.agent.server import make_app
from covey.agent.tasks import EpochFile
from covey.agent.way import LocalWay, NetworkWay, Way
from covey.base.certificates import LIFE, ask_for_certificate, ensure_identity, issue, keep_certificate
from covey.base.clock import SystemClock
from covey.base.errors import BadInput, NotFound, Refused, Unavailable
from covey.base.identity import agent_name, caller_context, files_in
from covey.base.tls import ensure_server_certificate
from covey.host.export.fetch import HostFetches
from covey.host.host import Host
from covey.host.image.images import HostImages
from covey.model import codec
from covey.model.image import ImageFacts
from covey.model.membership import Membership
from covey.model.node import Telemetry
from covey.model.order import Charge
from covey.model.pool import Place, Volume
from tests.kit.builders import an_id
from tests.kit.eventually import eventually
from tests.kit.ports import free_port
from tests.simulation.machines import Machine

N1, N2, N3 = (an_id(f"node/n{number}") for number in (1, 2, 3))
pytestmark = pytest.mark.asyncio


class Later:
    """A clock so many seconds away from the true one."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def now(self) -> float:
        return SystemClock().now() + self._by_s

    def monotonic(self) -> float:
        return SystemClock().monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Site:
    """A cluster's authority, and identities that it issued."""

    root: Path

    @classmethod
    def new(cls, root: Path) -> Site:
        ensure_server_certificate(root, ("localhost",))
        return cls(root)

    def caller(self, node: str, clock: Later = Later(0.0)) -> ssl.SSLContext:
        """What the controller of a node comes with, issued by `clock`."""
        return caller_context(ensure_identity(self.root / f"{node}-{clock._by_s:g}", self.root, node, clock))


@dataclass
class Bench:
    """The agent of N2, a member of the cluster of N1 and N2, listening on the loopback."""

    site: Site
    memberships: Memberships
    port: int
    troubles: dict[str, str]
    host: Host

    def way(self, context: ssl.SSLContext, node: str = N2) -> NetworkWay:
        return NetworkWay(f"127.0.0.1:{self.port}", node, context)

    async def greets(self, way: Way, cluster: str = "c1") -> int:
        """The status of a hello. Raises what the connection raises."""
        async with way.client() as client:
            return (await client.put("/hello", params={"cluster": cluster}, content=json.dumps((1, 1)))).status_code


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    site = Site.new(tmp_path / "site")
    epochs = EpochFile(tmp_path / "epoch.json")
    memberships = Memberships(tmp_path / "identity", N2, epochs)
    host = replace(Machine(N2, "n2", lambda node, key, thing: None).host(), images=HostImages(tmp_path / "images"))
    agent = Agent(N2, host, "s1", epochs, SystemClock(), Telemetry(0.0))
    troubles: dict[str, str] = {}

    def note(about: str, trouble: str) -> None:
        troubles.pop(about, None)
        troubles.update({about: trouble} if trouble else {})

    keeping = Keeping(tmp_path / "store", tmp_path / "tls", memberships, N2, SystemClock())
    doors = Doors(make_app(agent, memberships, keeping), tmp_path / "agent.sock", memberships, agent.hang_up, note)
    serving = asyncio.create_task(doors.serve(doors.open()))
    port = free_port()
    membership = Membership("c1", "demo", "n2", f"127.0.0.1:{port}", (N1, N2))
    memberships.join(membership, issue(site.root, memberships.ask(), N2), (site.root / "ca.pem").read_text(), is_new=True)
    bench = Bench(site, memberships, port, troubles, host)

    async def is_open() -> bool:
        try:
            return await bench.greets(bench.way(site.caller(N1))) == 200
        except httpx2.HTTPError:
            return False

    await eventually(is_open)
    yield bench
    serving.cancel()
    await asyncio.wait({serving})
    await agent.close()


async def test_a_controller_of_the_cluster_is_obeyed_and_finds_the_node_that_it_looks_for(bench: Bench) -> None:
    assert await bench.greets(bench.way(bench.site.caller(N1))) == 200


async def test_nobody_comes_in_without_a_certificate(bench: Bench) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(bench.site.root / "ca.pem")
    with pytest.raises(httpx2.HTTPError):
        await bench.greets(bench.way(bare))


async def test_nobody_comes_in_with_a_certificate_of_another_cluster(bench: Bench, tmp_path: Path) -> None:
    stranger = Site.new(tmp_path / "other").caller(N1)
    stranger.load_verify_locations(bench.site.root / "ca.pem")  # it does not mind whom it talks to
    with pytest.raises(httpx2.HTTPError):
        await bench.greets(bench.way(stranger))


@pytest.mark.parametrize("by_s", [-2 * LIFE.total_seconds(), 7200.0], ids=["expired", "not yet valid"])
async def test_nobody_comes_in_with_a_certificate_that_does_not_hold_now(bench: Bench, by_s: float) -> None:
    with pytest.raises(httpx2.HTTPError):
        await bench.greets(bench.way(bench.site.caller(N1, Later(by_s))))


async def test_a_node_that_is_none_of_the_cluster_gives_no_orders(bench: Bench) -> None:
    assert await bench.greets(bench.way(bench.site.caller(N3))) == Refused.status


async def test_a_node_that_was_removed_gives_no_orders_any_more(bench: Bench) -> None:
    bench.memberships.follow(Charge({}, (), (N2,), "demo"), "")

    async def is_refused() -> bool:
        try:
            return await bench.greets(bench.way(bench.site.caller(N1))) == Refused.status
        except httpx2.HTTPError:  # the door opens anew with each change
            return False

    await eventually(is_refused)


async def test_one_nodes_certificate_does_not_do_for_another_nodes_role(bench: Bench) -> None:
    with pytest.raises(httpx2.HTTPError, match=r"[Hh]ostname"):
        await bench.greets(bench.way(bench.site.caller(N1), node=N3))


async def test_a_leader_of_another_cluster_is_refused_on_the_machines_own_socket_too(bench: Bench, tmp_path: Path) -> None:
    own = LocalWay(tmp_path / "agent.sock")
    assert [await bench.greets(own, cluster) for cluster in ("c1", "c2", "")] == [200, Refused.status, Refused.status]


async def test_a_member_joins_no_other_cluster(bench: Bench, tmp_path: Path) -> None:
    other = Site.new(tmp_path / "other")
    wish = Membership("c2", "elsewhere", "n2", "127.0.0.1:1", (N3, N2))
    with pytest.raises(Refused, match="node n2 of cluster demo already"):
        bench.memberships.join(wish, issue(other.root, bench.memberships.ask(), N2), (other.root / "ca.pem").read_text(), True)
    assert read_membership(tmp_path / "identity") == bench.memberships.present


async def test_a_certificate_for_another_machines_key_is_not_taken(tmp_path: Path) -> None:
    site = Site.new(tmp_path / "site")
    theirs = issue(site.root, ask_for_certificate(tmp_path / "theirs"), N2)
    ask_for_certificate(tmp_path / "ours")
    with pytest.raises(BadInput, match="another machine's key"):
        keep_certificate(tmp_path / "ours", theirs, (site.root / "ca.pem").read_text(), N2)
    others = issue(site.root, ask_for_certificate(tmp_path / "ours"), N3)
    with pytest.raises(BadInput, match="another node"):
        keep_certificate(tmp_path / "ours", others, (site.root / "ca.pem").read_text(), N2)


@pytest.mark.parametrize(
    "request_", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
async def test_no_certificate_is_issued_for_what_is_no_request(tmp_path: Path, request_: str) -> None:
    with pytest.raises(BadInput, match="signing request"):
        issue(Site.new(tmp_path / "site").root, request_, N2)


async def test_an_identity_is_renewed_in_time_and_kept_until_then(tmp_path: Path) -> None:
    site = Site.new(tmp_path / "site")
    first = ensure_identity(tmp_path / "own", site.root, N1).certificate.read_text()
    assert ensure_identity(tmp_path / "own", site.root, N1, Later(300 * 86_400.0)).certificate.read_text() == first
    assert ensure_identity(tmp_path / "own", site.root, N1, Later(310 * 86_400.0)).certificate.read_text() != first


def charge(address: str, storage: str = "", name: str = "n2") -> Charge:
    return Charge({}, (), (N1, N2), "demo", name, address, storage)


async def opens(bench: Bench, way: Way) -> bool:
    """A leader is let in there."""
    try:
        return await bench.greets(way) == 200
    except httpx2.HTTPError:
        return False


async def told(bench: Bench, way: Way, charge: Charge) -> int:
    async with way.client() as client:
        return (await client.put("/charge", content=json.dumps(codec.encode(charge)))).status_code


async def test_a_new_address_is_open_before_the_old_one_closes_and_counts_once_a_leader_has_come_by_it(
    bench: Bench, tmp_path: Path
) -> None:
    here, there = f"127.0.0.1:{bench.port}", f"127.0.0.2:{free_port()}"
    caller = bench.site.caller(N1)
    old, new = NetworkWay(here, N2, caller), NetworkWay(there, N2, caller)
    await bench.memberships.ensure_open(there)
    await bench.memberships.ensure_open(there)
    await eventually(lambda: opens(bench, new))
    assert await opens(bench, old)
    assert await told(bench, old, charge(there, name="new")) == 200
    kept = read_membership(tmp_path / "identity")
    assert kept and (kept.name, kept.address, kept.also) == ("new", here, (there,)), "nobody has come by it"
    assert await opens(bench, old)
    assert await told(bench, new, charge(there)) == 200
    kept = read_membership(tmp_path / "identity")
    assert kept and (kept.address, kept.also) == (there, ())

    async def is_closed() -> bool:
        return not await opens(bench, old)

    await eventually(is_closed)
    assert await opens(bench, new)


async def test_a_door_that_is_taken_back_closes_and_the_one_that_the_cluster_knows_does_not(bench: Bench) -> None:
    here, there = f"127.0.0.1:{bench.port}", f"127.0.0.2:{free_port()}"
    await bench.memberships.ensure_open(there)
    for address in (there, there, here):
        await bench.memberships.ensure_closed(address)
    await eventually(lambda: opens(bench, bench.way(bench.site.caller(N1))))
    assert bench.memberships.present
    assert bench.memberships.present.listens_at == (here,)


@pytest.mark.parametrize("address", ["192.0.2.7:7444", "taken"])
async def test_no_door_opens_at_what_is_not_this_machines(bench: Bench, address: str) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken, pytest.raises(Refused, match="cannot listen"):
        await bench.memberships.ensure_open(f"127.0.0.2:{taken.getsockname()[1]}" if address == "taken" else address)
    assert bench.memberships.present
    assert bench.memberships.present.also == ()


async def test_on_a_second_network_it_listens_at_the_same_port(bench: Bench) -> None:
    here = f"127.0.0.1:{bench.port}"
    assert await told(bench, bench.way(bench.site.caller(N1)), charge(here, "127.0.0.3")) == 200
    await eventually(lambda: opens(bench, NetworkWay(f"127.0.0.3:{bench.port}", N2, bench.site.caller(N1))))


async def test_a_machine_that_has_lost_its_address_is_found_by_any_other_and_told_its_new_one(
    bench: Bench, tmp_path: Path
) -> None:
    """As after `ip address` by hand and a restart."""
    moved = replace(read_membership(tmp_path / "identity") or Membership("", "", "", "", ()), address=f"192.0.2.7:{bench.port}")
    certificate = (tmp_path / "identity" / "node.pem").read_text()
    bench.memberships.join(moved, certificate, (bench.site.root / "ca.pem").read_text(), is_new=False)
    there = f"127.0.0.4:{bench.port}"
    way = NetworkWay(there, N2, bench.site.caller(N1))
    await eventually(lambda: opens(bench, way))
    assert any("192.0.2.7 is none of its addresses" in trouble for trouble in bench.troubles.values())
    assert await told(bench, way, charge(there)) == 200
    await eventually(lambda: opens(bench, way))
    assert bench.troubles == {}
    assert bench.memberships.present
    assert bench.memberships.present.listens_at == (there,)


class Elsewhere:
    """The images of another node, N1, that come from the bench's."""

    def __init__(self, bench: Bench, tmp_path: Path) -> None:
        ensure_identity(tmp_path / "n1", bench.site.root, N1)
        self._directory = tmp_path / "images-n1"
        self.images = HostImages(self._directory, None, files_in(tmp_path / "n1"))
        self.address = f"127.0.0.1:{bench.port}"

    async def bring(self, facts: ImageFacts, origin: str = N2) -> None:
        await self.images.ensure_brought(IMAGE, facts, self.address, origin, "7", lambda what, done, total: None)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir()) if self._directory.exists() else []


IMAGE = an_id("image/debian-12")
CONTENT = b"boot sector".ljust(512, b"\0") + bytes(range(256)) * 4096


async def an_image_there(tmp_path: Path) -> ImageFacts:
    """On the machine of the bench."""
    (tmp_path / "source.raw").write_bytes(CONTENT)
    there = HostImages(tmp_path / "images")
    return await there.ensure_fetched(IMAGE, str(tmp_path / "source.raw"), "", "1", lambda what, done, total: None)


async def test_an_image_comes_to_another_node_whole_and_once(bench: Bench, tmp_path: Path) -> None:
    facts = await an_image_there(tmp_path)
    here = Elsewhere(bench, tmp_path)
    for _ in range(2):
        await here.bring(facts)
    assert here.images.path(IMAGE).read_bytes() == CONTENT
    assert (await here.images.facts(IMAGE)) == replace(facts, file_size=(await here.images.facts(IMAGE) or facts).file_size)


async def test_what_came_of_an_image_before_a_cut_is_not_sent_again(bench: Bench, tmp_path: Path) -> None:
    facts = await an_image_there(tmp_path)
    here = Elsewhere(bench, tmp_path)
    told: list[int] = []

    def cut(what: str, done: int, total: int) -> None:
        told.append(done)
        if len(told) == 1:
            raise KeyError("the cable")

    (tmp_path / "images-n1").mkdir()
    with pytest.raises(KeyError):
        await here.images.ensure_brought(IMAGE, facts, here.address, N2, "7", cut)
    came = (tmp_path / "images-n1" / f".{IMAGE}.part").stat().st_size
    await here.images.ensure_brought(IMAGE, facts, here.address, N2, "7", cut)
    assert 0 < came < len(CONTENT)
    assert told[1] > came, "it began anew"
    assert here.images.path(IMAGE).read_bytes() == CONTENT


async def test_an_image_that_is_another_one_or_from_another_node_is_not_taken(bench: Bench, tmp_path: Path) -> None:
    facts = await an_image_there(tmp_path)
    here = Elsewhere(bench, tmp_path)
    with pytest.raises(BadInput, match="SHA-256"):
        await here.bring(replace(facts, sha256="0" * 64))
    with pytest.raises(Unavailable):
        await here.bring(facts, origin=N3)
    assert here.files == []


async def test_an_image_that_is_not_there_is_not_found(bench: Bench, tmp_path: Path) -> None:
    here = Elsewhere(bench, tmp_path)
    with pytest.raises(NotFound):
        await here.bring(ImageFacts("raw", 512, 512, "0" * 64))
    assert here.files == []


async def test_a_certificate_is_renewed_before_it_ends_and_shown_at_once(bench: Bench, tmp_path: Path) -> None:
    early, late = Later(-320 * 86_400.0), Later(-340 * 86_400.0)
    authority = (bench.site.root / "ca.pem").read_text()
    assert bench.memberships.due() == "", "it is new"
    bench.memberships.renew(issue(bench.site.root, bench.memberships.ask(), N2, early), authority)
    wanted = bench.memberships.due()
    assert wanted
    assert bench.memberships.trouble == "", "there are 45 days left"
    bench.memberships.renew(issue(bench.site.root, bench.memberships.ask(), N2, late), authority)
    assert "ends in" in bench.memberships.trouble
    bench.memberships.renew(issue(bench.site.root, wanted, N2), authority)
    assert (bench.memberships.due(), bench.memberships.trouble) == ("", "")

    now = ssl.PEM_cert_to_DER_cert((tmp_path / "identity" / "node.pem").read_text())
    caller = bench.site.caller(N1)

    async def is_shown() -> bool:
        return await asyncio.to_thread(shown_certificate, bench.port, caller) == now

    await eventually(is_shown)


def shown_certificate(port: int, context: ssl.SSLContext) -> bytes | None:
    """What the door shows to whoever comes now; None while it is opening."""
    try:
        plain = socket.create_connection(("127.0.0.1", port), 5)
        with plain, context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname=agent_name(N2)) as line:
            line.do_handshake()  # within: one that fails closes the line, too
            return line.getpeercert(binary_form=True)
    except OSError:
        return None


async def test_a_leader_renews_what_is_due_over_the_network(bench: Bench, tmp_path: Path) -> None:
    authority = (bench.site.root / "ca.pem").read_text()
    bench.memberships.renew(issue(bench.site.root, bench.memberships.ask(), N2, Later(-320 * 86_400.0)), authority)
    before = (tmp_path / "identity" / "node.pem").read_text()

    async def is_renewed() -> bool:
        try:
            async with bench.way(bench.site.caller(N1)).client() as client:
                wanted = (await client.get("/certificate")).json()["request"]
                wish = {"certificate": issue(bench.site.root, wanted, N2), "authority": authority} if wanted else None
                return wish is not None and (await client.put("/certificate", json=wish)).status_code == 200
        except httpx2.HTTPError:  # the door opens anew with the certificate
            return False

    await eventually(is_renewed)
    assert (tmp_path / "identity" / "node.pem").read_text() != before
    assert bench.memberships.due() == ""


async def test_a_volume_is_handed_to_the_node_that_it_was_offered_to_and_to_no_other(bench: Bench, tmp_path: Path) -> None:
    place = Place("file", "/srv/default")
    volume = Volume(an_id("volume/offered"), place, "qcow2", 2**20)
    storage = bench.host.storage(place)
    await storage.ensure_pool(place, "1")
    await storage.ensure_volume(volume, "1", None)

    async def fetched(node: str) -> int:
        files = ensure_identity(tmp_path / node, bench.site.root, node, SystemClock())
        async with HostFetches(files).opened(volume, False, 0, N2, f"127.0.0.1:{bench.port}") as parts:
            return parts.map.size

    with pytest.raises(Refused, match="not offered"):
        await fetched(N1)
    await storage.ensure_offered(volume, N1, "7")
    assert await fetched(N1) == 2**20
    with pytest.raises(Refused, match="none of this cluster"):
        await fetched(N3)
    await storage.ensure_offered(volume, N3, "8")
    with pytest.raises(Refused, match="not offered"):
        await fetched(N1)


async def test_who_gives_up_a_volume_must_be_the_node_that_was_named(bench: Bench, tmp_path: Path) -> None:
    volume = Volume(an_id("volume/offered"), Place("file", "/srv/default"), "qcow2", 2**20)
    files = ensure_identity(tmp_path / "n1", bench.site.root, N1, SystemClock())
    with pytest.raises(Unavailable):
        async with HostFetches(files).opened(volume, False, 0, N3, f"127.0.0.1:{bench.port}"):
            pass
