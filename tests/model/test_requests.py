"""What a request refuses by itself, without looking at any state."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.base.errors import BadInput
from covey.model.request import Request
from covey.model.requests.image import BuildImage
from covey.model.requests.instance import AddInstance, DiskWish, ModifyInstance
from covey.model.requests.network import parse_subnet
from tests.kit.requests import BY_KIND, any_of, request_kinds, requests

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


def test_the_tests_draw_requests_of_every_kind() -> None:
    assert sorted(BY_KIND) == sorted(request_kinds())


@pytest.mark.parametrize("kind", sorted(request_kinds()))
def test_a_request_with_anything_in_it_is_accepted_or_refused_as_bad_input(kind: str) -> None:
    @MANY
    @given(any_of(request_kinds()[kind]))
    def check(request: Request) -> None:
        try:
            request.check()
        except BadInput as error:
            assert error.object, "the field is not named"
            assert len(str(error)) < 2000, "the input is repeated at length"
        assert isinstance(request.title, str)

    check()


@pytest.mark.parametrize("kind", sorted(request_kinds()))
def test_a_sensible_request_is_accepted(kind: str) -> None:
    @MANY
    @given(requests(kind))
    def check(request: Request) -> None:
        request.check()

    check()


def test_a_size_without_a_unit_is_refused_with_the_reason_why() -> None:
    for request in (AddInstance(name="web1", memory=512), AddInstance(name="web1", disks=(DiskWish(size=20),))):
        with pytest.raises(BadInput, match=r"of (512|20) cannot be") as refused:
            request.check()
        assert "without a unit is bytes" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "meant"),
    [("10.77.5.3/24", "10.77.5.0/24"), ("10.77.5", "10.77.0.0/24"), ("fd00::1/64", "10.77.0.0/24")],
)
def test_the_address_of_a_machine_in_place_of_its_network_is_answered_with_the_network(given: str, meant: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_subnet(given, "subnet")
    assert refused.value.hint == f"write it like {meant}"


@pytest.mark.parametrize("length", [64 * 1024 + 1, 10**6])
def test_a_text_beyond_all_measure_is_refused(length: int) -> None:
    text = "a" * length
    for request in (
        ModifyInstance(instance="web1", notes=text),
        ModifyInstance(instance=text),
        AddInstance(name="web1", user_data=text),
        BuildImage(name="new", hooks=(f"#!{text}",)),
    ):
        with pytest.raises(BadInput):
            request.check()


@MANY
@given(st.sampled_from(sorted(request_kinds())))
def test_a_kind_is_a_noun_and_a_verb(kind: str) -> None:
    noun, verb = kind.split(".")
    assert noun
    assert verb


@pytest.mark.parametrize("comment", ["\x1b[31mred", "a\rb", "a\u202eb", "a\u2028b"])
def test_an_ssh_key_holds_nothing_that_a_terminal_would_obey(comment: str) -> None:
    key = f"ssh-ed25519 AAAA {comment}"
    AddInstance(name="web1", ssh_keys=("ssh-ed25519 AAAA anna's key",)).check()
    with pytest.raises(BadInput) as caught:
        AddInstance(name="web1", ssh_keys=(key,)).check()
    assert caught.value.object == "ssh_keys"
