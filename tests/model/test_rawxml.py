"""What an administrator may add to a domain."""

from __future__ import annotations

import pytest

from covey.base.errors import BadInput
from covey.model.rawxml import COMMANDLINE, check_raw_xml, raw_parts

WATCHDOG = "<devices><watchdog model='i6300esb'/></devices>"
ARGUMENTS = "<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>"


def test_a_fragment_is_elements_in_a_row_or_within_a_domain() -> None:
    assert [part.tag for part in raw_parts(WATCHDOG + ARGUMENTS)] == ["devices", COMMANDLINE]
    assert [part.tag for part in raw_parts(f"<domain>{WATCHDOG}{ARGUMENTS}</domain>")] == ["devices", COMMANDLINE]
    assert raw_parts(" \n") == ()


@pytest.mark.parametrize(
    "text",
    [
        "<devices>",
        "words",
        "<memory>1</memory>",
        "<domain><name>x</name></domain>",
        "<!DOCTYPE d [<!ENTITY a 'b'>]><devices/>",
        "<other:thing/>",
        "<devices>\0</devices>",
        "<devices>\ud800</devices>",
        f"<devices>{' ' * 70_000}</devices>",
        f"{WATCHDOG}words",
        f"<devices>{'<a>' * 32}{'</a>' * 32}</devices>",
    ],
)
def test_what_is_no_xml_or_says_what_covey_says_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        check_raw_xml(text)
