"""The references that are made from the code: `python -m docs.generate` (or `make docs`) writes docs/reference/.

The same code gives the same pages; tests/test_docs.py compares them with what is committed.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
import tokenize
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from covey.api import problems
from covey.base import config, errors
from covey.cli.reference import reference as cli_reference
from covey.host.hypervisor.private_init import BINDINGS
from covey.main.layout import Layout
from covey.model import codec, record
from covey.model.job import EndedJob
from covey.model.request import Request
from covey.model.step import FORWARD, PIVOT, UNDOABLE, Step, step_kinds
from covey.service import metrics, submit
from docs.generate_api import api_document, api_page
from docs.markdown import MADE, table

REFERENCE = Path(__file__).resolve().parent / "reference"
PACKAGING = REFERENCE.parents[1] / "packaging"
INTERNAL = "repair."  # requests that only `cluster verify --fix` and the healer make


def pages() -> dict[str, str]:
    """Every generated file of docs/reference/ by its name."""
    document = api_document()
    return {
        "openapi.json": json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        "api.md": api_page(document),
        "cli.md": cli_reference(),
        "errors.md": errors_page(),
        "metrics.md": metrics_page(),
        "records.md": records_page(),
        "requests.md": requests_page(),
        "settings.md": settings_page(),
        "state-directory.md": state_page(),
        "steps.md": steps_page(),
    }


def packaged() -> dict[str, str]:
    """Every generated file of packaging/ by its name."""
    return {"covey.toml": config.render_default()}


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for directory, texts in ((REFERENCE, pages()), (PACKAGING, packaged())):
        for name, text in texts.items():
            path = directory / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                sys.stdout.write(f"written: {path.relative_to(PACKAGING.parent)}\n")


# --- what classes say --------------------------------------------------------------------------------------------------------------
def about(thing: type) -> str:
    """The docstring of a class itself; "" for the one that dataclasses write."""
    text = inspect.cleandoc(thing.__doc__ or "")
    return "" if text.startswith(f"{thing.__name__}(") else " ".join(text.split())


def type_name(hint: Any) -> str:
    """A type as people read it: `text`, `list of Disk`, `number or null`."""
    simple = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}
    if hint in simple:
        return simple[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {type_name(arguments[0])}"
        return "list of exactly " + ", ".join(type_name(argument) for argument in arguments)
    if origin is dict:
        return f"mapping to {type_name(arguments[1])}"
    if arguments:
        return " or ".join(type_name(argument) for argument in arguments)
    return hint.__name__ if isinstance(hint, type) else str(hint)


def comments(cls: type) -> dict[str, str]:
    """The comment at the end of each field's line, which says what its name cannot."""
    found: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(inspect.getsource(cls))).readline):
        if token.type == tokenize.NAME and token.line.strip().startswith(f"{token.string}:"):
            name = token.string
        if token.type == tokenize.COMMENT and name and token.line.strip().startswith(f"{name}:"):
            found[name] = token.string.lstrip("# ")
    return found


def default_of(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        made = field.default_factory()
        return "its own defaults" if is_dataclass(made) else json.dumps(made)
    if field.default is MISSING:
        return ""
    if is_dataclass(field.default):
        return "empty"
    return json.dumps(list(field.default) if isinstance(field.default, tuple) else field.default)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def fields_table(cls: type, without: tuple[str, ...] = ()) -> str:
    hints = typing.get_type_hints(cls)
    said: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            said |= comments(base)
    rows = [
        (f"`{field.name}`", type_name(hints[field.name]), code(default_of(field)), said.get(field.name, ""))
        for field in fields(cls)
        if field.name not in without
    ]
    return table("Field", "Type", "Default", "Meaning", rows=rows) if rows else "It has no fields.\n"


def parts_of(classes: list[type]) -> list[type]:
    """The dataclasses that those classes are made of, each once, in the order in which they are met."""
    found: list[type] = []
    waiting = list(classes)
    while waiting:
        cls = waiting.pop(0)
        for hint in typing.get_type_hints(cls).values():
            for part in _within(hint):
                if part not in found and part not in classes:
                    found.append(part)
                    waiting.append(part)
    return found


def _within(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from _within(argument)


# --- the pages ---------------------------------------------------------------------------------------------------------------------
def steps_page() -> str:
    meaning = {
        UNDOABLE: "is taken back when the job fails or is cancelled",
        PIVOT: "is the last moment at which the job can turn back",
        FORWARD: "only goes forward: tried again, never taken back",
    }
    parts = [
        f"# Steps\n\n{MADE}\n",
        "A plan is a list of steps. Each names an end state on one node and may be carried out twice. The order of roles in every plan\n"
        "is: undoable steps, at most one pivot, then forward steps. Why: [architecture](../explanation/architecture.md).\n\n",
        table("Role", "A step of this role ...", rows=[(f"`{role}`", text) for role, text in meaning.items()]),
    ]
    for kind, cls in sorted(step_kinds().items()):
        parts.append(f"\n## {kind}\n\n{about(cls)}\n\n`{cls.__name__}`, role `{cls.role}`.\n\n{fields_table(cls)}")
    return "".join(parts)


def requests_page() -> str:
    known = codec.members(Request)
    own = ("seed", "now")  # filled in when a request is accepted
    parts = [
        f"# Requests\n\n{MADE}\n",
        "A job keeps the request that it was made for. The kind of a request is also the permission that it takes. Over the API the\n"
        "fields of a request are the fields of the body, save those that stand in the path, and `secret` and `digest`, which Covey\n"
        "fills in itself. Sizes are bytes, durations (`_s`) seconds. Fields whose name ends in `_at` are times: text in the API, seconds\n"
        "since 1970 in records.\n",
    ]
    for kind, cls in sorted(known.items()):
        by = (
            "\nMade by `covey cluster verify --fix` and by Covey itself; the API has no door for it.\n"
            if kind.startswith(INTERNAL)
            else ""
        )
        text = about(cls)
        parts.append(f"\n## {kind}\n{by}\n" + (f"{text}\n\n" if text else "") + fields_table(cls, own))
    parts.append("\n## What requests are made of\n")
    for cls in parts_of(list(known.values())):
        text = about(cls)
        parts.append(f"\n### {cls.__name__}\n\n" + (f"{text}\n\n" if text else "") + fields_table(cls))
    return "".join(parts)


def records_page() -> str:
    parts = [
        f"# Records\n\n{MADE}\n",
        f'Everything durable is a record in the store, as JSON with `"version": {record.VERSION}`, under\n'
        f"`{record.PREFIX}COLLECTION/ID`. Numbers as ids are padded to ten digits. Times are seconds since 1970, sizes bytes. A reader\n"
        "passes over fields that it does not know and takes the default of those that are absent. Do not write to the store by hand.\n\n"
        "Beside these there are:\n\n",
        table(
            "Prefix",
            "What is there",
            rows=[
                (f"`{record.HISTORY}`", "jobs that ended, each with its plan (see EndedJob below)"),
                (f"`{record.SECRETS}`", "user-data of instances, by reference; never read into the view"),
                (f"`{record.IDEMPOTENCY}`", "Idempotency-Keys of the last 24 hours, and the jobs that they made"),
            ],
        ),
    ]
    for name, cls in record.COLLECTIONS.items():
        text = about(cls)
        parts.append(
            f"\n## {record.PREFIX}{name}/\n\n`{cls.__name__}`" + (f": {text}\n\n" if text else ".\n\n") + fields_table(cls)
        )
    parts.append("\n## What records are made of\n")
    for cls in [EndedJob, *parts_of([EndedJob, *record.COLLECTIONS.values()])]:
        if cls in record.COLLECTIONS.values():
            continue
        text = about(cls)
        if cls in (Request, Step):
            page = "requests.md" if cls is Request else "steps.md"
            parts.append(f"\n### {cls.__name__}\n\nOne of [these]({page}), told apart by `kind`.\n")
        else:
            parts.append(f"\n### {cls.__name__}\n\n" + (f"{text}\n\n" if text else "") + fields_table(cls))
    return "".join(parts)


def errors_page() -> str:
    meanings: dict[type[errors.CoveyError], str] = {
        errors.BadInput: "What was asked is not well-formed. Nothing was looked at.",
        errors.NotFound: "The named object does not exist.",
        errors.Refused: "Well-formed, but not now or not so. Nothing was changed.",
        errors.NoSpace: "A kind of Refused: no room (memory, disk, addresses).",
        errors.Conflict: "A kind of Refused: somebody else changed it first.",
        errors.Denied: "Who asks may not.",
        errors.Unavailable: "Something that is needed gives no answer. Nothing was changed.",
        errors.StepFailed: "A step on a node failed. The job says what was undone.",
        errors.Bug: "A mistake of Covey's. Its log has more.",
        problems.TooLarge: "A BadInput at the API: the body is beyond 1 MiB.",
        problems.Unauthenticated: "A Denied at the API: nobody is known to ask.",
        submit.Changed: "A Conflict at the API: the ETag in `If-Match` is not the present one.",
    }
    special: dict[type[errors.CoveyError], int] = {submit.Changed: 412}
    rows = [
        (f"`{_reported(cls)}`", f"{special.get(cls, cls.status)}", f"{cls.exit_code}", text) for cls, text in meanings.items()
    ]
    kinds = set(errors.KINDS.values())
    if kinds - set(meanings):
        raise SystemExit(f"docs.generate: errors without a meaning: {sorted(kind.__name__ for kind in kinds - set(meanings))}")
    exits = [
        ("0", "done"),
        ("1", "refused, failed, or there is no such object"),
        ("2", "bad input"),
        ("3", "no access, or no answer"),
        ("4", "findings of severity error (`covey status`, `covey cluster verify`)"),
        ("5", "no longer waiting; the job goes on"),
    ]
    return (
        f"# Errors\n\n{MADE}\n"
        "Every error has three parts: *what* happened, the *object* it happened to, and a *hint* what to do next. The command line prints\n"
        "`covey: OBJECT: WHAT` and the hint after `try:`. The API answers `application/problem+json` (RFC 9457): `title` is the kind,\n"
        "`detail` the what, and `object` and `hint` stand beside them. A job that failed keeps its error in the same words.\n\n"
        f"{table('Kind', 'HTTP status', 'Exit code', 'Meaning', rows=rows)}\n"
        "Two more statuses are not kinds: 405 (a method that the address does not know; the kind is `BadInput`) and 304 (what you have is\n"
        "still good; no error).\n\n"
        f"## Exit codes of the command line\n\n{table('Code', 'Meaning', rows=exits)}"
    )


def _reported(cls: type[errors.CoveyError]) -> str:
    """The kind that clients see for an error class."""
    return next(base.__name__ for base in cls.__mro__ if base.__name__ in errors.KINDS)


def metrics_page() -> str:
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), said)
        for name, (kind, said, labels) in sorted(metrics.known().items())
    ]
    return (
        f"# Metrics\n\n{MADE}\n"
        "`GET /metrics` tells these to Prometheus, beside the usual `process_*` of the controller: [how to monitor](../howto/monitor.md).\n"
        "Those of single instances (label `instance`) are left out with `metrics.instances = false` in the [settings](settings.md).\n\n"
        + table("Name", "Kind", "Labels", "Meaning", rows=rows)
    )


def settings_page() -> str:
    tables: dict[str, list[config.Key]] = {}
    for key in config.known_keys():
        tables.setdefault(key.name.rpartition(".")[0], []).append(key)
    about_table = {each.name: about(type(getattr(config.Settings(), each.name))) for each in fields(config.Settings)}
    parts = [
        f"# Settings\n\n{MADE}\n",
        f"`covey up`, and the units of the package, read `{config.DEFAULT_FILE}` if it is there: [TOML](https://toml.io), every key of\n"
        "it optional. `--config FILE` or `COVEY_CONFIG` names another. What is said on the command line, or by `COVEY_STATE`, goes before\n"
        "the file. The command line reads the file as well: it is how `covey status` finds a state directory elsewhere.\n\n"
        "A key that does not exist, or a value of the wrong kind, keeps Covey from starting, with the line and the remedy.\n"
        "`covey local check-config` says so beforehand. Changes count from the next start of Covey; guests run on meanwhile. What the\n"
        "cluster as a whole does is no setting of a file but a record: `covey cluster modify`.\n",
    ]
    for table_name, its_keys in tables.items():
        rows = [(f"`{key.name.rpartition('.')[2]}`", code(config.render(key.default)), key.about) for key in its_keys]
        head = f"\n## [{table_name}]\n\n{about_table[table_name]}\n\n" if table_name else "\n## Before any table\n\n"
        parts.append(head + table("Key", "Default", "Meaning", rows=rows))
    return "".join(parts)


STATE = {
    "state": "made with mode 0711: QEMU's user must pass through, nobody but root need list it",
    "api_socket": "the door of the command line and of local programs (mode 0600)",
    "agent_socket": "where the controller reaches the agent (mode 0600)",
    "store": "the store: SQLite in WAL mode, with `-wal` and `-shm` beside it and a `.lock`; a `.reserve` of disk for bad times",
    "shared_store": "there when the records are in etcd: where that is, our certificate for it, and our door for other controllers",
    "agent": "`node-id`, this machine's identity; `epoch.json`, the newest leader that was obeyed; `rights`, which starts of guests are over here for ever; "
    "`charge.json`, what the leader had it look after; and `local.json`, what a person did here by `covey local`",
    "identity": "as a node of several: `node.key`, `node.pem`, `ca.pem`, and `membership.json`, the cluster and whose orders count",
    "events": "what happened: up to 5 numbered files of 5,000 events each",
    "tls": "`ca.pem`, `ca.key`, `server.pem`, `server.key`; made at the first `--listen`",
    "backups": "backups of the records, each with every secret of the cluster (mode 0600); unless the settings name another directory",
    "images": "images, read-only, named by UUID",
    "pool": "the first pool, unless `cluster init --pool-path` said otherwise: volumes, named by UUID; in `uploads`, images that come in to be disks",
    "guests": "a directory a guest: sockets of console, ready channel and VNC, the console's log, the mark of its run; in `removed`, what the UEFI of removed ones remembers",
    "seeds": "cloud-init seeds, an ISO a guest, readable by QEMU's user alone: user-data may hold secrets",
    "takeover": "the last taking over of a network card by `covey node prepare`: what it carried, and how far it is",
    "filters": "what each NIC may send and receive, a file each instance and each firewall: packet rules are made again from them",
    "fake": "what pretended hosts pretend to have (`--hosts fake` only)",
}


def state_page() -> str:
    layout = Layout(Path("DIR"))
    names = [name for name, value in vars(Layout).items() if isinstance(value, property)]
    if missing := sorted({"state", *names} ^ set(STATE)):
        raise SystemExit(f"docs.generate: say what these parts of the state directory are: {missing}")
    rows = [(f"`{getattr(layout, name)}`", STATE[name]) for name in ("state", *names)]
    rows += [
        (
            "`DIR/store/etcd/`",
            "this machine's part of etcd: its authority, certificates, `member.env` (how its member starts), `data-...` (the records)",
        ),
        ("`DIR/store/home`", "of which cluster the records have come home to this machine, where it began on another one"),
        ("`DIR/store/covey.db.moved`", "what was here before the records moved to etcd, of a cluster that this machine has left"),
        (
            "`DIR/store/moving.json`",
            "a move of the records that is under way; what was cut off is settled by it at the next start",
        ),
        ("`DIR/lock`", "held by `covey up`, or shared by the services, so that there is one Covey at a time"),
        ("`DIR/libvirt/sockets/`", "the private libvirtd's sockets, closed to all but root"),
        ("`DIR/libvirt/libvirtd.pid`", "its process"),
        ("`DIR/libvirt/host-uuid`, `DIR/libvirt/boot`", "its identity, and the boot of the machine that its notes belong to"),
        *((f"`DIR/libvirt/{name}/`", f"what it sees as `{target}`") for name, target in BINDINGS),
    ]
    return (
        f"# The state directory\n\n{MADE}\n"
        "Covey keeps everything in one directory: `/var/lib/covey`, or what `covey up --state DIR` or `COVEY_STATE` says. Several run side\n"
        "by side, each with its own. Pools may lie elsewhere (`covey pool add`). The path must be short: sockets may have 107 bytes.\n\n"
        f"{table('Path', 'What it is', rows=rows)}\n"
        "Nothing in it is to be edited. To keep a copy of all, end `covey up` first and copy the whole directory. [What to keep a copy\n"
        "of](../howto/export-the-cluster.md#what-to-keep-a-copy-of) while Covey runs.\n"
    )


if __name__ == "__main__":
    main()
