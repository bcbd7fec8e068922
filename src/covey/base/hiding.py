"""Secrets taken out of what is logged or handed on: a net under careful callers, not a licence (P13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
_SECRET_KEYS = re.compile(
    r"passw|passphrase|token|secret|user_?data|private_?key|api_?key|credential|authorization|cookie", re.IGNORECASE
)
_WORD = r"[\w-]{0,40}(?:passw|token|secret)[\w-]{0,40}"  # bounded: long lines must not take quadratic time
# Secrets that turn up within other text, and what is left of them.
_SECRET_TEXTS = (
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(\bBearer )[\w.~+/=-]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"({_WORD}=)(?:'[^']*'|\"[^\"]*\"|[^&\s\"',;)]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"([\"']{_WORD}[\"']: ?)(?:'[^']*'|\"[^\"]*\")", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"^([ \t-]{{0,40}}{_WORD}:[ \t]+)\S.*$", re.IGNORECASE | re.MULTILINE), rf"\1{HIDDEN}"),  # a line of YAML
)
_SIGNS = (
    "passw",
    "token",
    "secret",
    "private key",
    "bearer",
    "://",
)  # without any of them there is no secret: most texts end here
_DEEPEST = 8  # levels of nesting that are looked into; what lies deeper is hidden as a whole


def without_secrets(key: object, value: Any, depth: int = _DEEPEST) -> Any:
    """The value of a key: hidden when the key looks secret, else with what is secret within it hidden, at any depth."""
    if isinstance(key, str) and _SECRET_KEYS.search(key.replace("-", "_")):
        return HIDDEN
    if isinstance(value, str):
        return without_secret_texts(value)
    if isinstance(value, bytes):
        return without_secret_texts(value.decode(errors="replace"))
    if isinstance(value, bool | int | float | None):
        return value
    if depth == 0:
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: without_secrets(name, inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [without_secrets(None, inner, depth - 1) for inner in value]
    return without_secret_texts(str(value))


def without_secret_texts(text: str) -> str:
    """Text in which private keys, bearer tokens, passwords in URLs, and `password=...` are hidden."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return text
    for pattern, rest in _SECRET_TEXTS:
        text = pattern.sub(rest, text)
    return text
