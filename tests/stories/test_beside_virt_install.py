"""What Covey defines beside what virt-install defines by default, as libvirt completes both."""

from __future__ import annotations

import pytest
from bench.definitions import REASONS, differences, reason_of
from bench.pair import a_pair
from bench.rig import scratch

from covey.host.hypervisor.file_io import find_file_io


@pytest.mark.asyncio
async def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    with scratch() as directory:
        async with a_pair(directory) as pair:
            definition = pair.covey.definition
            found = differences(definition, pair.usual.definition)
    assert f"io='{find_file_io()}'" in definition
    assert [str(difference) for difference in found if not reason_of(difference)] == []
    assert [reason.place for reason in REASONS if not any(reason.explains(difference) for difference in found)] == []
