"""job list, info, watch, cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from covey.base.errors import Refused
from covey.cli.asked import asked_lines
from covey.cli.change import GOES_ON, follow
from covey.cli.change import watch as watch_job
from covey.cli.lists import choose, names_of, show_items, show_json
from covey.cli.session import Session
from covey.cli.text import Column, advice, plain, plural, printable, say, since, timed
from covey.cli.verbs import DURATION, JOB, Look, Manner, Noun, Number, lists
from covey.cli.watch import because_lines, blocked_line, elapsed, ending, heading, step_line, tell_ending, waiting_line, width_of

if TYPE_CHECKING:
    from covey.client.documents import Job

COLUMNS = (
    Column("job", ("id",), lambda item, now: str(item["id"]), right=True),
    plain("state"),
    plain("title"),
    plain("user"),
    Column("age", ("created_at",), lambda item, now: since(item["created_at"], now), right=True),
    Column("took", ("created_at", "ended_at"), lambda item, now: elapsed(item, now), right=True),  # type: ignore[arg-type]
    plain("reason"),
    plain("kind"),
    plain("object"),
    plain("after"),
    plain("step", right=True),
    timed("created", "created_at"),
    timed("ended", "ended_at"),
    plain("request", "request_id"),
    Column("error", ("error",), lambda item, now: item["error"]["detail"] if item["error"] else "-"),
)
SHOWN = ("job", "state", "title", "user", "age", "took", "reason")

_WATCHING = Manner(dry_run=False, yes=False, quiet=False, reason="", after=(), no_wait=False, wait_s=None)


@click.group(cls=Noun)
def command() -> None:
    """Changes under way, and what became of them."""


@command.command(
    "list",
    examples=[
        "covey job list",
        "covey job list --filter 'state=failed user=anna'",
        "covey job list --filter object=web1 --limit 5",
    ],
)
@lists(*names_of(COLUMNS))
@click.option("--limit", type=Number(1), default=50, metavar="N", help="At most so many. [50]")
@click.pass_obj
def list_(session: Session, /, look: Look, limit: int) -> None:
    """Jobs, the newest first."""
    chosen = choose(COLUMNS, look, SHOWN)
    listing = session.client.list("jobs", filter=look.filter, most=limit)
    full = len(listing.items) == limit
    more = f"the newest {plural(limit, 'job')}; more: --limit"
    show_items(listing.items, listing.at, look, chosen, "job", (lambda items: more) if full else None)


@command.command("info", examples=["covey job info 412", "covey job info 412 --log", "covey job info 412 --json"])
@click.argument("job", type=JOB)
@click.option("--log", is_flag=True, help="What its steps said, too.")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, job: int, log: bool, as_json: bool) -> None:
    """Its steps, why they are what they are, and what became of them."""
    from covey.client.client import ENDED

    answer = session.client.answer("jobs", job)
    found = answer.json()
    if as_json:
        show_json(found)
        return
    say(f"{heading(found)}  {found['state'].replace('_', ' ')} {elapsed(found, answer.at)}")
    for line in asked_lines(found.get("request", {}), found["title"]):
        say(line)
    if found.get("reason"):
        say(f'  reason: "{found["reason"]}"')
    if found.get("after"):
        say(f"  after: job {', '.join(map(str, found['after']))}")
    for line in because_lines(found.get("reasons", [])):
        say(line)
    for warning in found.get("warnings", []):
        say(f"  warning: {warning}")
    for step in found.get("steps", []):
        say(step_line(step, width_of(found["steps"])))
    for line in (waiting_line(found), blocked_line(found)):
        if line:
            say(line)
    if found["state"] in ENDED:
        sentence, hint = ending(found)
        say(sentence)
        if hint:
            say(f"  {advice(hint)}")
    if log:
        for line in str(found.get("log") or "it said nothing").splitlines():
            print(printable(line))


@command.command("watch", examples=["covey job watch 412", "covey job watch 412 --wait-timeout 5m"])
@click.argument("job", type=JOB)
@click.option("--wait-timeout", type=DURATION, help="Watch at most so long (exit 5); the job goes on.")
@click.pass_obj
def watch(session: Session, /, job: int, wait_timeout: float | None) -> int:
    """Show its steps as they end, until it has ended. Exits as the job did; Ctrl-C leaves it to go on."""
    return follow(session.client, session.client.job(job), replace(_WATCHING, wait_s=wait_timeout))


@command.command("cancel", change=True, examples=["covey job cancel 412", "covey job cancel 412 --dry-run"])
@click.argument("job", type=JOB)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would happen and change nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait until what it did is undone.")
@click.pass_obj
def cancel(session: Session, /, job: int, dry_run: bool, no_wait: bool) -> int:
    """Stop it and take back what it did. Past the point of no return a job only goes on."""
    client = session.client
    if dry_run:
        say(_prospect(client.job(job)))
        return 0
    cancelled = client.cancel(job)
    if no_wait:
        print(cancelled["id"])
        return 0
    ended = watch_job(client, cancelled, _WATCHING)
    return GOES_ON if ended is None else _tell_cancelled(ended)


def _tell_cancelled(job: Job) -> int:
    """A cancelled job is what was wanted; one that ended otherwise is told as it is."""
    if job["state"] != "cancelled":
        tell_ending(job)
        raise Refused(f"it ended {job['state'].replace('_', ' ')} before it could be cancelled", f"job {job['id']}")
    say(f"job {job['id']}  {ending(job)[0]}")
    return 0


def _prospect(job: Job) -> str:
    """What cancelling would do, as far as one can say now."""
    from covey.client.client import ENDED

    number = job["id"]
    if job["state"] in ENDED:
        raise Refused(f"it is over already: {job['state'].replace('_', ' ')}", f"job {number}", f"see: covey job info {number}")
    if job["state"] == "waiting":
        return f"job {number} would no longer wait; what was done stays"
    begun = [step for step in job["steps"] if step["state"] in ("done", "running")]
    if any(step["role"] != "undoable" for step in begun):
        raise Refused("it is past the point where it can be taken back", f"job {number}", f"let it end: covey job watch {number}")
    undone = ", ".join(str(step["number"]) for step in reversed(begun))
    return f"job {number} would be cancelled; {f'its steps {undone} would be undone' if undone else 'it has done nothing yet'}"
