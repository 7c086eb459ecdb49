# SPDX-License-Identifier: GPL-2.0-or-later
import logging
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from itertools import accumulate

import pytest

from common.options import ActionConf, JailConf, LogPath
from server.filter import Filter
from server.lines import Lines
from server.reader import LogReader
from server.records import Ban, Excerpt, Failure, LogBlock, Position, Progress, Result
from server.resolver import Resolver
from server.store import Store
from server.worker import _MOST_HELD, Worker, World, _tell_of_slow_search
from tests.support import BOB, EVE, at_home_in, eventually

WALL = ActionConf("wall", {"actionban": "ban <ip>", "actionunban": "unban <ip>"})


class Place:
    """A jail's worker in a world of its own."""

    def __init__(self, store=None, lookup=None, **options):
        self.ran = []
        self.now = time.time()
        self.failing = set()
        self.tidied = []  # when memory was given back
        self.store = store or Store(":memory:")
        if store is None:
            self.store.open()
        self.reader = LogReader()
        self.reader.start()
        names = {"bob.example": (BOB,), "nobody.example": ()}
        resolver = Resolver(lookup or (lambda name: names[name]))
        self.step = 0.0  # by which the clock was set
        self.world = World(
            lambda: self.now + self.step,
            self.reader,
            self.store,
            resolver,
            self._run,
            uptime=lambda: self.now,
            tidy_memory=lambda: self.tidied.append(self.now),
        )
        given = {"failregex": (r"^\s*refused <HOST>$",), "actions": (WALL,), "ignore_self": False}
        self.conf = JailConf("ssh", is_started=True, **given | options)
        idle = JailConf("ssh")
        self.worker = Worker(idle, Filter(self.conf), self.world)
        self.worker.start()
        self.worker.change(self.conf)

    def _run(self, command):
        self.ran.append(" ".join([command.script.split()[0], *command.environment.values()]))
        return Result(command, 1 if command.script in self.failing else 0)

    def block(self, *hosts, path="/log", offset=0):
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.now))
        data = "".join(f"{date} refused {host}\n" for host in hosts).encode()
        return LogBlock(path, data, Position(1, 2, offset), Position(1, 2, offset + len(data)))

    def see(self, *hosts, **where):
        block = self.block(*hosts, **where)
        eventually(lambda: self.worker.offer(block))

    def close(self):
        self.worker.stop()
        assert self.worker.join(60)
        self.reader.stop()

    def figures(self):
        return self.worker.ask(lambda jail: (jail.total_failed, [ban.host for ban in jail.bans]))


@pytest.fixture
def place():
    made = []

    def make(**options):
        made.append(Place(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    for one in made:
        one.store.close()


def test_lines_become_a_ban_and_the_ban_a_command(place):
    ssh = place(max_retry=2)

    ssh.see(EVE, BOB, EVE)

    eventually(lambda: f"ban {EVE}" in ssh.ran)
    assert ssh.figures() == (3, [EVE])


def test_what_was_read_and_what_came_of_it_is_saved_together(place):
    ssh = place(max_retry=2)

    ssh.see(EVE, EVE, BOB)
    ssh.figures()
    assert ssh.store.sync()

    assert [ban.host for ban in ssh.store.bans("ssh", ssh.now)] == [EVE]
    assert [failure.host for failure in ssh.store.failures("ssh", 0)] == [BOB]
    assert ssh.store.positions("ssh")["/log"] == ssh.block(EVE, EVE, BOB).end


def test_a_position_without_consequences_is_saved_at_the_end_at_the_latest(place):
    ssh = place()
    ssh.see()
    end = ssh.block().end

    ssh.worker.stop()
    assert ssh.worker.join(60) and ssh.store.sync()

    assert ssh.store.positions("ssh")["/log"] == end


def test_a_restart_restores_bans_and_counts_on(place):
    store = Store(":memory:")
    store.open()
    now = time.time()
    first = place(store=store, max_retry=2)
    first.see(EVE, EVE, BOB)
    first.figures()
    first.worker.stop()
    first.worker.join(60)

    second = place(store=store, max_retry=2)
    second.see(BOB)

    eventually(lambda: {f"ban {EVE}", f"ban {BOB}"} <= set(second.ran))
    assert second.now - now < 60


TALK = {
    "prefregex": r"^ door\[<F-MLFID>\d+</F-MLFID>\]: <F-CONTENT>.+</F-CONTENT>$",
    "failregex": (r"^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$", r"^refused$"),
}
WINDOW = {"max_lines": 3, "failregex": (r"^ hello from <HOST>\n(?:.*\n)*? refused$",)}


def door_line(now, text):
    return time.strftime(f"%Y-%m-%d %H:%M:%S {text}\n", time.localtime(now))


def killed_after_position(ssh, path):
    """Wait until all of `path` is read, have its position saved, and end without a word."""
    size = path.stat().st_size

    def is_saved():
        ssh.now += 6  # mere positions are not saved at once
        ssh.figures()
        position = ssh.store.positions("ssh").get(str(path))
        return position and position.offset == size

    eventually(is_saved)
    ssh.close()


@pytest.mark.parametrize("rules", [TALK, WINDOW], ids=["conversation", "window"])
@pytest.mark.parametrize("is_refused_before", [False, True])
def test_what_was_said_before_the_server_ended_belongs_to_what_is_said_after(
    place, tmp_path, rules, is_refused_before
):
    log, store = tmp_path / "log", Store(":memory:")
    store.open()
    tag = "door[7]: " if rules is TALK else ""
    options = {"store": store, "max_retry": 9, "log_paths": (LogPath(str(log)),), **rules}
    first = place(**options)
    hello, refused = (door_line(first.now, tag + text) for text in (f"hello from {EVE}", "refused"))
    before = hello + (refused + hello if is_refused_before else "")
    log.write_text(before)
    killed_after_position(first, log)
    assert int(is_refused_before) == len(store.failures("ssh", 0))

    with log.open("a") as file:
        file.write(refused)
    second = place(**options)

    eventually(lambda: second.figures()[0] == 1)
    eventually(lambda: len(store.failures("ssh", 0)) == 1 + is_refused_before)
    assert {EVE} == {failure.host for failure in store.failures("ssh", 0)}


def test_a_late_line_in_a_rotated_log_is_counted_by_the_next_run(place, tmp_path):
    log, store = tmp_path / "log", Store(":memory:")
    store.open()
    options = {"store": store, "max_retry": 99, "log_paths": (LogPath(str(log)),)}
    first = place(**options)
    line = door_line(first.now, f"refused {EVE}")
    log.write_text(line)
    eventually(lambda: first.figures()[0] == 1)
    log.rename(f"{log}.1")
    log.write_text(line)
    eventually(lambda: first.figures()[0] == 2)
    first.close()

    with (tmp_path / "log.1").open("a") as late:
        late.write(line * 2)
    second = place(**options)
    eventually(lambda: second.figures()[0] == 2)
    second.close()
    third = place(**options)
    log.write_text(line * 2)

    eventually(lambda: third.figures()[0] == 1)
    assert store.sync() and 5 == len(store.failures("ssh", 0))


def test_a_big_old_log_is_begun_where_it_matters_and_counted_from_there(place, tmp_path):
    log = tmp_path / "log"
    now = time.time()
    old, new = (door_line(now - ago, f"refused {EVE}") for ago in (10**6, 60))
    log.write_text(old * 200_000 + new * 3)
    ssh = place(log_paths=(LogPath(str(log)),), max_retry=9)

    eventually(lambda: ssh.figures()[0] == 3)
    (file,) = ssh.reader.files("ssh")
    assert file.position.offset == log.stat().st_size


def test_a_ban_is_lifted_when_its_time_is_over(place):
    ssh = place(max_retry=1, ban_time=600)
    ssh.see(EVE)
    eventually(lambda: f"ban {EVE}" in ssh.ran)

    ssh.now += 601
    ssh.worker.ask(lambda jail: None)

    eventually(lambda: f"unban {EVE}" in ssh.ran)


@pytest.mark.parametrize("step", [-1e9, -3600, -300, 300, 3600, 1e9])
def test_a_clock_that_is_set_neither_releases_nor_prolongs(place, step):
    ssh = place(max_retry=1, ban_time=600)
    ssh.see(EVE)
    eventually(lambda: f"ban {EVE}" in ssh.ran)

    ssh.step = step
    ssh.now += 599
    (ban,) = ssh.worker.ask(lambda jail: list(jail.bans))
    assert (ssh.now + step + 1) == pytest.approx(ban.until)
    assert [ban] == ssh.store.bans("ssh", 0.0)
    assert (1, ban.since) == ssh.store.history(EVE)

    ssh.now += 2
    ssh.worker.ask(lambda jail: None)
    eventually(lambda: f"unban {EVE}" in ssh.ran)
    assert 1 == ssh.ran.count(f"ban {EVE}")


def excerpt(ssh, *hosts, offset=0, **more):
    """What the jail's own filter wants of a block in which those hosts failed."""
    block, filter = ssh.block(*hosts, offset=offset), ssh.worker._filter
    places, reader = filter.screen.places(block.data), Lines(filter.lines.way)
    lines, last = reader.by_itself("/log", offset, block.data, places, ssh.now, {})
    excerpt = Excerpt("/log", lines, None, last, block.end, None, len(block.data), filter, True)
    return replace(excerpt, **more)


def test_where_little_was_found_it_waits_for_the_next_one(place):
    ssh = place(max_retry=1)
    first, second = (excerpt(ssh, host, offset=100 * n) for n, host in enumerate([EVE, BOB]))

    assert ssh.worker.offer(first)
    assert (0, []) == ssh.figures()
    assert ssh.worker.offer(replace(second, can_wait=False))
    assert (2, [EVE, BOB]) == ssh.figures()


def test_of_such_there_wait_few_and_the_last_ones_are_seen_at_the_end(place):
    ssh = place(max_retry=1000)
    for n in range(1001):
        eventually(lambda n=n: ssh.worker.offer(excerpt(ssh, EVE, offset=100 * n)))
    assert 1001 - _MOST_HELD < ssh.figures()[0] < 1001

    ssh.close()

    ssh.store.sync()
    end = ssh.block(EVE, offset=100 * 1000).end
    assert ssh.store.positions("ssh")["/log"] == end


def test_what_waits_comes_before_a_block(place):
    ssh = place(max_retry=1)

    assert ssh.worker.offer(excerpt(ssh, EVE))
    assert ssh.worker.offer(ssh.block(BOB, offset=100))

    assert (2, [EVE, BOB]) == ssh.figures()


def test_a_line_without_a_date_has_the_last_one_of_what_was_passed_over(place):
    ssh = place(max_retry=2)
    ssh.worker.offer(excerpt(ssh, last=ssh.now - 40))
    ssh.worker.offer(excerpt(ssh, before=ssh.now - 30))
    undated = ssh.block(EVE)
    undated = replace(undated, data=b"refused " + EVE.encode())

    assert ssh.worker.offer(undated)

    (failure,) = ssh.worker.ask(lambda jail: jail.failures.of(EVE))
    assert ssh.now - 31 <= failure.when <= ssh.now - 29


def test_lines_are_judged_by_the_filter_that_they_were_read_for(place):
    ssh = place(max_retry=1)
    early = excerpt(ssh, EVE, can_wait=False)
    conf = replace(ssh.conf, failregex=(r"^\s*forgot <HOST>$",))
    ssh.worker.change(conf, Filter(conf))

    assert ssh.worker.offer(early)

    assert (1, [EVE]) == ssh.figures()


def test_what_one_block_does_to_the_filter_costs_no_other_block(place):
    ssh = place(max_retry=1)

    assert ssh.worker.offer(replace(excerpt(ssh, EVE), lines=None))
    assert ssh.worker.offer(ssh.block(BOB, offset=100))

    assert (1, [BOB]) == ssh.figures()
    assert "TypeError" in ssh.worker.problem


def test_a_server_without_pyperscan_says_once_that_it_is_slower(place, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyperscan", None)
    monkeypatch.setattr("server.screen._troubles", deque(maxlen=1))
    caplog.set_level(logging.INFO)
    ssh = place()
    _tell_of_slow_search.cache_clear()

    ssh.see(EVE)
    ssh.figures()
    assert "pyperscan" not in caplog.text
    for offset in (10**6, 2 * 10**6):
        ssh.see(*[EVE] * 4000, offset=offset)
    ssh.see(EVE, path="/other")
    ssh.figures()

    (told,) = (line for line in caplog.text.splitlines() if "pyperscan" in line)
    assert "import of pyperscan halted" in told


@pytest.mark.parametrize("step", [-1e8, -3600, 3600, 1e9])
def test_a_clock_that_is_set_neither_hides_failures_nor_lets_them_count_for_longer(place, step):
    store = Store(":memory:")
    store.open()
    ssh = place(store=store, max_retry=3, find_time=600, ban_time=86400)
    ssh.now += 1  # the dates of the log have no fractions

    def see(host):
        line = door_line(ssh.now + ssh.step, f"refused {host}").encode()
        assert ssh.worker.offer(LogBlock("/log", line, Position(1, 2, 0), Position(1, 2, 9)))
        return ssh.figures()[1]

    assert [] == see(EVE) == see(EVE) == see(BOB) == see(BOB)
    ssh.step = step
    ssh.now += 300
    assert [EVE] == see(EVE)

    ssh.now += 400
    assert [EVE] == see(BOB)
    assert store.sync()
    failures = store.failures("ssh", ssh.now + step - 600)
    assert [BOB] == [one.host for one in failures]


def test_bans_that_ended_in_a_sleep_of_the_machine_are_over_and_others_go_on(place, caplog):
    ssh = place(max_retry=1, ban_time=3600)
    ssh.see(EVE)
    eventually(lambda: f"ban {EVE}" in ssh.ran)
    ssh.now += 3000
    ssh.see(BOB)
    eventually(lambda: f"ban {BOB}" in ssh.ran)
    begun = ssh.now

    ssh.now += 1800  # both clocks go on in a sleep; nothing that waits does
    ssh.worker.ask(lambda jail: None)

    eventually(lambda: f"unban {EVE}" in ssh.ran)
    assert [pytest.approx(begun + 3600)] == ssh.worker.ask(
        lambda jail: [b.until for b in jail.bans]
    )
    assert "stepped" not in caplog.text


@pytest.mark.parametrize(
    "change", [1_792_890_000.0, 1_774_746_000.0], ids=["doubled hour", "missing hour"]
)
def test_failures_and_bans_keep_their_time_in_nights_in_which_clocks_are_changed(place, change):
    with at_home_in("Europe/Berlin"):
        ssh = place(max_retry=3, find_time=600, ban_time=1190)
        ssh.now = change - 7200
        for minute in range(240):
            ssh.now += 60
            if minute % 40 in (0, 4, 8):
                ssh.see(EVE)
            elif minute % 40 in (29, 34):
                ssh.see(BOB)
            ssh.figures()
            is_out = 8 <= minute % 40 < 28
            assert ([EVE] if is_out else []) == ssh.figures()[1], f"minute {minute}"


def test_a_ban_of_an_earlier_run_ends_when_it_was_to_end_whatever_the_clock_was(place):
    first = place(max_retry=1, ban_time=600)
    first.see(EVE)
    eventually(lambda: first.store.bans("ssh", 0.0))
    first.close()
    second = place(store=first.store, max_retry=1, ban_time=600)
    eventually(lambda: f"ban {EVE}" in second.ran)

    second.step = 601
    second.worker.ask(lambda jail: None)

    eventually(lambda: f"unban {EVE}" in second.ran)


def test_a_jail_that_is_behind_takes_no_more_blocks_and_then_goes_on(place):
    gate = threading.Event()
    ssh = place(max_retry=100, ignore_command="slow")
    ssh.worker.ask(lambda jail: None)
    waits = ssh.world.run

    def wait(command):
        gate.wait(60)
        return waits(command)

    object.__setattr__(ssh.world, "run", wait)
    ssh.failing.add("slow")

    taken = [ssh.worker.offer(ssh.block(EVE)) for _ in range(9)]
    gate.set()

    assert taken[0] and not taken[-1]
    eventually(lambda: ssh.figures()[0] == taken.count(True))
    assert ssh.worker.offer(ssh.block(EVE))


def test_ignorecommand_is_asked_once_for_what_its_cache_remembers(place):
    ssh = place(max_retry=1, ignore_command="friend <ip>", ignore_cache='key="<ip>"')

    ssh.see(EVE, EVE, EVE)

    assert ssh.figures() == (0, [])
    assert [one for one in ssh.ran if one.startswith("friend")] == [f"friend {EVE}"]


@pytest.mark.parametrize(("use", "banned"), [("yes", BOB), ("warn", BOB), ("raw", "bob.example")])
def test_a_name_is_looked_up_off_the_path_or_taken_as_it_is(place, use, banned):
    ssh = place(max_retry=1, use_dns=use)

    ssh.see("bob.example")

    eventually(lambda: ssh.figures()[1] == [banned])


@pytest.mark.parametrize("use", ["yes", "warn", "no", "raw"])
@pytest.mark.parametrize("end", ["in its own time", "by force"])
def test_a_name_that_is_being_looked_up_when_the_server_ends_is_looked_up_by_the_next(
    place, end, use
):
    gate, store = threading.Event(), Store(":memory:")
    store.open()
    first = place(store=store, max_retry=9, lookup=lambda name: gate.wait(60) and ())
    first.see("bob.example", EVE, "bob.example", "nobody.example")
    first.figures()
    assert store.sync()
    waiting = [failure.host for failure in store.failures("ssh", 0) if failure.is_name]
    assert ["bob.example", "bob.example", "nobody.example"] == waiting
    if end == "in its own time":
        first.close()

    second = place(store=store, max_retry=9, use_dns=use)

    after = [EVE, *{"no": []}.get(use, [BOB, BOB])]
    if use == "raw":
        after = [EVE, *waiting]
    counted = lambda: sorted(one.host for one in store.failures("ssh", 0))  # noqa: E731
    eventually(lambda: store.sync() and counted() == sorted(after), what=f"{after}, {counted()}")
    assert [] == second.worker.ask(lambda jail: jail.held)
    if end == "by force":  # no word of the first run may come now
        first.world.store.close()
    gate.set()


def test_names_are_passed_over_where_nobody_wants_them(place):
    ssh = place(max_retry=1, use_dns="no")

    ssh.see("bob.example", EVE)

    assert ssh.figures()[1] == [EVE]


def test_an_ignored_list_may_stand_in_a_file_or_be_a_name(place, tmp_path):
    (tmp_path / "friends").write_text(f"{EVE}  # a friend\n")
    ssh = place(max_retry=1, ignore_ip=(f"file:{tmp_path}/friends", "bob.example"))
    eventually(lambda: ssh.worker.ask(lambda jail: jail.is_ignored(Failure(BOB, 0))))

    ssh.see(EVE, BOB, "192.0.2.9")

    assert ssh.figures()[1] == ["192.0.2.9"]


def test_an_unforeseen_error_is_shown_and_the_jail_goes_on(place):
    ssh = place(max_retry=1)

    assert ssh.worker.offer("not a block at all")
    eventually(lambda: ssh.worker.problems([]))
    ssh.see(EVE)

    eventually(lambda: f"ban {EVE}" in ssh.ran)


def test_an_error_of_a_request_comes_back_to_who_asked(place):
    ssh = place()

    with pytest.raises(ZeroDivisionError):
        ssh.worker.ask(lambda jail: 1 / 0)
    assert ssh.worker.problems([]) == ()


def test_who_looks_sees_all_that_was_told_before(place):
    ssh = place(max_retry=1000)
    for number in range(1, 301):
        ssh.worker.count([Failure(EVE, ssh.now)])

        assert ssh.worker.look(lambda jail: jail.total_failed) == number


def test_who_looks_waits_while_the_jail_is_at_work(place):
    ssh, gate, seen = place(), threading.Event(), []
    at_work = threading.Thread(target=ssh.worker.ask, args=(lambda jail: gate.wait(60),))
    looking = threading.Thread(target=lambda: seen.append(ssh.worker.look(lambda jail: 1)))
    at_work.start()
    eventually(lambda: ssh.worker._undone)

    looking.start()
    looking.join(0.1)
    assert looking.is_alive() and not seen
    gate.set()
    looking.join(60)
    at_work.join(60)

    assert seen == [1]


def test_a_log_that_is_missing_is_a_matter_of_its_jail(place, tmp_path):
    ssh = place(log_paths=(LogPath(str(tmp_path / "later.log")),), max_retry=1)
    (file,) = eventually(lambda: ssh.reader.files("ssh"))
    assert file.is_missing

    (tmp_path / "later.log").write_bytes(ssh.block(EVE).data)

    eventually(lambda: ssh.figures()[1] == [EVE])


def test_actions_that_change_take_over_what_is_enforced(place):
    ssh = place(max_retry=1)
    ssh.see(EVE)
    eventually(lambda: f"ban {EVE}" in ssh.ran)
    other = ActionConf("second", {"actionban": "shut <ip>", "actionunban": "open <ip>"})

    ssh.worker.change(JailConf(**{**{f: getattr(ssh.conf, f) for f in ssh.conf.__slots__}, "actions": (WALL, other)}))  # fmt: skip

    eventually(lambda: f"shut {EVE}" in ssh.ran)
    assert ssh.ran.count(f"ban {EVE}") == 1


def test_a_restored_ban_that_is_over_stays_over(place):
    store = Store(":memory:")
    store.open()
    ssh = place(store=store, max_retry=1, ban_time=60)
    ssh.worker.order(lambda jail, now: (jail.ban(EVE, now - 61), None))
    ssh.worker.stop()
    ssh.worker.join(60)

    again = place(store=store)

    assert again.figures()[1] == []


def test_an_action_may_ask_what_all_jails_know_of_a_host(place):
    tell = ActionConf("tell", {"actionban": "tell <ipfailures> <ipmatches>"})
    ssh = place(max_retry=2, actions=(tell,))
    earlier = Ban("mail", EVE, ssh.now - 100, 60, ("seen before",), 5)
    ssh.store.save(Progress("mail", banned=(earlier,)))

    ssh.see(EVE, EVE)

    (told,) = eventually(lambda: [line for line in ssh.ran if line.startswith("tell")])
    assert " 7 " in told and "seen before\n" in told and told.endswith(f"refused {EVE}")


def test_of_logs_in_which_many_lines_fail_each_is_counted_once_and_at_its_place(place):
    ssh = place(max_retry=10**6)
    hosts = [f"10.0.{n // 200}.{n % 200}" for n in range(10_000)]
    offset, places = 0, []
    for _ in range(3):  # after the first it is known how dense they are
        block = ssh.block(*hosts, offset=offset)
        assert len(block.data) > 2 * (1 << 17)
        ssh.see(*hosts, offset=offset)
        lengths = map(len, block.data.splitlines(keepends=True))
        *begins, offset = accumulate(lengths, initial=offset)
        places += begins

    assert (30_000, []) == ssh.figures()
    failures = ssh.store.failures("ssh", 0)
    assert hosts * 3 == [failure.host for failure in failures]
    assert places == [failure.offset for failure in failures]
    assert Position(1, 2, offset) == ssh.store.positions("ssh")["/log"]


def test_memory_is_given_back_once_a_lot_was_read(place):
    ssh = place(max_retry=10**6)
    ssh.see(EVE)
    ssh.see(*[EVE] * 40_000)

    eventually(lambda: ssh.tidied)
    ssh.see(EVE)
    assert (40_002, []) == ssh.figures()
    assert 1 == len(ssh.tidied)


def test_what_others_have_read_for_a_jail_counts_as_read(place):
    ssh = place(max_retry=10**6)

    ssh.worker.offer(excerpt(ssh, EVE, can_wait=False, size=1 << 20))

    eventually(lambda: ssh.tidied)
