"""Server-sent events, read line by line (the WHATWG HTML standard, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from covey.base.errors import Unavailable


class ServerEvent(NamedTuple):
    """One event: its name, its data (parsed JSON) and its id, which is where a later stream resumes."""

    name: str
    data: Any
    id: str


def parse_events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Comments (the server's keepalives) are passed over; an event cut short by the end of the stream is not one. Raises Unavailable
    when the data is not JSON."""
    name, id = "", ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode(errors="replace").rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(name or "message", _parse("\n".join(data)), id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            id = value


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unavailable("the server's stream is not understood", "covey", "is it of another release? covey status") from error
