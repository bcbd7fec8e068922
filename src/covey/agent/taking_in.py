"""Guests that come to this machine while they run: let in from where the leader said, for as long as that is under way."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from covey.base.errors import Refused, check
from covey.host import domains, moving
from covey.host.host import Host
from covey.host.migration.protocol import Offer, Pipe
from covey.host.threads import in_thread


class Arrivals:
    """`alone` gives the turn on an object: nothing else is done with an instance while it comes."""

    def __init__(self, host: Host, alone: Callable[[str], AbstractAsyncContextManager[None]]) -> None:
        self._host = host
        self._alone = alone
        self._coming: dict[str, str] = {}  # from which node, by instance

    @contextlib.asynccontextmanager
    async def admitted(self, source: str, offer: Offer) -> AsyncIterator[str]:
        """A guest from the node with that id may come; its description as it will be here. Afterwards nothing of it is half-way. Raises
        Refused for one that is not expected from there."""
        instance = offer.domain.instance
        async with self._alone(f"instance/{instance}"):
            self._host.rights.check_expected(instance, source, offer.generation)
            self._coming[instance] = source
            try:
                yield await self._host.hypervisor.admit(offer, domains.attachments_of(self._host, offer.domain))
            finally:
                del self._coming[instance]
                if await moving.has_arrived(self._host, instance, offer.generation):
                    await in_thread(self._host.rights.expect_nobody, instance)

    async def connect(self, source: str, instance: str, kind: str) -> Pipe:
        """This machine's end of a part of what comes. Raises Refused when nothing is coming from there."""
        check(
            self._coming.get(instance) == source,
            Refused("nothing of it is coming from there", f"instance {instance}", "see: covey job list"),
        )
        return await self._host.hypervisor.connect(instance, kind)

    async def has_arrived(self, instance: str, generation: int) -> bool:
        """Whether it has begun to run here, as that start or a later one. If not, it will not by what was on its way."""
        async with self._alone(f"instance/{instance}"):
            return await moving.has_arrived(self._host, instance, generation)
