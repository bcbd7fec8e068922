"""The rules of a network as text. That the kernel does as they say is proven by conformance/test_networks.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.errors import BadInput
from covey.host.network import nft
from covey.model.network import Network

LAN = Network(
    id="5f3c1f0e-0000-4000-8000-000000000001",
    name="lan",
    bridge="cv-lan",
    subnet="10.77.0.0/24",
    gateway="10.77.0.1",
    pool=("10.77.0.10", "10.77.0.99"),
    nat=True,
    dns=(),
    created_at=0.0,
)
NAT_TABLE = """\
table inet covey-5f3c1f0e-0000-4000-8000-000000000001 {
	comment "covey 5f3c1f0e-0000-4000-8000-000000000001 7"

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "cv-lan" oifname "cv-lan" accept comment "within the network"
		iifgroup 49278 oifname "cv-lan" drop comment "from another network of Covey"
		oifname "cv-lan" ct state established,related accept comment "replies"
		oifname "cv-lan" ct status dnat accept comment "forwarded here by the owner of the machine"
		oifname "cv-lan" drop comment "hidden behind the machine"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname != "cv-lan" ip saddr 10.77.0.0/24 ip daddr != 10.77.0.0/24 masquerade
	}
}
"""


def test_the_table_of_a_network_behind_nat() -> None:
    assert nft.render_table(LAN, "7") == NAT_TABLE


def test_a_routed_network_is_open_from_outside_but_not_to_other_networks() -> None:
    table = nft.render_table(replace(LAN, nat=False), "7")
    assert "masquerade" not in table and "hidden" not in table
    assert table.count(" drop ") == 1 and "from another network" in table


def test_a_replacement_removes_the_old_table_in_the_same_transaction() -> None:
    name = nft.table_of(LAN.id)
    replacement = nft.render_replacement(NAT_TABLE, LAN.id)
    assert replacement == f"table inet {name} {{\n}}\ndelete table inet {name}\n{NAT_TABLE}"


def test_our_tables_are_found_among_those_of_others() -> None:
    listing = f"table inet filter {{\n\tchain input {{\n\t}}\n}}\n{NAT_TABLE}table inet covey {{\n}}\n"
    tables = nft.parse_tables(listing)
    assert list(tables) == [nft.table_of(LAN.id)]
    assert nft.same_rules(tables[nft.table_of(LAN.id)], NAT_TABLE)
    assert nft.parse_tag(tables[nft.table_of(LAN.id)]) == (LAN.id, "7")


def test_a_table_without_a_tag_belongs_to_nobody() -> None:
    assert nft.parse_tag('table inet covey-x {\n\tcomment "mine"\n}\n') == ("", "")


def test_white_space_makes_no_difference_and_a_missing_rule_does() -> None:
    assert nft.same_rules(NAT_TABLE, NAT_TABLE.replace("\t", "    "))
    assert not nft.same_rules(NAT_TABLE, NAT_TABLE.replace("masquerade", ""))


def test_the_users_name_of_a_network_is_in_no_rule() -> None:
    assert nft.render_table(replace(LAN, name='lan"; flush ruleset'), "7") == NAT_TABLE


@given(bridge=st.text(max_size=20), subnet=st.text(max_size=20), job=st.text(max_size=20), number=st.text(max_size=40))
def test_whatever_is_asked_only_plain_words_reach_a_rule(bridge: str, subnet: str, job: str, number: str) -> None:
    for network in (replace(LAN, bridge=bridge), replace(LAN, subnet=subnet), replace(LAN, id=number), LAN):
        try:
            table = nft.render_table(network, job)
        except BadInput:
            continue
        assert table.count("\n") == NAT_TABLE.count("\n")
        assert table.count(";") == NAT_TABLE.count(";") and table.count('"') == NAT_TABLE.count('"')


@pytest.mark.parametrize("bridge", ["a b", 'a"', "a;b", "a{", "a\n", "$a", "a*", "@a", "ä"])
def test_a_bridges_name_holds_no_metacharacters(bridge: str) -> None:
    with pytest.raises(BadInput):
        nft.render_table(replace(LAN, bridge=bridge), "7")
