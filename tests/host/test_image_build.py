"""Images are built from packages: the pure parts here, and one real build that boots."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.base.errors import BadInput, StepFailed, Unavailable
from covey.base.run import run
from covey.host.formats import SECTOR
from covey.host.guest.seed import ensure_seed
from covey.host.image import build, debian
from covey.host.image.bootable import CORE_SECTOR, ROOT_SECTOR, patched_boot_code
from covey.host.image.images import HostImages
from covey.model.domain import READY_CHANNEL
from covey.model.image import Recipe
from covey.model.seed import Seed, SeedNic

ID = "5f0a3c1e-0000-4000-8000-0000000000bb"
DEBIAN = """Types: deb deb-src
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security/
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
FOREIGN = """Types: deb
URIs: https://packages.test/linux/debian
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/somebody.gpg
"""


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


# ---- recipes ----


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("book worm"),
        Recipe("--help"),
        Recipe("bookworm", packages=("--hook=x",)),
        Recipe("bookworm", packages=("a,b",)),
        Recipe("bookworm", mirror="mirror.test/debian"),
        Recipe("bookworm", mirror="http://mirror.test/debian\nTrusted: yes"),
        Recipe("bookworm", size=1),
    ],
)
def test_a_recipe_holds_no_word_that_could_be_taken_for_another(recipe: Recipe) -> None:
    with pytest.raises(BadInput):
        debian.check_recipe(recipe)


# ---- sources ----


def test_an_image_gets_the_machines_debian_sources_and_no_others() -> None:
    text = debian.sources_for(Recipe("bookworm"), {"debian.sources": DEBIAN, "x.sources": FOREIGN}, "bookworm")
    assert "http://mirror.test/debian\nSuites: bookworm bookworm-updates\n" in text
    assert "Suites: bookworm-security\n" in text
    assert "packages.test" not in text
    assert "deb-src" not in text


def test_the_suites_are_those_of_the_recipe() -> None:
    text = debian.sources_for(Recipe("trixie"), {"debian.sources": DEBIAN}, "bookworm")
    assert "Suites: trixie trixie-updates\n" in text
    assert "Suites: trixie-security\n" in text


def test_sid_has_neither_updates_nor_security() -> None:
    text = debian.sources_for(Recipe("sid"), {"debian.sources": DEBIAN}, "bookworm")
    assert text.count("Suites:") == 1
    assert "Suites: sid\n" in text


def test_one_line_sources_are_understood() -> None:
    lines = (
        "# deb http://old.test/debian bookworm main\n"
        "deb [arch=amd64] http://mirror.test/debian bookworm main contrib # ours\n"
        "deb-src http://mirror.test/debian bookworm main\n"
        "deb [signed-by=/etc/apt/keyrings/x.gpg] https://x.test/debian bookworm main\n"
    )
    text = debian.sources_for(Recipe("bookworm"), {"sources.list": lines}, "bookworm")
    assert text.count("URIs:") == 1
    assert "Components: main contrib\n" in text
    assert f"Signed-By: {debian.KEYRING}\n" in text


def test_an_entry_that_is_switched_off_stays_off() -> None:
    with pytest.raises(BadInput, match="no package sources"):
        debian.sources_for(Recipe("bookworm"), {"debian.sources": "Enabled: no\n" + DEBIAN.split("\n\n")[0]}, "bookworm")


def test_a_key_within_the_sources_is_kept() -> None:
    text = "Types: deb\nURIs: http://m.test/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n debian-archive key\n .\n"
    assert "\n debian-archive key\n .\n" in debian.sources_for(Recipe("bookworm"), {"a.sources": text}, "bookworm")


def test_a_mirror_of_the_recipe_is_the_only_source() -> None:
    text = debian.sources_for(Recipe("bookworm", mirror="http://own.test/debian"), {"debian.sources": DEBIAN}, "bookworm")
    assert "http://own.test/debian" in text
    assert "mirror.test" not in text


# ---- the disk ----


def test_the_boot_code_knows_where_the_core_is_and_leaves_the_partition_table_alone() -> None:
    first, core = patched_boot_code(b"\xeb" * SECTOR, b"\x11" * 3 * SECTOR)
    assert len(first) == 440
    assert struct.unpack_from("<Q", first, 0x5C) == (CORE_SECTOR,)
    assert struct.unpack_from("<Q", core, SECTOR - 12) == (CORE_SECTOR + 1,)
    assert core[SECTOR:] == b"\x11" * 2 * SECTOR


def test_a_core_that_would_reach_into_the_root_is_no_core() -> None:
    with pytest.raises(ValueError, match="BIOS boot partition"):
        patched_boot_code(bytes(SECTOR), bytes((ROOT_SECTOR - CORE_SECTOR + 1) * SECTOR))


# ---- a build that cannot be, and what one leaves ----


async def test_missing_tools_are_named_by_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    images = HostImages(tmp_path / "images")
    with pytest.raises(Unavailable, match="mmdebstrap") as answer:
        await images.ensure_built(ID, Recipe("bookworm"), "job-1", quiet)
    assert "qemu-utils" in answer.value.hint
    assert await images.images() == ()


async def test_a_bad_recipe_leaves_nothing(tmp_path: Path) -> None:
    images = HostImages(tmp_path / "images")
    with pytest.raises(BadInput):
        await images.ensure_built(ID, Recipe("bookworm", size=1), "job-1", quiet)
    assert await images.images() == ()


async def test_a_mount_that_a_build_left_is_undone_before_the_tree_is_removed(tmp_path: Path) -> None:
    """Else removing the tree would remove what is mounted there."""
    work = tmp_path / "a build"
    inside = work / "root" / "proc"
    inside.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"kept")
    await run(["mount", "--bind", str(precious), str(inside)], timeout_s=10)
    await build.clear(work)
    assert not work.exists()
    assert (precious / "file").read_bytes() == b"kept"


async def test_a_build_that_was_killed_is_part_of_its_image_and_goes_with_it(tmp_path: Path) -> None:
    images = HostImages(tmp_path / "images")
    (tmp_path / "images" / f".{ID}.build" / "root").mkdir(parents=True)
    assert await images.images() == ((ID, ""),)
    await images.ensure_absent(ID)
    assert await images.images() == ()


# ---- the real thing ----

CHILD = """
import asyncio, sys
from pathlib import Path
from covey.host.image.images import HostImages
from covey.model.image import Recipe
asyncio.run(HostImages(Path(sys.argv[1])).ensure_built(sys.argv[2], Recipe("bookworm"), "job-1", lambda *told: None))
"""


def processes_about(text: str) -> list[int]:
    """Processes that have `text` in their command line, ourselves not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


async def until_gone(text: str, within_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while processes_about(text):
        assert asyncio.get_running_loop().time() < deadline, f"{processes_about(text)} go on"
        await asyncio.sleep(0.05)


@pytest.mark.real
@pytest.mark.slow
async def test_kill_9_of_the_builder_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    root = directory / f".{ID}.build" / "root"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, str(directory), ID)
    async with asyncio.timeout(60):
        while not (root / "proc").exists():
            assert child.returncode is None
            await asyncio.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await until_gone(str(directory), within_s=10)
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    images = HostImages(directory)
    assert await images.images() == ((ID, "job-1"),)
    await images.ensure_absent(ID, "job-1")
    assert list(directory.iterdir()) == []


@asynccontextmanager
async def booted(disk: Path, seed: Path, ready: Path, console: Path) -> AsyncIterator[None]:
    """A guest under TCG; its NIC ends in a hub within QEMU, so nothing gets out."""
    argv = (
        *("qemu-system-x86_64", "-M", "q35,accel=tcg", "-m", "512", "-display", "none", "-monitor", "none"),
        *("-serial", f"file:{console}", "-nic", "none", "-netdev", "hubport,id=lan,hubid=0"),
        *("-device", "virtio-net-pci,netdev=lan,mac=02:c0:7e:11:22:33"),
        *("-drive", f"file={disk},if=virtio,format=qcow2"),
        *("-device", "virtio-scsi-pci", "-drive", f"file={seed},if=none,id=seed,format=raw,readonly=on"),
        *("-device", "scsi-cd,drive=seed"),
        *("-device", "virtio-serial", "-chardev", f"socket,id=ready,path={ready},server=on,wait=off"),
        *("-device", f"virtserialport,chardev=ready,name={READY_CHANNEL}"),
    )
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def report(channel: Path, within_s: float) -> dict[str, Any]:
    """The guest's next report."""
    reader, writer = await asyncio.open_unix_connection(str(channel))
    try:
        async with asyncio.timeout(within_s):
            line: dict[str, Any] = json.loads(await reader.readline())
            return line
    finally:
        writer.close()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_built_image_boots_takes_its_seed_and_reports_ready_at_every_boot(tmp_path: Path) -> None:
    images = HostImages(tmp_path / "images")
    stages: list[str] = []
    hook = 'echo built > "$1/etc/from-the-hook"'
    recipe = Recipe("bookworm", packages=("less",), hooks=(hook,))
    facts = await images.ensure_built(ID, recipe, "job-1", lambda what, done, total: stages.append(what))
    assert (facts.format, facts.size) == ("qcow2", recipe.size)
    assert any(stage == "installing less" for stage in stages)
    assert await images.ensure_built(ID, recipe, "job-2", quiet) == facts
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [f"{ID}.image", f"{ID}.tag"]

    disk, seed, console = tmp_path / "disk.qcow2", tmp_path / "seed.iso", tmp_path / "console"
    argv = ("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(images.path(ID)), "-F", "qcow2", str(disk), "8G")
    await run(argv, timeout_s=10)
    script = "#!/bin/sh\ncat /etc/from-the-hook /etc/machine-id\ndf -m --output=size / | tail -1 | sed 's/^/root-mib: /'\n"
    nic = SeedNic("02:c0:7e:11:22:33", "10.77.0.10/24", "10.77.0.1", ("10.77.0.1",))
    await ensure_seed(seed, Seed(ID, "web1.school.lan", (), (nic,)), script, None)
    async with booted(disk, seed, tmp_path / "ready", console):
        first = await report(tmp_path / "ready", within_s=240)
    said = console.read_text(errors="replace")
    assert first["ready"] is True
    assert first["status"] == "done"
    assert first["addresses"] == ["10.77.0.10"]
    assert "web1 login:" in said
    assert ": built" in said, "the recipe's script ran, and so did the user's, before the report"
    size = int(said.split("root-mib:")[1].split()[0])
    assert size > 7000, "the root has grown to the disk"

    async with booted(disk, seed, tmp_path / "ready2", console):
        second = await report(tmp_path / "ready2", within_s=240)
    assert second["ready"] is True
    assert second["boot"] != first["boot"]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            (
                "Reading package lists...",
                "E: Unable to locate package nosuch",
                "E: apt-get --yes install failed",
                "I: main() ends",
            ),
            "Unable to locate package nosuch",
        ),
        (
            (
                "this will not do",
                "E: setup failed: E: command failed: /b/hook-001",
                "I: main() ends",
                "E: mmdebstrap failed to run",
            ),
            "this will not do; setup failed: E: command failed: /b/hook-001; mmdebstrap failed to run",
        ),
        ((), "`setpriv ... mmdebstrap ...` ended with status 1"),
    ],
)
def test_of_mmdebstraps_wall_of_text_its_errors_are_the_error_and_the_rest_is_the_log(said: tuple[str, ...], what: str) -> None:
    count = build._Count(quiet)
    for line in ("I: installing", *said):
        count.line(line)
    error = build.explain(StepFailed("`setpriv ... mmdebstrap ...` ended with status 1", "image x"), count.errors, count.last)
    assert error.what == f"mmdebstrap: {what}"
    assert error.log.startswith("I: installing\n") and "--log" in error.hint and error.object == "image x"


@pytest.mark.real
async def test_what_a_script_leaves_running_ends_with_it_and_its_status_is_the_hooks(tmp_path: Path) -> None:
    directory = tmp_path / "a place"
    directory.mkdir()
    mark = f"98765{os.getpid()}"
    hook = f'(setsid sleep {mark} &)\nsleep {mark} &\necho "$1" > "$1/told"\nexit 7'
    for name, text in build._scripts(build.Build(ID, Recipe("bookworm", hooks=(hook,)), directory)).items():
        build._write_script(directory / name, text)
    done = await run(
        (str(directory / "hook-001"), str(tmp_path)), timeout_s=10, check=False
    )  # which waits for all that write to it
    assert done.status == 7
    assert (tmp_path / "told").read_text() == f"{tmp_path}\n"
    assert mark not in (await run(("ps", "-eo", "args"), timeout_s=10)).text


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_script_of_the_recipe_that_fails_fails_the_build_with_its_words_and_leaves_nothing(tmp_path: Path) -> None:
    images = HostImages(tmp_path / "images")
    recipe = Recipe("bookworm", hooks=("echo this will not do >&2; exit 7",))
    with pytest.raises(StepFailed, match="this will not do"):
        await images.ensure_built(ID, recipe, "job-1", quiet)
    assert await images.images() == ()
    assert list((tmp_path / "images").iterdir()) == []
