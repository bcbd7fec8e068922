"""The filters of this machine: what they shall be, in one small file each, and the table of packet rules that follows from them.

The files are there so that after `nft flush ruleset`, which a restart of Debian's nftables service is, all rules come back at once and by
themselves, whether or not a controller can be reached. The table is named by its node: several Coveys may share a machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import BadInput, CoveyError, NotFound, Refused, StepFailed, check
from covey.base.files import remove_durably, write_durably
from covey.base.run import run
from covey.host.filter.check import check_filters, check_rules
from covey.host.filter.nft import Script, difference
from covey.model.codec import decode, encode
from covey.model.filter import Filter, FoundFilters, Rule, digest_of_filters, digest_of_rules
from covey.model.names import check_tag, check_uuid

NFT_TIMEOUT_S = 30.0
_INSTANCE, _FIREWALL = "instance-", "firewall-"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a file says: of an instance its filters, of a firewall its rules; and the job that wanted it so."""

    job: str
    filters: tuple[Filter, ...] = ()
    rules: tuple[Rule, ...] = ()


class HostFilters:
    """The filters of this machine, or of the network namespace `netns`. `directory` keeps what they shall be; `node` names the table."""

    def __init__(self, directory: Path, node: str, netns: str | None = None) -> None:
        self._directory = directory
        self._table = f"covey-nics-{node}"
        self._comment = f"covey {node}"
        self._enter = () if netns is None else ("nsenter", f"--net=/run/netns/{netns}")
        self._changing = asyncio.Lock()
        self._read: dict[str, _Kept] | None = None
        self._spelled: tuple[str, str] = ("", "")  # a script, and how nft prints what it makes

    async def ensure_filtered(self, instance: str, filters: tuple[Filter, ...], job: str) -> None:
        check_filters(instance, filters)
        check_tag(job, f"instance {instance}")
        async with self._changing:
            await self._filter(instance, filters, job)

    async def ensure_unfiltered(self, instance: str, nic: int | None = None) -> None:
        check_filters(instance, ())
        async with self._changing:
            present = (await self._kept()).get(_INSTANCE + instance)
            if present:
                left = tuple(one for one in present.filters if nic is not None and one.index != nic)
                await self._filter(instance, left, present.job)

    async def _filter(self, instance: str, filters: tuple[Filter, ...], job: str) -> None:
        kept = await self._kept()
        for id in {id for one in filters for id in one.firewalls}:
            check(
                _FIREWALL + id in kept,
                NotFound(f"this machine does not have the firewall {id}", f"instance {instance}", "covey cluster verify --fix"),
            )
        before = kept.get(_INSTANCE + instance, _Kept(""))
        if not filters and not before.filters:
            return
        await self._keep(_INSTANCE + instance, _Kept(before.job or job, filters) if filters else None)
        script = Script(self._table)
        for one in before.filters:
            script.no_filter(instance, one)
        for one in filters:
            script.filter(instance, one, _rules(kept))
        await self._apply(script, f"instance {instance}")

    async def ensure_firewall(self, firewall: str, rules: tuple[Rule, ...], job: str) -> None:
        object = f"firewall {firewall}"
        check(check_uuid(firewall, object) == firewall, BadInput("its UUID is not in lower case", object))
        check_rules(rules, object)
        check_tag(job, object)
        async with self._changing:
            kept = await self._kept()
            before = kept.get(_FIREWALL + firewall)
            await self._keep(_FIREWALL + firewall, _Kept(before.job if before else job, rules=rules))
            script = Script(self._table)
            script.firewall(firewall, rules)
            for instance, one in _users(kept, firewall):  # whether the way out is closed depends on the rules
                script.filter(instance, one, _rules(kept))
            await self._apply(script, object)

    async def ensure_firewall_absent(self, firewall: str, job: str = "") -> None:
        object = f"firewall {firewall}"
        check(check_uuid(firewall, object) == firewall, BadInput("its UUID is not in lower case", object))
        async with self._changing:
            kept = await self._kept()
            before = kept.get(_FIREWALL + firewall)
            if before is None or (job and before.job != job):
                return
            users = [instance for instance, _ in _users(kept, firewall)]
            check(not users, Refused(f"instance {', '.join(users[:3])} still has it", object, "take it away there first"))
            await self._keep(_FIREWALL + firewall, None)
            script = Script(self._table)
            script.no_firewall(firewall)
            await self._apply(script, object)

    async def kept(self, instance: str) -> tuple[Filter, ...]:
        async with self._changing:
            present = (await self._kept()).get(_INSTANCE + instance)
        return present.filters if present else ()

    async def filters(self) -> FoundFilters:
        async with self._changing:
            kept = await self._kept()
            why = await self._difference()
        return FoundFilters(
            {
                key.removeprefix(_INSTANCE): digest_of_filters(one.filters)
                for key, one in kept.items()
                if key.startswith(_INSTANCE)
            },
            {key.removeprefix(_FIREWALL): digest_of_rules(one.rules) for key, one in kept.items() if key.startswith(_FIREWALL)},
            why,
        )

    async def ensure_intact(self) -> str:
        async with self._changing:
            await self._kept()
            why = await self._difference()
            if why:
                await self._nft(await self._whole(), "packet rules")
            return why

    async def _apply(self, script: Script, object: str) -> None:
        """A change to the table; when it was flushed meanwhile, or is not yet there, the whole of it. When the last filter goes, so
        does the table."""
        try:
            await self._nft(script.text if await self._kept() else await self._whole(), object)
        except StepFailed:
            await self._nft(await self._whole(), object)

    async def _whole(self) -> str:
        """The script that makes the table what is kept, whatever it was."""
        script = Script(self._table)
        kept = await self._kept()
        if not kept:
            script.nothing()
            return script.text
        script.whole(self._comment)
        for key, one in kept.items():
            if key.startswith(_FIREWALL):
                script.firewall(key.removeprefix(_FIREWALL), one.rules)
        for key, one in kept.items():
            for filter in one.filters:
                script.filter(key.removeprefix(_INSTANCE), filter, _rules(kept))
        return script.text

    async def _difference(self) -> str:
        """What is kept beside what the kernel has: both as this nft prints them."""
        done = await run(
            (*self._enter, "nft", "--stateless", "list", "table", "bridge", self._table), timeout_s=NFT_TIMEOUT_S, check=False
        )
        if not await self._kept():
            return "packet rules for nobody" if done.status == 0 else ""
        if done.status != 0:
            return "the packet rules of NICs are gone"
        return difference(done.text, await self._spell(await self._whole()))

    async def _spell(self, text: str) -> str:
        """How nft prints the table that a script makes: made in a network namespace of its own, which goes with the process."""
        if self._spelled[0] != text:
            shell = f"nft -f - && exec nft --stateless list table bridge {self._table}"
            done = await run(
                ("unshare", "--net", "sh", "-c", shell), timeout_s=NFT_TIMEOUT_S, stdin=text.encode(), object="packet rules"
            )
            self._spelled = (text, done.text)
        return self._spelled[1]

    async def _nft(self, text: str, object: str) -> None:
        await run((*self._enter, "nft", "-f", "-"), timeout_s=NFT_TIMEOUT_S, stdin=text.encode(), object=object)

    async def _kept(self) -> dict[str, _Kept]:
        if self._read is None:
            self._read = await asyncio.to_thread(_read, self._directory)
        return self._read

    async def _keep(self, key: str, what: _Kept | None) -> None:
        kept = await self._kept()
        path = self._directory / f"{key}.json"
        if what is None:
            await asyncio.to_thread(remove_durably, path)
            kept.pop(key, None)
        elif kept.get(key) != what:
            await asyncio.to_thread(_write, path, what)
            kept[key] = what


def _read(directory: Path) -> dict[str, _Kept]:
    """A file that cannot be read counts as none: `cluster verify` misses it, and makes it anew."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = {}
    for path in sorted(directory.glob("*.json")):
        try:
            kept[path.stem] = decode(_Kept, json.loads(path.read_bytes()))
        except (ValueError, CoveyError):
            continue
    return kept


def _write(path: Path, what: _Kept) -> None:
    write_durably(path, json.dumps(encode(what)).encode())


def _rules(kept: Mapping[str, _Kept]) -> dict[str, Sequence[Rule]]:
    """The rules of each firewall. One whose file was lost allows nothing until it is back."""
    named = {id for one in kept.values() for filter in one.filters for id in filter.firewalls}
    known = {key.removeprefix(_FIREWALL): one.rules for key, one in kept.items() if key.startswith(_FIREWALL)}
    return {id: known.get(id, ()) for id in named | known.keys()}


def _users(kept: Mapping[str, _Kept], firewall: str) -> list[tuple[str, Filter]]:
    return [
        (key.removeprefix(_INSTANCE), filter)
        for key, one in kept.items()
        for filter in one.filters
        if firewall in filter.firewalls
    ]
