"""The export: complete, the same whenever the wishes are the same, without secrets, and read back by `instance add -f`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import yaml

from covey.base.units import exact_size, parse_size
from covey.cli.instance.many import read_entries
from covey.model.record import Record, key_of
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.service.export import export
from tests.kit.builders import GIB, NOW, a_cluster, a_disk, a_nic, an_image, an_instance, an_observed

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


def test_a_size_is_written_without_rounding() -> None:
    for size in (GIB, 5 * GIB // 2, 1000, 3 * 2**20 + 1, 2**40, 1):
        assert parse_size(exact_size(size)) == size
    assert exact_size(20 * GIB) == "20G"
