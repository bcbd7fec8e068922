"""The export: complete, the same whenever the wishes are the same, without secrets, and read back by `instance add -f`."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from covey.base.units import exact_size, parse_size
from covey.cli.instance.many import read_entries
from covey.model import codec
from covey.model.filter import Rule
from covey.model.instance import Instance, Nic
from covey.model.record import Record, decoded, key_of
from covey.model.requests.instance import AddInstance
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.planner import plan
from covey.service.export import export
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_disk,
    a_firewall,
    a_network,
    a_nic,
    an_id,
    an_image,
    an_instance,
    an_observed,
    asked,
)

RESCUE = replace(an_image("rescue"), format="raw")
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB anna"


def a_site() -> ClusterView:
    image = an_image()
    web1 = an_instance(
        "web1",
        disks=(replace(a_disk("web1/0", 0), image=image.id), a_disk("web1/1", 1, size=5 * GIB // 2)),
        nics=(a_nic(),),
        tags=("web",),
        notes="the shop",
        ssh_keys=(SSH_KEY,),
        secret="ref-of-user-data",  # noqa: S106
    )
    old1 = an_instance("old1", desired="stopped", nics=())
    token = Token("ci", "viewer", "d1ge57" * 10, NOW)
    return a_cluster(instances=(web1, old1), images=(image,), extra=(token, an_observed(web1)))


def test_objects_are_told_by_name_and_nothing_that_only_happened() -> None:
    document = export(a_site(), frozenset())
    assert [pool["name"] for pool in document["pools"]] == ["default"]
    assert document["networks"][0]["subnet"] == "10.77.0.0/24"
    assert [instance["name"] for instance in document["instances"]] == ["old1", "web1"]
    web1 = document["instances"][1]
    assert web1["node"] == "n1" and web1["image"] == "debian-12" and web1["memory"] == "1G"
    assert web1["disk"] == [
        {"size": "10G", "pool": "default", "format": "qcow2"},
        {"size": "2560M", "pool": "default", "format": "qcow2"},
    ]
    assert web1["nic"] == [{"network": "lan", "mac": "02:c0:7e:00:00:0a", "address": "10.77.0.10"}]
    text = json.dumps(document)
    for happened in ("generation", "created_at", "observed", "1800000000", "seeded"):
        assert happened not in text


def test_no_secret_is_in_it_nor_a_way_to_one() -> None:
    for may in (frozenset[str](), frozenset({"token.read"})):
        text = json.dumps(export(a_site(), may))
        assert "ref-of-user-data" not in text and "d1ge57" not in text


def test_tokens_are_told_to_those_who_may_see_them() -> None:
    assert "tokens" not in export(a_site(), frozenset())
    assert export(a_site(), frozenset({"token.read"}))["tokens"] == [{"name": "ci", "role": "viewer"}]


def test_a_password_in_the_address_of_an_image_is_hidden() -> None:
    image = replace(an_image(), source="https://anna:hunter2@mirror.example/a.qcow2")
    assert "hunter2" not in json.dumps(export(a_cluster(images=(image,)), frozenset()))


def test_it_is_the_same_until_a_wish_changes() -> None:
    view = a_site()
    web1 = view.instance("web1")
    started = replace(web1, generation=7)
    changes: list[tuple[str, Record | None]] = [(key_of(started), started)]
    later = view.apply(changes, 99)
    assert export(later, frozenset()) == export(view, frozenset())
    renoted = replace(web1, notes="the new shop")
    assert export(view.apply([(key_of(renoted), renoted)], 99), frozenset()) != export(view, frozenset())
    assert list(export(a_site(), frozenset())) == list(export(view, frozenset()))


def test_instances_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(export(a_site(), frozenset()), sort_keys=False))
    old1, web1 = (entry.body for entry in read_entries(str(file)))
    assert old1["start"] is False and old1["nics"] == []
    assert web1["image"] == "debian-12" and web1["memory"] == GIB and web1["ssh_keys"] == [SSH_KEY]
    assert web1["disks"][1] == {"size": 5 * GIB // 2, "pool": "default", "format": "qcow2"}
    assert web1["nics"] == [{"network": "lan", "mac": "02:c0:7e:00:00:0a", "address": "10.77.0.10"}]
    assert web1["tags"] == ["web"] and web1["notes"] == "the shop" and web1["uuid"] == a_site().instance("web1").id


# What no export tells of an instance: it happened, is secret, or tells of disks that an instance made anew does not have.
NO_WISHES = {"id", "state", "created_at", "desired_by", "generation", "secret", "seeded", "identity", "sealed", "node", "desired"}
DB, WEB = a_firewall("db"), a_firewall("web", (Rule("in", "tcp", "80", f"firewall:{an_id('firewall/db')}"),))
DUAL = replace(a_network("dual"), subnet6="fd00:77::/64", gateway6="fd00:77::1", pool6=("fd00:77::2", "fd00:77::ff"))


def an_instance_with_everything() -> Instance:
    """No field of it or of its first NIC is as usual."""
    nic = Nic(
        0,
        DUAL.id,
        "02:c0:7e:00:00:0a",
        "10.77.0.10",
        up=False,
        guarded=False,
        also=("10.99.0.0/24",),
        limit_in=10**8,
        limit_out=10**7,
        firewalls=(WEB.id,),
        rules=(Rule("in", "tcp", "80,443", f"firewall:{DB.id}"), Rule("out")),
        address6="fd00:77::10",
    )
    without_ipv6 = Nic(1, DUAL.id, "02:c0:7e:00:00:0b", "10.77.0.11")
    without_any = Nic(2, DUAL.id, "02:c0:7e:00:00:0c")
    return replace(
        an_instance("web1"),
        cpus=2,
        memory=3 * GIB // 2,
        machine="pc-i440fx-6.2",
        desired="stopped",
        desired_by="anna",
        disks=(replace(a_disk("web1/0", 0), image=an_image().id), a_disk("web1/1", 1, size=5 * GIB // 2, format="raw")),
        nics=(nic, without_ipv6, without_any),
        iso=RESCUE.id,
        ssh_keys=(SSH_KEY,),
        secret="reference",  # noqa: S106
        seeded=True,
        tags=("shop", "web"),
        notes="the shop",
        max_cpus=4,
        max_memory=4 * GIB,
        owner="anna",
        protected=True,
        firmware="uefi",
        cpu_model="x86-64-v2",
        boot=("network", "disk"),
        raw_xml="<domain><devices><watchdog model='i6300esb'/></devices></domain>",
        firewalls=(DB.id,),
        identity="a clone's",
        sealed=True,
    )


def test_an_instance_made_anew_of_its_export_is_the_same(tmp_path: Path) -> None:
    web1 = an_instance_with_everything()
    for one, usual in ((web1, an_instance("web0")), (web1.nics[0], Nic(9, "", ""))):
        for field in fields(one):
            default = getattr(usual, field.name)
            assert getattr(one, field.name) != default or field.name in NO_WISHES, (
                f"{field.name} is as usual: give it a value here"
            )
    rest: dict[str, Any] = {"images": (an_image(), RESCUE), "networks": (DUAL,), "extra": (DB, WEB)}
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(export(a_cluster(instances=(web1,), **rest), frozenset()), sort_keys=False))
    (entry,) = read_entries(str(file))
    request = asked(codec.decode(AddInstance, entry.body))
    begun = plan(a_cluster(**rest), request).begin[0]
    anew = decoded(begun.key, begun.record or {})
    assert isinstance(anew, Instance)
    for field in fields(web1):
        if field.name not in NO_WISHES | {"disks"}:
            assert getattr(anew, field.name) == getattr(web1, field.name), field.name
    assert (anew.id, anew.desired) == (web1.id, "stopped")
    for disk, was in zip(anew.disks, web1.disks, strict=True):
        new = replace(disk.volume, id=was.volume.id)
        assert replace(disk, volume=new) == was


def test_what_of_an_export_cannot_be_made_anew_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(export(a_site(), frozenset()), sort_keys=False))
    list(read_entries(str(file)))
    assert capsys.readouterr().err == "not made anew from an export: node\n"


def test_a_size_is_written_without_rounding() -> None:
    for size in (GIB, 5 * GIB // 2, 1000, 3 * 2**20 + 1, 2**40, 1):
        assert parse_size(exact_size(size)) == size
    assert exact_size(20 * GIB) == "20G"
