"""instance add -f: all entries of a file are checked, then all are made."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from covey.base.errors import BadInput, CoveyError, check
from covey.cli.change import Task, show_plan, submit_many
from covey.cli.instance.wishes import DISK_KEYS, KEYS, NIC_KEYS, NIC_SETTINGS, body_of
from covey.cli.session import Session
from covey.cli.text import complain, plural, say
from covey.cli.verbs import Manner
from covey.client.client import Change, Terms
from covey.model import codec
from covey.model.requests.instance import AddInstance

if TYPE_CHECKING:
    from covey.client.client import Client
    from covey.client.documents import Plan

MOST_AT_ONCE = 1000  # entries that are planned together
LARGEST_QUESTION = 900 * 1024  # bytes; the server takes a MiB
STAND_IN = {"user_data": "#cloud-config\n"}  # in place of user-data that only the job needs


class Entry(NamedTuple):
    """An instance asked for, and where: "many.yaml line 7, web1"."""

    where: str
    body: dict[str, Any]


def add_many(session: Session, file: str, manner: Manner) -> int:
    """Check every entry here and by a dry run there; hand none in unless all are good. Raises BadInput naming the bad ones."""
    entries = list(read_entries(file))
    client = session.client
    bad: list[str] = []
    tasks = [Task(entry.body["name"], Change("POST", "/v1/instances", entry.body)) for entry in entries]
    for entry, outcome in zip(entries, _planned(client, entries), strict=True):
        if isinstance(outcome, CoveyError):
            bad.append(f"{entry.where}: {outcome}")
        elif manner.dry_run:
            show_plan(outcome)
    _refuse(bad, len(entries))
    if manner.dry_run:
        return 0
    if not manner.quiet and not manner.no_wait:
        say(f"{plural(len(tasks), 'instance')} to add")
    return submit_many(client, [(task, Terms(manner.reason, manner.after)) for task in tasks], manner, stop=True)


def _planned(client: Client, entries: Sequence[Entry]) -> Iterator[Plan | CoveyError]:
    """What each would do behind those before it, as far as one question goes. User-data changes nothing about that but by being there."""
    for bodies in _portions([{**entry.body, **STAND_IN} if "user_data" in entry.body else entry.body for entry in entries]):
        yield from client.plan_together(bodies)


def _portions(bodies: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many at once as the server takes."""
    portion: list[dict[str, Any]] = []
    size = 0
    for body in bodies:
        length = len(json.dumps(body)) + 2
        if portion and (len(portion) == MOST_AT_ONCE or size + length > LARGEST_QUESTION):
            yield portion
            portion, size = [], 0
        portion.append(body)
        size += length
    yield portion


def read_entries(file: str) -> Iterator[Entry]:
    """The entries of a file, each checked by itself and against the others. Raises BadInput naming every bad one."""
    shown = "standard input" if file == "-" else file
    directory = Path() if file == "-" else Path(file).parent
    good: list[Entry] = []
    bad: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    items, is_export = _parse(_text(file), shown)
    passed_over: set[str] = set()
    for line, item in items:
        where = f"{shown} line {line}"
        try:
            entry = _entry(_readable(item, passed_over) if is_export else item, where, directory)
            _check_unlike(entry, seen)
            good.append(entry)
        except BadInput as error:
            name = item.get("name") if isinstance(item, dict) else None
            bad.append(f"{where}{f', {name}' if isinstance(name, str) else ''}: {error}")
    _refuse(bad, len(items))
    if passed_over:
        complain(f"not made anew from an export: {', '.join(sorted(passed_over))}")
    return iter(good)


def _readable(item: Any, passed_over: set[str]) -> Any:
    """An instance of an export, without what is no option of `instance add`."""
    if not isinstance(item, dict):
        return item
    parts = {"disk": DISK_KEYS, "nic": (*NIC_KEYS, *NIC_SETTINGS)}
    kept: dict[str, Any] = {}
    for key, value in item.items():
        word = str(key).replace("-", "_")
        if word not in KEYS or word == "node":  # where it was is no wish: it may be another cluster, or a full node
            passed_over.add(str(key))
            continue
        known = parts.get(word)
        kept[key] = (
            [_known(part, known, f"{key} ", passed_over) for part in value] if known and isinstance(value, list) else value
        )
    return kept


def _known(part: Any, keys: tuple[str, ...], of: str, passed_over: set[str]) -> Any:
    if not isinstance(part, dict):
        return part
    passed_over.update(f"{of}{key}" for key in part if key not in keys)
    return {key: value for key, value in part.items() if key in keys}


def _entry(item: Any, where: str, directory: Path) -> Entry:
    check(isinstance(item, dict), BadInput("an entry is a mapping", "", "begin it with - name: NAME"))
    wishes: dict[str, Any] = {}
    for key, value in item.items():
        word = str(key).replace("-", "_")
        close = get_close_matches(word, KEYS, 1)
        check(
            word in KEYS,
            BadInput(f"there is no {str(key)!r}", "", f"did you mean {close[0]}?" if close else f"keys are {', '.join(KEYS)}"),
        )
        wishes[word] = value
    check(wishes.get("name"), BadInput("the name is missing", "", "begin it with - name: NAME"))
    for key in ("start", "protected"):
        check(wishes.get(key) in (None, True, False), BadInput("is yes or no", key))
    body = body_of(wishes, directory)
    codec.decode(AddInstance, body).check()
    return Entry(f"{where}, {body['name']}", body)


def _check_unlike(entry: Entry, seen: dict[tuple[str, str], str]) -> None:
    """What may be once in a cluster may be once in a file."""
    nics = entry.body.get("nics") or []
    unique = [("name", entry.body["name"]), ("uuid", entry.body.get("uuid", ""))]
    unique += [("mac", nic.get("mac", "")) for nic in nics]
    for field in ("address", "address6"):
        unique += [(field, nic[field]) for nic in nics if nic.get(field) not in (None, "auto", "none")]
    for key in unique:
        if key[1]:
            check(key not in seen, BadInput(f"{key[1]} is taken by {seen.get(key)}", key[0], "choose another"))
            seen[key] = entry.where


def _refuse(bad: list[str], count: int) -> None:
    """Name every bad entry, a line each. Raises BadInput if there is one."""
    for line in bad:
        complain(line)
    check(not bad, BadInput(f"{len(bad)} of {count} cannot be, so none is added", "instance add", "mend the file, give it again"))


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file, "name a readable file") from error
    except ValueError as error:
        raise BadInput("is not UTF-8 text", file, "name another file") from error


def _parse(text: str, shown: str) -> tuple[list[tuple[int, Any]], bool]:
    """Each item of the file's list with the line it begins on; and whether it is an export, whose list is under `instances`."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)  # it reads the beginning at once, and refuses what no text holds
        node = loader.get_single_node()
        is_export = isinstance(node, yaml.MappingNode)
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == "instances"), None)
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise BadInput("it holds no list of instances", shown, "begin each with - name: NAME")
        lines = [item.start_mark.line + 1 for item in node.value]
        return list(zip(lines, loader.construct_document(node), strict=True)), is_export
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{shown} line {mark.line + 1}" if mark else shown
        raise BadInput(f"it is not YAML: {getattr(error, 'problem', None) or error}", where, "mend that line") from error
    finally:
        if loader:
            loader.dispose()
