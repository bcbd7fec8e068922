"""What is done within guests, by their own agents: looked at, run, and set. No plan and no job: nothing of the cluster's own changes.
Who did what is kept as an event, without what was printed and without secrets (P13)."""

from __future__ import annotations

import shlex
from typing import Any

from covey.base.errors import BadInput, CoveyError, Refused, check
from covey.base.hiding import without_secret_texts
from covey.model.guest import LONGEST_RUN_S, check_argv, check_keys, check_password, check_user
from covey.model.instance import Instance
from covey.service.access import Principal
from covey.service.documents import Document
from covey.service.inside import Inside

PATIENCE_S = 30.0  # for an agent's answers, beyond what a command may take
LONGEST_SHOWN = 300  # characters of a command in its event


async def facts(inside: Inside, name: str) -> Document:
    """How the guest sees itself. Raises Refused when it has no agent that answers."""
    instance = _running(inside, name)
    return await _ask(inside, instance, "facts", {}, PATIENCE_S)


async def run(inside: Inside, principal: Principal, name: str, argv: tuple[str, ...], timeout_s: float) -> Document:
    """Run a command in a guest. Raises BadInput, Refused, and StepFailed when it does not end in time."""
    check_argv(argv)
    check(0 < timeout_s <= LONGEST_RUN_S, BadInput(f"must be between 0 and {LONGEST_RUN_S:g}", "timeout_s"))
    instance = _running(inside, name)
    words = {"argv": list(argv), "timeout_s": timeout_s}
    command = without_secret_texts(shlex.join(argv))  # events are read by more people than may run commands
    shown = command if len(command) <= LONGEST_SHOWN else f"{command[:LONGEST_SHOWN]}..."
    _tell(inside, "instance.exec", instance, f"{principal.name} runs in {instance}: {shown}")
    return await _ask(inside, instance, "run", words, timeout_s + PATIENCE_S)


async def set_password(inside: Inside, principal: Principal, name: str, user: str, password: str) -> None:
    """Raises BadInput, Refused."""
    check_user(user)
    check_password(password)
    instance = _running(inside, name)
    await _ask(inside, instance, "password", {"user": user, "password": password}, PATIENCE_S)
    _tell(inside, "instance.password", instance, f"{principal.name} set the password of {user} in {instance}")


async def set_keys(inside: Inside, principal: Principal, name: str, user: str, keys: tuple[str, ...], reset: bool) -> None:
    """Raises BadInput, Refused."""
    check_user(user)
    check_keys(keys)
    instance = _running(inside, name)
    words: dict[str, Any] = {"user": user, "keys": list(keys), "reset": reset}
    await _ask(inside, instance, "keys", words, PATIENCE_S)
    count = f"{len(keys)} SSH key{'' if len(keys) == 1 else 's'}"
    what = f"gave {user} in {instance} {count}" + (" in place of all others" if reset else "")
    _tell(inside, "instance.keys", instance, f"{principal.name} {what}")


async def _ask(inside: Inside, instance: Instance, verb: str, words: dict[str, Any], timeout_s: float) -> Document:
    """The guest's answer. What is refused is told of the instance by its name: nodes know ids only."""
    try:
        return dict(await inside.nodes.ask_guest(instance.node, instance.id, verb, words, timeout_s))
    except CoveyError as error:
        raise type(error)(error.what, str(instance), error.hint) from error


def _running(inside: Inside, name: str) -> Instance:
    instance = inside.view.instance(name)
    state = inside.view.observed(instance.id).state
    check(state == "running", Refused(f"it is {state}", instance, f"start it: covey instance start {instance.name}"))
    return instance


def _tell(inside: Inside, kind: str, instance: Instance, text: str) -> None:
    inside.events.tell(kind, str(instance), text)
