# SPDX-License-Identifier: GPL-2.0-or-later
"""What is banned is shut out, in the kernel: at any number, and whatever others do to the firewall."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from server.records import Ban, Progress
from server.store import Store
from tests.crash import stored
from tests.ours import Ours, run
from tests.support import ROOT, eventually
from tests.world import Host, need_root_and

pytestmark = pytest.mark.root

WALLS = ["nftables[type=allports]", "iptables-ipset[type=allports]"]
# Where time has to pass, it passes for both at once.
BOTH = "\n  ".join(WALLS)
KNOCK = """
import socket, sys
door = socket.create_server(("127.0.0.1", 2222))
for host in sys.stdin.read().split():
    with socket.socket() as guest:
        guest.settimeout(0.5)
        guest.bind((host, 0))
        try:
            guest.connect(("127.0.0.1", 2222))
        except OSError:
            continue
        door.accept()[0].close()
        print(host)
"""
DOOR = "[Definition]\nfailregex = ^\\s*door: wrong key by <HOST>\\s*$\n"


class Place:
    """A server with a network of its own, one jail, and a log."""

    def __init__(self, folder, wall):
        self.host = Host("enforced")
        run("ip", "netns", "add", self.host.name)
        self.host.run("ip", "link", "set", "lo", "up")
        self.is_nft = wall.startswith("nft")
        self.has_both = "ipset" in wall and self.is_nft
        self.door = folder / "door.log"
        self.door.touch()
        self.ours = Ours(folder, self.host.prefix)
        self.configure(wall, stock=ROOT / "config")
        self.ours.write("filter.d/door.conf", DOOR)

    def configure(self, wall, stock=None, bantime=600, more=""):
        jail = (
            f"[door]\nenabled = true\nfilter = door\nlogpath = {self.door}\nmaxretry = 1\n"
            f"bantime = {bantime}\nignoreself = false\naction = {wall}\n{more}"
        )
        if stock:
            self.ours.configured(jail, stock=stock)
        else:
            self.ours.write("jail.local", jail)

    def tell(self, *words, check=True):
        return self.host.run("sh", "-c", " ".join(words), check=check).stdout

    def fail(self, hosts):
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.door.open("a") as log:
            log.write("".join(f"{now} door: wrong key by {host}\n" for host in hosts))

    def held(self):
        """The IPv4 addresses in the set of the jail; of two sets what is in both."""
        if self.has_both:
            return self._in_nft() & self._in_ipset()
        return self._in_nft() if self.is_nft else self._in_ipset()

    def held_anywhere(self):
        """What is in any of the two sets."""
        return self._in_nft() | self._in_ipset()

    def _in_nft(self):
        told = self.tell("nft list set inet f2b-table addr-set-door", check=False)
        return set(re.findall(r"[{,\s](\d+\.\d+\.\d+\.\d+) ", told))

    def _in_ipset(self):
        told = self.tell("ipset save f2b-door", check=False)
        return set(re.findall(r"^add \S+ (\S+)", told, re.MULTILINE))

    def holds(self, host):
        if self.is_nft:
            word = f"nft get element inet f2b-table addr-set-door '{{ {host} }}'"
        else:
            word = f"ipset test f2b-door {host}"
        return self.host.run("sh", "-c", word, check=False).returncode == 0

    def has_rule(self):
        told = self.tell("nft list ruleset" if self.is_nft else "iptables -S")
        return ("@addr-set-door" if self.is_nft else "--match-set f2b-door ") in told

    def closes(self, port):
        told = self.tell("nft list ruleset" if self.is_nft else "iptables -S")
        return f"dport {port} " in told or f"dports {port} " in told

    def take_out(self, host):
        if self.is_nft:
            self.tell(f"nft delete element inet f2b-table addr-set-door '{{ {host} }}'")
        else:
            self.tell(f"ipset del f2b-door {host}")

    def let_in(self, sources):
        """Those of `sources`, addresses of this host, from which a port of it can be reached."""
        words = [*self.host.prefix, sys.executable, "-c", KNOCK]
        told = subprocess.run(
            words, input="\n".join(sources), capture_output=True, text=True, check=True
        )
        return told.stdout.split()

    def status(self):
        return self.ours.status("door")

    def finish(self):
        try:
            self.ours.finish()
        finally:
            run("ip", "netns", "del", self.host.name, check=False)


@pytest.fixture
def place(tmp_path):
    places = []

    def make(wall):
        need_root_and("nft", "ipset", "iptables", "ip")
        places.append(Place(tmp_path, wall))
        return places[-1]

    yield make
    for one in places:
        one.finish()


def hosts(count, net=10):
    return [f"{net}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(1, count + 1)]


def enforced(place, number):
    return f" {number}/{number}" in " " + place.status().get("Enforced", "")


@pytest.mark.slow
@pytest.mark.parametrize("wall", WALLS)
def test_ten_thousand_hosts_of_a_log_are_each_shut_out(place, wall):
    here = place(wall)
    here.ours.start()
    banned = [f"127.1.{i >> 8}.{i & 255}" for i in range(1, 10_001)]

    here.fail(banned)

    eventually(lambda: {*banned} <= here.held(), 60, "ten thousand bans")
    eventually(lambda: enforced(here, 10_000), 30, "a look at them")
    assert ["127.0.0.3"] == here.let_in([*banned, "127.0.0.3"])
    # A second batch, which is smaller, comes to what is there.
    here.fail(["127.0.0.2"])
    eventually(lambda: "127.0.0.2" in here.held(), 10, "one more")
    assert [] == here.let_in(["127.0.0.2"])
    assert here.ours.says("unban", "--all") == "10001"
    eventually(lambda: not here.held(), 10, "letting them in")
    assert banned == here.let_in(banned)


@pytest.mark.slow
@pytest.mark.parametrize("wall", WALLS)
def test_a_hundred_thousand_bans_are_restored(place, wall, tmp_path):
    here = place(wall)
    now, names = time.time(), hosts(100_000)
    store = Store(str(tmp_path / "f2b.sqlite3"))
    store.open()
    store.save(Progress("door", banned=tuple(Ban("door", host, now, 3600.0) for host in names)))
    assert store.sync(60)
    store.close()

    here.ours.start()

    eventually(lambda: here.holds(names[-1]), 60, "the last of a hundred thousand bans")
    eventually(lambda: {*names} == here.held(), 10, "all of them")


@pytest.mark.parametrize("wall", WALLS)
def test_what_another_program_takes_away_is_back_within_seconds(place, wall):
    here = place(wall.replace("]", ", actionlist_interval=1]") if "ipset" in wall else wall)
    here.ours.start()
    here.fail(hosts(50))
    eventually(lambda: enforced(here, 50), 10, "fifty bans")
    time.sleep(0.1)

    ipset = ("iptables -F INPUT", "ipset flush f2b-door")
    for harm in ("nft flush ruleset",) if here.is_nft else ipset:
        here.tell(harm)
        eventually(
            lambda: {*hosts(50)} == here.held() and here.has_rule(), 15, f"help after {harm}"
        )
    here.take_out(hosts(1)[0])
    eventually(lambda: {*hosts(50)} == here.held(), 15, "the one that was taken out")

    eventually(lambda: "missing and banned again" in here.ours.logged, 10, "a line that tells it")
    assert enforced(here, 50)


def test_who_is_banned_when_the_server_is_killed_stays_so_and_is_let_in_when_lifted(place):
    here = place(BOTH)
    here.ours.start()
    here.fail(hosts(50))
    # The first look takes out whatever it finds.
    eventually(lambda: here.status().get("Enforced", "").count("50/50") == 2, 15, "a look at both")
    database = here.ours.folder / "f2b.sqlite3"
    eventually(lambda: len(stored(database).bans) == 50, 10, "fifty bans on the disk")
    here.ours.process.send_signal(signal.SIGSTOP)  # it looks no more
    # The ban of a second jail, as it were, which nobody knows of when the server comes back.
    here.tell("nft add element inet f2b-table addr-set-door '{ 192.0.2.9 }'")
    here.tell("ipset add f2b-door 192.0.2.9")
    here.ours.end(signal.SIGKILL)
    assert {*hosts(50), "192.0.2.9"} == here.held()

    here.ours.start()
    fewest = 50
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        fewest = min(fewest, len(here.held() & {*hosts(50)}))

    assert fewest == 50
    eventually(
        lambda: "192.0.2.9" not in here.held_anywhere(), 10, "what nobody is banned for to go"
    )
    here.ours.client("set", "door", "unbanip", hosts(1)[0])
    eventually(lambda: {*hosts(50)[1:]} == here.held_anywhere(), 10, "the one that was lifted")
    assert {*hosts(50)[1:]} == here.held()


def test_a_ban_ends_in_time_though_the_server_is_gone(place):
    here = place(BOTH)
    here.configure(BOTH, bantime=2)
    here.ours.start()
    here.fail(hosts(5))
    eventually(lambda: len(here.held()) == 5, 10, "five bans")
    here.ours.end(signal.SIGKILL)

    eventually(lambda: set() == here.held_anywhere(), 10, "the end of the bans")


def test_a_ban_that_is_over_is_lifted_without_a_command_and_may_come_again(place):
    here = place(BOTH)
    here.configure(BOTH, bantime=2)
    here.ours.start()
    for _ in range(2):
        here.fail(hosts(5))
        eventually(lambda: len(here.held()) == 5, 10, "five bans")
        eventually(lambda: here.ours.banned("door") == set(), 10, "their end")

    eventually(lambda: set() == here.held_anywhere(), 10, "the end of the bans")
    assert "failed" not in here.ours.logged


@pytest.mark.parametrize("wall", WALLS)
def test_a_reload_with_other_ports_lifts_nobody_for_a_moment(place, wall):
    here = place(wall)
    here.ours.start()
    here.fail(hosts(50))
    eventually(lambda: len(here.held()) == 50, 10, "fifty bans")
    is_over, seen = [], []

    def look():
        while not is_over:
            seen.append((len(here.held()), here.has_rule()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for port in ("22", "80"):
            here.configure(wall.replace("allports", f'multiport, port="{port}"'))
            here.ours.client("reload")
            here.ours.client("ping")
            eventually(lambda port=port: here.closes(port), 10, "the new port")
    finally:
        is_over.append(True)
        looking.join()

    assert {(50, True)} == {*seen}


OTHERWISE = {
    "nftables": ("nftables[type=allports{}]", ", table=other", "inet f2b-table", "inet other"),
    "ipset": ("iptables-ipset[type=allports{}]", ", ipmset=other", "-set f2b-door", "-set other"),
    "iptables": ("iptables[type=allports{}]", ", blocktype=DROP", "-j REJECT", "-j DROP"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_reload_with_another_place_or_verdict_lifts_nobody_for_a_moment(place, name):
    wall, other, *marks = OTHERWISE[name]
    here = place(wall.format(""))
    here.ours.start()
    here.fail(hosts(50))
    eventually(lambda: {*hosts(50)} <= held_in_rules(here), 10, "fifty bans")
    is_over, seen = [], []

    def look():
        while not is_over:
            seen.append(len({*hosts(50)} & held_in_rules(here)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for more, wanted in ((other, [False, True]), ("", [True, False])):
            here.configure(wall.format(more))
            here.ours.client("reload")
            here.ours.client("ping")
            eventually(
                lambda w=wanted: w == [mark in rules(here) for mark in marks], 10, "the change"
            )
    finally:
        is_over.append(True)
        looking.join()

    assert {50} == {*seen}
    assert "failed" not in here.ours.logged


def held_in_rules(place):
    """The IPv4 addresses that a rule shuts out, by itself or in a set."""
    saved = place.tell("ipset save")
    told = rules(place)
    saved += place.tell("ipset save")  # what is seen at one moment may have come or gone at another
    sets = re.findall(r"--match-set (\S+) src", told)
    found = {*re.findall(r"-s (\d+\.\d+\.\d+\.\d+)/32 -j", told)}
    found |= {ip for name, ip in re.findall(r"^add (\S+) (\S+)", saved, re.M) if name in sets}
    for table in re.split(r"^table ", told, flags=re.M)[1:]:
        if "@addr-set-door " in table:
            found |= {*re.findall(r"(\d+\.\d+\.\d+\.\d+) timeout", table)}
    return found


def rules(place):
    return place.tell("iptables -S; nft list ruleset 2>/dev/null")


def test_networks_take_each_other_s_place_without_a_gap(place):
    here = place(WALLS[0])
    here.ours.start()
    here.ours.client("set", "door", "banip", "192.0.2.0/28", "192.0.2.64/28")
    eventually(lambda: len(nets(here)) == 2, 10, "two networks")
    is_over, gaps = [], []

    def look():
        while not is_over:
            seen = nets(here)
            if not any(ip_address("192.0.2.5") in net for net in seen):
                gaps.append(seen)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for word, host, number in (
            ("banip", "192.0.2.0/24", 1),  # a wider one
            (
                "unbanip",
                "192.0.2.77",
                7,
            ),  # split around one host, and that beside it in the other set
            ("banip", "192.0.2.0/23", 1),
        ):
            here.ours.client("set", "door", word, host)
            eventually(lambda number=number: len(nets(here)) == number, 10, f"{word} {host}")
    finally:
        is_over.append(True)
        looking.join()

    assert [] == gaps
    assert "failed" not in here.ours.logged
    assert "missing" not in here.ours.logged


def test_what_is_taken_out_of_the_set_of_networks_is_back_within_seconds(place):
    here = place(WALLS[0])
    here.ours.start()
    here.ours.client("set", "door", "banip", "192.0.2.0/24")
    eventually(lambda: enforced(here, 1), 10, "a network")
    time.sleep(0.1)

    here.tell("nft flush set inet f2b-table addr-set-door-net")

    eventually(lambda: nets(here), 15, "the network again")


def nets(place):
    """The IPv4 networks in the set of the jail."""
    told = place.tell("nft list set inet f2b-table addr-set-door-net", check=False)
    return {ip_network(text) for text in re.findall(r"\d+\.\d+\.\d+\.\d+/\d+", told)}


def test_prefixes_and_networks_of_a_log_are_shut_out_as_such(place):
    here = place(BOTH)
    here.configure(BOTH, more="ipv6prefix = 64\naggregate = 3\n")
    for address in ("2001:db8:0:1::1", "2001:db8:0:1::9", "2001:db8:0:77::1", "2001:db8:1::1"):
        here.tell(f"ip -6 addr add {address}/128 dev lo nodad")
    here.ours.start()
    with listening(here):
        here.fail(["2001:db8:0:1::5", "2001:db8:0:2::5", "127.0.0.2", "127.0.0.3"])
        eventually(lambda: shut(here) == {P1, P2, "127.0.0.2", "127.0.0.3"}, 10, "prefixes")
        assert not reaches(here, "2001:db8:0:1::9")
        assert reaches(here, "2001:db8:0:77::1") and reaches(here, "127.0.0.99")

        here.fail(["2001:db8:0:3::5", "127.0.0.200"])
        eventually(lambda: shut(here) == {NET6, NET4}, 10, "networks in their place")
        assert not reaches(here, "2001:db8:0:77::1")
        assert not reaches(here, "127.0.0.99")
        assert reaches(here, "2001:db8:1::1") and reaches(here, "127.0.1.1")
        eventually(lambda: enforced(here, 2), 15, "a look at them")

        time.sleep(0.3)  # what was counted is on the disk
        here.ours.end(signal.SIGKILL)
        here.ours.start()
        eventually(lambda: enforced(here, 2), 15, "both taken up")
        assert {NET6, NET4} == shut(here)
        here.ours.client("set", "door", "unbanip", "127.0.0.3", "2001:db8:0:2::77")
        wanted = {"127.0.0.2", "127.0.0.200", P1, P3}
        eventually(lambda: shut(here) == wanted, 10, "what is left of them")
        assert not reaches(here, "2001:db8:0:1::9")
        assert reaches(here, "127.0.0.3") and reaches(here, "2001:db8:0:77::1")
    eventually(lambda: enforced(here, 4), 15, "a look at that")
    here.ours.client("unban", "--all")
    eventually(lambda: shut(here) == set(), 10, "everybody let in")
    assert "failed" not in here.ours.logged


P1, P2, P3 = (f"2001:db8:0:{n}::/64" for n in (1, 2, 3))
NET4, NET6 = "127.0.0.0/24", "2001:db8::/56"


def shut(place):
    """Who stands in the sets of the jail, networks included; of two tools what both say."""
    in_nft = re.findall(r"([0-9a-f:.]+(?:/\d+)?) timeout", place.tell("nft list ruleset"))
    in_ipset = re.findall(r"^add \S+ (\S+)", place.tell("ipset save"), re.MULTILINE)
    return {*in_nft} if {*in_nft} == {*in_ipset} else None


@contextmanager
def listening(place):
    """While a door of the server is open, by IPv4 and IPv6."""
    code = "import socket,time; s=socket.create_server(('::', 2222), family=socket.AF_INET6, dualstack_ipv6=True); time.sleep(90)"
    process = subprocess.Popen([*place.host.prefix, sys.executable, "-c", code])
    try:
        eventually(lambda: reaches(place, "127.0.1.1"), 10, "an open door")
        yield
    finally:
        process.kill()
        process.wait()


def reaches(place, source):
    """Whether a connection from `source`, an address of the server, to its door comes about."""
    return place.host.reaches("2001:db8:1::1" if ":" in source else "127.0.2.1", source, 2222)


@pytest.mark.slow
def test_jails_that_rest_cost_next_to_nothing(place):
    here = place(WALLS[0])
    jails = "".join(
        f"[door{i}]\nenabled = true\nfilter = door\nlogpath = {here.door}\nmaxretry = 1\n"
        f"bantime = 600\nignoreself = false\naction = nftables[type=allports, actionlist_interval=1]\n"
        for i in range(10)
    )
    here.ours.write("jail.local", jails)
    here.ours.start()
    here.fail(hosts(3))
    eventually(lambda: here.ours.logged.count("enforced 3/3") >= 10, 20, "a look at each")
    time.sleep(1)
    before = ran(here.ours.process.pid)

    time.sleep(2)  # the intervals of twenty looks

    assert ran(here.ours.process.pid) == before


def ran(pid):
    """How much CPU time the programs took that a process has run, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[13]) + int(fields[14])
