"""Text is text: whatever people write is kept as it is, or refused; no shell, no XML and no configuration file ever takes it for more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.covey_up import BAD_INPUT, FAILED, CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
NASTY = (
    "$(touch PWNED)",
    "`touch PWNED`",
    "; touch PWNED #",
    "| touch PWNED",
    "' \" \\ <b>&amp;</b> ]]> <!--",
    "%s%n {0} ${HOME} ~ * ? [a-z]",
    "--yes -rf /",
    "naïve Ωμέγα 鳥 🦆 ﷽",
    "../../../etc/passwd",
    "null true 0x10 1e9 !!python/object:x &a *a",
)
NOT_PLAIN = ("\x1b[31mred\x07", "\u202egnirts", "a\x00b"[:1] + "\x01b")  # a terminal would obey these, or read them backwards


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey
        assert [path for path in covey.directory.rglob("*PWNED*") if path.name == "PWNED"] == []
        assert not Path("PWNED").exists()


@pytest.mark.parametrize("noun", ["instance", "image", "network", "pool", "token", "tag"])
async def test_a_name_is_plain_or_refused(covey: CoveyUp, noun: str) -> None:
    before = await covey.records(), covey.files()
    commands = {
        "instance": ("instance add --image tick --memory 16M", "--"),
        "image": (f"image add --source {covey.directory}/tick.raw", "--"),
        "network": ("network add --subnet 10.9.0.0/24", "--"),
        "pool": (f"pool add --path {covey.directory}/odd", "--"),
        "token": ("token add", "--"),
        "tag": ("instance add odd --image tick --memory 16M --tag",),
    }
    line, *separator = commands[noun]
    for text in (*NASTY, *NOT_PLAIN, "", "a" * 64, "-a", "UPPER" if noun != "tag" else "a b"):
        said = await covey.fail(line, *separator, text, status=BAD_INPUT)
        assert "\x1b" not in said
        assert "\u202e" not in said
    assert (await covey.records(), covey.files()) == before


async def test_free_text_is_kept_to_the_letter_and_harms_nobody(covey: CoveyUp) -> None:
    text = "\n".join(NASTY)
    line = NASTY[0] + NASTY[4] + NASTY[7]
    key = covey.directory / "key.pub"
    key.write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJustForTheStory {line}\n")
    data = covey.directory / "user-data"
    data.write_text(f"#cloud-config\n# {text!r}\nruncmd:\n  - [echo, {line!r}]\n")
    await covey.do(
        "instance add words --image tick --memory 16M --ssh-key",
        str(key),
        "--user-data",
        str(data),
        "--notes",
        text,
        "--reason",
        line,
    )
    await covey.goes_on("words")
    words = await covey.instance("words")
    assert words["notes"] == text
    assert words["ssh_keys"] == [key.read_text().strip()]
    (job, *_) = await covey.json("job list --filter object=words")
    assert job["reason"] == line
    seed = (covey.state / "seeds" / f"{words['id']}.iso").read_bytes()
    assert data.read_bytes() in seed
    assert key.read_text().strip() not in (covey.state / "libvirt/etc/qemu" / f"{words['id']}.xml").read_text()
    for listing in ("instance info words", "instance list", "job list", "event list", "status"):
        assert "Traceback" not in await covey.do(listing)
    await covey.do("node modify n1 --notes", text)
    assert (await covey.json("node info n1"))["notes"] == text
    await covey.do("cluster modify --notes", text)
    assert (await covey.json("cluster info"))["notes"] == text
    await covey.do("instance remove words --yes")
    assert not (covey.state / "seeds" / f"{words['id']}.iso").exists()


async def test_what_a_terminal_would_obey_is_refused(covey: CoveyUp) -> None:
    await covey.do("instance add mute --image tick --memory 16M --no-start")
    for text in NOT_PLAIN:
        for option in ("--notes", "--reason"):
            said = await covey.fail(
                "instance modify mute --notes x" if option == "--reason" else "instance modify mute",
                option,
                text,
                status=BAD_INPUT,
            )
            assert "control characters" in said
    await covey.do("instance remove mute --yes")


async def test_files_and_directories_may_have_any_name(covey: CoveyUp) -> None:
    odd = covey.directory / "a $(touch PWNED) 'ü' \"q\" ;&|<>,=%s"
    odd.mkdir(mode=0o711)
    source = odd / "dísk,file=x $(touch PWNED).raw"
    shutil.copy(covey.directory / "tick.raw", source)
    await covey.do("image add odd --source", str(source))
    await covey.do("pool add odd --path", str(odd / "pool"))
    await covey.do("instance add odd --image odd --memory 16M --disk 1M,pool=odd --disk 1M,pool=odd,format=raw")
    await covey.goes_on("odd")
    await covey.do("disk add odd 1M --pool odd")
    await covey.do("disk grow odd 1 2M")
    await covey.goes_on("odd")
    assert await covey.findings() == []
    await covey.do("instance remove odd --yes")
    await covey.do("pool remove odd --yes")
    await covey.do("image remove odd --yes")


async def test_a_source_that_is_no_plain_disk_is_refused_by_name(covey: CoveyUp) -> None:
    before = await covey.records(), covey.files()
    empty, text, chained = (covey.directory / name for name in ("empty", "text", "chained.qcow2"))
    empty.touch()
    text.write_text("hello")
    qemu_img(f"create -q -f qcow2 -b {covey.directory}/tick.raw -F raw {chained}")
    for source in (empty, text, chained, covey.directory, covey.directory / "nowhere", Path("/dev/null"), Path("/proc/self/mem")):
        answer = await covey.ask("image add odd --source", str(source))
        assert answer.status in (FAILED, BAD_INPUT), answer
        assert str(source) in answer.err
        assert "Traceback" not in answer.err
    for words in (
        "relative.raw",
        "",
        "$(touch PWNED)",
        "ftp://host/a",
        "http://user:word@host/a",
        "file:///etc/passwd",
        "http://[::1",
    ):
        answer = await covey.ask("image add odd --source", words)
        assert answer.status in (FAILED, BAD_INPUT), answer
        assert "Traceback" not in answer.err
        assert ":word@" not in answer.err, "passwords are not said again"
    await covey.fail(f"image add odd --source {covey.directory}/tick.raw --sha256 {'0' * 64}", status=1, says=["SHA-256"])
    assert (await covey.records(), covey.files()) == before


def qemu_img(line: str) -> None:
    subprocess.run(["qemu-img", *line.split()], check=True, timeout=20)


async def test_a_state_directory_may_have_an_odd_name() -> None:
    covey = CoveyUp("real")
    try:
        covey.state = covey.directory / "a b'ü&<"
        await covey.start()
        await covey.initialise()
        await covey.add_image()
        await covey.do("instance add odd --image tick --memory 16M --disk 1M --disk 1M")
        await covey.goes_on("odd")
        await covey.do("instance stop odd")
        assert await covey.findings() == []
    finally:
        await covey.close()
