"""What a machine takes for a network, whoever asks: nothing gets into its packet rules but addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.kit.builders import an_ipv6_network

from covey.base.errors import BadInput
from covey.host.network.check import check_network
from covey.model.network import Entrance

SOUND = an_ipv6_network()
WORDS = "fd00:77::%a} drop; {/64"


def test_a_sound_network_is_taken() -> None:
    assert check_network(SOUND)


@pytest.mark.parametrize(
    "network",
    [
        replace(SOUND, subnet6=WORDS),
        replace(SOUND, gateway6="fd00:77::1%a"),
        replace(SOUND, dns=("fd00:77::1%a",)),
        replace(SOUND, entrances=(Entrance("tcp", 80, "", "fd00:77::9", 80, (WORDS,)),)),
    ],
)
def test_words_behind_an_address_are_refused(network: object) -> None:
    with pytest.raises(BadInput):
        check_network(network)  # type: ignore[arg-type]
