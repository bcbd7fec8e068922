"""The settings file, /etc/covey/covey.toml: what may stand there, what it means, and everything that can be wrong with it.

The classes below are the schema. The commented default (`packaging/covey.toml`), the reference page and the check of a file are all
made from them. What is said on a command line goes before the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput, CoveyError, check
from covey.base.units import humane_duration, parse_duration

DEFAULT_FILE = "/etc/covey/covey.toml"
DEFAULT_STATE = "/var/lib/covey"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMS = ("text", "json")
HOSTS = ("real", "fake")
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")


# --- kinds of values: each raises BadInput (what, hint) or returns the value as the program wants it -----------------------------------
def _text(value: object) -> object:
    check(isinstance(value, str), BadInput("it must be text", hint='write it in quotes: "..."'))
    return value


def _directory(value: object) -> object:
    check(
        isinstance(value, str) and value.startswith("/") and "\0" not in value,
        BadInput("it must be the path of a directory, from / on", hint='such as "/var/lib/covey"'),
    )
    return value


def _directory_or_none(value: object) -> object:
    return value if value == "" else _directory(value)


def _address(value: object) -> object:
    if value == "":
        return value
    _text(value)
    parse_address(str(value))
    return value


def _flag(value: object) -> object:
    check(isinstance(value, bool), BadInput("it must be true or false", hint="write true or false, without quotes"))
    return value


def _one_of(known: tuple[str, ...]) -> Callable[[object], object]:
    def convert(value: object) -> object:
        check(value in known, BadInput(f"{value!r} is not known there", hint=f"choose one of {', '.join(known)}"))
        return value

    return convert


def _whole(least: int, most: int) -> Callable[[object], object]:
    def convert(value: object) -> object:
        wrong = BadInput(f"it must be a whole number from {least} to {most}", hint=f"such as {least}, without quotes")
        check(isinstance(value, int) and not isinstance(value, bool) and least <= value <= most, wrong)
        return value

    return convert


def _duration(least: float, most: float) -> Callable[[object], object]:
    def convert(value: object) -> object:
        span = f"from {humane_duration(least)} to {humane_duration(most)}"
        check(isinstance(value, str), BadInput(f"it must be a duration {span}", hint='write it in quotes: "30d" or "12h"'))
        seconds = parse_duration(str(value))
        check(least <= seconds <= most, BadInput(f"it must be a duration {span}", hint='such as "30d"'))
        return seconds

    return convert


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; IPv6 addresses in brackets. Raises BadInput."""
    host, _, port = text.rpartition(":")
    check(
        host and port.isascii() and port.isdigit() and int(port) < 65536,
        BadInput(f"{text!r} is not HOST:PORT", "--listen", "such as 0.0.0.0:7443"),
    )
    return host.strip("[]"), int(port)


# --- the schema --------------------------------------------------------------------------------------------------------------------
def setting(default: str | int | float | bool, convert: Callable[[object], object], about: str, shown: object = None) -> Any:
    """A key of the file: its default, what makes a value of what is written there, and what it is for. `shown` is the default as it
    is written, where that differs."""
    return field(default=default, metadata={"convert": convert, "about": about, "shown": default if shown is None else shown})


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the daemons write down, on standard error: the journal, where systemd runs them."""

    level: str = setting("info", _one_of(LOG_LEVELS), f"From which level on: {', '.join(LOG_LEVELS)}.")
    form: str = setting("text", _one_of(LOG_FORMS), "`text` for people, or `json`: one object a line.")


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How long jobs that are over are kept, with their plans and logs. Whichever limit is reached first counts."""

    keep: int = setting(10_000, _whole(100, 1_000_000), "At most so many.")
    keep_for: float = setting(30 * 86400.0, _duration(3600, 3650 * 86400), "At most so long.", "30d")


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Backups of the records, which the machine that leads makes by itself. They hold every secret of the cluster."""

    directory: str = setting("", _directory_or_none, "Where they are kept; empty for `backups` in the state directory.")
    every: float = setting(86400.0, _duration(3600, 30 * 86400), "How often one is made.", "1d")
    keep: int = setting(7, _whole(1, 1000), "So many of the latest are kept.")


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What `/metrics` tells to Prometheus."""

    instances: bool = setting(True, _flag, "Series of each instance, too: about ten an instance.")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The records of a cluster of several machines."""

    shared: bool = setting(True, _flag, "May this machine keep a copy of them, and lead? Needs etcd. `false`: it only hosts.")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where this Covey is and how it is reached."""

    state: str = setting(DEFAULT_STATE, _directory, "Where it keeps everything but pools elsewhere.")
    hosts: str = setting("real", _one_of(HOSTS), "`real`, or `fake`: guests, disks and networks are only pretended.")
    netns: str = setting("", _text, "Network namespace of bridges and guests; empty for the machine's own.")
    listen: str = setting("", _address, "HOST:PORT where clients come in over TLS with a token; empty for the local socket only.")
    log: LogSettings = field(default_factory=LogSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the schema, by its dotted name."""

    name: str
    about: str
    default: object  # as it is written in the file


def known_keys(settings: type = Settings, prefix: str = "") -> Iterator[Key]:
    """Every key there is, in the order of the file."""
    for each in fields(settings):
        table = _table(each)
        if table:
            yield from known_keys(table, f"{each.name}.")
        else:
            yield Key(f"{prefix}{each.name}", each.metadata["about"], each.metadata["shown"])


# --- reading -----------------------------------------------------------------------------------------------------------------------
def find_file(named: str, environ: Mapping[str, str]) -> str:
    """The file that is meant: named, else by COVEY_CONFIG, else the usual one if it is there; "" for none."""
    return named or environ.get("COVEY_CONFIG", "") or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else "")


def find_looseness(file: str) -> str:
    """Why others than root and whoever runs Covey can change the settings, in a sentence; "" when they cannot, or there is no file."""
    if not file:
        return ""
    try:
        status = Path(file).stat()
    except OSError:
        return ""
    if status.st_mode & 0o002:
        return "everybody can write to it, and so decide what Covey does"
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {status.st_uid}, who can so decide what Covey does"
    return ""


def read_settings(file: str) -> Settings:
    """The settings that a file says, defaults for all else; "" is no file. Raises BadInput naming file, line and the fix."""
    if not file:
        return Settings()
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"it cannot be read: {error.strerror}", file, "name a readable file by --config or COVEY_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput("it is not UTF-8 text", file, "write it anew: packaging/covey.toml is the default") from error
    return parse_settings(text, file)


def parse_settings(text: str, file: str) -> Settings:
    """Raises BadInput naming file, line and the fix."""
    import tomllib  # the command line passes here, too, and mostly without a file

    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"it is not TOML: {error}", file, "mend that line") from error
    settings: Settings = _filled(Settings(), given, "", text, file)
    return settings


def _filled(settings: Any, given: Mapping[str, Any], prefix: str, text: str, file: str) -> Any:
    known = {each.name: each for each in fields(settings)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{file}{_line_of(text, prefix + name)}"
        each = known.get(name)
        if each is None:
            raise BadInput(f"there is no key {prefix}{name}", where, _instead(prefix + name))
        if _table(each):
            table = BadInput(f"{name} is a table", where, f"write [{name}], and its keys below")
            check(isinstance(value, dict), table)
            values[name] = _filled(getattr(settings, name), value, f"{name}.", text, file)
            continue
        try:
            values[name] = each.metadata["convert"](value)
        except CoveyError as error:
            raise BadInput(f"{prefix}{name}: {error.what}", where, error.hint) from None
    return replace(settings, **values)


def _table(each: Field[Any]) -> type | None:
    made = each.default_factory
    return made if isinstance(made, type) and is_dataclass(made) else None


def _instead(name: str) -> str:
    from difflib import get_close_matches

    names = [key.name for key in known_keys()]
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}"


def _line_of(text: str, name: str) -> str:
    """ " line 7" for the key of that dotted name, "" where it cannot be told (tomllib keeps no places)."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = f"{header[1].strip()}."
        elif key := _KEY.match(line):
            written = table + re.sub(r"[\"' ]", "", key[1])
            if written == name or written.startswith(f"{name}."):
                return f" line {number}"
        if table == f"{name}.":
            return f" line {number}"
    return ""


# --- the commented default ---------------------------------------------------------------------------------------------------------
def render_default() -> str:
    """`packaging/covey.toml`: every key with its default, commented out."""
    parts = [
        "# Settings of Covey on this machine. Each line that is commented out shows the default.\n"
        "# What is said on the command line goes before this file. Changes count from the next start of Covey.\n"
        "# Is it sound?  covey local check-config\n"
    ]
    parts += _commented(Settings)
    for each in fields(Settings):
        if table := _table(each):
            parts += [f"\n# {(table.__doc__ or '').replace('`', '')}\n[{each.name}]\n", *_commented(table)]
    return "".join(parts)


def _commented(settings: type) -> list[str]:
    own = [each for each in fields(settings) if not _table(each)]
    return [f"\n# {each.metadata['about'].replace('`', '')}\n# {each.name} = {render(each.metadata['shown'])}\n" for each in own]


def render(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f'"{humane_duration(value)}"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def values_of(settings: Settings) -> dict[str, object]:
    """What holds, by dotted name; durations in seconds."""
    found: dict[str, object] = {}
    for key in known_keys():
        table, _, name = key.name.rpartition(".")
        found[key.name] = getattr(getattr(settings, table) if table else settings, name)
    return found
