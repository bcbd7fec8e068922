"""Rules as people write them: in tcp 80,443 from 10.0.0.0/8."""

from __future__ import annotations

from typing import Any

import click

from covey.base.errors import BadInput, check

EXAMPLE = "in tcp 80,443 from 10.0.0.0/8; out udp 53; in any from firewall:web"


class RuleText(click.ParamType[dict[str, str]]):
    """A rule; the API's object within."""

    name = "RULE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        return value if isinstance(value, dict) else parse_rule(value)


def parse_rule(text: str) -> dict[str, str]:
    """DIRECTION [PROTOCOL [PORTS]] [from|to PEER]. Raises BadInput."""
    hint = f"write it like: {EXAMPLE}"
    words = text.split()
    check(words and words[0] in ("in", "out"), BadInput(f"{text!r} says neither in nor out", "rule", hint))
    side = "from" if words[0] == "in" else "to"
    wrong = "to" if side == "from" else "from"
    check(wrong not in words, BadInput(f"{text!r}: {words[0]} goes with {side}", "rule", hint))
    rule = {"direction": words[0]}
    if side in words:
        place = words.index(side)
        check(len(words) == place + 2, BadInput(f"{text!r} needs one peer behind {side}", "rule", hint))
        rule["peer"] = "" if words[place + 1] == "any" else words[place + 1]
        words = words[:place]
    check(len(words) <= 3, BadInput(f"{text!r} has a word too many", "rule", hint))
    return rule | dict(zip(("protocol", "ports"), words[1:], strict=False))


def rule_text(rule: dict[str, str]) -> str:
    side = "from" if rule["direction"] == "in" else "to"
    words = (rule["direction"], rule["protocol"], rule["ports"], side, rule["peer"] or "any")
    return " ".join(word for word in words if word)


RULE = RuleText()
