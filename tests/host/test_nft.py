"""The rules of a network as text. That the kernel does as they say is proven by conformance/test_networks.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit import networks

from covey.base.errors import BadInput
from covey.host.network import nft
from covey.model.network import Entrance

LAN = replace(networks.LAN, dns=())
NAT_TABLE = """\
table inet covey-5f3c1f0e-0000-4000-8000-000000000001 {
	comment "covey 5f3c1f0e-0000-4000-8000-000000000001 7"

	chain input {
		type filter hook input priority filter; policy accept;
		iifname "cv-lan" ct state established,related accept comment "replies"
		iifname "cv-lan" meta l4proto { icmp, ipv6-icmp } accept
		iifname "cv-lan" drop comment "the machine itself"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "cv-lan" oifname "cv-lan" accept comment "within the network"
		oifname "cv-lan" ct state established,related accept comment "replies"
		oifname "cv-lan" ct status dnat accept comment "forwarded ports"
		iifgroup 49278 oifname "cv-lan" drop comment "from another network of Covey"
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


def test_each_family_is_hidden_by_itself() -> None:
    six = replace(LAN, subnet6="fd00:77::/64", gateway6="fd00:77::1")
    assert "masquerade" in nft.render_table(six, "7") and "ip6 " not in nft.render_table(six, "7")
    hidden = nft.render_table(replace(six, nat=False, nat6=True), "7")
    assert 'oifname != "cv-lan" ip6 saddr fd00:77::/64 ip6 daddr != fd00:77::/64 masquerade' in hidden
    assert hidden.count("masquerade") == 1 and "hidden behind the machine" in hidden


def test_a_routed_network_is_open_from_outside_but_not_to_other_networks() -> None:
    table = nft.render_table(replace(LAN, nat=False), "7")
    assert "masquerade" not in table and "hidden" not in table
    assert table.count(" drop ") == 2 and "from another network" in table and "the machine itself" in table


def test_an_isolated_network_has_no_way_out_or_in() -> None:
    table = nft.render_table(replace(LAN, nat=False, isolated=True, gateway=""), "7")
    assert 'iifname "cv-lan" drop comment "no way out"' in table and 'oifname "cv-lan" drop comment "no way in"' in table
    assert "nat hook" not in table


def test_guests_reach_what_is_allowed_of_the_machine_and_the_name_servers_that_they_are_told() -> None:
    dns = ("192.0.2.53", "10.77.0.1", "2001:db8::53")
    table = nft.render_table(replace(LAN, dns=dns, host_ports=("tcp/22", "udp/5000-5010")), "7")
    assert 'iifname "cv-lan" ip daddr { 10.77.0.1, 192.0.2.53 } meta l4proto { tcp, udp } th dport 53 accept' in table
    assert 'iifname "cv-lan" ip6 daddr 2001:db8::53 meta l4proto { tcp, udp } th dport 53 accept' in table
    assert 'iifname "cv-lan" tcp dport 22 accept' in table
    assert 'iifname "cv-lan" udp dport 5000-5010 accept' in table


def test_a_forwarded_port_leads_to_the_guest_by_each_family_that_it_has() -> None:
    both = replace(LAN, subnet6="fd00:77::/64", gateway6="fd00:77::1")
    open_ = Entrance("tcp", 8080, "10.77.0.10", "fd00:77::10", 80, ())
    table = nft.render_table(replace(both, entrances=(open_,)), "7")
    assert "\tfib daddr type local tcp dport 8080 dnat ip to 10.77.0.10:80\n" in table
    assert "\tfib daddr type local tcp dport 8080 dnat ip6 to [fd00:77::10]:80\n" in table
    assert "\tfib daddr type local ip daddr != 127.0.0.0/8 tcp dport 8080 dnat ip to 10.77.0.10:80\n" in table
    assert '\toifname "cv-lan" ip saddr 10.77.0.0/24 ct status dnat masquerade\n' in table
    closed = replace(open_, sources=("198.51.100.7/32", "192.0.2.0/24"))
    table = nft.render_table(replace(both, entrances=(closed,)), "7")
    assert "local ip saddr { 192.0.2.0/24, 198.51.100.7 } tcp dport 8080 dnat ip to" in table
    assert "tcp dport 8080 dnat ip6 to" in table.partition("chain output")[2], "the machine itself may"
    assert "dnat ip6" not in table.partition("chain output")[0], "no source of that family may"


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


def test_what_another_nodes_covey_made_is_not_ours() -> None:
    table = nft.render_table(LAN, "7", LAN.id)
    assert nft.parse_tag(table, LAN.id) == nft.parse_tag(table) == (LAN.id, "7")
    assert nft.parse_tag(table, LAN.id.replace("5f", "6f")) == ("", "")
    assert nft.parse_tag(NAT_TABLE, LAN.id) == (LAN.id, "7"), "as tables without an owner are"


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
