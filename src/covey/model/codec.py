"""Records, requests, steps and plans as JSON and back.

Encoders and decoders are built once per class from its annotations: str, int, float, bool, tuples, dicts by str, optional values,
dataclasses, and *families* (a base class whose members are told apart by their `kind`). Unknown fields are passed over and absent ones
take their default, so that records are understood by the release before and after (DESIGN section 5).
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from covey.base.errors import BadInput, Bug

T = TypeVar("T")
Transform = Callable[[Any], Any]
_families: dict[type, dict[str, type]] = {}


def family(base: type[T]) -> type[T]:
    """Class decorator: `base` is the root of classes that register themselves with `member` and are told apart by `kind`."""
    _families[base] = {}
    return base


def member(base: type, kind: str, cls: type) -> None:
    """Register `cls` as the member `kind` of a family."""
    known = _families[base].setdefault(kind, cls)
    if known is not cls and known.__qualname__ != cls.__qualname__:
        raise Bug(f"two classes claim the kind {kind!r}", cls.__qualname__)
    _families[base][kind] = cls  # dataclass(slots=True) makes the class anew: the last one counts


def members(base: type[T]) -> Mapping[str, type[T]]:
    """All members of a family by kind."""
    return _families[base]


def _identity(value: Any) -> Any:
    return value


@cache
def _encoder(hint: Any) -> Transform:
    if hint in (str, int, float, bool, Any, type(None), dict[str, str], dict[str, Any]):
        return _identity
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(_encoder, arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            inner = _encoder(arguments[0])
            return list if inner is _identity else lambda value: [inner(item) for item in value]
        each = [_encoder(argument) for argument in arguments]
        return lambda value: [encode(item) for encode, item in zip(each, value, strict=True)]
    if origin in (dict, Mapping):
        inner = _encoder(arguments[1])
        return lambda value: {key: inner(item) for key, item in value.items()}
    if hint in _families:
        return _encode_member
    if is_dataclass(hint):
        return _class_encoder(cast(type, hint))
    raise Bug(f"the codec does not know the type {hint!r}")


def _optional(build: Callable[[Any], Transform], arguments: tuple[Any, ...]) -> Transform:
    present = [argument for argument in arguments if argument is not type(None)]
    if len(present) == 1:
        inner = build(present[0])
        return inner if inner is _identity else lambda value: None if value is None else inner(value)
    if all(argument in (str, int, float, bool) for argument in present):
        return _identity
    raise Bug(f"the codec does not know the union {arguments!r}")


def _encode_member(value: Any) -> Any:
    return {"kind": value.kind, **_class_encoder(cast(Any, type(value)))(value)}


@cache
def _class_encoder(cls: type) -> Transform:
    hints = typing.get_type_hints(cls)
    plain = [field.name for field in fields(cls) if _encoder(hints[field.name]) is _identity]
    deep = [(field.name, _encoder(hints[field.name])) for field in fields(cls) if field.name not in plain]

    def encode(value: Any) -> dict[str, Any]:
        encoded = {name: getattr(value, name) for name in plain}
        for name, transform in deep:
            encoded[name] = transform(getattr(value, name))
        return encoded

    return encode


@cache
def _decoder(hint: Any) -> Transform:
    if hint is float:
        return _decode_float
    if hint in (str, int, bool):
        return _scalar(hint)
    if hint is Any or hint in (dict[str, str], dict[str, Any]):
        return _identity
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(_decoder, arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            inner = _decoder(arguments[0])
            return lambda value: tuple([inner(item) for item in _list(value)])
        each = [_decoder(argument) for argument in arguments]
        return lambda value: tuple([decode(item) for decode, item in zip(each, _list(value), strict=True)])
    if origin in (dict, Mapping):
        inner = _decoder(arguments[1])
        return lambda value: {key: inner(item) for key, item in value.items()}
    if hint in _families:
        known = _families[hint]
        return lambda value: _decode_member(known, value)
    if is_dataclass(hint):
        return _class_decoder(cast(type, hint))
    raise Bug(f"the codec does not know the type {hint!r}")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise BadInput(f"expected a list, found {type(value).__name__}")
    return value  # type: ignore[return-value]


def _decode_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"expected a number, found {type(value).__name__}")
    return float(value)


def _scalar(wanted: type) -> Transform:
    def decode(value: Any) -> Any:
        if type(value) is not wanted:
            raise BadInput(f"expected {wanted.__name__}, found {type(value).__name__}")
        return value

    return decode


def _decode_member(known: dict[str, type], value: Any) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in known:
        raise BadInput(f"the kind {kind!r} is not known to this release", "", "upgrade this machine")
    return _class_decoder(known[kind])(value)


@cache
def _class_decoder(cls: type) -> Transform:
    hints = typing.get_type_hints(cls)
    parts = [
        (field.name, _decoder(hints[field.name]), field.default is MISSING and field.default_factory is MISSING)
        for field in fields(cls)
        if field.init
    ]

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadInput(f"expected an object for {cls.__name__}, found {type(value).__name__}")
        arguments = {}
        for name, transform, required in parts:
            if name in value:
                try:
                    arguments[name] = transform(value[name])
                except BadInput as error:
                    raise BadInput(error.what, f"{name}.{error.object}" if error.object else name, error.hint) from None
            elif required:
                raise BadInput("is missing", name)
        return cls(**arguments)

    return decode


def encode(value: Any) -> Any:
    """A dataclass as plain JSON values; a family's member carries its `kind`."""
    if any(isinstance(value, base) for base in _families):
        return _encode_member(value)
    return _class_encoder(cast(Any, type(value)))(value)


def decode(cls: type[T], value: Any) -> T:
    """The value of class (or family) `cls` that `encode` wrote. Raises BadInput naming the field."""
    return cast(T, _decoder(cast(Any, cls))(value))


def to_bytes(value: Any) -> bytes:
    """A record as the store keeps it."""
    return json.dumps(encode(value), separators=(",", ":"), ensure_ascii=False).encode()


def from_bytes(cls: type[T], data: bytes) -> T:
    return decode(cls, json.loads(data))
