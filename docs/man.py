"""Man pages and shell completion, from the commands' own help: `python -m docs.man [DIRECTORY]`, into build/ otherwise.

DIRECTORY/man/: covey.1, a page for each noun (covey-instance.1, ...) and command, and covey.toml.5.
DIRECTORY/completion/: covey.bash, covey.zsh, covey.fish.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from covey import __version__
from covey.base import config
from covey.cli.main import ALONE, NOUNS, covey
from covey.cli.reference import commands
from covey.cli.verbs import COMPLETING, Verb

BUILD = Path(__file__).resolve().parent.parent / "build"
SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
FILES = (
    ("/etc/covey/covey.toml", "Settings; see \\fBcovey.toml\\fR(5)."),
    ("/var/lib/covey", "The state directory, unless the settings name another."),
)
EXITS = (
    ("0", "done"),
    ("1", "refused, failed, or there is no such object"),
    ("2", "bad input"),
    ("3", "no access, or no answer"),
    ("4", "findings of severity error"),
    ("5", "no longer waiting; the job goes on"),
)
ENVIRONMENT = (
    ("COVEY_STATE", "The state directory of the Covey on this machine."),
    ("COVEY_SERVER", "A Covey elsewhere: https://HOST:PORT."),
    ("COVEY_TOKEN_FILE", "The file with the token to show it."),
    ("COVEY_CA", "A copy of its ca.pem, which alone is trusted."),
    ("COVEY_CONFIG", "The settings file of this machine."),
    ("COVEY_DEBUG", "1: show where in Covey an error came from."),
)


def pages() -> dict[str, str]:
    """Every man page by its file name."""
    known = {context.command_path: (command, context) for command, context in commands()}
    made = {"covey.1": root_page(), "covey.toml.5": settings_page()}
    for name in (*NOUNS, *ALONE):
        below = [path for path in known if path == f"covey {name}" or path.startswith(f"covey {name} ")]
        made[f"covey-{name}.1"] = noun_page(name, [known[path] for path in below])
    return made


def completions() -> dict[str, str]:
    """The script of each shell by its file name."""
    made = {shell: kind(covey, {}, "covey", COMPLETING) for shell, kind in SHELLS.items()}
    return {f"covey.{shell}": script.source_template % script.source_vars() for shell, script in made.items()}


def main() -> None:
    build = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD
    for directory, texts in (("man", pages()), ("completion", completions())):
        (build / directory).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (build / directory / name).write_text(text)
        sys.stdout.write(f"{len(texts)} files in {build / directory}\n")


# --- pages -------------------------------------------------------------------------------------------------------------------------
def root_page() -> str:
    body = [
        _title("covey", "1"),
        _section("NAME", f"covey {DASH} {roff('a handful of Linux machines as one virtual-server cluster')}"),
        _section("SYNOPSIS", ".B covey\n[\\fIOPTIONS\\fR] \\fINOUN\\fR \\fIVERB\\fR [\\fIOBJECT\\fR] [\\fIOPTIONS\\fR]"),
        _section("DESCRIPTION", _paragraphs(covey)),
        _section("NOUNS", "".join(_item(f"\\fBcovey-{name}\\fR(1)", roff(about)) for name, about in NOUNS.items())),
        _section("WITHOUT A NOUN", "".join(_item(f"\\fBcovey-{name}\\fR(1)", roff(about)) for name, about in ALONE.items())),
        _section("OPTIONS", _options(covey)),
        _section("EXIT STATUS", "".join(_item(f"\\fB{code}\\fR", roff(text)) for code, text in EXITS)),
        _section("ENVIRONMENT", "".join(_item(f"\\fB{name}\\fR", roff(text)) for name, text in ENVIRONMENT)),
        _section("FILES", "".join(_item(f"\\fI{name}\\fR", text) for name, text in FILES)),
    ]
    return "".join(body)


def noun_page(name: str, found: list[tuple[click.Command, click.Context]]) -> str:
    about = {**NOUNS, **ALONE}[name]
    head, _ = found[0]
    body = [
        _title(f"covey-{name}", "1"),
        _section("NAME", f"covey-{name} {DASH} {roff(about[:1].lower() + about[1:].rstrip('.'))}"),
        _section("SYNOPSIS", "\n.br\n".join(_usage(command, context) for command, context in found if isinstance(command, Verb))),
        _section("DESCRIPTION", _paragraphs(head)),
    ]
    for command, context in found:
        if isinstance(command, Verb):
            single = command is head
            text = ("" if single else _usage(command, context) + "\n.PP\n" + _paragraphs(command)) + _options(command)
            title = "OPTIONS" if single else context.command_path.upper().removeprefix("COVEY ")
            body.append(_section(title, text + ".PP\nExamples:\n.PP\n.nf\n.RS 4\n" + _examples(command) + ".RE\n.fi"))
    others = ", ".join(f"\\fBcovey-{other}\\fR(1)" for other in (*NOUNS, *ALONE) if other != name)
    body.append(_section("SEE ALSO", f"\\fBcovey\\fR(1), {others}"))
    return "".join(body)


def settings_page() -> str:
    items = [
        _item(f"\\fB{roff(key.name)}\\fR = {roff(config.render(key.default))}", roff(key.about.replace("`", "")))
        for key in config.known_keys()
    ]
    text = (
        "TOML, every key optional. What is said on a command line goes before it. Changes count from the next start of Covey. "
        "A dotted name is a key of a table: log.level is the key level of [log]. The values shown are the defaults."
    )
    return "".join(
        [
            _title("covey.toml", "5"),
            _section("NAME", f"covey.toml {DASH} settings of Covey on one machine"),
            _section("SYNOPSIS", f"\\fI{roff(config.DEFAULT_FILE)}\\fR"),
            _section("DESCRIPTION", roff(text)),
            _section("KEYS", "".join(items)),
            _section("SEE ALSO", "\\fBcovey-local\\fR(1): covey local check\\-config says whether the file is sound."),
        ]
    )


# --- roff --------------------------------------------------------------------------------------------------------------------------
DASH = "\\-"


def roff(text: str) -> str:
    """Text in which roff finds nothing to obey."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in escaped.replace("~", "\\(ti").split("\n"))


def _title(name: str, section: str) -> str:
    return f'.TH "{roff(name).upper()}" "{section}" "" "Covey {__version__}" "Covey"\n.nh\n.ad l\n'


def _section(title: str, text: str) -> str:
    return f'.SH "{title}"\n{text.rstrip()}\n'


def _item(term: str, text: str) -> str:
    return f".TP\n{term}\n{text}\n"


def _paragraphs(command: click.Command) -> str:
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    return "".join(f".PP\n{roff(' '.join(paragraph.split()))}\n" for paragraph in paragraphs)


def _usage(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return f"\\fB{roff(context.command_path)}\\fR {roff(pieces)}"


def _options(command: click.Command) -> str:
    shown = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join(f"\\fB{roff(name)}\\fR" for name in sorted(parameter.opts, key=len))
            value = "" if parameter.is_flag else f" \\fI{roff(parameter.make_metavar(click.Context(command)))}\\fR"
            shown.append(_item(names + value, roff(parameter.help or "")))
    return "".join(shown)


def _examples(command: Verb) -> str:
    return "".join(f"{roff(example)}\n" for example in command.examples)


if __name__ == "__main__":
    main()
