"""What every engine asks of a request before it looks at a record, so that all of them refuse the same."""

from __future__ import annotations

from collections.abc import Sequence

from covey.base.errors import BadInput, Bug
from covey.store.protocol import LARGEST_REQUEST, LARGEST_TRANSACTION, Op, Put, Unchanged

_HIGHEST = chr(0x10FFFF)
_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, chr(0xE000)


def check_transaction(compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
    """The size of a transaction in bytes. Raises BadInput when it is beyond the limits, has a key that cannot be one,
    or names one key in two operations (there would be no telling which of them was meant)."""
    if len(compare) > LARGEST_TRANSACTION or len(ops) > LARGEST_TRANSACTION:
        raise BadInput(
            f"a transaction of {len(compare)} comparisons and {len(ops)} operations is too large",
            "store",
            f"at most {LARGEST_TRANSACTION} of each: write in several transactions",
        )
    size = 0
    for comparison in compare:
        size += _key_size(comparison.key)
    for op in ops:
        size += _key_size(op.key)
        if type(op) is Put:
            if type(op.value) is not bytes:
                raise Bug(f"a value of type {type(op.value).__name__} was to be written; values are bytes", op.key)
            size += len(op.value)
    if size > LARGEST_REQUEST:
        raise BadInput(
            f"a transaction of {size} bytes is too large",
            "store",
            f"at most {LARGEST_REQUEST} bytes: write in several transactions",
        )
    if len(ops) > 1 and len({op.key for op in ops}) < len(ops):
        keys = [op.key for op in ops]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadInput("a transaction may write a key only once", twice, "keep the last of the operations on it")
    return size


def check_key(key: str) -> None:
    """Raises BadInput unless `key` can be one: any text but the empty one."""
    _key_size(key)


def check_prefix(prefix: str) -> None:
    """Raises BadInput unless keys can begin with `prefix`; the empty one begins all of them."""
    if prefix:
        _key_size(prefix)


def check_listing(prefix: str, start: str, limit: int) -> None:
    """Raises BadInput."""
    check_prefix(prefix)
    check_prefix(start)
    if limit < 0:
        raise BadInput(f"{limit} is not a number of entries", "store", "give 0 for all of them")


def prefix_end(prefix: str) -> str | None:
    """The first key beyond all keys that begin with `prefix`; None when there is no such bound.

    Keys are ordered by code point, which is the order of their UTF-8 bytes too."""
    shortened = prefix.rstrip(_HIGHEST)
    if not shortened:
        return None
    last = ord(shortened[-1])
    return shortened[:-1] + (_AFTER_SURROGATES if last == _BEFORE_SURROGATES else chr(last + 1))


def _key_size(key: str) -> int:
    """Bytes of a key in UTF-8. Raises BadInput when it is empty or cannot be written as UTF-8."""
    if key.isascii():
        if not key:
            raise BadInput("a key cannot be empty", "store")
        return len(key)
    try:
        return len(key.encode())
    except UnicodeEncodeError as error:
        raise BadInput("a key holds half of a surrogate pair", repr(key)) from error
