"""What all verbs share: examples in their help, the options of lists and of changes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from covey.base.errors import BadInput, check
from covey.base.units import parse_duration, parse_rate, parse_size
from covey.model.names import check_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
COMPLETING = "_COVEY_COMPLETE"  # set by a shell that completes a line


class Verb(click.Command):
    """A command with examples; `change` says that it changes something."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), change: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.change = change
        if COMPLETING in os.environ:
            from covey.cli.complete import hint

            for parameter in self.params:
                hint(parameter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


OTHERS_SAY = {
    "create": "add",
    "delete": "remove",
    "destroy": "remove",
    "edit": "modify",
    "ls": "list",
    "set": "modify",
    "show": "info",
}


class Noun(click.Group):
    """Its verbs. Who comes from elsewhere and types another system's word is told ours."""

    command_class = Verb

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        ours = OTHERS_SAY.get(args[0], "")
        if ours in self.commands and args[0] not in self.commands:
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {ours!r}?", ctx)
        return super().resolve_command(ctx, args)


class Size(click.ParamType[Any]):
    """A size as people write it; bytes within. With `relative`, a leading + is let through as the text it is."""

    name = "SIZE"

    def __init__(self, relative: bool = False) -> None:
        self._relative = relative

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._relative and isinstance(value, str) and value.startswith("+"):
            parse_size(value[1:], name_of(param))
            return value
        size = parse_size(value, name_of(param))
        check(
            size,
            BadInput(
                "nothing here can have the size 0", name_of(param), "leave it out for the usual one, or give a size like 2G"
            ),
        )
        return size


class Duration(click.ParamType[float]):
    """A duration as people write it; seconds within."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return parse_duration(value, name_of(param))


class Rate(click.ParamType[int]):
    """A rate as people write it; bits a second within."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return parse_rate(value, name_of(param))


class Name(click.ParamType[str]):
    """A name as the cluster allows it, refused here already: no other text gets into a URL."""

    name = "NAME"

    def __init__(self, noun: str) -> None:
        self._noun = noun

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return check_name(value, self._noun)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from covey.cli.complete import names

        return names(ctx, self._noun, incomplete)


class Number(click.ParamType[int]):
    """A whole number within bounds."""

    name = "N"

    def __init__(self, least: int, most: int = 2**53) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        hint = f"write a number from {self._least} on"
        check(text.isascii() and text.isdigit() and len(text) < 20, BadInput(f"{text!r} is not a number", name_of(param), hint))
        check(self._least <= int(text) <= self._most, BadInput(f"{text} is out of range", name_of(param), hint))
        return int(text)


class JobNumber(Number):
    """The number of a job."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from covey.cli.complete import jobs

        return jobs(ctx, incomplete)


class OrNone(click.ParamType[Any]):
    """What another type takes, or the word none, which is 0."""

    def __init__(self, other: click.ParamType[Any]) -> None:
        self._other = other
        self.name = f"{other.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return 0 if value == "none" else self._other.convert(value, param, ctx)


SIZE, RELATIVE_SIZE, DURATION, RATE = Size(), Size(relative=True), Duration(), Rate()
JOB = JobNumber(1)


def named(noun: str, required: bool = True) -> Callable[[F], F]:
    """Decorator: the argument NAME, of an object of this noun."""
    return click.argument("name", type=Name(noun), metavar=noun.upper() if required else f"[{noun.upper()}]", required=required)


def name_of(param: click.Parameter | None) -> str:
    """A parameter as it is typed: --memory, SIZE."""
    return (param.opts[0] if isinstance(param, click.Option) else (param.name or "").upper()) if param else ""


@dataclass(frozen=True, slots=True)
class Look:
    """How a list is looked at."""

    filter: str
    columns: tuple[str, ...]
    json: bool
    header: bool


def lists(*known: str) -> Callable[[F], F]:
    """Decorator: the options of every list, handed on as `look`. The first of `known` are its columns, all by their names."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, filter: str, columns: str, json: bool, no_header: bool, **kwargs: Any) -> Any:
            picked = tuple(name.strip().replace("-", "_") for name in columns.split(",") if name.strip())
            return function(*args, look=Look(filter, picked, json, not no_header), **kwargs)

        wrapped: Any = call
        for option in (
            click.option("--no-header", is_flag=True, help="Rows only: no heading, no last line."),
            click.option("--json", is_flag=True, help="A JSON list, with sizes in bytes and times in UTC."),
            click.option("--columns", metavar="A,B", default="", help=f"Which columns: {', '.join(known)}."),
            click.option("--filter", metavar="TEXT", default="", help="Only what matches: 'state=running tag=web memory>2G'."),
        ):
            wrapped = option(wrapped)
        result: F = wrapped
        return result

    return decorate


@dataclass(frozen=True, slots=True)
class Manner:
    """How a change is to be carried out. `wait_s` None waits as long as it takes."""

    dry_run: bool
    yes: bool
    quiet: bool
    reason: str
    after: tuple[int, ...]
    no_wait: bool
    wait_s: float | None


def changes(function: F) -> F:
    """Decorator: the options of every change, handed on as `manner`."""

    @functools.wraps(function)
    def call(
        *args: Any,
        dry_run: bool,
        yes: bool,
        quiet: bool,
        reason: str,
        after: tuple[int, ...],
        no_wait: bool,
        wait_timeout: float | None,
        **kwargs: Any,
    ) -> Any:
        if no_wait and wait_timeout is not None:
            raise BadInput("either wait or do not", "--wait-timeout", "leave out --no-wait")
        return function(*args, manner=Manner(dry_run, yes, quiet, reason, after, no_wait, wait_timeout), **kwargs)

    wrapped: Any = call
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Say nothing unless it fails."),
        click.option("--wait-timeout", type=DURATION, help="Wait at most so long (exit 5); the job goes on."),
        click.option("--no-wait", is_flag=True, help="Print the job's number and do not wait for it."),
        click.option("--after", type=JOB, multiple=True, metavar="JOB", help="Begin when this job has succeeded."),
        click.option("--reason", metavar="TEXT", default="", help="Why; kept with the job."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("-n", "--dry-run", is_flag=True, help="Show the plan and change nothing."),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result
