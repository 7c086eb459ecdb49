# SPDX-License-Identifier: GPL-2.0-or-later
import threading

from server.resolver import Resolver, addresses_of, origin_of, own_ipv4, own_ipv6
from tests.support import eventually


def test_a_name_is_looked_up_once_and_remembered():
    asked, told = [], []
    resolver = Resolver(lambda name: asked.append(name) or ("192.0.2.1",))

    for _ in range(2):
        resolver.resolve("host.example", told.append)
        eventually(lambda: told)
    eventually(lambda: len(told) == 2)
    resolver.stop()

    assert (asked, told) == (["host.example"], [("192.0.2.1",)] * 2)


def test_names_beyond_the_bound_are_refused_and_not_queued():
    gate, told = threading.Event(), []
    resolver = Resolver(lambda name: (gate.wait(60), ())[1])

    taken = [resolver.resolve(f"h{number}.example", told.append) for number in range(1100)]
    gate.set()
    eventually(lambda: len(told) == 1000)
    resolver.stop()

    assert taken.count(True) == 1000 and taken[0] and not taken[-1]


def test_this_machine_knows_its_loopback_addresses():
    assert "127.0.0.1" in own_ipv4() and "127.0.0.1" in Resolver().own_addresses()


def test_the_kernels_tables_are_read(tmp_path):
    trie = tmp_path / "fib_trie"
    trie.write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\n"
        "     |-- 192.0.2.7\n        /32 host LOCAL\n"
    )
    inet6 = tmp_path / "if_inet6"
    inet6.write_text("20010db8000000000000000000000001 02 40 00 80     eth0\n")

    assert own_ipv4(str(trie)) == ["192.0.2.7"]
    assert own_ipv6(str(inet6)) == ["2001:db8::1"]
    assert own_ipv6(str(tmp_path / "nothing")) == []


def test_what_looks_like_an_address_is_no_name():
    assert addresses_of("192.030.0.6") == addresses_of("127.1") == ()
    assert "127.0.0.1" in addresses_of("localhost")


def test_the_owner_of_an_address_is_asked_for_by_its_reversed_name():
    asked = []

    def ask(name):
        asked.append(name)
        return '"64496 | 192.0.2.0/24 | ZZ | other | 2000-01-01"'

    assert origin_of("192.0.2.1", ask) == ("64496", "ZZ", "other")
    assert origin_of("2001:db8::1", ask) == ("64496", "ZZ", "other")
    assert asked == [
        "1.2.0.192.origin.asn.cymru.com",
        "1." + "0." * 23 + "8.b.d.0.1.0.0.2.origin6.asn.cymru.com",
    ]


def test_the_owner_of_what_nobody_knows_is_unknown():
    assert origin_of("192.0.2.1", lambda name: "") == ("unknown",) * 3
    assert origin_of("no address", lambda name: "1/0") == ("unknown",) * 3
