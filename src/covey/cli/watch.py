"""A job as it goes: one line for each step as it ends, and how it came out."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from covey.cli.text import complain, printable, say, seconds_of

if TYPE_CHECKING:
    from covey.client.documents import Job, JobStep, Progress

WAITS_FOR = {"ready": "the guest reports ready"}
_CLEAR = "\r\x1b[K"


def elapsed(job: Job, now: float | None = None) -> str:
    """How long the job has taken: until it ended, else until now."""
    begun = seconds_of(job.get("created_at"))
    ended = seconds_of(job.get("ended_at")) or now
    return "" if begun is None or ended is None else f"{max(0.0, ended - begun):.1f} s"


def heading(job: Job) -> str:
    return f"job {job['id']}  {job['title']}  by {job['user']}"


def step_line(step: JobStep, width: int) -> str:
    seconds = step.get("seconds")
    took = "" if seconds is None or step["state"] not in ("done", "running") else f"{seconds:7.1f} s"
    return f"  {step['state']:<8}{step['number']:>3}  {step_title(step):<{width}}  {took}".rstrip()


def step_title(step: Any) -> str:
    return f"{step['title']}, {step['node']}" if step.get("node") else str(step["title"])


def width_of(steps: Any) -> int:
    return min(54, max((len(step_title(step)) for step in steps), default=0))


def because_lines(reasons: Sequence[str]) -> list[str]:
    """The reasons of a plan, a line each."""
    return [f"  {'because:' if number == 0 else '':<8} {reason}" for number, reason in enumerate(reasons)]


def waiting_line(job: Job) -> str:
    waiting = job.get("waiting")
    if not waiting:
        return ""
    deadline = seconds_of(waiting["deadline_at"])
    until = "" if deadline is None else f"until {time.strftime('%H:%M:%S', time.localtime(deadline))} at most; "
    return f"  waiting      {WAITS_FOR.get(waiting['condition'], waiting['condition'])} ({until}holds nothing)"


def blocked_line(job: Job) -> str:
    blocked = job.get("blocked")
    if not blocked:
        return ""
    return f"  queued       {blocked['object']} is in use by job {blocked['by']}"


def ending(job: Job) -> tuple[str, str]:
    """How an ended job came out, in a few sentences, and what to do next ("" when it succeeded)."""
    if job["state"] == "succeeded":
        return (
            f"done in {elapsed(job)}"
            if job.get("steps") or job.get("children")
            else f"done: {job.get('summary') or job['title']}"
        ), ""
    error = job.get("error")
    failed = next((step for step in job.get("steps", []) if step["state"] == "failed"), None)
    where = f" at step {failed['number']}{' on ' + failed['node'] if failed['node'] else ''}" if failed else ""
    why = ""
    if error:
        of_what = error.get("object") or ""
        why = f": {error['detail']}" if of_what in ("", f"job {job['id']}") else f": {of_what}: {error['detail']}"
    sentences = [f"{job['state'].replace('_', ' ')}{where}{why}".rstrip(".")]
    undone = [str(step["number"]) for step in reversed(job.get("steps", [])) if step["state"] == "undone"]
    if undone:
        sentences.append(f"Undone: {', '.join(undone)}")
    if job.get("left"):
        sentences.append(f"Left: {'; '.join(job['left'])}")
    elif undone:
        sentences.append("Nothing is left")
    return ". ".join(sentences) + ".", str(error.get("hint") or "") if error else ""


def tell_ending(job: Job) -> None:
    """Success on standard output, anything else on standard error with what to do."""
    sentence, hint = ending(job)
    if job["state"] == "succeeded":
        say(sentence)
        return
    complain(sentence, hint)
    if job.get("log"):
        complain(f"  full log: covey job info {job['id']} --log")


class Watch:
    """Shows a job's changes as they come. On a terminal the step under way has a line of its own, written over and over."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = sys.stdout.isatty() and not quiet
        self._said: set[str] = set()
        self._job: Job | None = None
        self._progress: Progress | None = None

    def show(self, job: Job) -> None:
        self._job = job
        if job["state"] not in ("running", "undoing"):
            self._progress = None
        self._say_once(heading(job))
        if job["state"] == "queued":
            self._say_once(blocked_line(job))
        for line in because_lines(job.get("reasons", [])):
            self._say_once(line)
        for warning in job.get("warnings", []):
            self._say_once(f"  warning: {warning}")
        width = width_of(job.get("steps", []))
        for step in job.get("steps", []):
            if step["state"] == "done":
                self._say_once(step_line(step, width), f"done {step['number']}")
        for step in reversed(job.get("steps", [])):
            if step["state"] == "undone":
                self._say_once(step_line(step, width), f"undone {step['number']}")
        for number, child in enumerate(job.get("children", []), 1):
            self._say_once(f"  begun    {number:>3}  job {child['id']}: {child['title']}", f"child {child['id']}")
        self._say_once(waiting_line(job))
        self._draw()

    def progress(self, progress: Progress) -> None:
        self._progress = progress
        self._draw()

    def end(self) -> None:
        """Leave the terminal's line as found."""
        if self._live:
            print(_CLEAR, end="", flush=True)

    def _say_once(self, line: str, key: str = "") -> None:
        if not line or self._quiet or (key or line) in self._said:
            return
        self._said.add(key or line)
        if self._live:
            print(_CLEAR, end="")
        print(printable(line), flush=True)

    def _draw(self) -> None:
        job = self._job
        if not self._live or job is None:
            return
        now = next((step for step in job.get("steps", []) if step["state"] == "running"), None)
        line = ""
        if now and job["state"] in ("running", "undoing"):
            line = f"  {job['state']:<8}{now['number']:>3}  {step_title(now)} ... {progress_text(self._progress)}"
        width = shutil.get_terminal_size().columns - 1
        print(_CLEAR + printable(line)[:width], end="", flush=True)


def progress_text(progress: Progress | None) -> str:
    if not progress:
        return ""
    done, total = progress.get("done"), progress.get("total")
    share = f"{100 * done / total:.0f} %" if done is not None and total else ""
    return " ".join(part for part in (str(progress.get("text") or ""), share) if part)
