"""Record this release's plans: `python -m tests.corpus.record`, once at each release. What is recorded is never changed (P14)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from covey import __version__
from covey.model import codec
from covey.model.requests.cluster import InitCluster
from covey.model.requests.image import AddImage, BuildImage
from covey.model.requests.instance import AddInstance
from covey.model.requests.network import RemoveNetwork
from covey.model.requests.pool import AddPool
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import a_cluster, a_disk, a_network, a_pool, a_telemetry, an_image, an_instance, an_observed, asked
from tests.simulation.crash_rows import ROWS, Row

HERE = Path(__file__).parent


def main() -> None:
    plans = {kind: codec.encode(plan(view_for(row), asked(row.request))) for kind, row in ROWS.items()}
    (HERE / f"plans-{__version__}.json").write_text(json.dumps(plans, indent=1, sort_keys=True) + "\n")


def view_for(row: Row) -> ClusterView:
    """A view on which the row's request can be planned: what it makes is not there yet, all else is."""
    request = row.request
    if isinstance(request, InitCluster):
        return ClusterView().with_telemetry("n1", a_telemetry())
    web1 = replace(an_instance("web1"), disks=(a_disk("web1/0", 0), a_disk("web1/1", 1, size=2**30)))
    makes_image = isinstance(request, AddImage | BuildImage)
    return a_cluster(
        pools=(a_pool(),) if isinstance(request, AddPool) else (a_pool(), a_pool("fast", path="/srv/fast")),
        networks=(a_network("blue", "10.9.0"),) if isinstance(request, RemoveNetwork) else (a_network(),),
        images=(an_image(),) if makes_image else (an_image(), an_image("extra")),
        instances=() if isinstance(request, AddInstance) else (web1,),
        extra=() if isinstance(request, AddInstance) else (an_observed(web1),),
    )


if __name__ == "__main__":
    main()
