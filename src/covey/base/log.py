"""What daemons write down: one line an event on standard error, as JSON or for people, with the job and request it
belongs to.

Everything that is logged in the process passes through here, the standard library's loggers included (uvicorn's have
to be started with `log_config=None`). Secrets do not: see `redact`. Only daemons import this module; the command line
prints.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from covey.base.config import LOG_LEVELS
from covey.base.errors import BadInput
from covey.base.hiding import without_secrets


def configure(json: bool, level: str = "info") -> None:
    """Send all that is logged to standard error, from `level` (debug, info, warning, error) up. Raises BadInput."""
    if level not in LOG_LEVELS:
        raise BadInput(f"{level!r} is not a log level", "log", f"choose one of {', '.join(LOG_LEVELS)}")
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
        cache_logger_on_first_use=True,  # a line that is not written then costs a microsecond or two, not ten
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


def belongs_to() -> str:
    """The id of the API's request that what runs here is done for; "" for what Covey does by itself."""
    return str(structlog.contextvars.get_contextvars().get("request", ""))


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the values of keys that look secret, at any depth, and secrets within text: private keys, bearer tokens,
    passwords in URLs and `password=...`. A net under careful callers, not a licence: P13 keeps secrets out of what is
    logged in the first place."""
    return {key: without_secrets(key, value) for key, value in event.items()}


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
