"""Record this release's plans and a store of its: `python -m tests.corpus.record`, once at each release. What is recorded is never
changed (P14)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

from covey import __version__
from covey.base.errors import Refused
from covey.model import codec
from covey.model import record as records
from covey.model.instance import Instance
from covey.model.job import EndedJob, Leadership
from covey.model.plan import Claim, Plan, Uses
from covey.model.record import Record
from covey.model.request import Request
from covey.model.requests.clone import CloneInstance
from covey.model.requests.cluster import InitCluster
from covey.model.requests.disk import FlattenDisk
from covey.model.requests.image import AddImage, BuildImage
from covey.model.requests.instance import AddInstance, MigrateInstance, RestoreInstance
from covey.model.requests.move import MoveInstance
from covey.model.requests.network import RemoveNetwork
from covey.model.requests.pool import AddPool
from covey.model.requests.snapshot import RemoveSnapshot, RevertSnapshot
from covey.model.steps.disk import EnsureVolume
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_cluster_record,
    a_debris,
    a_disk,
    a_firewall,
    a_job,
    a_network,
    a_nic,
    a_node,
    a_plan_record,
    a_pool,
    a_public_network,
    a_removed,
    a_snapshot_of,
    a_telemetry,
    a_volume,
    an_id,
    an_image,
    an_instance,
    an_observed,
    asked,
    records_of,
)
from tests.simulation.crash_rows import ROWS, Row

HERE = Path(__file__).parent


def main() -> None:
    plans = {kind: codec.encode(plan(view_for(row), asked(row.request))) for kind, row in ROWS.items()}
    (HERE / f"plans-{__version__}.json").write_text(json.dumps(plans, indent=1, sort_keys=True) + "\n")
    (HERE / f"store-{__version__}.json").write_text(json.dumps(store(), indent=1) + "\n")


# What a store of any release holds; those of later releases may hold more.
RECORDED = (
    "cluster",
    "node",
    "pool",
    "image",
    "network",
    "instance",
    "observed",
    "job",
    "plan",
    "debris",
    "leadership",
    "token",
    "removed",
)


def store() -> dict[str, str]:
    """What a store of this release holds, a record of each collection at least: by key, in base64."""
    step = EnsureVolume(node="n1", volume=a_volume(), image="")
    web1, cluster = an_instance("web1", nics=(a_nic(),)), a_cluster_record()
    frozen, layered = a_snapshot_of(an_instance("web2"))
    ended = replace(a_job(1), state="failed", ended_at=NOW, error=Refused("no", "node n1", "try").to_json(), request_id="5eed")
    written = [
        *records_of(instances=(web1, frozen), cluster=cluster),
        *layered,
        an_observed(web1, crashes=(NOW,)),
        a_job(2, state="running", planned_at=NOW),
        a_plan_record(
            2, Plan("ping", (step,), claims=(Claim(a_node().id, a_pool().id, GIB),), uses=Uses((f"instance/{web1.id}",)))
        ),
        a_debris(1, step),
        Leadership(1, 3, "n1", NOW),
        a_removed(an_instance("old"), by="anna", reason="too old"),
        a_firewall(),
        Token("ci", "viewer", "0" * 64, NOW),
    ]
    entries = {records.key_of(one): records.to_bytes(one) for one in written}
    entries[f"{records.HISTORY}0000000001"] = records.to_bytes(EndedJob(ended, None))
    entries[f"{records.SECRETS}{an_id('user-data')}"] = b"#cloud-config"
    return {key: base64.b64encode(value).decode() for key, value in sorted(entries.items())}


def view_for(row: Row) -> ClusterView:
    """A view on which the row's request can be planned: what it makes is not there yet, all else is."""
    request = row.request
    if isinstance(request, InitCluster):
        return ClusterView().with_telemetry("n1", a_telemetry())
    disks = (a_disk("web1/0", 0), a_disk("web1/1", 1, size=2**30))
    usual = (a_network("blue", "10.9.0"),) if isinstance(request, RemoveNetwork) else (a_network(),)
    networks = (a_public_network(),) if request.title.endswith(" pub1") else usual
    web1 = replace(an_instance("web1"), disks=disks, nics=() if isinstance(request, RemoveNetwork) else (a_nic(),))
    pub1 = an_instance("pub1", disks=(), nics=(a_nic(number=30, network=a_public_network()),))
    frozen: list[Record] = []
    if isinstance(request, CloneInstance | MoveInstance):
        web1 = replace(web1, desired="stopped")
    if isinstance(request, RevertSnapshot | RemoveSnapshot | FlattenDisk):
        web1, frozen = a_snapshot_of(replace(web1, desired="stopped" if isinstance(request, RevertSnapshot) else "running"))
    makes_image = isinstance(request, AddImage | BuildImage)
    others: tuple[Record, ...] = () if isinstance(request, AddInstance) else (an_observed(web1, web1.desired), *frozen)
    if isinstance(request, RestoreInstance):
        others = (a_removed(web1),)
    if isinstance(request, MigrateInstance):
        others = (an_observed(pub1 if request.instance == pub1.name else web1),)
    return a_cluster(
        nodes=row.nodes,
        pools=(a_pool(),) if isinstance(request, AddPool) else (a_pool(), a_pool("fast", path="/srv/fast")),
        networks=networks,
        images=(an_image(),) if makes_image else (an_image(), an_image("extra")),
        instances=(an_instance("first", disks=(), nics=()),)
        if row.nodes > 1 and isinstance(request, AddInstance)
        else _instances(request, web1, pub1),
        extra=(a_firewall(), *others),
    )


def _instances(request: Request, web1: Instance, pub1: Instance) -> tuple[Instance, ...]:
    if isinstance(request, AddInstance | RestoreInstance):
        return ()
    return (pub1,) if request.title.endswith(" pub1") else (web1,)


if __name__ == "__main__":
    main()
