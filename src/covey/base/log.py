"""What daemons write down: one line an event on standard error, as JSON or for people, with the job and request it
belongs to.

Everything that is logged in the process passes through here, the standard library's loggers included (uvicorn's have
to be started with `log_config=None`). Secrets do not: see `redact`. Only daemons import this module; the command line
prints.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from covey.base.errors import BadInput

LEVELS = ("debug", "info", "warning", "error")
HIDDEN = "(hidden)"
_SECRET_KEYS = re.compile(
    r"passw|passphrase|token|secret|user_?data|private_?key|api_?key|credential|authorization|cookie", re.IGNORECASE
)
_WORD = r"[\w-]{0,40}(?:passw|token|secret)[\w-]{0,40}"  # bounded: long lines must not take quadratic time
# Secrets that turn up within other text, and what is left of them.
_SECRET_TEXTS = (
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(\bBearer )[\w.~+/=-]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"({_WORD}=)(?:'[^']*'|\"[^\"]*\"|[^&\s\"',;)]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"([\"']{_WORD}[\"']: ?)(?:'[^']*'|\"[^\"]*\")", re.IGNORECASE), rf"\1{HIDDEN}"),
)
_DEEPEST = 8  # levels of nesting that are looked into; what lies deeper is hidden as a whole


def configure(json: bool, level: str = "info") -> None:
    """Send all that is logged to standard error, from `level` (debug, info, warning, error) up. Raises BadInput."""
    if level not in LEVELS:
        raise BadInput(f"{level!r} is not a log level", "log", f"choose one of {', '.join(LEVELS)}")
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, _renderer(json)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request, and agents get thousands
    _take_over_loggers()


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Named after the module that uses it: log.logger(__name__). Usage: logger.info("what happened", object=...)."""
    found: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return found


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of keys that look secret, at any depth, and secrets within text: private keys, bearer tokens,
    passwords in URLs and `password=...`. A net under careful callers, not a licence: P13 keeps secrets out of what is
    logged in the first place."""
    return {key: _without_secrets(key, value, _DEEPEST) for key, value in event.items()}


def _without_secrets(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _SECRET_KEYS.search(key.replace("-", "_")):
        return HIDDEN
    if isinstance(value, str):
        return _without_secret_texts(value)
    if isinstance(value, bytes):
        return _without_secret_texts(value.decode(errors="replace"))
    if isinstance(value, bool | int | float | None):
        return value
    if depth == 0:
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: _without_secrets(name, inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(None, inner, depth - 1) for inner in value]
    return _without_secret_texts(str(value))


def _without_secret_texts(text: str) -> str:
    for pattern, rest in _SECRET_TEXTS:
        text = pattern.sub(rest, text)
    return text


def _renderer(json: bool) -> structlog.typing.Processor:
    if json:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="at",
        # Never the pretty one: it prints the values of local variables.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _take_over_loggers() -> None:
    """Loggers that were given handlers of their own before (by uvicorn, say) hand on to the root's instead."""
    for name in list(logging.root.manager.loggerDict):
        other = logging.getLogger(name)
        other.handlers.clear()
        other.propagate = True
