"""Volumes of other nodes, got from their agents over mutual TLS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from covey.base.errors import CoveyError, Refused, Unavailable, check, from_json
from covey.base.identity import CertificateFiles, agent_name, caller_context
from covey.host.export.parts import LARGEST, Parts, parsed
from covey.model import codec
from covey.model.pool import Volume

CONNECT_WITHIN_S = 10.0
SILENCE_S = 60.0  # of a node that looks where a disk holds what; longer, and it is gone


class HostFetches:
    """`files` are what this machine shows to other nodes."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files

    @asynccontextmanager
    async def opened(self, volume: Volume, above: bool, start: int, origin: str, address: str) -> AsyncIterator[Parts]:
        import httpx2  # an agent takes it in only when it needs it: idle ones are to be small

        check(self._files.certificate.exists(), Refused("this machine is no node of several", f"volume {volume.id}"))
        wish = {"volume": codec.encode(volume), "above": above, "start": start}
        timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_WITHIN_S)
        how: dict[str, Any] = {"extensions": {"sni_hostname": agent_name(origin)}, "content": json.dumps(wish)}
        gone = f"agent at {address}"
        try:
            async with (
                httpx2.AsyncClient(verify=caller_context(self._files), trust_env=False, timeout=timeout) as client,
                client.stream("POST", f"https://{address}/volumes/parts", **how) as answer,
            ):
                if answer.status_code != httpx2.codes.OK:
                    raise _error(await answer.aread(), answer.status_code, gone)
                yield await parsed(_pieces(answer, gone))
        except httpx2.TransportError as error:
            raise Unavailable(f"it does not answer: {str(error) or type(error).__name__}", gone, "is that node up?") from error


async def _pieces(answer: Any, gone: str) -> AsyncIterator[bytes]:
    """What comes; that it broke off is told where it is read, which may be outside of whoever opened it."""
    import httpx2

    try:
        async for piece in answer.aiter_raw(LARGEST):
            yield piece
    except httpx2.TransportError as error:
        raise Unavailable(f"it broke off: {str(error) or type(error).__name__}", gone, "is that node up?") from error


def _error(body: bytes, status: int, gone: str) -> CoveyError:
    try:
        return from_json(json.loads(body))
    except ValueError:
        return Unavailable(f"it answers {status}", gone, "is it an agent of another release?")
