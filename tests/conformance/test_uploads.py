"""What every machine promises of images that strangers send."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.base.errors import BadInput, NotFound, StepFailed, Unavailable
from covey.host.storage.protocol import Attachment
from covey.host.upload.stranger import check_alone
from covey.model.pool import Place, Volume
from tests.kit.eventually import eventually
from tests.kit.images import MIB, PATTERN, a_qcow2, a_raw, a_vmdk, converted, evil, pieces_of
from tests.kit.uploads import Bench, FakeBench, HostBench

UPLOAD = "5f0a3c1e-0000-4000-8000-00000000000a"
DISK = "5f0a3c1e-0000-4000-8000-00000000000b"
EVIL = sorted(evil(Path("/secret")))


@pytest.fixture(params=["host", "fake"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made = HostBench(tmp_path) if request.param == "host" else FakeBench(tmp_path)
    await made.storage.ensure_pool(made.place, "job-1")
    return made


@pytest.fixture
async def host(tmp_path: Path) -> HostBench:
    made = HostBench(tmp_path)
    await made.storage.ensure_pool(made.place, "job-1")
    return made


def ignore(done: int, total: int) -> None: ...


def compare(raw: Path, qcow2: str) -> None:
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow2], check=True, timeout=60)


async def made_of(bench: Bench, format: str, kept_as: str, size: int) -> Volume:
    volume = Volume(DISK, bench.place, kept_as, size)
    source = bench.uploads.source(bench.place, UPLOAD, format)
    assert await bench.storage.ensure_imported(volume, "job-2", source, ignore) == size
    return volume


async def test_what_was_sent_is_told_and_a_disk_can_be_made_of_it(bench: Bench) -> None:
    data = a_raw()
    digest = hashlib.sha256(data).hexdigest()
    found = await bench.uploads.receive(bench.place, UPLOAD, "", digest, pieces_of(data))
    assert (found.format, found.size, found.length, found.sha256) == ("raw", 4 * MIB, 4 * MIB, digest)
    assert found.needs > 0
    for kept_as in ("qcow2", "raw"):
        volume = await made_of(bench, "raw", kept_as, found.size)
        (one,) = await bench.storage.volumes(bench.place)
        assert (one.id, one.format, one.size, one.job, one.base) == (DISK, kept_as, 4 * MIB, "job-2", "")
        await bench.storage.ensure_volume_absent(volume)
    for _ in range(2):
        await bench.uploads.ensure_absent(bench.place, UPLOAD)
    assert list(bench.left()) == []
    with pytest.raises(NotFound, match="gone"):
        bench.uploads.source(bench.place, UPLOAD, "raw")


async def test_what_was_sent_is_found_until_it_is_gone(bench: Bench) -> None:
    assert await bench.uploads.uploads(bench.place) == ()
    await bench.uploads.receive(bench.place, UPLOAD, "", "", pieces_of(a_raw()))
    (found,) = await bench.uploads.uploads(bench.place)
    assert (found.id, found.place) == (UPLOAD, bench.place)
    assert found.used > 0 and found.age_s >= 0
    await bench.uploads.ensure_absent(bench.place, UPLOAD)
    assert await bench.uploads.uploads(bench.place) == ()


async def test_what_breaks_off_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(ConnectionError):
        await bench.uploads.receive(bench.place, UPLOAD, "", "", pieces_of(a_raw(), ConnectionError("cut")))
    assert list(bench.left()) == []


async def test_what_adds_up_to_something_else_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(BadInput, match="SHA-256"):
        await bench.uploads.receive(bench.place, UPLOAD, "", "0" * 64, pieces_of(a_raw()))
    assert list(bench.left()) == []


@pytest.mark.parametrize("which", EVIL)
async def test_an_image_that_refers_to_another_file_is_refused_and_not_kept(bench: Bench, tmp_path: Path, which: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s3cret".ljust(4096))
    with pytest.raises(BadInput, match=r"refers to|data file"):
        await bench.uploads.receive(bench.place, UPLOAD, "", "", pieces_of(evil(secret)[which]))
    assert list(bench.left()) == []


@pytest.mark.parametrize("which", EVIL)
async def test_what_is_declared_raw_is_raw_whatever_it_says(bench: Bench, which: str) -> None:
    data = evil(Path("/etc/passwd"))[which].ljust(MIB, b"\0")
    found = await bench.uploads.receive(bench.place, UPLOAD, "raw", "", pieces_of(data))
    assert (found.format, found.size) == ("raw", MIB)


@pytest.mark.parametrize(
    ("data", "declared", "why"),
    [
        (b"", "", "nothing came"),
        (b"\x1f\x8b" + bytes(600), "", "gzip"),
        (b"\0" * 600, "vdi", "raw, not vdi"),
        (a_qcow2(), "vmdk", "qcow2, not vmdk"),
        (a_qcow2(incompatible=1 << 1), "", "corrupt"),
        (b"conectix".ljust(600), "", "vhd"),
        (a_raw(), "qed", "no format"),
    ],
)
async def test_what_is_no_image_or_another_than_was_said_is_refused(bench: Bench, data: bytes, declared: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await bench.uploads.receive(bench.place, UPLOAD, declared, "", pieces_of(data))
    assert list(bench.left()) == []


async def test_a_pool_that_images_came_into_can_be_removed_and_made_again(bench: Bench) -> None:
    await bench.uploads.receive(bench.place, UPLOAD, "", "", pieces_of(a_raw()))
    await bench.uploads.ensure_absent(bench.place, UPLOAD)
    await bench.storage.ensure_pool_absent(bench.place)
    await bench.storage.ensure_pool(bench.place, "job-3")


async def test_nothing_is_taken_in_where_no_pool_is(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await bench.uploads.receive(Place("file", str(tmp_path / "away")), UPLOAD, "", "", pieces_of(a_raw()))
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("qcow2", ("-c",)),
        ("vmdk", ()),
        ("vmdk", ("-o", "subformat=streamOptimized")),
        ("vdi", ()),
        ("vhdx", ()),
    ],
)
async def test_images_of_other_programs_become_the_same_disk(
    host: HostBench, tmp_path: Path, format: str, options: tuple[str, ...]
) -> None:
    found = await host.uploads.receive(host.place, UPLOAD, "", "", pieces_of(converted(tmp_path, format, *options)))
    assert (found.format, found.size) == (format, 4 * MIB)
    volume = await made_of(host, format, "qcow2", found.size)
    path = host.storage.attachment(volume).path
    compare(tmp_path / "of.raw", path)
    assert Path(path).stat().st_blocks * 512 <= found.needs + 2 * MIB


@pytest.mark.parametrize("which", [one for one in EVIL if "text" not in one])
async def test_even_one_that_slipped_through_shows_nothing_of_another_file(host: HostBench, tmp_path: Path, which: str) -> None:
    """The header is looked at first; that it is opened alone is a second net."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"s3cret" * 100_000)
    sent = tmp_path / "sent"
    sent.write_bytes(evil(secret)[which])
    volume = Volume(DISK, host.place, "raw", 4 * MIB)
    try:
        await host.storage.ensure_imported(
            volume, "job-2", Attachment("file", str(sent), "vmdk" if "VMDK" in which else "qcow2"), ignore
        )
    except StepFailed:  # refused by QEMU: as good
        return
    assert b"s3cret" not in Path(host.storage.attachment(volume).path).read_bytes()


def test_another_file_that_qemu_finds_in_an_image_is_refused() -> None:
    """A second net under what the header says of extents."""
    own = {"filename": "/p/a", "format": "vmdk", "format-specific": {"data": {"extents": [{"filename": "/p/a"}]}}}
    check_alone(own, "/p/a", "it")
    check_alone({**own, "filename": "json:{}"}, "/p/a", "it")
    for more in (
        {"format-specific": {"data": {"extents": [{"filename": "/p/a"}, {"filename": "/etc/passwd"}]}}},
        {"format-specific": {"data": {"data-file": "/etc/passwd"}}},
        {"backing-filename": "/p/a"},
        {"full-backing-filename": "/etc/passwd"},
        {"children": [{"name": "file", "info": {"filename": "/etc/passwd"}}]},
    ):
        with pytest.raises(BadInput, match="another file"):
            check_alone({**own, **more}, "/p/a", "it")


async def test_a_damaged_image_is_refused_with_the_words_of_who_read_it(host: HostBench, tmp_path: Path) -> None:
    data = converted(tmp_path, "vhdx")[: 2 * MIB]
    with pytest.raises(BadInput, match="cannot be read as vhdx"):
        await host.uploads.receive(host.place, UPLOAD, "", "", pieces_of(data))
    with pytest.raises(BadInput, match="cannot be read as vmdk"):
        await host.uploads.receive(host.place, UPLOAD, "", "", pieces_of(a_vmdk(b"", 8192)))
    assert host.left() == []


async def test_holes_stay_holes(host: HostBench) -> None:
    await host.uploads.receive(host.place, UPLOAD, "", "", pieces_of(a_raw(64 * MIB)))
    path = Path(host.uploads.source(host.place, UPLOAD, "raw").path)
    assert path.stat().st_size == 64 * MIB
    assert path.stat().st_blocks * 512 < 3 * MIB
    assert path.read_bytes().startswith(PATTERN)


async def test_what_a_dead_agent_was_sent_goes_and_what_is_coming_in_stays(host: HostBench) -> None:
    old, young = "5f0a3c1e-0000-4000-8000-00000000000c", "5f0a3c1e-0000-4000-8000-00000000000d"
    begun = False

    async def slow() -> AsyncIterator[bytes]:
        nonlocal begun
        yield a_raw()
        (host.directory / f".{old}.part").write_bytes(b"half")
        for id in (old, young):
            (host.directory / f"{id}.vmdk").write_bytes(b"whole")
        os.utime(host.directory / f"{old}.vmdk", (0, time.time() - 25 * 3600))
        await host.uploads.ensure_old_absent(host.place)
        begun = True
        assert set(host.left()) == {f".{UPLOAD}.part", f"{young}.vmdk"}

    await host.uploads.receive(host.place, UPLOAD, "", "", slow())
    await eventually(lambda: begun)
    await host.uploads.ensure_old_absent(host.place)
    assert set(host.left()) == {f"{UPLOAD}.raw", f"{young}.vmdk"}
