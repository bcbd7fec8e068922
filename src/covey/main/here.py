"""This machine's agent, for commands that work on this very machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx2

from covey.base.errors import CoveyError, Unavailable, from_json
from covey.main.layout import Layout

ANSWER_LIMIT_S = 30.0


@contextlib.contextmanager
def agent_here(layout: Layout, answers_within_s: float = ANSWER_LIMIT_S) -> Iterator[httpx2.Client]:
    """This machine's agent. Raises Unavailable."""
    transport = httpx2.HTTPTransport(uds=str(layout.agent_socket))
    with httpx2.Client(transport=transport, base_url="http://agent", timeout=answers_within_s) as client:
        try:
            yield client
        except (httpx2.HTTPError, OSError) as error:
            raise Unavailable(
                f"this machine's agent does not answer: {error}",
                str(layout.agent_socket),
                f"is Covey running here? systemctl status covey-agent, or: covey up --state {layout.state}",
            ) from error


def checked(answer: httpx2.Response) -> Any:
    """The JSON of an answer. Raises the CoveyError that it carries."""
    if answer.status_code != 200:
        error: CoveyError = from_json(answer.json())
        raise error
    return answer.json()
