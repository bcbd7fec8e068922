"""Protobuf, as far as Covey speaks it: the bytes are those of its specification, and what comes from elsewhere is read with care."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.store.etcd_messages import (
    Answer,
    Comparison,
    Header,
    KeyValue,
    PutRequest,
    RangeAnswer,
    RangeRequest,
    RequestOp,
    TxnRequest,
    decode,
    encode,
)

REVISIONS = st.integers(-(2**63), 2**63 - 1)


def test_a_number_has_seven_bits_a_byte_the_lowest_first() -> None:
    assert encode(Header(revision=150)) == bytes.fromhex("18 96 01")
    assert encode(Header(revision=2**63 - 1)) == bytes.fromhex("18 ff ff ff ff ff ff ff ff 7f")


def test_a_negative_number_is_written_with_64_bits() -> None:
    assert encode(Comparison(mod_revision=-1)) == bytes.fromhex("30 ff ff ff ff ff ff ff ff ff 01")


def test_bytes_have_their_length_before_them() -> None:
    assert encode(PutRequest(b"key", b"value")) == b"\x0a\x03key\x12\x05value"


def test_what_has_its_default_is_left_out_but_a_message_in_a_message_is_not() -> None:
    assert encode(PutRequest()) == b""
    assert encode(RequestOp(put=PutRequest())) == b"\x12\x00"


def test_messages_in_messages_are_written_in_their_order() -> None:
    request = TxnRequest((Comparison(key=b"a"),), (RequestOp(put=PutRequest(b"b")), RequestOp(range=RangeRequest(b"c"))))
    assert encode(request) == b"\x0a\x03\x1a\x01a" + b"\x12\x05\x12\x03\x0a\x01b" + b"\x12\x05\x0a\x03\x0a\x01c"


@given(st.lists(st.builds(KeyValue, st.binary(), REVISIONS, st.binary())), REVISIONS, REVISIONS)
def test_what_was_written_is_read_again(kvs: list[KeyValue], revision: int, term: int) -> None:
    answer = RangeAnswer(Header(revision, term), tuple(kvs))
    assert decode(RangeAnswer, encode(answer)) == answer


def test_fields_that_are_not_known_are_passed_over() -> None:
    unknown = b"\x50\x96\x01" + b"\x59" + bytes(8) + b"\x65" + bytes(4) + b"\x6a\x02hi"  # a number, 64 bits, 32 bits, bytes
    assert decode(KeyValue, unknown + b"\x18\x07" + unknown) == KeyValue(mod_revision=7)


def test_an_answer_without_header_is_of_no_term() -> None:
    assert decode(Answer, b"").header.raft_term == 0


@pytest.mark.parametrize(
    "broken",
    [b"\x18", b"\x18\x96", b"\x0a\x05key", b"\x0b", b"\x59\x00", b"\x0a", b"\x18" + b"\xff" * 11, b"\x08\x01", b"\x1a\x00"],
)
def test_what_is_no_message_of_that_kind_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError):
        decode(KeyValue, broken)


def test_a_number_in_place_of_a_message_is_refused() -> None:
    with pytest.raises(ValueError):
        decode(RangeAnswer, b"\x10\x01")
