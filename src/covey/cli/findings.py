"""Findings of `cluster verify` and `status`, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covey.cli.text import plural, say

FOUND_ERRORS = 4  # exit status: findings of severity error


def show_findings(findings: Sequence[Any]) -> None:
    """What is wrong with what; below it why, and what mends it."""
    objects = max((len(finding["object"]) for finding in findings), default=0)
    names = max((len(finding.get("name") or "") for finding in findings), default=0)
    for finding in findings:
        name = f"{finding.get('name') or '':<{names}}  " if names else ""  # status has none
        say(f"{finding['severity'].upper():<7}  {finding['object']:<{objects}}  {name}{finding['what']}")
        for key in ("why", "fix"):
            if finding.get(key):
                say(f"         {key}: {finding[key]}")


def counted(findings: Sequence[Any]) -> str:
    """1 error, 2 warnings"""
    return ", ".join(plural(count_of(findings, severity), severity) for severity in ("error", "warning"))


def count_of(findings: Sequence[Any], severity: str) -> int:
    return sum(finding["severity"] == severity for finding in findings)


def status_of(findings: Sequence[Any]) -> int:
    return FOUND_ERRORS if count_of(findings, "error") else 0
