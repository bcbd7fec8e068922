"""Within guests, by their own agents."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from starlette.responses import Response

from covey.api.bodies import Number, StrictModel, Text, parse
from covey.api.guest_documents import GuestDocument, GuestRunDocument, GuestSetDocument
from covey.api.operation import Call, Operation, json_response
from covey.service import guest

HERE = "/v1/instances/{name}/guest"


class RunBody(StrictModel):
    """A command, word by word: no shell comes between."""

    argv: Annotated[list[Text], pydantic.Field(max_length=1_000)]
    timeout_s: Number = 30.0


class PasswordBody(StrictModel):
    user: Text
    password: Text


class KeysBody(StrictModel):
    """With `reset`, all other keys of the user are taken away."""

    user: Text
    keys: Annotated[list[Text], pydantic.Field(max_length=100)]
    reset: bool = False


async def show(call: Call) -> Response:
    return json_response(await guest.facts(call.inside, call.path["name"]))


async def run(call: Call) -> Response:
    body: Any = parse(RunBody, await call.body())
    return json_response(await guest.run(call.inside, call.principal, call.path["name"], tuple(body.argv), body.timeout_s))


async def set_password(call: Call) -> Response:
    body: Any = parse(PasswordBody, await call.body())
    await guest.set_password(call.inside, call.principal, call.path["name"], body.user, body.password)
    return json_response({"user": body.user})


async def set_keys(call: Call) -> Response:
    body: Any = parse(KeysBody, await call.body())
    await guest.set_keys(call.inside, call.principal, call.path["name"], body.user, tuple(body.keys), body.reset)
    return json_response({"user": body.user})


OPERATIONS = (
    Operation(
        "GET",
        HERE,
        "show_guest",
        "How the guest sees itself",
        "guest.read",
        show,
        {200: GuestDocument},
        errors=(404, 409),
        asks_nodes=True,
    ),
    Operation(
        "POST",
        f"{HERE}/run",
        "run_in_guest",
        "Run a command in the guest",
        "guest.run",
        run,
        {200: GuestRunDocument},
        body=RunBody,
        errors=(404, 409, 413),
        example={"argv": ["systemctl", "is-active", "ssh"]},
    ),
    Operation(
        "POST",
        f"{HERE}/password",
        "set_guest_password",
        "Set a user's password in the guest",
        "guest.password",
        set_password,
        {200: GuestSetDocument},
        body=PasswordBody,
        errors=(404, 409, 413),
        example={"user": "root", "password": "..."},
    ),
    Operation(
        "POST",
        f"{HERE}/ssh-keys",
        "set_guest_ssh_keys",
        "Give a user in the guest SSH keys",
        "guest.keys",
        set_keys,
        {200: GuestSetDocument},
        body=KeysBody,
        errors=(404, 409, 413),
        example={"user": "root", "keys": ["ssh-ed25519 AAAA anna"], "reset": True},
    ),
)
