"""The one door to subprocesses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from covey.base.errors import StepFailed, Unavailable
from covey.base.run import KEPT, pasteable, run

# A command with a child of its own, which would live for a minute; tells both process ids.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


async def ended(pid: int, within_s: float = 10) -> bool:
    """Whether a process ends in time, reaped or not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(process, over.set)
    try:
        return await asyncio.wait_for(over.wait(), within_s)
    finally:
        asyncio.get_running_loop().remove_reader(process)
        os.close(process)


async def test_a_command_leaves_its_output_and_its_status() -> None:
    done = await run(python("import sys; print('out'); print('err', file=sys.stderr)"), timeout_s=20)
    assert (done.status, done.text, done.stderr) == (0, "out\n", b"err\n")


async def test_nothing_in_an_argument_is_seen_by_a_shell() -> None:
    nasty = "$(id) `id` ; * ~ ' \" \\ \n"
    done = await run(python("import sys; sys.stdout.write(sys.argv[1])", nasty), timeout_s=20)
    assert done.text == nasty


async def test_a_command_reads_what_it_is_given_and_otherwise_nothing() -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read())"
    assert (await run(python(program), timeout_s=20, stdin=b"secret")).text == "secret"
    assert (await run(python(program), timeout_s=20)).text == ""


async def test_the_environment_is_clean_but_for_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_TOKEN", "hunter2")
    done = await run(("env",), timeout_s=20, env={"ADDED": "yes"})
    names = {line.partition("=")[0] for line in done.text.splitlines()}
    assert names == {"PATH", "HOME", "LANG", "ADDED"}


async def test_a_failure_names_the_object_and_can_be_pasted() -> None:
    argv = python("import sys; sys.exit('it broke')", "two words")
    with pytest.raises(StepFailed) as caught:
        await run(argv, timeout_s=20, object="disk web1/0", hint="look")
    assert pasteable(argv) in caught.value.what and "'two words'" in caught.value.what
    assert "ended with status 1: it broke" in caught.value.what
    assert (caught.value.object, caught.value.hint) == ("disk web1/0", "look")


async def test_a_failure_that_is_expected_is_only_a_status() -> None:
    assert (await run(python("raise SystemExit(3)"), timeout_s=20, check=False)).status == 3


async def test_a_signal_is_told_by_name() -> None:
    with pytest.raises(StepFailed, match="ended by signal SIGTERM"):
        await run(python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"), timeout_s=20)


async def test_a_signal_without_a_name_is_told_by_number() -> None:
    number = signal.SIGRTMIN + 3
    with pytest.raises(StepFailed, match=f"ended by signal {number}"):
        await run(python(f"import os; os.kill(os.getpid(), {number})"), timeout_s=20)


async def test_a_missing_program_is_unavailable_and_named() -> None:
    with pytest.raises(Unavailable, match=r"covey-no-such-program is not installed.*install"):
        await run(("covey-no-such-program", "--version"), timeout_s=20)


async def test_a_file_that_is_no_program_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(Unavailable, match="may not be started"):
        await run((str(tmp_path / "text"),), timeout_s=20)


async def test_a_missing_directory_is_not_mistaken_for_a_missing_program(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cwd in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(Unavailable, match=str(cwd)):
            await run(("env",), timeout_s=20, cwd=cwd)


async def test_a_command_that_takes_too_long_is_killed_with_its_children() -> None:
    lines: list[str] = []
    with pytest.raises(StepFailed, match=r"(?s)image x: .* did not end within 2 s and was killed"):
        await run(python(FAMILY), timeout_s=2, on_line=lines.append, object="image x")
    parent, child = map(int, lines[0].split())
    assert await ended(parent) and await ended(child)


async def test_a_command_whose_output_nobody_follows_is_killed_all_the_same() -> None:
    with pytest.raises(StepFailed, match=r"did not end within 0\.2 s"):
        await run(("sleep", "60"), timeout_s=0.2)


async def test_a_cancelled_caller_takes_the_command_and_its_children_along() -> None:
    told = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(python(FAMILY), timeout_s=60, on_line=told.set_result))
    parent, child = map(int, (await asyncio.wait_for(told, 20)).split())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ended(parent) and await ended(child)


async def test_a_command_is_no_member_of_our_process_group() -> None:
    done = await run(python("import os; print(os.getpgid(0))"), timeout_s=20)
    assert int(done.text) != os.getpgid(0)


async def test_lines_of_both_streams_are_handed_on_as_they_come(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    program = (
        "import os, sys, time; print('first', file=sys.stderr, flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not os.path.exists(sys.argv[1]) and time.monotonic() < end: time.sleep(0.01)\n"
        "print('second', flush=True)"
    )
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        go_on.touch()  # only a line that was seen lets the command end

    await run(python(program, str(go_on)), timeout_s=10, on_line=note)
    assert lines == ["first", "second"]


async def test_each_step_of_a_progress_bar_is_a_line() -> None:
    lines: list[str] = []
    program = r"import sys; sys.stdout.write('10 %\r20 %\r\nlast without end')"
    await run(python(program), timeout_s=20, on_line=lines.append)
    assert lines == ["10 %", "20 %", "last without end"]


async def test_of_a_command_followed_by_line_the_tail_is_kept() -> None:
    lines: list[str] = []
    done = await run(python(f"print('x' * {KEPT}); print('the end')"), timeout_s=20, on_line=lines.append)
    assert len(done.stdout) == KEPT and done.text.endswith("the end\n")
    assert lines[-1] == "the end"


async def test_a_failure_of_a_followed_command_tells_its_last_words() -> None:
    with pytest.raises(StepFailed, match="no space left"):
        await run(python("raise SystemExit('no space left')"), timeout_s=20, on_line=lambda _: None)


async def test_a_followed_command_reads_what_it_is_given() -> None:
    lines: list[str] = []
    program = "import sys; print(len(sys.stdin.read()))"
    await run(python(program), timeout_s=20, stdin=b"x" * 1_000_000, on_line=lines.append)
    assert lines == ["1000000"]


async def test_a_command_that_does_not_read_its_input_is_no_error() -> None:
    done = await run(python("print('done')"), timeout_s=20, stdin=b"x" * 1_000_000)
    assert done.text == "done\n"


async def test_output_that_is_no_text_is_kept_as_it_is() -> None:
    done = await run(python(r"import sys; sys.stdout.buffer.write(b'\xff\x00')"), timeout_s=20)
    assert done.stdout == b"\xff\x00"
