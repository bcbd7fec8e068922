"""covey status: whether all is well, on one screen."""

from __future__ import annotations

from typing import Any

import click

from covey.cli.findings import show_findings, status_of
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import say, seconds_of, since
from covey.cli.verbs import Verb


@click.command("status", cls=Verb, examples=["covey status", "covey status --json"])
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def command(session: Session, /, as_json: bool) -> int:
    """Whether all is well, and if not, what to do. Exits with 4 when there is an error; warnings alone are 0."""
    status = session.client.get("status")
    findings = status["findings"]
    if as_json:
        show_json(status)
        return status_of(findings)
    say(f"{status['cluster'] or 'covey'}: {status['summary']}")
    nodes = status["nodes"]
    say(f"  nodes      {nodes['answering']} of {nodes['all']} answer")
    leader = status["leader"]
    if leader and nodes["all"] > 1:
        say(f"  leader     {leader['node']}{_since(leader, status['as_of'])}")
    if status["copies"]:
        say(f"  records    on {', '.join(status['copies'])}")
    say(f"  instances  {_counts(status['instances'])}")
    jobs = ", ".join(f"{count} {state}" for state, count in status["jobs"].items())
    say(f"  jobs       {jobs or 'none under way'}")
    show_findings([{**finding, "what": finding["what"] + _since(finding, status["as_of"])} for finding in findings])
    return status_of(findings)


def _counts(instances: dict[str, int]) -> str:
    """3: 2 running, 1 crashed"""
    states = ", ".join(f"{count} {state}" for state, count in instances.items() if state != "all")
    return f"{instances['all']}: {states}" if states else str(instances["all"])


def _since(finding: dict[str, Any], as_of: str) -> str:
    moment = finding.get("since_at")
    return f" (for {since(moment, seconds_of(as_of) or 0.0)})" if moment else ""
