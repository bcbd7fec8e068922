"""The servers that etcd is made of: which there are, one more, one less. Who votes decides how many may fail: never more than one at a time."""

from __future__ import annotations

import asyncio

from covey.base.errors import CoveyError
from covey.model.sharing import Peer
from covey.store.etcd_link import Link
from covey.store.etcd_messages import (
    ADD_MEMBER,
    MEMBERS,
    PROMOTE_MEMBER,
    REMOVE_MEMBER,
    STATUS,
    EmptyRequest,
    MemberAddRequest,
    MemberRequest,
    PeerMember,
)

LOOK_S = 2.0  # what a member has to say how it is


class EtcdMembers:
    """Each call raises Unavailable when most members do not answer, or it cannot be done now."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def all(self) -> tuple[Peer, ...]:
        """By where they are."""
        answer = await self._link.read(MEMBERS, EmptyRequest())
        return tuple(sorted((_peer(member) for member in answer.members), key=lambda peer: peer.url))

    async def add(self, url: str) -> Peer:
        """One more, without a vote yet: if it never comes, nothing is lost."""
        answer = await self._link.write(ADD_MEMBER, MemberAddRequest((url.encode(),), is_learner=True))
        return _peer(answer.member)

    async def promote(self, peer: Peer) -> None:
        """It votes from now on. Refused by etcd until it has nearly everything."""
        await self._link.write(PROMOTE_MEMBER, MemberRequest(peer.id))

    async def remove(self, peer: Peer) -> None:
        """It is none any more. Refused by etcd when the others could not go on without it."""
        await self._link.write(REMOVE_MEMBER, MemberRequest(peer.id))

    async def silent(self) -> tuple[str, ...]:
        """Where a member that takes clients gives no answer (HOST:PORT)."""
        members = self._link.members
        answers = await asyncio.gather(
            *(self._link.ask_member(member, STATUS, EmptyRequest(), LOOK_S) for member in members), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CoveyError):
                raise answer
        return tuple(member.address for member, answer in zip(members, answers, strict=True) if isinstance(answer, CoveyError))


def _peer(member: PeerMember) -> Peer:
    url = member.peer_urls[0].decode() if member.peer_urls else ""
    return Peer(member.id % (1 << 64), url, member.name.decode(), not member.is_learner)
