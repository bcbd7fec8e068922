"""Images come here whole, checked and read-only, or not at all; and a fake behaves the same."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from covey.base.errors import BadInput, CoveyError, NoSpace, NotFound, Refused, Unavailable
from covey.base.run import run
from covey.host.image.fake import FakeImages
from covey.host.image.images import HostImages
from covey.host.image.protocol import Images
from covey.host.shelf import MemoryShelf
from covey.host.storage.fake import FakeStorage
from covey.host.storage.protocol import Source
from covey.model.image import ImageFacts
from covey.model.pool import Place, Volume

MIB = 2**20
ID = "5f0a3c1e-0000-4000-8000-0000000000aa"
CONTENT = b"boot sector".ljust(512, b"\0") + bytes(MIB - 512) + os.urandom(3 * MIB)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Told:
    """Remembers the progress that was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.seen.append((what, done, total))


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Server:
    """A small HTTP server with faults: `cut_after` bytes of each answer's body the connection ends; `pages` by path."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.tag = '"first"'
        self.ranges = True
        self.cut_after: int | None = None
        self.cuts = 0  # how many answers more are cut
        self.status = ""
        self.redirections = 0
        self.endless = False  # no length is announced, and zeros come until the client has enough
        self.asked: list[dict[str, str]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        self.asked.append(headers)
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if self.endless else self._reply(headers))
            await writer.drain()
            while self.endless:
                writer.write(bytes(MIB))
                await writer.drain()
        except ConnectionError:
            pass  # the client had enough
        writer.close()

    def _reply(self, headers: dict[str, str]) -> bytes:
        if self.status:
            return f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode()
        if self.redirections:
            self.redirections -= 1
            return f"HTTP/1.1 302 Found\r\nLocation: {self.url}\r\nContent-Length: 0\r\n\r\n".encode()
        start = 0
        first = "HTTP/1.1 200 OK"
        if self.ranges and "range" in headers and headers.get("if-range") == self.tag:
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            first = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        body = self.content[start:]
        head = f"{first}\r\nETag: {self.tag}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        if self.cuts and self.cut_after is not None:
            self.cuts -= 1
            body = body[: self.cut_after]
        return head + body


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/image.raw"
    async with listener:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


@pytest.fixture
def images(tmp_path: Path) -> HostImages:
    return HostImages(tmp_path / "images")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.raw"
    path.write_bytes(CONTENT)
    return path


def names(tmp_path: Path) -> list[str]:
    directory = tmp_path / "images"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


# ---- the promises of the protocol, for the real thing and the fake ----


@pytest.fixture(params=["host", "fake"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    missing = str(tmp_path / "missing.raw")
    return HostImages(tmp_path / "images") if request.param == "host" else FakeImages(MemoryShelf(), frozenset((missing,)))


async def test_fetching_twice_is_fetching_once(both: Images, source: Path) -> None:
    first = await both.ensure_fetched(ID, str(source), "", "job-1", quiet)
    source.unlink()
    assert await both.ensure_fetched(ID, str(source), "", "job-2", quiet) == first
    assert await both.images() == ((ID, "job-1"),)
    assert await both.facts(ID) == first


async def test_an_image_that_is_not_here_has_no_facts(both: Images) -> None:
    assert await both.facts(ID) is None


async def test_a_missing_source_is_not_found_and_leaves_nothing(both: Images, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await both.ensure_fetched(ID, str(tmp_path / "missing.raw"), "", "job-1", quiet)
    assert await both.images() == ()


async def test_a_wrong_checksum_is_bad_input_and_leaves_nothing(both: Images, source: Path) -> None:
    with pytest.raises(BadInput, match="SHA-256"):
        await both.ensure_fetched(ID, str(source), "0" * 64, "job-1", quiet)
    assert await both.images() == ()


@pytest.mark.parametrize("wrong", ["relative/path", "/a/../b", "ftp://server/image", "file:///etc/passwd", ""])
async def test_a_source_is_a_normal_absolute_path_or_a_url(both: Images, wrong: str) -> None:
    with pytest.raises(BadInput):
        await both.ensure_fetched(ID, wrong, "", "job-1", quiet)


async def test_an_undo_takes_back_only_its_own(both: Images, source: Path) -> None:
    await both.ensure_fetched(ID, str(source), "", "job-1", quiet)
    await both.ensure_absent(ID, "job-2")
    assert await both.images() == ((ID, "job-1"),)
    await both.ensure_absent(ID, "job-1")
    await both.ensure_absent(ID)
    assert await both.images() == ()
    assert await both.facts(ID) is None


async def test_an_id_is_a_uuid(both: Images, source: Path) -> None:
    with pytest.raises(BadInput):
        await both.ensure_fetched("../image", str(source), "", "job-1", quiet)


async def test_a_fake_volume_can_be_a_clone_of_a_fake_image_on_its_shelf() -> None:
    shelf = MemoryShelf()
    fakes = FakeImages(shelf)
    facts = await fakes.ensure_fetched(ID, "http://server/debian.qcow2", "", "job-1", quiet)
    storage = FakeStorage(shelf)
    place = Place("file", "/srv/pool")
    await storage.ensure_pool(place, "job-1")
    image = Source(fakes.path(ID), facts.format, facts.size)
    assert await storage.ensure_volume(Volume(ID, place, "qcow2", MIB), "job-2", image) == facts.size


# ---- copies ----


async def test_a_copy_is_equal_sparse_read_only_and_counted(images: HostImages, source: Path, tmp_path: Path) -> None:
    told = Told()
    facts = await images.ensure_fetched(ID, str(source), SHA256.upper(), "job-1", told)
    path = images.path(ID)
    assert path.read_bytes() == CONTENT
    assert facts == ImageFacts("raw", 4 * MIB, path.stat().st_blocks * 512, SHA256)
    assert facts.file_size < 4 * MIB
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert told.seen[-1] == ("copying", 4 * MIB, 4 * MIB)
    assert names(tmp_path) == [f"{ID}.image", f"{ID}.tag"]


async def test_an_image_is_readable_by_qemus_group(tmp_path: Path, source: Path) -> None:
    images = HostImages(tmp_path / "images", owner=(12345, 12346))
    await images.ensure_fetched(ID, str(source), "", "job-1", quiet)
    status = images.path(ID).stat()
    assert (status.st_uid, status.st_gid) == (0, 12346)


async def test_a_directory_is_no_image(images: HostImages, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="regular"):
        await images.ensure_fetched(ID, str(tmp_path), "", "job-1", quiet)


async def test_a_cancelled_copy_leaves_nothing(images: HostImages, tmp_path: Path) -> None:
    large = tmp_path / "large.raw"
    large.write_bytes(CONTENT)
    os.truncate(large, 16 * 2**30)  # sparse: takes long to read, and no room
    begun = asyncio.Event()
    copying = asyncio.create_task(images.ensure_fetched(ID, str(large), "", "job-1", lambda what, done, total: begun.set()))
    async with asyncio.timeout(30):
        await begun.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert names(tmp_path) == []


async def test_what_a_killed_copy_left_is_replaced(images: HostImages, source: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f".{ID}.part").write_bytes(b"x" * 5 * MIB)
    assert await images.images() == ((ID, ""),)
    await images.ensure_fetched(ID, str(source), SHA256, "job-1", quiet)
    assert images.path(ID).read_bytes() == CONTENT


async def test_a_foreign_file_is_refused_and_kept(images: HostImages, source: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images.path(ID).write_bytes(b"somebody's")
    with pytest.raises(Refused):
        await images.ensure_fetched(ID, str(source), "", "job-1", quiet)
    with pytest.raises(Refused):
        await images.ensure_absent(ID)
    assert images.path(ID).read_bytes() == b"somebody's"


async def test_an_image_that_does_not_fit_is_no_space_before_anything_is_copied(tmp_path: Path, source: Path) -> None:
    mount = tmp_path / "images"
    mount.mkdir()
    await run(["mount", "-t", "tmpfs", "-o", "size=1m", "covey-test", str(mount)], timeout_s=10)
    try:
        with pytest.raises(NoSpace, match="missing"):
            await HostImages(mount).ensure_fetched(ID, str(source), "", "job-1", quiet)
        assert names(tmp_path) == []
    finally:
        await run(["umount", str(mount)], timeout_s=10)


# ---- what is taken for an image ----


def qcow2(path: Path, *options: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "8M"], check=True)


def with_backing_file(path: Path) -> None:
    other = path.with_name("secret.raw")
    other.write_bytes(bytes(MIB))
    qcow2(path, "-b", str(other), "-F", "raw")


def with_data_file(path: Path) -> None:
    qcow2(path, "-o", f"data_file={path.with_name('data.raw')}")


def vmdk(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(path), "8M"], check=True)


def compressed(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08" + bytes(1021))


def page(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("make", [with_backing_file, with_data_file, vmdk, compressed, page, nothing])
async def test_what_a_guest_could_not_or_must_not_use_is_bad_input(
    images: HostImages, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A qcow2 that names another file would show that file to the guest, whoever may read it on the machine."""
    source = tmp_path / "bad"
    make(source)
    with pytest.raises(BadInput) as complaint:
        await images.ensure_fetched(ID, str(source), "", "job-1", quiet)
    assert complaint.value.object == str(source)
    assert names(tmp_path) == []


async def test_a_qcow2_is_known_by_its_content_and_has_the_guests_size(images: HostImages, tmp_path: Path) -> None:
    source = tmp_path / "image.raw"  # whatever the name says
    qcow2(source)
    facts = await images.ensure_fetched(ID, str(source), "", "job-1", quiet)
    assert (facts.format, facts.size) == ("qcow2", 8 * MIB)


@pytest.mark.parametrize(
    ("at", "changed", "says"),
    [
        (4, b"\0\0\0\1", "header is damaged"),  # version
        (20, b"\0\0\0\xff", "header is damaged"),  # cluster bits
        (32, b"\0\0\0\2", "encrypted"),
        (72, b"\0\0\0\0\0\1\0\0", "later version"),  # incompatible features
        (79, b"\2", "corrupt"),
    ],
)
async def test_a_qcow2_that_qemu_could_not_read_is_refused(
    images: HostImages, tmp_path: Path, at: int, changed: bytes, says: str
) -> None:
    source = tmp_path / "image.qcow2"
    qcow2(source)
    content = source.read_bytes()
    source.write_bytes(content[:at] + changed + content[at + len(changed) :])
    with pytest.raises(BadInput, match=says):
        await images.ensure_fetched(ID, str(source), "", "job-1", quiet)
    assert await images.images() == ()


# ---- over HTTP ----


async def test_a_file_without_end_ends_while_there_is_room_for_others(tmp_path: Path, server: Server) -> None:
    server.endless = True
    mount = tmp_path / "images"
    mount.mkdir()
    await run(["mount", "-t", "tmpfs", "-o", "size=40m", "covey-test", str(mount)], timeout_s=10)
    least = [40 * MIB]

    def progress(what: str, done: int, total: int) -> None:
        least.append(shutil.disk_usage(mount).free)
        assert (mount / f".{ID}.part").stat().st_mode & 0o077 == 0, "not finished is nobody's to read"

    try:
        with pytest.raises(NoSpace, match="must stay so"):
            await HostImages(mount).ensure_fetched(ID, server.url, "", "job-1", progress)
        assert 2 * MIB <= min(least) < 8 * MIB
    finally:
        await run(["umount", str(mount)], timeout_s=10)


async def test_a_url_is_downloaded_with_progress(images: HostImages, server: Server, tmp_path: Path) -> None:
    told = Told()
    facts = await images.ensure_fetched(ID, server.url, SHA256, "job-1", told)
    assert facts.sha256 == SHA256
    assert images.path(ID).read_bytes() == CONTENT
    assert told.seen[-1] == ("downloading", 4 * MIB, 4 * MIB)
    assert names(tmp_path) == [f"{ID}.image", f"{ID}.tag"]


async def test_a_download_that_is_cut_goes_on_where_it_stopped(images: HostImages, server: Server) -> None:
    server.cut_after, server.cuts = 3 * MIB // 2, 2
    await images.ensure_fetched(ID, server.url, SHA256, "job-1", quiet)
    starts = [int(asked.get("range", "bytes=0-")[6:-1]) for asked in server.asked]
    assert len(starts) == 3
    assert starts[0] == 0 < starts[1] < starts[2]


async def test_a_download_goes_on_in_a_later_call_even_of_another_process(tmp_path: Path, server: Server) -> None:
    begun = asyncio.Event()
    server.cut_after, server.cuts = 2 * MIB, 100
    told = Told()

    def tell(what: str, done: int, total: int) -> None:
        told(what, done, total)
        begun.set()

    images = HostImages(tmp_path / "images")
    fetching = asyncio.create_task(images.ensure_fetched(ID, server.url, SHA256, "job-1", tell))
    async with asyncio.timeout(30):
        await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    server.cuts = 0
    await HostImages(tmp_path / "images").ensure_fetched(ID, server.url, SHA256, "job-1", quiet)
    assert "range" in server.asked[-1]


async def test_a_file_that_changed_on_the_server_is_fetched_anew(images: HostImages, server: Server) -> None:
    server.cut_after, server.cuts = 2 * MIB, 1
    server_content = os.urandom(4 * MIB)

    def change(what: str, done: int, total: int) -> None:
        server.content, server.tag = server_content, '"second"'

    await images.ensure_fetched(ID, server.url, "", "job-1", change)
    assert images.path(ID).read_bytes() == server_content


async def test_a_server_without_ranges_is_asked_again_from_the_start(images: HostImages, server: Server) -> None:
    server.ranges = False
    server.cut_after, server.cuts = 2 * MIB, 1
    await images.ensure_fetched(ID, server.url, SHA256, "job-1", quiet)
    assert images.path(ID).read_bytes() == CONTENT


async def test_a_wrong_checksum_of_a_download_leaves_nothing_to_go_on_from(
    images: HostImages, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="SHA-256"):
        await images.ensure_fetched(ID, server.url, "1" * 64, "job-1", quiet)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [("404 Not Found", NotFound), ("403 Forbidden", Refused), ("503 Service Unavailable", Unavailable)],
)
async def test_what_the_server_refuses_is_told_with_its_words(
    images: HostImages, server: Server, tmp_path: Path, status: str, kind: type[CoveyError]
) -> None:
    server.status = status
    with pytest.raises(kind, match=status[:3]) as complaint:
        await images.ensure_fetched(ID, server.url, "", "job-1", quiet)
    assert type(complaint.value) is kind
    assert names(tmp_path) == []


async def test_a_redirection_is_followed_and_a_circle_is_not(images: HostImages, server: Server) -> None:
    server.redirections = 1000
    with pytest.raises(Unavailable, match="redirections"):
        await images.ensure_fetched(ID, server.url, "", "job-1", quiet)
    server.redirections = 3
    assert (await images.ensure_fetched(ID, server.url, "", "job-1", quiet)).sha256 == SHA256


async def test_a_server_that_does_not_answer_is_unavailable(images: HostImages, tmp_path: Path) -> None:
    async with serving() as gone:
        url = gone.url
    with pytest.raises(Unavailable):
        await images.ensure_fetched(ID, url, "", "job-1", quiet)
    assert names(tmp_path) == []
