"""Bring an image's file here over HTTP, continued where a cut left it. Imported when first needed: idle agents do without httpx2."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from covey.base.errors import BadInput, NotFound, Refused, Unavailable, check
from covey.base.files import write_durably
from covey.host.faults import told_apart
from covey.host.image.fetch import PIECE, check_room, memo_of, opened
from covey.host.image.protocol import Progress
from covey.host.threads import in_thread

ATTEMPTS = 5  # in a row that bring nothing, once something has come
TIMES = httpx2.Timeout(60, connect=20)  # seconds of silence
REDIRECTS = 5
RETRY_S = 2.0  # seconds before the next attempt


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the server said of the file when its first part came: only the same file may be continued (RFC 9110,
    If-Range)."""

    url: str
    validator: str  # a strong ETag or a Last-Modified; "" when the server sent neither


class _Cut(Exception):
    """The connection ended early; what came is kept."""


# ---- from this machine ----


async def download(url: str, new: Path, progress: Progress, tls: ssl.SSLContext | None = None, name: str = "") -> str:
    """Fetch a URL, going on with a part that is there if it is of the same file. With `tls` and `name`, whoever answers must prove to have
    that name, whatever its address. Raises BadInput for a bad URL,
    NotFound, Refused, NoSpace, and Unavailable when the server does not answer: the part that came stays for the next
    call."""
    idle = 0
    try:
        extras: dict[str, Any] = {"verify": tls, "trust_env": False} if tls else {"follow_redirects": True}
        async with httpx2.AsyncClient(max_redirects=REDIRECTS, timeout=TIMES, **extras) as client:
            while True:
                before = _length(new)
                try:
                    await _attempt(client, url, new, progress, {"sni_hostname": name} if name else {})
                    break
                except _Cut as cut:
                    idle = 0 if _length(new) > before else idle + 1
                    if idle >= (ATTEMPTS if _length(new) else 1):
                        raise Unavailable(f"the server does not deliver: {cut}", url, "try again later") from cut
                    progress(f"continuing after a cut: {cut}", _length(new), 0)
                    await asyncio.sleep(RETRY_S * idle)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise BadInput(f"this URL cannot be fetched: {error}", url, "use http:// or https://") from error
    except httpx2.TooManyRedirects as error:
        raise Unavailable(f"more than {REDIRECTS} redirections", url, "give the final address") from error
    memo_of(new).unlink(missing_ok=True)
    return await in_thread(_digest, new)


async def _attempt(client: httpx2.AsyncClient, url: str, new: Path, progress: Progress, how: dict[str, str]) -> None:
    """One request, to the end of the file. Raises _Cut when it ended early."""
    known = _recall(new)
    start = _length(new) if known and known.url == url and known.validator else 0
    # What the file is is asked as it is: a part of a compressed answer could not be continued.
    headers = {"Accept-Encoding": "identity"}
    if start and known:
        headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
    try:
        async with client.stream("GET", url, headers=headers, extensions=how) as answer:
            if answer.status_code == 416 and start:
                new.unlink(missing_ok=True)  # the server has no such part any more: the file is another
                raise _Cut("the file on the server has changed")
            _check_answer(answer, url)
            start = _continues_at(answer, start)
            if start == 0:
                write_durably(memo_of(new), json.dumps(asdict(Remembered(url, _validator(answer)))).encode())
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else 0
            check_room(new.parent, max(total - start, 0))
            await _receive(answer, new, start, total, progress)
    except httpx2.TooManyRedirects:
        raise
    except httpx2.UnsupportedProtocol:
        raise
    except httpx2.TransportError as error:
        raise _Cut(str(error) or type(error).__name__) from error
    if total and _length(new) != total:
        raise _Cut(f"{_length(new)} of {total} bytes came")


def _check_answer(answer: httpx2.Response, url: str) -> None:
    status = answer.status_code
    said = f"the server answers {status} {answer.reason_phrase}".rstrip()
    check(status not in (404, 410), NotFound(said, url, "look at the address"))
    check(not 400 <= status < 500 or status in (408, 429), Refused(said, url, "look at the address and its access"))
    check(status in (200, 206), Unavailable(said, url, "try again later"))


def _continues_at(answer: httpx2.Response, start: int) -> int:
    """Where the answer's first byte belongs: 0 unless it is the part that was asked for."""
    if answer.status_code != 206:
        return 0
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise _Cut("the server sent another part than was asked for")
    return start


async def _receive(answer: httpx2.Response, new: Path, start: int, total: int, progress: Progress) -> None:
    with told_apart(new.parent, "an image"), opened(new, fresh=not start) as file:
        file.truncate(start)
        file.seek(start)
        done = start
        async for piece in answer.aiter_raw(PIECE):
            check_room(new.parent, len(piece))  # a server may send more than it announced, or without end
            await in_thread(file.write, piece)
            done += len(piece)
            progress("downloading", done, total)


def _validator(answer: httpx2.Response) -> str:
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def _recall(new: Path) -> Remembered | None:
    try:
        return Remembered(**json.loads(memo_of(new).read_bytes()))
    except FileNotFoundError:
        return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- room ----
