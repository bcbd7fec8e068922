"""How every change is carried out: shown, asked about, handed in, followed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covey.base.errors import BadInput, CoveyError
from covey.base.units import humane_duration
from covey.cli.session import Session
from covey.cli.text import complain, plural, printable, say, tell
from covey.cli.verbs import Manner
from covey.cli.watch import WAITS_FOR, Watch, because_lines, ending, step_title, tell_ending, width_of

if TYPE_CHECKING:
    from covey.client.client import Change, Client, Terms
    from covey.client.documents import Job, Plan

GOES_ON = 5  # exit status: no longer waiting, the job goes on


@dataclass(frozen=True, slots=True)
class Task:
    """One change of several, by the object it is for."""

    name: str
    change: Change


def carry_out(session: Session, change: Change, manner: Manner, destructive: bool = False) -> int:
    """Show, ask if it destroys, hand in, follow. Returns the exit status."""
    client = session.client
    if manner.dry_run:
        show_plan(client.plan(change))
        return 0
    expect = ""
    if destructive:
        check_can_ask(manner)
        if manner.after:
            question = f"the plan is made when job {', '.join(map(str, manner.after))} is over: go on?"
        else:
            plan = client.plan(change)
            expect = plan["digest"]
            if not (manner.yes and manner.quiet):
                show_plan(plan)
            question = "go on?"
        if not ask(question, manner):
            return 1
    return follow(client, client.submit(change, terms_of(manner, expect)), manner)


def carry_out_many(session: Session, tasks: Sequence[Task], noun: str, manner: Manner, destructive: bool = False) -> int:
    """The same change to many objects, each a job of its own: shown, asked about by their number, handed in together."""
    client = session.client
    if not tasks:
        say(f"no {noun} matches: nothing to do")
        return 0
    if not manner.dry_run:
        check_can_ask(manner)
    digests: dict[str, str] = {}
    if manner.dry_run or (destructive and not manner.after):
        for task in tasks:
            plan = client.plan(task.change)
            digests[task.name] = plan["digest"]
            show_plan(plan)
    if manner.dry_run:
        return 0
    if not manner.yes:
        say(f"  {', '.join(task.name for task in tasks)}")
    if not ask(f"this is {plural(len(tasks), noun)}: go on?", manner):
        return 1
    return submit_many(client, [(task, terms_of(manner, digests.get(task.name, ""))) for task in tasks], manner)


def submit_many(client: Client, tasks: Sequence[tuple[Task, Terms]], manner: Manner, stop: bool = False) -> int:
    """Hand all in, then wait for each, with one line each. One that is refused does not hinder the others, unless it is to `stop`
    those behind it."""
    status = 0
    jobs: list[Job] = []
    for position, (task, terms) in enumerate(tasks, 1):
        try:
            jobs.append(client.submit(task.change, terms))
        except CoveyError as error:
            tell(error)
            status = 1
            if stop:
                complain(
                    f"{len(jobs)} of {len(tasks)} were handed in; {task.name} and {len(tasks) - position} behind it were not"
                )
                break
    if manner.no_wait:
        for job in jobs:
            print(job["id"])
        return status
    return max(status, await_many(client, jobs, manner))


def await_many(client: Client, jobs: Sequence[Job], manner: Manner) -> int:
    """Wait for all jobs, with one line each. Returns the exit status."""
    deadline = _deadline(manner)
    status = 0
    ends: Counter[str] = Counter()
    for position, job in enumerate(jobs):
        try:
            ended = client.wait(job["id"], deadline)
        except (KeyboardInterrupt, TimeoutError):
            rest = [str(other["id"]) for other in jobs[position:]]
            complain(f"{plural(len(rest), 'job')} may go on: {', '.join(rest)}", "covey job list --filter state=running")
            return GOES_ON
        sentence, hint = ending(ended)
        ends[ended["state"]] += 1
        if ended["state"] != "succeeded":
            complain(f"job {ended['id']}  {ended['title']}  {sentence}", hint)
            status = 1
        elif not manner.quiet:
            print(printable(f"job {ended['id']}  {ended['title']}  {sentence}"), flush=True)
    if len(jobs) > 1 and not manner.quiet:
        counted = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in ends.most_common())
        say(f"{plural(len(jobs), 'job')}: {counted}")
    return status


def follow(client: Client, job: Job, manner: Manner) -> int:
    """Show the job's steps until it has ended; Ctrl-C lets go of it. Returns the exit status."""
    if manner.no_wait:
        print(job["id"])
        return 0
    ended = watch(client, job, manner)
    if ended is None:
        return GOES_ON
    if ended["state"] != "succeeded" or not manner.quiet:
        tell_ending(ended)
    return 0 if ended["state"] == "succeeded" else 1


def watch(client: Client, job: Job, manner: Manner) -> Job | None:
    """Show a job until it has ended. None when no longer waited for: it goes on, and that is said."""
    from covey.client.client import ENDED

    view = Watch(manner.quiet)
    try:
        view.show(job)
        if job["state"] not in ENDED:
            for event in client.follow(job["id"], _deadline(manner)):
                if event.name == "job":
                    job = event.data
                    view.show(job)
                elif event.name == "progress":
                    view.progress(event.data)
    except (KeyboardInterrupt, TimeoutError):
        view.end()
        complain(f"job {job['id']} goes on: covey job watch {job['id']}")
        return None
    except BaseException:
        view.end()
        raise
    view.end()
    return job


def show_plan(plan: Plan) -> None:
    """The plan with its reasons and warnings, as --dry-run prints it."""
    say(f"plan: {plan['summary']}")
    for line in because_lines(plan["reasons"]):
        say(line)
    for step in plan["steps"]:
        say(f"  {step['number']:>2}  {step_title(step):<{width_of(plan['steps'])}}{_no_way_back(plan, step)}".rstrip())
    for number, part in enumerate(plan.get("parts", []), 1):
        say(f"  {number:>2}  a job of its own: {part}")
    if not plan["steps"] and not plan.get("parts"):
        say("  no steps are needed")
    awaits: Any = plan.get("awaits")
    if awaits:
        limit = awaits.get("deadline_s")
        at_most = f" (at most {humane_duration(limit)}; holds nothing)" if limit else ""
        say(f"  then waits until {WAITS_FOR.get(awaits['condition'], awaits['condition'])}{at_most}")
    for warning in plan["warnings"]:
        say(f"  warning: {warning}")


def _no_way_back(plan: Plan, step: Any) -> str:
    first = next((planned["number"] for planned in plan["steps"] if planned["role"] != "undoable"), 0)
    return "  (no way back)" if step["number"] == first else ""


def check_can_ask(manner: Manner) -> None:
    """Raises BadInput where nobody is there to be asked."""
    if not manner.yes and not sys.stdin.isatty():
        raise BadInput(
            "this must be confirmed, and there is no terminal to ask on", "", "add --yes, or look first with --dry-run"
        )


def ask(question: str, manner: Manner) -> bool:
    """Whether the person says yes; with --yes nobody is asked. A no is acknowledged."""
    if manner.yes:
        return True
    sys.stdout.flush()
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    complain("nothing was changed")
    return False


def terms_of(manner: Manner, expect: str = "") -> Terms:
    from covey.client.client import Terms

    return Terms(manner.reason, manner.after, expect)


def _deadline(manner: Manner) -> float | None:
    return None if manner.wait_s is None else time.monotonic() + manner.wait_s
