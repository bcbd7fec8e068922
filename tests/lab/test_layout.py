"""What a namespace lab is made of."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from covey.base.config import read_settings
from covey.base.errors import BadInput, NotFound
from covey.lab.layout import (
    LONGEST_DIRECTORY,
    MOST_NODES,
    NETWORK,
    PARENT,
    REPLICATION,
    SEGMENTS,
    USUAL_NAME,
    Cut,
    Lab,
    check_place,
    hosts_file,
    settings_file,
)

LAB = Lab("trial", PARENT, 3)
LONGEST_LINK_NAME = 15  # if(7): IFNAMSIZ with its closing zero
LONGEST_SOCKET = 107


def test_nodes_are_numbered_from_one_and_each_has_an_address_in_both_networks() -> None:
    assert [node.name for node in LAB.nodes] == ["n1", "n2", "n3"]
    assert [NETWORK.address(node.number) for node in LAB.nodes] == [IPv4Address(f"198.18.0.{n}") for n in (1, 2, 3)]
    assert REPLICATION.address(2) == IPv4Address("198.19.0.2")


def test_nothing_has_the_name_address_or_file_of_something_else() -> None:
    lab = Lab("trial", PARENT, MOST_NODES)
    ports = [node.port(segment) for node in lab.nodes for segment in SEGMENTS] + [segment.name for segment in SEGMENTS]
    macs = [segment.mac(node.number) for node in lab.nodes for segment in SEGMENTS]
    namespaces = [lab.switch, *(node.netns for node in lab.nodes)]
    for names in (ports, macs, namespaces, [node.directory for node in lab.nodes]):
        assert len(set(names)) == len(names)
    assert max(map(len, ports)) <= LONGEST_LINK_NAME
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "one card's own, and nobody's by registration"


def test_labs_side_by_side_share_no_namespace_even_by_one_name_in_two_directories() -> None:
    labs = [LAB, Lab("trial", Path("/srv"), 3), Lab("trial-2", PARENT, 3), Lab("tria", PARENT, 3)]
    for lab in labs:
        own = [other for other in labs if other.switch.startswith(lab.prefix)]
        assert own == [lab]


def test_a_node_is_found_by_its_name_and_another_name_is_told_what_there_is() -> None:
    assert LAB.node("n2") is LAB.nodes[1]
    with pytest.raises(NotFound) as caught:
        LAB.node("n4")
    assert "n1 to n3" in caught.value.hint


def test_two_nodes_are_cut_from_each_other_whoever_is_named_first() -> None:
    assert Cut.between(NETWORK, "n2", "n1") == Cut.between(NETWORK, "n1", "n2")
    assert Cut.between(NETWORK, "n1", "n2") != Cut.between(REPLICATION, "n1", "n2")
    assert Cut.between(NETWORK, "n1", "n2").concerns(NETWORK, "n2")
    assert not Cut.between(NETWORK, "n1", "n2").concerns(REPLICATION, "n2")
    assert not Cut.between(NETWORK, "n1", "").concerns(NETWORK, "n2")


@pytest.mark.parametrize("name", ["", "-a", "a-", "Trial", "a.b", "a/b", "..", "a b", "x" * 21, "a\n"])
def test_a_name_that_no_file_or_namespace_could_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a lab"):
        check_place(name, PARENT)


@pytest.mark.parametrize("parent", ["/srv/" + "x" * 60, "/srv/with blank", "/srv/with\nline", '/srv/"', "/srv/it's"])
def test_a_directory_that_is_too_long_or_odd_is_refused(parent: str) -> None:
    with pytest.raises(BadInput):
        check_place("trial", Path(parent))


def test_the_longest_directory_still_has_room_for_the_longest_socket() -> None:
    check_place(USUAL_NAME, PARENT)
    longest = "/".join((*("x" * LONGEST_DIRECTORY,), f"n{MOST_NODES}", "state/libvirt/sockets/libvirt-admin-sock"))
    assert len(longest) <= LONGEST_SOCKET


def test_every_node_knows_all_of_them_by_name_in_both_networks() -> None:
    lines = hosts_file(LAB).splitlines()
    assert "127.0.0.1 localhost" in lines
    assert "198.18.0.3 n3" in lines and "198.19.0.3 n3.replication" in lines
    assert len(lines) == 1 + 2 * LAB.count


def test_a_nodes_settings_are_such_as_covey_reads(tmp_path: Path) -> None:
    file = tmp_path / "covey.toml"
    file.write_text(settings_file(LAB.nodes[1]))
    settings = read_settings(str(file))
    assert settings.state == str(PARENT / "trial/n2/state")
    assert settings.listen == "198.18.0.2:7443"
    assert settings.netns == "", "a node is within its namespace already"
