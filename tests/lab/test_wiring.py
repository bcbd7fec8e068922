"""The cables of a namespace lab, as they are told to ip(8) and nft(8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from covey.lab.layout import NETWORK, REPLICATION, Cut, Lab
from covey.lab.wiring import port_states, render_cuts, within_node

LAB = Lab("trial", Path("/srv"), 3)


def test_every_cable_is_in_unless_it_is_cut() -> None:
    assert set(port_states(LAB)) == {f"link set n{n}{suffix} up" for n in (1, 2, 3) for suffix in ("", "-repl")}
    states = port_states(replace(LAB, cuts=frozenset({Cut.between(REPLICATION, "n2", "")})))
    assert [state for state in states if state.endswith("down")] == ["link set n2-repl down"]


def test_a_cut_between_two_leaves_their_cables_in_and_drops_both_ways() -> None:
    lab = replace(LAB, cuts=frozenset({Cut.between(NETWORK, "n3", "n1")}))
    assert port_states(lab) == port_states(LAB)
    rules = render_cuts(lab)
    assert 'iifname "n1" oifname "n3" drop' in rules and 'iifname "n3" oifname "n1" drop' in rules
    assert "n2" not in rules and "repl" not in rules


def test_healing_all_leaves_no_rules_whatever_there_was() -> None:
    assert render_cuts(LAB).split("\n") == ["table bridge lab", "delete table bridge lab", ""]


def test_a_node_is_as_a_machine_whose_card_was_taken_into_a_bridge() -> None:
    lines = within_node(LAB.nodes[0], has_bridge=False)
    assert "link add br0 address 02:1a:b0:12:00:01 type bridge" in lines
    assert "link set eth0 master br0" in lines
    assert "address replace 198.18.0.1/24 dev br0" in lines
    assert "address replace 198.19.0.1/24 dev eth1" in lines
    assert not [line for line in within_node(LAB.nodes[0], has_bridge=True) if "link add" in line]
