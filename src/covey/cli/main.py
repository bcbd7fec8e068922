"""The root of the command line, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from covey import __version__
from covey.base.errors import CoveyError
from covey.cli.session import Session
from covey.cli.text import printable, tell

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

NOUNS = {
    "cluster": "The cluster itself: make it, change its defaults, verify it.",
    "disk": "Disks of instances.",
    "event": "What happened.",
    "firewall": "Rules that NICs have in common: security groups.",
    "forward": "Ports of the nodes that lead to instances.",
    "image": "Golden images, from which instances are made.",
    "instance": "Virtual servers.",
    "job": "Changes under way, and what became of them.",
    "lab": "Whole clusters on this machine alone, to try and to break.",
    "local": "This machine alone, without its controller.",
    "network": "Networks that instances are on.",
    "nic": "NICs of instances.",
    "node": "The machines.",
    "pool": "Where disks are kept.",
    "snapshot": "Disks of instances as they were at a moment.",
    "support": "Help from others.",
    "token": "Who may come in over the network.",
}
ALONE = {
    "status": "Whether all is well, on one screen.",
    "up": "Run Covey on this machine, in the foreground.",
}


class Root(click.Group):
    """Knows its commands by name and one line each; imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*NOUNS, *ALONE]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0].isalpha() and args[0] not in self.list_commands(ctx):
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close:
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {close[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NOUNS and cmd_name not in ALONE:
            return None
        command: click.Command = importlib.import_module(f"covey.cli.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        from click.shell_completion import CompletionItem  # without importing any of the commands

        known = {**NOUNS, **ALONE}
        found = [CompletionItem(name, help=about) for name, about in known.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in (("Nouns", NOUNS), ("Without a noun", ALONE)):
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))
        click.Command.format_options(self, ctx, formatter)


@click.group(cls=Root, context_settings={"help_option_names": ["--help"], "terminal_width": 80})
@click.option("--state", metavar="DIR", help="State directory of the Covey on this machine. [COVEY_STATE; /var/lib/covey]")
@click.option("--server", metavar="URL", help="A Covey elsewhere: https://HOST:PORT. [COVEY_SERVER]")
@click.option("--token-file", metavar="FILE", help="File with the token to show it. [COVEY_TOKEN_FILE]")
@click.option("--ca", metavar="FILE", help="Copy of its ca.pem, which alone is trusted. [COVEY_CA]")
@click.version_option(__version__, prog_name="covey", message="%(prog)s %(version)s", help="Show its version and exit.")
@click.pass_context
def covey(context: click.Context, /, **options: str | None) -> None:
    """A handful of Linux machines as one virtual-server cluster.

    Changes wait and show their steps; --no-wait prints the job's number. Every change takes --dry-run. Exit status: 0 done, 1 refused
    or failed, 2 bad input, 3 no access or no answer, 4 findings of severity error, 5 no longer waiting (the job goes on).
    """
    session = context.obj = Session(os.environ, options)
    context.call_on_close(session.close)


def run(arguments: Sequence[str]) -> int:
    """Carry one command line out. Returns its exit status; what went wrong is said on standard error."""
    try:
        status = covey.main(list(arguments), prog_name="covey", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except CoveyError as error:
        _trace(error)
        tell(error)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.UsageError as error:
        tell(_usage(error))
        return 2
    except click.ClickException as error:
        _trace(error)
        print(f"covey: {printable(error.format_message())}", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        print("covey: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has enough; the flush at exit must not fail
        return 1
    except Exception as error:  # noqa: BLE001  (the last door: a person gets a sentence, COVEY_DEBUG=1 the rest)
        _trace(error)
        print(
            f"covey: a fault of covey's own: {type(error).__name__}: {printable(str(error))}\n"
            "  try: the same with COVEY_DEBUG=1, and report what it shows",
            file=sys.stderr,
        )
        return 1


def _usage(error: click.UsageError) -> CoveyError:
    from covey.base.errors import BadInput

    what = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "covey"
    name = path.removeprefix("covey").strip()
    return BadInput(what[:1].lower() + what[1:], name, f"{path} --help")


def _trace(error: BaseException) -> None:
    if os.environ.get("COVEY_DEBUG"):
        traceback.print_exception(error)


def main() -> NoReturn:
    """The program."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows "?"
    status = run(sys.argv[1:])
    sys.stderr.flush()
    sys.exit(status)
