"""A machine's filters, pretended: the same refusals, no kernel."""

from __future__ import annotations

from covey.base.errors import BadInput, NotFound, Refused, check
from covey.host.filter.check import check_filters, check_rules
from covey.host.shelf import Shelf, Thing
from covey.model.codec import decode, encode
from covey.model.filter import Filter, FoundFilters, Rule, digest_of_filters, digest_of_rules
from covey.model.names import check_tag, check_uuid

_INSTANCE, _FIREWALL, _FLUSHED = "filter/", "firewall/", "filters-flushed"


class FakeFilters:
    """Filters as things on a shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def ensure_filtered(self, instance: str, filters: tuple[Filter, ...], job: str) -> None:
        check_filters(instance, filters)
        check_tag(job, f"instance {instance}")
        for id in {id for one in filters for id in one.firewalls}:
            check(
                self._shelf.get(_FIREWALL + id) is not None,
                NotFound(f"this machine does not have the firewall {id}", f"instance {instance}", "covey cluster verify --fix"),
            )
        if filters:
            self._put(_INSTANCE + instance, job, {"filters": [encode(one) for one in filters]})
        else:
            self._shelf.delete(_INSTANCE + instance)

    async def ensure_unfiltered(self, instance: str, nic: int | None = None) -> None:
        present = self._shelf.get(_INSTANCE + instance)
        if present:
            left = tuple(one for one in _filters(present) if nic is not None and one.index != nic)
            await self.ensure_filtered(instance, left, present["job"])

    async def ensure_firewall(self, firewall: str, rules: tuple[Rule, ...], job: str) -> None:
        object = f"firewall {firewall}"
        check(check_uuid(firewall, object) == firewall, BadInput("its UUID is not in lower case", object))
        check_rules(rules, object)
        check_tag(job, object)
        self._put(_FIREWALL + firewall, job, {"rules": [encode(rule) for rule in rules]})

    async def ensure_firewall_absent(self, firewall: str, job: str = "") -> None:
        object = f"firewall {firewall}"
        check(check_uuid(firewall, object) == firewall, BadInput("its UUID is not in lower case", object))
        present = self._shelf.get(_FIREWALL + firewall)
        if present is None or (job and present["job"] != job):
            return
        users = [key.removeprefix(_INSTANCE) for key, thing in self._shelf.items(_INSTANCE) if firewall in _firewalls(thing)]
        check(not users, Refused(f"instance {', '.join(users[:3])} still has it", object, "take it away there first"))
        self._shelf.delete(_FIREWALL + firewall)

    async def kept(self, instance: str) -> tuple[Filter, ...]:
        present = self._shelf.get(_INSTANCE + instance)
        return _filters(present) if present else ()

    async def filters(self) -> FoundFilters:
        instances = {
            key.removeprefix(_INSTANCE): digest_of_filters(_filters(thing)) for key, thing in self._shelf.items(_INSTANCE)
        }
        firewalls = {key.removeprefix(_FIREWALL): digest_of_rules(_rules(thing)) for key, thing in self._shelf.items(_FIREWALL)}
        return FoundFilters(instances, firewalls, self._why())

    async def ensure_intact(self) -> str:
        why = self._why()
        self._shelf.delete(_FLUSHED)
        return why

    def flush(self) -> None:
        """What `nft flush ruleset` does to a real machine."""
        self._shelf.put(_FLUSHED, {})

    def _why(self) -> str:
        has_any = bool(self._shelf.items(_INSTANCE) or self._shelf.items(_FIREWALL))
        return "the packet rules of NICs are gone" if has_any and self._shelf.get(_FLUSHED) is not None else ""

    def _put(self, key: str, job: str, thing: Thing) -> None:
        present = self._shelf.get(key)
        wanted = {**thing, "job": present["job"] if present else job}
        if wanted != present:
            self._shelf.put(key, wanted)


def _filters(thing: Thing) -> tuple[Filter, ...]:
    return tuple(decode(Filter, one) for one in thing["filters"])


def _rules(thing: Thing) -> tuple[Rule, ...]:
    return tuple(decode(Rule, one) for one in thing["rules"])


def _firewalls(thing: Thing) -> list[str]:
    return [id for one in _filters(thing) for id in one.firewalls]
