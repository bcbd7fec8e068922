"""What these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kit.networks import RealSite, a_real_site


@pytest.fixture
def real() -> Iterator[RealSite]:
    """A machine with networks and an uplink, in network namespaces."""
    with a_real_site() as site:
        yield site
