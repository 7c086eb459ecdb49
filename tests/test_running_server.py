# SPDX-License-Identifier: GPL-2.0-or-later
"""The two programs as somebody meets them who types: the server runs, the client talks to it."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.ours import Ours, ended, fail, is_alive, run
from tests.support import eventually

EVE = "192.0.2.66"
MALLORY = "192.0.2.99"
EVE6 = "2001:db8::66"

JAIL = """
[door]
enabled = true
logpath = {logs}/door.log
"""


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "door.log").touch()
    return folder


@pytest.fixture
def ours(tmp_path, logs):
    """A server of ours that guards a door, not yet started."""
    ours = Ours(tmp_path).configured(JAIL.format(logs=logs))
    yield ours
    ours.finish()


@pytest.fixture
def door(logs):
    return logs / "door.log"


def failed(ours, count, jail="door"):
    eventually(lambda: str(count) == ours.status(jail)["Total failed"], 10, f"{count} failures")


def is_banned(ours, *hosts, jail="door"):
    eventually(lambda: set(hosts) == ours.banned(jail), 10, f"a ban of {hosts}")


def is_noted(ours, *lines):
    eventually(lambda: list(lines) == ours.noted, 10, f"{lines} noted")


# -- starting and ending ---------------------------------------------------------------------------


def test_a_server_in_the_foreground_prints_nothing(ours, door):
    ours.start()
    fail(door, EVE, 3)
    is_banned(ours, EVE)

    assert 0 == ours.end()

    assert "" == ours.printed
    assert "[door] Ban 192.0.2.66" in ours.logged


def test_only_the_owner_may_talk_to_the_server(ours):
    ours.start()

    mode = ours.socket.stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert 0o600 == mode & 0o677


def test_a_signal_ends_the_server_whichever_of_its_threads_it_meets(ours):
    ours.start()
    process = ours.process.pid
    threads = {int(name) for name in os.listdir(f"/proc/{process}/task")}

    # Then the wait of the main thread is not interrupted.
    ctypes.CDLL(None).tgkill(process, max(threads - {process}), signal.SIGTERM)

    assert 0 == ours.process.wait(30)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_leaves_nothing(ours, how):
    ours.start()

    assert 0 == ours.end(how)

    assert not ours.socket.exists()
    assert not ours.pidfile.exists()
    assert ["start door", "stop door"] == ours.noted


@pytest.mark.parametrize("word", ["stop", "quit"])
def test_the_client_ends_the_server(ours, word):
    ours.start()

    assert "Shutdown successful" == ours.says(word)

    assert 0 == ours.process.wait(60)
    assert not ours.socket.exists()


def test_a_second_server_on_the_same_socket_is_refused(ours, door):
    ours.start()
    fail(door, EVE, 3)
    is_banned(ours, EVE)

    elsewhere = ("-p", ours.folder / "other.pid")
    second = run(*ours.command("fail2ban-server", *elsewhere, "-f", "start"), check=False)
    third = ours.client("start", check=False)

    assert 255 == second.returncode and 255 == third.returncode
    assert str(ours.socket) in second.stderr
    assert "Server already running" in third.stderr
    assert {EVE} == ours.banned("door")
    assert ["start door", f"ban {EVE}"] == ours.noted


def test_a_socket_that_a_dead_server_left_is_replaced(ours):
    ours.start()
    ours.end(signal.SIGKILL)
    assert ours.socket.exists()

    ours.start()

    assert "Server replied: pong" == ours.says("ping")


def test_what_is_no_socket_is_not_replaced(ours):
    ours.socket.write_text("precious")

    ours.begin("start")

    assert 0 != ours.process.wait(60)
    assert "precious" == ours.socket.read_text()
    assert str(ours.socket) in ours.printed + ours.logged


def test_a_server_in_the_background_is_started_restarted_and_stopped_by_the_client(ours):
    assert "Server ready" == ours.says("start")
    first = ours.pid
    assert is_alive(first)
    assert "door" in ours.says("status")

    assert "Shutdown successful\nServer ready" == ours.says("restart")
    second = ours.pid
    assert first != second and is_alive(second)
    eventually(lambda: not is_alive(first), 5, "the end of the first")

    assert "Shutdown successful" == ours.says("stop")
    eventually(lambda: not is_alive(second), 10, "the end of the second")
    assert not ours.pidfile.exists()
    assert not ours.socket.exists()


def test_the_server_goes_into_the_background_by_itself(ours):
    done = run(*ours.command("fail2ban-server", "-b", "start"), seconds=30)

    eventually(lambda: ours.pid and is_alive(ours.pid), 10, "a server")
    assert "Server replied: pong" == ours.says("ping")
    assert "" == done.stderr
    assert 1 == os.getsid(ours.pid) or os.getsid(ours.pid) != os.getsid(0)


def test_a_pid_file_of_a_dead_server_is_no_obstacle(ours):
    ours.pidfile.write_text("999999999\n")

    assert "Server ready" == ours.says("start")

    assert ours.pid != 999999999


# -- configuration ---------------------------------------------------------------------------------


def test_a_jail_that_is_wrong_stops_no_other_and_is_named_in_the_status(ours, logs, door):
    bad = f"[bad]\nenabled = true\nfilter = nowhere\nlogpath = {logs}/door.log\n"
    ours.write("jail.local", JAIL.format(logs=logs) + bad)
    ours.start()

    fail(door, EVE, 3)

    is_banned(ours, EVE)
    status = ours.says("status")
    assert "Jail list:\tdoor\n" in status + "\n"
    assert "nowhere" in status
    assert "nowhere" in ours.logged


def everything(ours):
    keys = "maxretry findtime bantime failregex ignoreip logpath actions usedns".split()
    return [ours.says("get", "door", key) for key in keys]


@pytest.mark.parametrize("word", ["loadconf", "reload"])
def test_the_same_configuration_again_changes_nothing(ours, door, word):
    ours.start()
    fail(door, EVE, 3)
    fail(door, MALLORY, 2)
    is_banned(ours, EVE)
    failed(ours, 5)
    before = everything(ours)

    ours.says(word)
    ours.says(word)

    assert before == everything(ours)
    assert {EVE} == ours.banned("door")
    fail(door, MALLORY)
    is_banned(ours, EVE, MALLORY)
    is_noted(ours, "start door", f"ban {EVE}", f"ban {MALLORY}")


@pytest.mark.parametrize("word", ["loadconf", "reload"])
def test_a_mistake_in_the_configuration_changes_nothing(ours, logs, door, word):
    ours.start()
    fail(door, EVE, 3)
    is_banned(ours, EVE)
    before = everything(ours)

    mistake = "findtime = 5\nmaxretry = three\n[new]\nenabled = true\n"
    ours.write("jail.local", JAIL.format(logs=logs) + mistake)
    done = ours.client(word, check=False)

    assert 255 == done.returncode
    assert "jail.local:6" in done.stdout + done.stderr
    assert "three" in done.stdout + done.stderr
    assert before == everything(ours)
    assert {EVE} == ours.banned("door")
    assert ["start door", f"ban {EVE}"] == ours.noted


def test_a_reload_changes_what_differs_and_nothing_else(ours, logs, door):
    ours.start()
    fail(door, EVE, 3)
    is_banned(ours, EVE)
    more = f"maxretry = 2\n[gate]\nenabled = true\nlogpath = {logs}/gate.log\n"
    (logs / "gate.log").touch()
    ours.write("jail.local", JAIL.format(logs=logs) + more)

    assert "OK" == ours.says("reload")

    assert "2" == ours.says("get", "door", "maxretry")
    assert {EVE} == ours.banned("door")
    fail(logs / "gate.log", EVE, 3)
    is_banned(ours, EVE, jail="gate")
    is_noted(ours, "start door", f"ban {EVE}", "start gate", f"ban {EVE}")

    ours.write("jail.local", JAIL.format(logs=logs))
    assert "OK" == ours.says("reload")
    assert "Jail list:\tdoor" in ours.says("status")
    is_noted(
        ours,
        *("start door", f"ban {EVE}", "start gate", f"ban {EVE}"),
        *(line for line in ours.noted[4:] if line in (f"unban {EVE}", "stop gate")),
    )


def test_maxretry_counts_from_the_moment_it_is_set(ours, door):
    ours.start()

    assert "5" == ours.says("set", "door", "maxretry", "5")
    fail(door, EVE, 4)
    failed(ours, 4)
    assert set() == ours.banned("door")

    fail(door, EVE)
    is_banned(ours, EVE)


def test_an_ignored_host_is_never_banned(ours, door):
    ours.start()
    ours.says("set", "door", "addignoreip", "192.0.2.64/28")

    fail(door, EVE, 5)
    fail(door, MALLORY, 3)

    is_banned(ours, MALLORY)


# -- bans ------------------------------------------------------------------------------------------


def test_bans_by_hand_come_and_go(ours):
    ours.start()

    assert "2" == ours.says("set", "door", "banip", EVE, EVE6)
    assert "0" == ours.says("set", "door", "banip", EVE)
    assert {EVE, EVE6} == ours.banned("door")
    is_noted(ours, "start door", f"ban {EVE}", f"ban {EVE6}")

    assert "1" == ours.says("set", "door", "unbanip", EVE, MALLORY)
    assert {EVE6} == ours.banned("door")
    assert "1" == ours.says("unban", "--all")
    is_noted(ours, "start door", f"ban {EVE}", f"ban {EVE6}", f"unban {EVE}", f"unban {EVE6}")


def test_a_ban_ends_by_itself(ours, door):
    ours.start()
    ours.says("set", "door", "bantime", "1")

    fail(door, EVE, 3)

    is_noted(ours, "start door", f"ban {EVE}", f"unban {EVE}")
    assert set() == ours.banned("door")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_bans_outlive_the_server(ours, door, how):
    ours.start()
    fail(door, EVE, 3)
    ours.says("set", "door", "banip", EVE6)
    is_banned(ours, EVE, EVE6)
    both = {f"ban {EVE}", f"ban {EVE6}"}
    # A command that runs outlives the server, and would note its ban among those of the next.
    eventually(lambda: both <= set(ours.noted), 5, "both bans")

    ours.end(how)
    ours.notes.unlink()
    ours.start()

    is_banned(ours, EVE, EVE6)
    eventually(lambda: both <= set(ours.noted), 5, "both bans again")
    assert 3 == len(ours.noted)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_ban_that_was_lifted_does_not_come_back(ours, door, how):
    ours.start()
    fail(door, EVE, 3)
    is_banned(ours, EVE)
    ours.says("set", "door", "unbanip", EVE)

    ours.end(how)
    ours.start()
    fail(door, MALLORY, 3)

    is_banned(ours, MALLORY)


def test_a_ban_for_ever_is_one(ours):
    ours.start()
    ours.says("set", "door", "bantime", "-1")
    ours.says("set", "door", "banip", EVE)

    ours.end()
    ours.start()

    is_banned(ours, EVE)
    assert ours.says("get", "door", "banip", "--with-time").endswith("-1 = 9999-12-31 23:59:59")


def test_an_action_that_hangs_holds_up_neither_the_jail_nor_the_others(ours, logs, door):
    slow = "[Definition]\nactionban = sleep 600\n[Init]\ntimeout = 2\n"
    ours.write("action.d/slow.conf", slow)
    more = f"[gate]\nenabled = true\nlogpath = {logs}/gate.log\naction = slow\n"
    (logs / "gate.log").touch()
    ours.write("jail.local", JAIL.format(logs=logs) + more)
    ours.start()

    ours.says("set", "gate", "banip", EVE, MALLORY)
    fail(door, EVE, 3)
    fail(logs / "gate.log", EVE6, 3)

    is_noted(ours, "start door", f"ban {EVE}")
    is_banned(ours, EVE, MALLORY, EVE6, jail="gate")
    eventually(lambda: "slow" in ours.logged, 10, "a word about the action")
    assert 0 == ours.end()


# -- logs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_line_counts_twice_and_none_is_lost_however_the_server_ends(ours, door, how):
    ours.start()
    fail(door, EVE, 2)
    fail(door, MALLORY, 1)
    failed(ours, 3)

    ours.end(how)
    fail(door, MALLORY, 1)
    ours.start()

    fail(door, EVE6, 3)
    is_banned(ours, EVE6)
    fail(door, MALLORY, 1)
    is_banned(ours, EVE6, MALLORY)
    fail(door, EVE, 1)
    is_banned(ours, EVE6, MALLORY, EVE)


def test_a_server_that_is_killed_again_and_again_counts_each_line_once(ours, logs, door):
    ours.write("jail.local", JAIL.format(logs=logs) + "maxretry = 2\n")
    once = [f"192.0.2.{number}" for number in range(1, 101)]
    twice = [f"198.51.100.{number}" for number in range(1, 101)]
    rounds = 4

    for number in range(rounds):
        ours.start()
        for host in once[number::rounds]:
            fail(door, host)
        for host in twice[number::rounds] + twice[(number - 1) % rounds :: rounds]:
            fail(door, host)
        if number < rounds - 1:
            ours.end(signal.SIGKILL)

    is_banned(ours, *twice)


def by_rename(log):
    log.rename(f"{log}.1")
    fail(f"{log}.1", EVE)
    log.touch()


def by_copy(log):
    shutil.copy(log, f"{log}.1")
    with log.open("r+") as file:
        file.truncate(0)
    fail(log, EVE)


def by_deletion(log):
    log.unlink()
    fail(log, EVE)


@pytest.mark.parametrize("rotate", [by_rename, by_copy, by_deletion])
@pytest.mark.parametrize("backend", ["pyinotify", "polling"])
def test_a_log_is_rotated_while_the_server_reads_it(ours, logs, door, backend, rotate):
    ours.write("jail.local", JAIL.format(logs=logs) + f"backend = {backend}\n")
    ours.start()
    fail(door, EVE)
    fail(door, MALLORY)
    failed(ours, 2)

    rotate(door)
    failed(ours, 3)
    assert set() == ours.banned("door")
    fail(door, EVE)

    is_banned(ours, EVE)
    failed(ours, 4)


def test_a_log_that_is_not_there_stops_no_other_jail_and_is_read_once_it_appears(ours, logs, door):
    late = logs / "later" / "late.log"
    jail = f"[late]\nenabled = true\nlogpath = {late}\n"
    ours.write("jail.local", jail + JAIL.format(logs=logs))
    ours.start()

    fail(door, EVE, 3)
    is_banned(ours, EVE)
    assert str(late) in ours.says("status", "late")
    assert str(late) == ours.status("late")["Missing files"]

    late.parent.mkdir()
    fail(late, MALLORY, 3)
    is_banned(ours, MALLORY, jail="late")
    assert str(late) == ours.status("late")["File list"]
    assert "Missing files" not in ours.status("late")


def test_a_log_that_cannot_be_read_is_named_in_the_status(ours, logs, door):
    (logs / "folder.log").mkdir()
    ours.write("jail.local", JAIL.format(logs=logs).replace("door.log", "*.log"))
    ours.start()

    fail(door, EVE, 3)

    is_banned(ours, EVE)
    shown = (ours.says("status", "door") + ours.says("status")).splitlines()
    assert any("folder.log" in line and "irectory" in line for line in shown), shown


def test_a_new_file_that_a_glob_stands_for_is_read_while_the_server_runs(ours, logs, door):
    ours.write("jail.local", JAIL.format(logs=logs).replace("door.log", "*.log"))
    ours.start()
    assert str(door) == ours.status("door")["File list"]

    fail(logs / "other.log", EVE, 3)
    fail(logs / "other.txt", MALLORY, 3)

    is_banned(ours, EVE)
    assert {str(door), str(logs / "other.log")} == set(ours.status("door")["File list"].split())


def test_bytes_that_are_no_text_spoil_nothing(ours, door):
    ours.start()

    with door.open("ab") as log:
        log.write(b"\xff\xfe\x00 rubbish \x80\n" + b"x" * 300_000 + b"\n")
    fail(door, EVE, 3)

    is_banned(ours, EVE)


@pytest.mark.slow
def test_a_line_of_ten_megabytes_is_cut_counted_and_named_and_its_rest_bans_nobody(ours, door):
    piece = b"x" * (5 << 20)
    forged = time.strftime(f"%Y-%m-%d %H:%M:%S door: wrong key by {EVE}\n").encode()
    ours.start()
    with door.open("ab", buffering=0) as log:
        log.write(piece)
        eventually(lambda: "longer than 64 KiB" in ours.logged, 15, "a word of the line")
        ours.end(signal.SIGKILL)
        ours.start()
        log.write(piece + forged)
    fail(door, MALLORY, 3)

    is_banned(ours, MALLORY)
    failed(ours, 3)
    assert f"{door}: 1\n" in ours.says("status", "door").partition("Lines cut:")[2]


@pytest.mark.parametrize("signalled", [False, True])
def test_the_servers_own_log_may_be_moved(ours, signalled):
    ours.start()
    old = ours.log.rename(f"{ours.log}.1")

    if signalled:
        ours.process.send_signal(signal.SIGUSR1)
    else:
        assert "logs: rolled over" == ours.says("flushlogs")

    length = old.stat().st_size
    ours.says("set", "door", "banip", EVE)
    eventually(lambda: f"[door] Ban {EVE}" in ours.logged, 5, "a ban in the new log")
    assert length == old.stat().st_size


def test_two_jails_may_read_the_same_log(ours, logs, door):
    more = f"[strict]\nenabled = true\nmaxretry = 1\nlogpath = {logs}/*.log\n"
    ours.write("jail.local", JAIL.format(logs=logs) + more)
    ours.start()

    fail(door, EVE, 2)

    is_banned(ours, EVE, jail="strict")
    failed(ours, 2)
    assert [["strict"]] == json.loads(ours.says("banned", EVE).replace("'", '"'))


def test_a_database_that_is_none_is_set_aside(ours, tmp_path):
    database = tmp_path / "f2b.sqlite3"
    database.write_bytes(b"this is no database, " * 1000)

    ours.start()
    ours.says("set", "door", "banip", EVE)
    ours.end()
    ours.start()

    is_banned(ours, EVE)
    assert "f2b.sqlite3" in ours.logged


def test_a_log_of_ours_that_vanishes_harms_nothing_but_itself(ours, tmp_path, door):
    ours.start()
    place = tmp_path / "own"
    place.mkdir()
    ours.says("set", "logtarget", place / "own.log")
    shutil.rmtree(place)

    assert "1" == ours.says("set", "door", "banip", EVE)
    fail(door, MALLORY, 3)
    is_noted(ours, "start door", f"ban {EVE}", f"ban {MALLORY}")

    place.mkdir()
    assert "1" == ours.says("set", "door", "banip", EVE6)
    eventually(lambda: f"Ban {EVE6}" in (place / "own.log").read_text(), 5, "a log again")
    assert 0 == ours.end()


# -- who talks nonsense ----------------------------------------------------------------------------

END = b"<F2B_END_COMMAND>"


class Evil:
    """Unpickled by a careless server, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def said_to(path, data, seconds=5):
    """What the server answers to `data`, up to the end of one message or of the link."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(seconds)
        link.connect(str(path))
        answer = b""
        try:
            link.sendall(data)
            while not answer.endswith(END) and (more := link.recv(65536)):
                answer += more
        except (BrokenPipeError, ConnectionResetError):
            pass
        return answer.removesuffix(END)


def test_rubbish_on_the_socket_harms_nobody(ours, tmp_path):
    ours.start()
    trap = tmp_path / "trap"

    assert pickle.loads(said_to(ours.socket, b"rubbish" + END)).startswith("ERROR: ")
    said_to(ours.socket, pickle.dumps([Evil(trap)]) + END)
    said_to(ours.socket, b"\x80\x05" + b"(" * 100_000 + END)
    said_to(ours.socket, b"x" * 40_000_000)
    for value in ([], "ping", None, {}, [None], [1, 2], [["ping"]], ["ping", {}], ["set", "door"]):
        assert pickle.loads(said_to(ours.socket, pickle.dumps(value) + END))

    assert not trap.exists()
    assert (0, "pong") == pickle.loads(said_to(ours.socket, pickle.dumps(["ping"]) + END))


def test_who_keeps_quiet_keeps_nobody_waiting(ours):
    ours.start()
    links = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    try:
        for link in links:
            link.connect(str(ours.socket))
            link.sendall(pickle.dumps(["status"])[:5])

        assert "Server replied: pong" == ours.says("ping")
    finally:
        for link in links:
            link.close()


def test_many_clients_at_once_get_what_they_ask_for(ours):
    ours.start()
    hosts = [f"192.0.2.{number}" for number in range(1, 13)]

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda host: ours.says("set", "door", "banip", host), hosts))

    assert ["1"] * len(hosts) == answers
    assert set(hosts) == ours.banned("door")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", "nowhere"], "Sorry but the jail 'nowhere' does not exist"),
        (["add", "door"], "The jail 'door' already exists"),
        (["get", "door"], "Sorry but the command is invalid"),
        (["nonsense"], "nonsense"),
        (["set", "door", "maxretri", "3"], "maxretry"),
        (["set", "door", "maxretry", "three"], "three"),
        (["set", "door", "addfailregex", "("], "("),
        (["set", "door", "addfailregex", "no host"], "No failure-id group in 'no host'"),
        (["set", "door", "addlogpath", "/nowhere/at/all"], "/nowhere/at/all"),
        (["set", "door", "delaction", "nothing"], "nothing"),
        (["set", "loglevel", "LOUD"], "LOUD"),
        (["set", "logtarget", "/nowhere/at/all"], "/nowhere/at/all"),
        (["set", "logtarget", "/"], "/"),
        (["add", ""], "name"),
        (["reload", "nowhere"], "nowhere"),
        (["set", "door", "unbanip", "--report-absent", EVE], EVE),
        (["set", "door", "bantime", "soon"], "soon"),
        (["--nonsense"], "--nonsense"),
        (["-c"], "-c"),
        ([], "Usage"),
        (["-s", "/nowhere/f2b.sock", "ping"], "Is fail2ban running?"),
        (["-s", "/tmp/" + "x" * 300, "ping"], ""),
        (["-s", "/dev/null", "ping"], ""),
        (["-c", "/nowhere", "-t"], "/nowhere"),
        (["--str2sec", "soon"], "soon"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_of_the_user_is_told_and_gives_255(running, words, expected):
    done = running.client(*words, check=False)

    assert 255 == done.returncode
    assert expected in done.stdout + done.stderr
    assert done.stdout + done.stderr
    assert "Server replied: pong" == running.says("ping")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server that several tests ask, and none changes."""
    folder = tmp_path_factory.mktemp("running")
    (folder / "door.log").touch()
    running = Ours(folder).configured(JAIL.format(logs=folder)).start()
    yield running
    running.finish()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ping"], "Server replied: pong"),
        (["echo", "a", "b c"], "a b c"),
        (["--str2sec", "1d12h"], "129600"),
        (["-t"], "OK: configuration test is successful"),
        (["status"], "Status\n|- Number of jail:\t1\n`- Jail list:\tdoor"),
        (["get", "loglevel"], "Current logging level is 'INFO'"),
        (["get", "door", "bantime"], "600"),
        (["get", "door", "actions"], "The jail door has the following actions:\nnote"),
        (["banned"], "[{'door': []}]"),
        (["set", "door", "idle", "off"], "False"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_client_prints_what_clients_have_always_printed(running, words, expected):
    assert expected == running.client(*words).stdout.removesuffix("\n")


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_told(ours):
    ours.start()
    ours.process.send_signal(signal.SIGSTOP)
    try:
        done = ours.client("--timeout", "1", "ping", check=False, seconds=20)
    finally:
        ours.process.send_signal(signal.SIGCONT)

    assert 255 == done.returncode
    assert done.stderr


def test_of_several_servers_that_start_at_once_one_stays(ours, tmp_path):
    words = [
        ours.command("fail2ban-server", "-p", tmp_path / f"{n}.pid", "-f", "start")
        for n in range(4)
    ]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    servers = [subprocess.Popen(command, text=True, **quiet) for command in words]
    try:
        eventually(lambda: sum(one.poll() is None for one in servers) == 1, 20, "one that is left")
        assert "Server replied: pong" == ours.says("ping")
        assert [255] * 3 == [one.returncode for one in servers if one.returncode is not None]
        assert ["start door"] == ours.noted
    finally:
        for one in servers:
            ended(one)
            assert "Traceback" not in one.stdout.read()
            one.stdout.close()


def test_words_that_are_no_text_are_words_all_the_same(running):
    odd = os.fsdecode(b"\xff\xfe")

    for words in (["echo", odd], ["status", odd], ["set", "door", "banip", odd], ["get", odd, odd]):
        done = running.client(*words, check=False, errors="replace")
        assert done.stdout + done.stderr

    assert 0 == running.client("set", "door", "unbanip", odd, check=False).returncode


def test_a_configuration_that_cannot_start_fails_the_test(ours):
    ours.write("fail2ban.local", "[Definition]\nloglevel = LOUD\n")

    done = ours.client("-t", check=False)

    assert (255, "ERROR: test configuration failed\n") == (done.returncode, done.stdout)
    assert "fail2ban.local:2" in done.stderr
    assert 255 == ours.client("start", check=False).returncode
    assert not ours.socket.exists()


def test_a_mistake_keeps_the_client_from_starting_anything(ours):
    ours.write("jail.local", "[DEFAULT]\nbantime = %(nothing)s\n[door]\nenabled = true\n")

    done = ours.client("start", check=False)

    assert not ours.socket.exists() or "nothing" in ours.says("status")
    assert "nothing" in done.stdout + done.stderr


def test_a_client_without_a_server_says_so(ours):
    done = ours.client("status", check=False)

    assert 255 == done.returncode
    assert f"Failed to access socket path: {ours.socket}. Is fail2ban running?" in done.stderr
    assert "Could not find server" in ours.client("reload", check=False).stderr


def test_who_reads_only_half_is_no_reason_to_complain(ours):
    reader, writer = os.pipe()
    os.close(reader)
    client = subprocess.Popen(
        ours.command("fail2ban-client", "-d"),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)

    _, complaints = client.communicate(timeout=120)

    assert "" == complaints


def test_one_may_talk_to_the_server_command_by_command(running):
    typed = "ping\nnonsense\n\nstatus door\necho 'a b'\nget door bantime\nquit\nping\n"

    done = running.client("-i", input=typed, stdin=None)

    assert "Server replied: pong" in done.stdout
    assert 1 == done.stdout.count("pong")
    assert "Status for the jail: door" in done.stdout
    assert "fail2ban> a b\n" in done.stdout
    assert "600" in done.stdout


def test_the_end_of_the_input_ends_the_interactive_client(running):
    done = running.client("-i", input="ping\n", stdin=None)

    assert 1 == done.stdout.count("pong")


def test_ctrl_c_ends_the_interactive_client_and_not_the_server(running):
    client = subprocess.Popen(
        running.command("fail2ban-client", "-i"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    client.stdin.write("ping\n")
    client.stdin.flush()
    heard = ""
    while "pong" not in heard:
        heard += client.stdout.read(1)

    ended(client, signal.SIGINT)

    assert "Traceback" not in heard + client.stdout.read()
    client.stdin.close()
    client.stdout.close()
    assert "Server replied: pong" == running.says("ping")


# -- a line cannot stop the server -------------------------------------------------------------------

FROZEN = r"""
[evil]
enabled = true
filter =
failregex = ^\s*bad (?:a+)+ from <ADDR>$
            ^\s*worse from <ADDR>$
logpath = {logs}/evil.log
action =
maxretry = 2
"""


def test_a_line_that_would_take_for_ever_costs_its_rule_and_no_other_jail_notices(ours, logs, door):
    evil = logs / "evil.log"
    evil.touch()
    ours.configured(JAIL.format(logs=logs) + FROZEN.format(logs=logs))
    ours.start()
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    hostile = f"{now} bad {'a' * 400}! from {MALLORY}\n"
    with evil.open("a") as log:
        log.write(hostile * 50)
    fail(door, EVE, 3)
    is_banned(ours, EVE)  # which a match that never ends would keep the whole server from

    eventually(lambda: "is set aside for lines of more than" in ours.logged, 20, "a rule set aside")
    with evil.open("a") as log:
        log.write(f"{now} worse from {MALLORY}\n" * 2)
        log.write(hostile * 50)

    is_banned(ours, MALLORY, jail="evil")
    assert 1 == ours.logged.count("is set aside for lines")
    problems = ours.says("status", "evil")
    assert re.search(r"failregex 1 \(\S+:\d+\) takes more than 0\.5 s for one line", problems)
    assert 0 == ours.end()
