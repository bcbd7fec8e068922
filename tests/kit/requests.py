"""Requests drawn by hypothesis: well-formed ones about a small world, and ones with anything at all in their fields."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from covey.model import codec
from covey.model.cluster import Defaults
from covey.model.filter import Rule
from covey.model.request import Request
from covey.model.requests.clone import CloneInstance
from covey.model.requests.cluster import InitCluster, ModifyCluster, ReconcileCluster
from covey.model.requests.disk import AddDisk, FlattenDisk, GrowDisk, ImportDisk, RemoveDisk, RestoreDisk
from covey.model.requests.drain import DrainNode, EvacuateNode, UndrainNode
from covey.model.requests.firewall import AddFirewall, ModifyFirewall, RemoveFirewall
from covey.model.requests.forward import AddForward, RemoveForward
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import (
    AddInstance,
    DiskWish,
    MigrateInstance,
    ModifyInstance,
    NicWish,
    RebootInstance,
    ReinstallInstance,
    RemoveInstance,
    RenameInstance,
    ResetInstance,
    RestoreInstance,
    StartInstance,
    StopInstance,
)
from covey.model.requests.move import ClearNode, MoveInstance
from covey.model.requests.network import AddNetwork, LinkWish, ModifyNetwork, RemoveNetwork
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.model.requests.node import EquipNode, InviteNode, JoinNode, ModifyNode, PingNode, ReaddressNode, RemoveNode
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.requests.repair import (
    PurgeRemoved,
    RemoveOrphanDomain,
    RemoveOrphanImage,
    RemoveOrphanNetwork,
    RemoveOrphanUpload,
    RemoveOrphanVolume,
    RepairFilters,
    RepairInstance,
    RepairNetwork,
)
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.model.requests.token import AddToken, RemoveToken
from covey.model.transfer import Found
from tests.kit.builders import a_pool, a_volume, an_id

GIB = 2**30
INSTANCES = st.sampled_from(["web1", "web2", "web3"])
SIZES = st.sampled_from([2**20, GIB + 1, 10 * GIB, 50 * GIB, 400 * GIB, 2**46])
FORMATS = st.sampled_from(["", "qcow2", "raw"])
POOLS = st.sampled_from(["", "default", "fast", "none", "nowhere"])
NETWORKS = st.sampled_from(["", "lan", "tiny", "six", "public", "nowhere"])
IMAGES = st.sampled_from(["", "debian-12", "unfinished", "nowhere"])
ADDRESSES = st.sampled_from(["auto", "none", "10.77.0.1", "10.77.0.5", "10.77.0.10", "10.77.0.255", "10.9.9.9", "10.88.0.2"])
MACS = st.sampled_from(["", "02:c0:7e:00:00:0a", "02-C0-7E-AA-BB-CC"])
FIREWALLS = st.sampled_from(["web", "db", "nowhere"])
RULES = st.sampled_from(
    [
        (),
        (Rule("in", "tcp", "80,443"), Rule("in", "icmp", "", "10.0.0.0/8")),
        (Rule("out", peer="firewall:db"),),
        (Rule("in", peer="firewall:no"),),
    ]
)
SNAPSHOTS = st.sampled_from(["first", "second", "nowhere"])
DURATIONS = st.sampled_from([None, 0.0, 5.0, 120.0])
SEEDS = st.integers(0, 2**16).map(lambda number: f"{number:032x}")

_DISKS = st.builds(DiskWish, size=SIZES, pool=POOLS, format=FORMATS)
_FIRST = st.builds(DiskWish, size=st.just(0) | SIZES, pool=POOLS, format=FORMATS)
ADDRESSES6 = st.sampled_from(["auto", "none", "fd00:77::1", "fd00:77::5", "FD00:77:0::5", "fd00:9::9"])
_LINKS = st.sampled_from([(), (), (LinkWish(node="n1", interface="none"),), (LinkWish(node="n1", interface="br7"),)])
_NICS = st.builds(NicWish, network=NETWORKS, mac=MACS, address=ADDRESSES, address6=ADDRESSES6)


def _disks_of(image: str) -> st.SearchStrategy[tuple[DiskWish, ...] | None]:
    first = _FIRST if image else _DISKS
    return st.none() | st.tuples(first) | st.tuples(first, _DISKS) | st.just(())


_ADD = IMAGES.flatmap(
    lambda image: st.builds(
        AddInstance,
        name=st.sampled_from(["web1", "new1", "new2"]),
        cpus=st.sampled_from([0, 1, 1024]),
        memory=st.sampled_from([0, 16 * 2**20, GIB, 40 * GIB, 2**44]),
        image=st.just(image),
        iso=st.sampled_from(["", "debian-12"]),
        disks=_disks_of(image),
        nics=st.none() | st.lists(_NICS, max_size=3).map(tuple),
        uuid=st.sampled_from(["", an_id("instance/web1"), an_id("instance/new"), an_id("instance/NEW").upper()]),
        ssh_keys=st.sampled_from([(), ("ssh-ed25519 AAAA anna",)]),
        tags=st.sampled_from([(), ("b", "a", "b")]),
        start=st.booleans(),
    )
)
BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "cluster.init": st.builds(InitCluster, name=st.just("flock"), node_name=st.sampled_from(["", "n9"])),
    "cluster.modify": st.builds(
        ModifyCluster, notes=st.sampled_from([None, "", "x"]), defaults=st.none() | st.just(Defaults(cpus=2))
    ),
    "cluster.reconcile": st.builds(
        ReconcileCluster,
        without=st.sampled_from([(), ("n1",), ("n9",)]),
        because=st.just("it burned"),
        answered=st.sampled_from([(), (an_id("node/n1"),)]),
    ),
    "disk.add": st.builds(AddDisk, instance=INSTANCES, size=SIZES, pool=POOLS, format=FORMATS),
    "disk.flatten": st.builds(FlattenDisk, instance=INSTANCES, disk=st.integers(0, 2)),
    "disk.grow": st.builds(GrowDisk, instance=INSTANCES, disk=st.integers(0, 2), size=SIZES),
    "disk.import": st.builds(
        ImportDisk,
        instance=INSTANCES,
        pool=POOLS,
        format=FORMATS,
        upload=st.sampled_from(["", an_id("upload")]),
        found=st.builds(Found, format=st.just("qcow2"), size=SIZES, needs=SIZES, length=SIZES),
    ),
    "disk.remove": st.builds(RemoveDisk, instance=INSTANCES, disk=st.integers(0, 2), purge=st.booleans()),
    "disk.restore": st.builds(RestoreDisk, instance=INSTANCES, disk=st.integers(0, 2), to=st.sampled_from(["", "web1", "web2"])),
    "firewall.add": st.builds(AddFirewall, name=st.sampled_from(["web", "new"]), rules=RULES),
    "firewall.modify": st.builds(ModifyFirewall, firewall=FIREWALLS, rules=st.none() | RULES, notes=st.none() | st.just("x")),
    "firewall.remove": st.builds(RemoveFirewall, firewall=FIREWALLS),
    "image.add": st.builds(
        AddImage, name=st.sampled_from(["debian-12", "new"]), source=st.sampled_from(["/a.qcow2", "http://h/a"])
    ),
    "image.build": st.builds(BuildImage, name=st.sampled_from(["debian-12", "new"]), packages=st.sampled_from([(), ("vim",)])),
    "image.remove": st.builds(RemoveImage, image=IMAGES.filter(bool)),
    "instance.add": _ADD,
    "instance.clone": st.builds(
        CloneInstance,
        instance=INSTANCES,
        name=st.sampled_from(["web1", "new1"]),
        snapshot=st.sampled_from(["", "first", "nowhere"]),
        full=st.booleans(),
        identical=st.booleans(),
        start=st.booleans(),
    ),
    "instance.modify": st.builds(
        ModifyInstance,
        instance=INSTANCES,
        tags=st.sampled_from([None, (), ("a",)]),
        notes=st.none() | st.just("x"),
        cpus=st.sampled_from([None, 1, 2, 1024]),
        memory=st.sampled_from([None, 16 * 2**20, 2 * GIB, 2**44]),
        max_cpus=st.sampled_from([None, 0, 1, 4]),
        max_memory=st.sampled_from([None, 0, GIB, 8 * GIB]),
        firmware=st.sampled_from([None, "bios", "uefi"]),
        cpu_model=st.sampled_from([None, "", "x86-64-v2", "Wishful"]),
        boot=st.sampled_from([None, (), ("network", "disk")]),
        iso=st.sampled_from([None, "", "debian-12", "rescue"]),
        raw_xml=st.sampled_from([None, "", "<devices><watchdog model='i6300esb'/></devices>"]),
        restart=st.booleans(),
    ),
    "instance.reboot": st.builds(RebootInstance, instance=INSTANCES, graceful_s=DURATIONS, wait_ready=st.booleans()),
    "instance.reinstall": st.builds(ReinstallInstance, instance=INSTANCES, image=IMAGES, wait_ready=st.booleans()),
    "instance.rename": st.builds(RenameInstance, instance=INSTANCES, new_name=st.sampled_from(["web1", "web2", "new"])),
    "instance.remove": st.builds(RemoveInstance, instance=INSTANCES, purge=st.booleans()),
    "instance.reset": st.builds(ResetInstance, instance=INSTANCES),
    "instance.restore": st.builds(
        RestoreInstance, instance=INSTANCES, name=st.sampled_from(["", "web1", "new1"]), start=st.booleans()
    ),
    "instance.start": st.builds(
        StartInstance, instance=INSTANCES, wait_ready=st.booleans(), iso=st.sampled_from(["", "debian-12", "rescue"])
    ),
    "instance.stop": st.builds(StopInstance, instance=INSTANCES, graceful_s=DURATIONS),
    "network.add": st.builds(
        AddNetwork,
        name=st.sampled_from(["lan", "new", "a.long.name.of.a.network"]),
        subnet=st.sampled_from(["10.77.0.0/24", "10.0.0.0/8", "192.168.7.0/30", "192.168.7.0/29", "10.78.0.0/16"]),
        subnet6=st.sampled_from(["", "fd00:77::/64", "fd00:7::/126", "fd00::/16", "2001:db8::/64"]),
        bridge=st.sampled_from(["", "cv-lan", "br7"]),
        reserved=st.sampled_from([(), ("10.77.0.5",), ("10.78.0.9-10.78.0.20", "fd00:7::2")]),
        host_ports=st.sampled_from([(), ("tcp/22",)]),
        links=_LINKS,
    )
    | st.builds(
        AddNetwork,
        name=st.just("new"),
        type=st.sampled_from(["isolated", "adopted", "routed"]),
        subnet=st.sampled_from(["10.78.0.0/24", "10.77.0.0/24"]),
        bridge=st.just("br0"),
        links=_LINKS,
    )
    | st.builds(
        AddNetwork,
        name=st.just("new"),
        type=st.just("routed"),
        subnet=st.just("192.0.2.0/24"),
        uplink=st.just("eth0"),
        pool_first=st.just("192.0.2.30"),
        pool_last=st.just("192.0.2.39"),
    ),
    "network.modify": st.builds(
        ModifyNetwork,
        network=NETWORKS.filter(bool),
        dns=st.sampled_from([None, (), ("10.77.0.2",)]),
        pool_first=st.sampled_from([None, "10.77.0.20", "10.88.0.2"]),
        pool6_last=st.sampled_from([None, "fd00:77::9"]),
        reserve=st.sampled_from([(), ("10.77.0.10",), ("10.77.0.40-10.77.0.50",)]),
        release=st.sampled_from([(), (), ("10.77.0.99",)]),
        allow_host=st.sampled_from([(), ("tcp/22",)]),
        deny_host=st.sampled_from([(), (), ("tcp/80",)]),
        links=_LINKS,
        notes=st.none() | st.just("x"),
    ),
    "forward.add": st.builds(
        AddForward,
        port=st.sampled_from(["tcp/80", "udp/53", "tcp/22"]),
        instance=INSTANCES,
        to_port=st.sampled_from([0, 8080]),
        network=NETWORKS,
        sources=st.sampled_from([(), ("192.0.2.0/24",), ("2001:db8::/32",)]),
    ),
    "forward.remove": st.builds(RemoveForward, forward=st.sampled_from(["tcp-80", "tcp-443"])),
    "network.remove": st.builds(RemoveNetwork, network=NETWORKS.filter(bool)),
    "instance.move": st.builds(MoveInstance, instance=INSTANCES, to=st.sampled_from(["", "n1", "n2", "n9"])),
    "instance.migrate": st.builds(
        MigrateInstance,
        instance=INSTANCES,
        to=st.sampled_from(["", "n1", "n2", "n9"]),
        bandwidth=st.sampled_from([0, 10**9]),
        downtime_s=st.sampled_from([0.0, 0.1]),
        slows_guest=st.booleans(),
    ),
    "nic.add": st.builds(
        AddNic,
        instance=INSTANCES,
        network=NETWORKS,
        mac=MACS,
        address=ADDRESSES,
        up=st.booleans(),
        guarded=st.booleans(),
        also=st.sampled_from([(), ("10.77.0.9", "fd00::/64")]),
        limit_in=st.sampled_from([0, 10**6]),
        firewalls=st.sampled_from([(), ("web",)]),
        rules=RULES,
    ),
    "nic.modify": st.builds(
        ModifyNic,
        instance=INSTANCES,
        nic=st.integers(0, 2),
        network=st.none() | NETWORKS.filter(bool),
        address=st.none() | ADDRESSES,
        up=st.none() | st.booleans(),
        guarded=st.none() | st.booleans(),
        also=st.sampled_from([None, (), ("10.77.0.9",)]),
        limit_out=st.sampled_from([None, 0, 10**6]),
        firewalls=st.sampled_from([None, (), ("web", "db")]),
        rules=st.none() | RULES,
    ),
    "nic.remove": st.builds(RemoveNic, instance=INSTANCES, nic=st.integers(0, 2)),
    "node.clear": st.builds(ClearNode, node=st.sampled_from(["n1", "n2", "n9"])),
    "node.drain": st.builds(DrainNode, node=st.sampled_from(["n1", "n2", "n9"])),
    "node.undrain": st.builds(UndrainNode, node=st.sampled_from(["n1", "n2", "n9"])),
    "node.evacuate": st.builds(EvacuateNode, node=st.sampled_from(["n1", "n2", "n9"])),
    "node.equip": st.builds(EquipNode, node=st.sampled_from(["n1", "n9"])),
    "node.invite": st.builds(InviteNode, expires_s=st.sampled_from([1.0, 3600.0]), digest=st.just("0" * 64)),
    "node.join": st.builds(
        JoinNode,
        id=st.sampled_from([an_id("node/n1"), an_id("node/n9")]),
        name=st.sampled_from(["n1", "n9"]),
        address=st.sampled_from(["10.0.0.9:7444", "[fd00::9]:7444"]),
        signing_request=st.just("-----BEGIN CERTIFICATE REQUEST-----"),
        storage_address=st.sampled_from(["", "10.1.0.9"]),
    ),
    "node.modify": st.builds(
        ModifyNode,
        node=st.sampled_from(["n1", "n9"]),
        name=st.sampled_from([None, "n1", "other"]),
        address=st.sampled_from([None, "10.0.0.9", "[fd00::9]:7444", "10.0.0.1:7444"]),
        storage_address=st.sampled_from([None, "", "10.1.0.9", "FD00:0::9"]),
        notes=st.none() | st.just("x"),
    ),
    "node.ping": st.builds(PingNode, node=st.sampled_from(["n1", "n9"])),
    "node.readdress": st.builds(ReaddressNode, node=st.sampled_from(["n1", "n9"]), address=st.just("10.0.0.1:7444")),
    "node.remove": st.builds(RemoveNode, node=st.sampled_from(["n1", "n9"])),
    "pool.add": st.builds(
        AddPool, name=st.sampled_from(["default", "new"]), path=st.sampled_from(["/srv", "/srv/default", "/srv/new"])
    )
    | st.just(AddPool(name="void", template="diskless")),
    "pool.remove": st.builds(RemovePool, pool=POOLS.filter(bool)),
    "repair.bridge": st.builds(
        RemoveOrphanNetwork,
        node=st.just("n1"),
        network=st.sampled_from([an_id("network/lan"), an_id("x")]),
        bridge=st.sampled_from(["", "cv-x"]),
    ),
    "repair.domain": st.builds(
        RemoveOrphanDomain, node=st.just("n1"), domain=st.sampled_from([an_id("instance/web1"), an_id("x")])
    ),
    "repair.filters": st.builds(RepairFilters, node=st.sampled_from(["n1", "n9"])),
    "repair.image": st.builds(
        RemoveOrphanImage, node=st.just("n1"), image=st.sampled_from([an_id("image/debian-12"), an_id("x")])
    ),
    "repair.instance": st.builds(RepairInstance, instance=INSTANCES),
    "repair.network": st.builds(RepairNetwork, network=NETWORKS.filter(bool)),
    "repair.purge": st.builds(
        PurgeRemoved, removed=st.sampled_from([an_id("instance/web2"), an_id("x")]), name=st.just("instance web2")
    ),
    "repair.upload": st.builds(
        RemoveOrphanUpload, node=st.just("n1"), place=st.just(a_pool().place), upload=st.just(an_id("upload"))
    ),
    "repair.volume": st.builds(
        RemoveOrphanVolume, node=st.just("n1"), volume=st.sampled_from([a_volume("web1/0", a_pool()), a_volume("x", a_pool())])
    ),
    "snapshot.add": st.builds(AddSnapshot, instance=INSTANCES, name=st.sampled_from(["", "first", "new"])),
    "snapshot.remove": st.builds(RemoveSnapshot, instance=INSTANCES, snapshot=SNAPSHOTS),
    "snapshot.revert": st.builds(RevertSnapshot, instance=INSTANCES, snapshot=SNAPSHOTS, stop=st.booleans()),
    "token.add": st.builds(AddToken, name=st.sampled_from(["bot", "new"]), expires_at=st.sampled_from([0.0, 1.0, 4e9])),
    "token.remove": st.builds(RemoveToken, token=st.sampled_from(["bot", "new"])),
}


def requests(kind: str = "") -> st.SearchStrategy[Request]:
    """Well-formed requests, of one kind or of any, with a seed and a time."""
    from tests.kit.builders import asked

    chosen = BY_KIND[kind] if kind else st.one_of(*BY_KIND.values())
    return st.builds(asked, chosen, SEEDS)


NASTY = st.sampled_from(
    [
        "",
        "a",
        "-",
        "..",
        "a" * 64,
        "a" * 2000,
        "../../etc/passwd",
        "$(reboot)",
        "`id`",
        "a;b",
        "a\nb",
        "a\0b",
        "\ud800",
        "\u202eweb",
        "\uff41",
        "\u0663",
        "é",
        "%s%n",
        "<script>",
        "' OR 1=1 --",
        "http://[::1",
        "http://h:99999/",
        "10.0.0.0/33",
        "1" * 400,
        "::1",
        "-rf",
    ]
)
_NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**63, 10**18, -(10**18)])
_FLOATS = st.sampled_from([0.0, -1.0, 1e308, float("inf"), float("-inf"), float("nan"), 0.5])


@cache
def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type, with a liking for what breaks things."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: NASTY | st.text(max_size=20),
        int: _NUMBERS | st.integers(),
        float: _FLOATS,
        bool: st.booleans(),
        type(None): st.none(),
        dict[str, str]: st.dictionaries(NASTY, NASTY, max_size=2),
        dict[str, Any]: st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2),
    }
    if hint in simple:
        return simple[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(anything(argument) for argument in arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(anything(argument) for argument in arguments))
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), anything(arguments[1]), max_size=2)
    if hint in FAMILIES:
        return st.one_of(*(anything(member) for member in FAMILIES[hint]()))
    assert is_dataclass(hint), hint
    return any_of(typing.cast(type, hint))


def any_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any instance of a dataclass, field by field; fields with a default keep it half of the time."""
    hints = typing.get_type_hints(cls)
    parts = {}
    for field in fields(cls):
        whole = anything(hints[field.name])
        if field.default is not MISSING:
            whole = st.just(field.default) | whole
        parts[field.name] = whole
    return st.builds(cls, **parts)


def _requests() -> list[type]:
    return [cls for _, cls in sorted(request_kinds().items())]


def _steps() -> list[type]:
    from covey.model.step import step_kinds

    return [cls for _, cls in sorted(step_kinds().items())]


def request_kinds() -> dict[str, type[Request]]:
    """Every kind of request of this release."""
    import covey.model.requests  # noqa: F401  (its modules register the kinds)

    return dict(codec.members(Request))


def _families() -> dict[Any, Any]:
    from covey.model.step import Step

    return {Request: _requests, Step: _steps}


FAMILIES = _families()
