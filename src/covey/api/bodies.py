"""Bodies of requests: pydantic models made from the request dataclasses, so that nothing is written twice.

Strict types, no unknown fields, bounded lengths; what a name or an address may be is the request's own `check()`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, create_model

from covey.base.clock import parse_time
from covey.base.errors import BadInput, Bug, check
from covey.model.request import Request

R = TypeVar("R", bound=Request)
Convert = Callable[[Any], Any]
OWN = frozenset({"seed", "now", "secret", "digest", "by", "reason", "invitation"})  # filled in by the service
Text = Annotated[str, pydantic.Field(max_length=65_536)]
Whole = Annotated[
    int,
    pydantic.Field(ge=-(2**63), lt=2**63),
    pydantic.WithJsonSchema({"type": "integer", "format": "int64"}),  # the bounds themselves would be written as inexact floats
]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Moment = Annotated[str, pydantic.Field(max_length=40, json_schema_extra={"format": "date-time"})]
LONGEST_LIST = 10_000


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Body(Generic[R]):
    """How a JSON body becomes a request. `convert` has the fields that need it."""

    request: type[R]
    model: type[BaseModel]
    convert: dict[str, Convert]

    def values(self, data: bytes) -> dict[str, Any]:
        """The fields that a body gives. Raises BadInput naming the first wrong one."""
        return self.given(parse(self.model, data))

    def given(self, parsed: BaseModel) -> dict[str, Any]:
        """The fields that a body gives, once it is read."""
        given = {name: getattr(parsed, name) for name in parsed.model_fields_set}
        for name, convert in self.convert.items():
            if given.get(name) is not None:
                given[name] = convert(given[name])
        return given


def parse(model: type[BaseModel], data: bytes) -> BaseModel:
    """An empty body counts as {}. Raises BadInput."""
    try:
        return model.model_validate_json(data or b"{}")
    except pydantic.ValidationError as error:
        raise _bad_input(error, model) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"is no JSON: {error}", "body", "send one JSON object in UTF-8") from error


def _bad_input(error: pydantic.ValidationError, model: type[BaseModel]) -> BadInput:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part)[:80] for part in first["loc"]) or "body"
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "none"
        return BadInput("there is no such field", where, f"there are: {known}" if len(first["loc"]) == 1 else "")
    return BadInput(first["msg"][:1].lower() + first["msg"][1:], where)


def body_of(request: type[R], elsewhere: Iterable[str] = (), partial: Iterable[str] = ()) -> Body[R]:
    """`elsewhere` are fields that come from the path; `partial` ones are left as dicts of what was given. `_at` fields are text
    outside and seconds within."""
    left_out = OWN | set(elsewhere)
    own = [field for field in fields(request) if field.name not in left_out]
    model = _model(typing.cast(Any, request), tuple(field.name for field in own))
    conversions = _conversions(request, own) | dict.fromkeys(partial, _given)
    return Body(request, model, conversions)


@cache
def _model(cls: type, names: tuple[str, ...]) -> type[BaseModel]:
    hints = typing.get_type_hints(cls)
    definitions: dict[str, Any] = {
        field.name: (_outer_type(field.name, hints[field.name]), _default(field)) for field in fields(cls) if field.name in names
    }
    model: type[BaseModel] = create_model(
        f"{cls.__name__}Body" if issubclass(cls, Request) else cls.__name__,
        __base__=StrictModel,
        __doc__=cls.__doc__ if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else None,
        **definitions,
    )
    return model


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        if field.name.endswith("_at"):
            return None
        return list(field.default) if isinstance(field.default, tuple) else field.default
    return None if field.default_factory is not MISSING else ...


def _outer_type(name: str, hint: Any) -> Any:
    """The pydantic type of a field."""
    if hint is float and name.endswith("_at"):
        return Moment | None
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return _outer_type(name, inner) | None
    if origin is tuple and arguments[-1] is Ellipsis:
        return Annotated[list[_outer_type(name, arguments[0])], pydantic.Field(max_length=LONGEST_LIST)]  # type: ignore[misc]
    if is_dataclass(hint):
        cls = typing.cast(type, hint)
        return _model(cls, tuple(field.name for field in fields(cls)))
    raise Bug(f"no body can have the type {hint!r}", name)


_SIMPLE: dict[Any, Any] = {str: Text, int: Whole, float: Number, bool: bool}


def _conversions(cls: type, own: list[Field[Any]]) -> dict[str, Convert]:
    hints = typing.get_type_hints(cls)
    found = {field.name: _conversion(field.name, hints[field.name]) for field in own}
    return {name: convert for name, convert in found.items() if convert}


def _given(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.model_fields_set}


def _conversion(name: str, hint: Any) -> Convert | None:
    """What turns a parsed value into the dataclass's own; None when it is that already."""
    if hint is float and name.endswith("_at"):
        return lambda text: _said_moment(text, name)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _conversion(name, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        inner = _conversion(name, arguments[0])
        return tuple if inner is None else lambda values: tuple(inner(value) for value in values)
    if is_dataclass(hint):
        return lambda model: typing.cast(Any, hint)(**_given(model))
    return None


def _said_moment(text: str, name: str) -> float:
    """A time that somebody wants; 0, the beginning of the epoch, would be none."""
    seconds = moment(text, name)
    check(seconds > 0, BadInput(f"{text[:40]!r} is long past", name))
    return seconds


def moment(text: str, name: str) -> float:
    """Seconds since the epoch. Raises BadInput."""
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{text[:40]!r} is not a time", name, "write it like 2026-11-20T06:00:00Z") from error
