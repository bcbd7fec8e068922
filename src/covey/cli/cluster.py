"""cluster init, info, modify, verify, export; what brings records back is in backup.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from covey.base.errors import BadInput, check
from covey.base.units import humane_duration
from covey.cli.backup import backup, compact, reconcile, recover, restore
from covey.cli.change import ask, await_many, carry_out, check_can_ask
from covey.cli.findings import counted, show_findings, status_of
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import complain, paragraph, plural, say, spoken_size, when
from covey.cli.verbs import DURATION, SIZE, Manner, Name, Noun, Number, changes

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULTS = (
    "cpus",
    "memory",
    "machine",
    "stop_graceful_s",
    "ready_timeout_s",
    "crash_restarts",
    "crash_window_s",
    "keep_removed_s",
)


@click.group(cls=Noun)
def command() -> None:
    """The cluster itself."""


def defaults(function: F) -> F:
    """Decorator: what instances get when nobody says otherwise."""
    wrapped: Any = function
    for option in (
        click.option("--keep-removed", "keep_removed_s", type=DURATION, help="Keep what was removed; 0s: not at all. [7d]"),
        click.option("--crash-window", "crash_window_s", type=DURATION, help="Within so long. [1h]"),
        click.option("--crash-restarts", type=Number(0), metavar="N", help="Start again after so many crashes ... [5]"),
        click.option("--ready-timeout", "ready_timeout_s", type=DURATION, help="How long to wait for a guest to report. [10m]"),
        click.option("--stop-timeout", "stop_graceful_s", type=DURATION, help="How long a guest may take to shut down. [2m]"),
        click.option("--machine", metavar="TYPE", help="Machine type of new instances. [pc-q35-7.2]"),
        click.option("--memory", type=SIZE, help="Memory of new instances. [1G]"),
        click.option("--cpus", type=Number(1), metavar="N", help="Processors of new instances. [1]"),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


@command.command(
    "init",
    change=True,
    examples=[
        "covey cluster init school",
        "covey cluster init lab --accelerator tcg --pool-path /srv/vm --node-name n1",
    ],
)
@click.argument("name", type=Name("cluster"))
@click.option("--accelerator", type=click.Choice(["auto", "kvm", "tcg"]), help="How guests are run; auto tries. [auto]")
@click.option("--mac-prefix", metavar="XX:XX:XX", help="First three bytes of guests' MAC addresses. [02:c0:7e]")
@click.option("--pool-path", metavar="DIR", help="Where the first pool keeps disks. [in the state directory]")
@click.option("--node-name", metavar="NAME", help="This machine's name as a node. [its host name]")
@defaults
@changes
@click.pass_obj
def init(session: Session, /, name: str, manner: Manner, **wishes: Any) -> int:
    """Make a cluster of this one machine, with a first pool `default`. Whether it is fit for that: covey node prepare."""
    from covey.client.client import Change

    body = {"name": name, **{key: value for key, value in wishes.items() if value is not None and key not in _DEFAULTS}}
    asked = _asked(wishes)
    if asked:
        body["defaults"] = asked
    return carry_out(session, Change("POST", "/v1/cluster", body), manner)


def _asked(wishes: dict[str, Any]) -> dict[str, Any]:
    return {key: wishes[key] for key in _DEFAULTS if wishes[key] is not None}


@command.command("info", examples=["covey cluster info", "covey cluster info --json"])
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, as_json: bool) -> None:
    """Its name, how guests are run, and what instances get by default."""
    cluster = session.client.get("cluster")
    if as_json:
        show_json(cluster)
        return
    given = cluster["defaults"]
    facts = [
        ("Accelerator", f"{cluster['accelerator']}: {cluster['accelerator_why']}".removesuffix(": ")),
        ("New instances", f"{plural(given['cpus'], 'CPU')}, {spoken_size(given['memory'])}, {given['machine']}"),
        ("Stopping", f"asked for {humane_duration(given['stop_graceful_s'])}, then cut"),
        ("Ready within", humane_duration(given["ready_timeout_s"])),
        ("After crashes", f"started again {given['crash_restarts']} times within {humane_duration(given['crash_window_s'])}"),
        ("Once removed", f"kept for {humane_duration(given['keep_removed_s'])}" if given["keep_removed_s"] else "gone at once"),
        ("MAC addresses", f"{cluster['mac_prefix']}:..."),
        ("Last backup", _spoken_backup(cluster["backup"])),
        ("Made", when(cluster["created_at"])),
        ("Notes", cluster["notes"]),
        ("UUID", cluster["id"]),
    ]
    head = f"cluster {cluster['name']}  {plural(cluster['nodes'], 'node')}, {plural(cluster['instances'], 'instance')}"
    paragraph(head, facts)


def _spoken_backup(last: Any) -> str:
    if not last["made_at"]:
        return "none yet"
    return f"{when(last['made_at'])} on {last['node']}, {spoken_size(last['size'])}: {last['file']}"


@command.command(
    "modify",
    change=True,
    examples=["covey cluster modify --memory 2G --cpus 2", "covey cluster modify --name school --notes 'room 12'"],
)
@click.option("--name", type=Name("cluster"), help="Its name from now on.")
@click.option("--notes", metavar="TEXT", help="Its notes from now on.")
@defaults
@changes
@click.pass_obj
def modify(session: Session, /, name: str | None, notes: str | None, manner: Manner, **wishes: Any) -> int:
    """Change its name, its notes and what new instances get."""
    from covey.client.client import Change

    body: dict[str, Any] = {key: value for key, value in (("name", name), ("notes", notes)) if value is not None}
    asked = _asked(wishes)
    check(body or asked, BadInput("nothing is to be changed", "cluster modify", "say what: covey cluster modify --help"))
    if asked:
        body["defaults"] = asked
    return carry_out(session, Change("PATCH", "/v1/cluster", body), manner)


@command.command(
    "verify",
    change=True,
    examples=["covey cluster verify", "covey cluster verify --json", "covey cluster verify --fix"],
)
@click.option("--fix", is_flag=True, help="Mend what can be mended without losing anything in use.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@click.option("-n", "--dry-run", is_flag=True, help="With --fix: say what would be mended and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="With --fix: do not ask.")
@click.option("--no-wait", is_flag=True, help="With --fix: print the jobs' numbers and do not wait for them.")
@click.option("--wait-timeout", type=DURATION, help="With --fix: wait at most so long (exit 5); the jobs go on.")
@click.pass_obj
def verify(
    session: Session, /, fix: bool, as_json: bool, dry_run: bool, yes: bool, no_wait: bool, wait_timeout: float | None
) -> int:
    """Compare what every node has with the records. Exits with 4 when there is an error; warnings alone are 0."""
    check(not (fix and as_json), BadInput("either mend or list", "--json", "leave one out"))
    manner = Manner(dry_run, yes, quiet=False, reason="", after=(), no_wait=no_wait, wait_s=wait_timeout)
    if fix and not manner.dry_run:
        check_can_ask(manner)
    found = session.client.verify()
    if as_json:
        show_json(found)
        return status_of(found["findings"])
    _show(found)
    if not fix:
        return status_of(found["findings"])
    fixable = [finding for finding in found["findings"] if finding["fixable"]]
    if not fixable:
        say("there is nothing that can be mended by itself")
        return status_of(found["findings"])
    question = f"{plural(len(fixable), 'finding')} can be mended"
    if manner.dry_run:
        say(f"{question}: {', '.join(finding['object'] for finding in fixable)}")
        return status_of(found["findings"])
    return _mend(session, fixable, manner) if ask(f"{question}: go on?", manner) else 1


def _mend(session: Session, findings: list[Any], manner: Manner) -> int:
    """Mend, wait, and look again. Returns the exit status."""
    fixing = session.client.fix([finding["id"] for finding in findings])
    if manner.no_wait:
        for job in fixing["jobs"]:
            print(job["id"])
        return 0
    status = await_many(session.client, fixing["jobs"], manner)
    if status:
        return status
    for finding in fixing["left"]:
        complain(f"left: {finding['object']}: {finding['what']}", finding.get("fix") or "")
    after = session.client.verify()
    say("verified again:")
    _show(after)
    return status_of(after["findings"])


def _show(found: Any) -> None:
    show_findings(found["findings"])
    say(
        f"{plural(found['checks'], 'check')} on {plural(found['nodes'], 'node')}, {plural(found['instances'], 'instance')}"
        f" in {found['seconds']:.1f} s: {counted(found['findings'])}"
    )


@command.command("export", examples=["covey cluster export > school.yaml", "covey cluster export --json"])
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def export(session: Session, /, as_json: bool) -> None:
    """All that is wanted of the cluster, as YAML in an order of its own: keep it in version control. Secrets are not in it.

    `covey instance add -f FILE` makes the instances of such a file anew, save for their user-data and for what stands on their disks.
    """
    document = session.client.get("cluster", "export")
    if as_json:
        show_json(document)
        return
    import yaml

    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), end="")


for verb in (backup, restore, recover, reconcile, compact):
    command.add_command(verb)
