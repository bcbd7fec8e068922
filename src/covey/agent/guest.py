"""What is asked of guests themselves, one verb a question: no steps, as nothing of the cluster's own is changed by them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from covey.host.guest import inside
from covey.host.hypervisor.protocol import Hypervisor
from covey.model import codec

Wish = dict[str, Any]
Ask = Callable[[Hypervisor, str, Wish], Awaitable[dict[str, Any]]]


async def _facts(hypervisor: Hypervisor, instance: str, wish: Wish) -> dict[str, Any]:
    return dict(codec.encode(await inside.facts(hypervisor, instance)))


async def _run(hypervisor: Hypervisor, instance: str, wish: Wish) -> dict[str, Any]:
    return dict(codec.encode(await inside.run(hypervisor, instance, tuple(wish["argv"]), float(wish["timeout_s"]))))


async def _password(hypervisor: Hypervisor, instance: str, wish: Wish) -> dict[str, Any]:
    await inside.set_password(hypervisor, instance, wish["user"], wish["password"])
    return {}


async def _keys(hypervisor: Hypervisor, instance: str, wish: Wish) -> dict[str, Any]:
    await inside.set_keys(hypervisor, instance, wish["user"], tuple(wish["keys"]), bool(wish["reset"]))
    return {}


GUEST_VERBS: dict[str, Ask] = {"facts": _facts, "run": _run, "password": _password, "keys": _keys}
