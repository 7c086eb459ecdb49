# SPDX-License-Identifier: GPL-2.0-or-later
import time

import pytest

from common.commands import COMMANDS, InvalidCommand
from common.errors import DuplicateJailError, Fail2banError, RegexError, UnknownJailError
from common.logs import Log
from common.options import DaemonConf
from common.version import VERSION
from server.reader import LogReader
from server.records import Result
from server.resolver import Resolver
from server.server import Backend, Server
from server.source import FAR, FileState
from server.store import Store
from server.transmitter import Transmitter, answered
from server.worker import World
from tests.support import EVE, eventually

REGEX = r"^\s*login failed from <ADDR>$"


class Talk:
    """A whole server but for socket and shell: `ask` it words, look at the scripts it `ran`."""

    def __init__(self):
        self.ran = []
        self.reader = LogReader()
        self.reader.start()
        world = World(time.time, self.reader, Store(None), Resolver(), self._run)
        world.store.open()
        origins = {EVE: ("64496", "ZZ", "other")}
        backend = Backend(Log(), opened, lambda host: origins.get(host, ("unknown",) * 3))
        self.server = Server(world, backend, DaemonConf())
        self._transmitter = Transmitter(self.server)

    def _run(self, command):
        self.ran.append(" ".join([command.script, *command.environment.values()]))
        return Result(command, 0)

    def answer(self, *words):
        return self._transmitter.answer(list(words))

    def ask(self, *words):
        code, value = self.answer(*words)
        assert code == 0, f"{words}: {value!r}"
        return value

    def refused(self, *words):
        code, value = self.answer(*words)
        assert code == 1, f"{words}: {value!r}"
        return value


def opened(daemon):
    store = Store(None if daemon.db_file == "None" else daemon.db_file)
    store.open()
    return store


@pytest.fixture
def talk():
    talk = Talk()
    yield talk
    talk.server.close()


@pytest.fixture
def ssh(talk, tmp_path):
    """A talk with a jail ssh that follows `auth.log` and writes what it does into `ran`."""
    (tmp_path / "auth.log").write_text("")
    talk.log = tmp_path / "auth.log"
    talk.ask("add", "ssh", "polling")
    talk.ask("set", "ssh", "addfailregex", REGEX)
    talk.ask("set", "ssh", "addlogpath", str(talk.log))
    talk.ask("set", "ssh", "addaction", "wall")
    pairs = [["actionban", "ban <ip>"], ["actionunban", "unban <ip>"], ["actionstart", "open"]]
    talk.ask("multi-set", "ssh", "action", "wall", pairs)
    talk.ask("start", "ssh")
    return talk


def test_every_command_of_the_table_has_an_answer():
    internal_stream = {"server-stream <commands>"}

    assert {c.usage for c in COMMANDS if not c.by_client} == answered() | internal_stream


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["ping"], "pong"),
        (["version"], VERSION),
        (["echo", "a", "b"], ["a", "b"]),
        (["server-status"], "Server ready"),
        (["status"], [("Number of jail", 0), ("Jail list", "")]),
        (["status", "--all"], [("Number of jail", 0), ("Jail list", ""), {}]),
        (["stats"], {}),
        (["banned"], []),
        (["unban", "--all"], 0),
        (["sleep", "0.01"], None),
        (["flushlogs"], "flushed"),
        (["set", "loglevel", "debug"], "DEBUG"),
        (["set", "loglevel", "3"], "3"),
        (["set", "logtarget", "STDOUT"], "STDOUT"),
        (["set", "syslogsocket", "auto"], "auto"),
        (["set", "dbpurgeage", "2d"], None),
        (["set", "allowipv6", "no"], "no"),
        (["set", "thread", {"stacksize": 0}], None),
        (["get", "thread"], {"stacksize": 0}),
        (["get", "dbfile"], None),
        (["set", "dbfile", ":memory:"], ":memory:"),
        (["add", "x"], "x"),
        (["server-stream", []], None),
    ],
)
def test_a_server_without_jails_answers(talk, words, answer):
    assert talk.ask(*words) == answer


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nonsense"], InvalidCommand),
        ([], InvalidCommand),
        (["set"], InvalidCommand),
        (["status", "nobody"], UnknownJailError),
        (["set", "nobody", "banip", EVE], UnknownJailError),
        (["set", "nobody", "maxretry", "3"], UnknownJailError),
        (["get", "nobody", "maxretry"], UnknownJailError),
        (["start", "nobody"], UnknownJailError),
        (["stop", "nobody"], UnknownJailError),
        (["add", "--all"], Fail2banError),
        (["set", "loglevel", "LOUD"], ValueError),
        (["set", "logtarget", "/nowhere/at/all"], Fail2banError),
        (["set", "thread", {"size": 1}], KeyError),
        (["set", "thread", {"stacksize": 1}], ValueError),
        (["sleep", "long"], ValueError),
        (["reload", "nobody", [], []], UnknownJailError),
        (["server-stream", [["set", "nobody", "maxretry", "3"]]], UnknownJailError),
        (["server-stream", 5], TypeError),
    ],
)
def test_what_cannot_be_is_answered_with_an_error(talk, words, error):
    assert isinstance(talk.refused(*words), error)


def test_what_is_no_list_is_answered_with_an_error(talk):
    assert isinstance(talk._transmitter.answer("status")[1], TypeError)


def test_a_jail_shows_its_status_as_exporters_know_it(ssh):
    assert ssh.ask("status", "ssh") == [
        ("Filter", [("Currently failed", 0), ("Total failed", 0), ("File list", [str(ssh.log)])]),
        ("Actions", [("Currently banned", 0), ("Total banned", 0), ("Banned IP list", [])]),
    ]
    assert ssh.ask("stats") == {"ssh": ["polling", (0, 0), (0, 0)]}
    assert ssh.ask("status", "ssh", "short")[1][1][-1] == ("Total banned", 0)


def test_a_status_may_tell_whose_the_banned_addresses_are(ssh):
    ssh.ask("set", "ssh", "banip", EVE)

    assert ssh.ask("status", "ssh", "cymru")[1][1][-3:] == [
        ("Banned ASN list", ["64496"]),
        ("Banned Country list", ["ZZ"]),
        ("Banned RIR list", ["other"]),
    ]
    assert ssh.ask("status", "ssh", "sweet") == ssh.ask("status", "ssh")


def test_a_line_is_logged_and_a_host_is_shut_out(ssh):
    with ssh.log.open("a") as log:
        for _ in range(3):
            log.write(time.strftime("%Y-%m-%d %H:%M:%S") + f" login failed from {EVE}\n")

    eventually(lambda: any(one.startswith("ban") and EVE in one for one in ssh.ran))

    assert ssh.ask("status", "ssh")[1][1][0] == ("Currently banned", 1)
    assert ssh.ask("banned", EVE) == [["ssh"]]


def test_a_host_is_banned_and_let_in_by_hand(ssh):
    assert ssh.ask("set", "ssh", "banip", EVE, "2001:DB8:0::1", "198.51.100.0/24") == 3
    assert ssh.ask("set", "ssh", "banip", EVE) == 0
    assert ssh.ask("get", "ssh", "banned") == [EVE, "2001:db8::1", "198.51.100.0/24"]
    assert ssh.ask("get", "ssh", "banned", EVE) == 1
    assert ssh.ask("get", "ssh", "banned", EVE, "192.0.2.9") == [1, 0]
    assert ssh.ask("banned") == [{"ssh": [EVE, "2001:db8::1", "198.51.100.0/24"]}]
    assert ssh.ask("set", "ssh", "unbanip", EVE) == 1
    assert ssh.ask("unban", "2001:db8::1", "192.0.2.9") == 1
    assert ssh.ask("unban", "--all") == 1
    assert isinstance(ssh.refused("set", "ssh", "unbanip", "--report-absent", EVE), ValueError)
    eventually(lambda: len([one for one in ssh.ran if one.startswith("unban")]) == 3)


def test_what_lies_in_a_banned_network_is_banned_with_it(ssh):
    ssh.ask("set", "ssh", "banip", EVE, "192.0.2.0/24")

    assert ssh.ask("get", "ssh", "banned") == ["192.0.2.0/24"]
    assert ssh.ask("get", "ssh", "banned", EVE, "192.0.2.9", "192.0.3.9") == [1, 1, 0]
    assert ssh.ask("banned", "192.0.2.9") == [["ssh"]]


def test_one_address_of_a_banned_network_is_let_in_and_no_other(ssh):
    ssh.ask("set", "ssh", "banip", "192.0.2.0/30")

    assert ssh.ask("unban", "192.0.2.1") == 1
    assert ssh.ask("get", "ssh", "banned") == ["192.0.2.2/31", "192.0.2.0"]


def test_what_a_jail_that_does_not_run_would_restore_is_lifted_with_all_others(talk, tmp_path):
    talk.ask("set", "dbfile", str(tmp_path / "db"))

    def begin():
        talk.ask("add", "door", "polling")
        talk.ask("set", "door", "bantime", "1h")
        talk.ask("start", "door")

    begin()
    talk.ask("set", "door", "banip", EVE, "192.0.2.0/30", "198.51.100.1", "2001:db8::1")
    talk.ask("stop", "door")

    assert talk.ask("unban", "192.0.2.1", "198.51.100.1") == 2
    assert talk.ask("unban", "198.51.100.1") == 0
    begin()
    left = {EVE, "2001:db8::1", "192.0.2.0", "192.0.2.2/31"}
    assert left == {*talk.ask("get", "door", "banned")}
    talk.ask("stop", "door")
    assert talk.ask("unban", "--all") == 4
    begin()
    assert talk.ask("get", "door", "banned") == []


def test_bans_are_listed_with_their_time(ssh):
    ssh.ask("set", "ssh", "banip", EVE)

    (line,) = ssh.ask("get", "ssh", "banip", "--with-time")

    assert line.startswith(f"{EVE} \t20") and " + 600 = 20" in line
    assert ssh.ask("get", "ssh", "banip") == [EVE]


def test_attempts_by_hand_lead_to_a_ban(ssh):
    assert ssh.ask("set", "ssh", "attempt", EVE) == 1
    assert ssh.ask("set", "ssh", "attempt", EVE, "one", "two") == 1
    eventually(lambda: ssh.ask("get", "ssh", "banned", EVE) == 1)

    ssh.ask("set", "ssh", "addignoreip", "198.51.100.0/24")
    assert ssh.ask("set", "ssh", "attempt", "198.51.100.9") == 0


def test_a_limit_that_is_set_holds_at_once(ssh):
    ssh.ask("set", "ssh", "maxretry", "1")

    ssh.ask("set", "ssh", "attempt", EVE)

    eventually(lambda: ssh.ask("get", "ssh", "banned") == [EVE])


def test_properties_of_actions_are_set_and_shown(ssh):
    assert ssh.ask("set", "ssh", "action", "wall", "port", "22") == "22"
    assert ssh.ask("get", "ssh", "action", "wall", "port") == "22"
    assert ssh.ask("set", "ssh", "action", "wall", "timeout", "1m") == 60
    assert ssh.ask("get", "ssh", "action", "wall", "actionban") == "ban <ip>"
    assert {"port", "actionban", "timeout"} <= set(
        ssh.ask("get", "ssh", "actionproperties", "wall")
    )
    assert "ban" in ssh.ask("get", "ssh", "actionmethods", "wall")
    assert isinstance(ssh.refused("get", "ssh", "action", "wall", "none"), AttributeError)
    assert isinstance(ssh.refused("get", "ssh", "action", "none", "x"), KeyError)
    assert isinstance(ssh.refused("set", "ssh", "action", "wall", "no-method"), AttributeError)
    assert ssh.ask("set", "ssh", "addaction", "second") == "second"
    assert isinstance(ssh.refused("set", "ssh", "addaction", "second"), ValueError)
    assert ssh.ask("get", "ssh", "actions") == ["wall", "second"]
    assert ssh.ask("set", "ssh", "delaction", "second") is None


def test_logs_come_and_go(ssh, tmp_path):
    other = tmp_path / "other.log"

    assert isinstance(ssh.refused("set", "ssh", "addlogpath", str(other)), FileNotFoundError)
    other.write_text("")
    assert ssh.ask("set", "ssh", "addlogpath", str(other), "tail") == [str(ssh.log), str(other)]
    assert ssh.ask("get", "ssh", "logpath") == [str(ssh.log), str(other)]
    assert ssh.ask("set", "ssh", "dellogpath", str(ssh.log)) == [str(other)]
    assert isinstance(ssh.refused("set", "ssh", "addlogpath", str(other), "middle"), ValueError)


def test_a_jail_that_is_there_cannot_be_added_again(ssh):
    assert isinstance(ssh.refused("add", "ssh"), DuplicateJailError)


def test_the_database_stays_while_there_are_jails(ssh):
    assert "jails present" in str(ssh.refused("set", "dbfile", ":memory:"))


def test_a_stopped_jail_is_gone_and_its_bans_are_lifted(ssh):
    ssh.ask("set", "ssh", "banip", EVE)

    ssh.ask("stop", "ssh")

    assert ssh.ask("status") == [("Number of jail", 0), ("Jail list", "")]
    assert any(one.startswith("unban") for one in ssh.ran)


STREAM = [
    ["add", "ssh", "polling"],
    ["set", "ssh", "addfailregex", REGEX],
    ["set", "ssh", "addaction", "wall"],
    ["multi-set", "ssh", "action", "wall", [["actionban", "ban <ip>"], ["actionunban", "unban <ip>"], ["actionstart", "open"]]],
    ["start", "ssh"],
]  # fmt: skip


def test_a_reload_keeps_bans_and_changes_what_differs(ssh):
    ssh.ask("set", "ssh", "banip", EVE)
    eventually(lambda: len(ssh.ran) == 2)

    assert (
        ssh.ask("reload", "--all", [], [*STREAM[:-1], ["set", "ssh", "maxretry", 7], STREAM[-1]])
        == "OK"
    )

    assert ssh.ask("get", "ssh", "maxretry") == 7
    assert ssh.ask("get", "ssh", "banned") == [EVE]
    assert ssh.ask("get", "ssh", "logpath") == []
    assert len(ssh.ran) == 2  # neither lifted nor started again


def test_a_reload_with_a_mistake_changes_nothing(ssh):
    before = ssh.server.config

    error = ssh.refused(
        "reload", "--all", ["--unban"], [*STREAM, ["set", "ssh", "addfailregex", "("]]
    )

    assert isinstance(error, RegexError)
    assert ssh.server.config == before


def test_a_reload_takes_away_what_it_does_not_name(ssh):
    ssh.ask("add", "old")
    ssh.ask("start", "old")

    ssh.ask("reload", "--all", [], STREAM)

    assert ssh.ask("status")[1] == ("Jail list", "ssh")
    assert ssh.ask("reload", "nobody", ["--if-exists"], []) == "OK"


def test_a_reload_may_lift_the_bans_or_start_anew(ssh):
    ssh.ask("set", "ssh", "banip", EVE)

    ssh.ask("reload", "ssh", ["--unban"], STREAM)
    assert ssh.ask("get", "ssh", "banned") == []

    ssh.ask("reload", "ssh", ["--restart"], STREAM)
    eventually(lambda: ssh.ran.count("open") == 2)


def test_the_status_of_a_jail_tells_what_it_has_yet_to_read_and_what_was_cut(ssh):
    files = [
        FileState("/log/a", False, left=30 << 20, total=40 << 20, long_lines=2),
        FileState("/log/b", False, left=FAR, total=40 << 20),
    ]
    before = dict(dict(ssh.ask("status", "ssh"))["Filter"])
    ssh.reader.files = lambda jail: files
    after = dict(dict(ssh.ask("status", "ssh"))["Filter"])

    assert ["Currently failed", "Total failed", "File list"] == list(before)
    assert [*before, "Lines cut", "Catching up"] == list(after)
    assert (["/log/a: 2"], ["/log/a: 25 % read, 30 MiB left"]) == tuple(after.values())[-2:]


def test_a_stream_with_one_bad_jail_starts_the_others_and_says_so(talk):
    talk.ask(
        "server-stream",
        [["add", "bad"], ["set", "bad", "findtime", "soon"], ["start", "bad"], *STREAM],
    )

    status = dict(talk.ask("status"))

    assert status["Jail list"] == "ssh"
    assert "[bad]" in status["Problems"][0] and "soon" in status["Problems"][0]


def test_an_idle_jail_does_not_read(ssh):
    assert ssh.ask("set", "ssh", "idle", "on") is True
    assert ssh.server.files("ssh") == []
    assert ssh.ask("set", "ssh", "idle", "off") is False
    assert ssh.ask("get", "ssh", "logpath") == [str(ssh.log)]


def test_stop_ends_all(ssh):
    ssh.ask("stop")

    assert ssh.server.is_stopping.is_set() and ssh.server.names() == []


# -- every command, with right and with wrong words ------------------------------------------------

VALUES = {
    "loglevel": "INFO", "logtarget": "STDERR", "syslogsocket": "auto", "allowipv6": "auto",
    "dbfile": "None", "dbmaxmatches": "9", "dbpurgeage": "1d", "usedns": "no", "maxlines": "2",
    "prefregex": "^x<F-CONTENT>.+</F-CONTENT>$", "datepattern": "{NONE}", "maxretry": "4", "maxhosts": "9", "maxmatches": "2",
    "findtime": "1h", "bantime": "-1", "ipv6prefix": "64", "aggregate": "5", "aggregatetime": "1d", "ignorecommand": "true", "ignoreself": "no",
    "ignorecache": 'key="<ip>"', "logtimezone": "UTC", "logencoding": "utf-8", "idle": "on",
    "bantime.increment": "true", "bantime.factor": "2", "bantime.formula": "ban.Time",
    "bantime.multipliers": "1 2", "bantime.maxtime": "1w", "bantime.rndtime": "5m",
    "bantime.overalljails": "no",
}  # fmt: skip
WORDS = {
    "<jail>": "ssh", "<ip>...": EVE, "[<ip>...]": EVE, "<ip>": EVE, "<regex>": REGEX, "<index>": "0",
    "<action>": "wall", "<property>": "actionban", "<list>": [REGEX], "<seconds>": "0", "[<seconds>]": "1",
    "<sizes>": {"stacksize": 0}, "<text>": "a text", "[<text>...]": "a text", "<commands>": [], "<options>": [],
    "[<match>...]": "_COMM=sshd", "[<word>...]": "word", "[<separator>]": ",", "[<flavour>]": "short",
    "[--report-absent]": None, "[<where>]": "tail", "[<backend>]": "polling", "[<file>]": None, "[<json>]": None,
    "<name>": "port", "[<value>]": "22", "bantime.<key>": "bantime.mine",
}  # fmt: skip
BEFORE = {
    "set <jail> delignoreip <ip>": ["set", "ssh", "addignoreip", EVE],
    "add <jail> [<backend>]": ["stop", "ssh"],
    "set dbfile <value>": ["stop", "ssh"],
}
SPECIAL = {
    "set <jail> addaction <action> [<file>] [<json>]": ["set", "ssh", "addaction", "other"],
    "multi-set <jail> origins <list>": [
        "multi-set",
        "ssh",
        "origins",
        [["failregex", "filter.d/ssh.conf:7"]],
    ],
    "multi-set <jail> action <action> <list>": [
        "multi-set",
        "ssh",
        "action",
        "wall",
        [["port", "1"]],
    ],
    "set <jail> deljournalmatch [<match>...]": None,  # it needs a jail that follows the journal
}


def right_words(command, log):
    """Words that are `command`, for the jail ssh."""
    if command.usage in SPECIAL:
        return SPECIAL[command.usage]
    words = []
    for part in command.usage.split():
        if part == "<path>":
            words.append(str(log))
        elif part == "<value>":
            words.append(VALUES.get(command.option or words[2], "x"))
        elif (word := WORDS.get(part, part)) is not None:
            words.append(word)
    return words


SERVED = [command for command in COMMANDS if not command.by_client]


def without_its_last(command):
    """The words of `command` up to the last one that it needs, without that."""
    return [part for part in command.usage.split() if not part.startswith("[")][:-1]


WHOLE = {" ".join([*without_its_last(c), c.usage.split()[-1]]) for c in SERVED} | {
    " ".join(part for part in command.usage.split() if not part.startswith("["))
    for command in SERVED
}
OF_JAILS = [c for c in SERVED if "<jail>" in c.usage and not c.usage.startswith("add")]
CUT_SHORT = [
    c for c in SERVED if without_its_last(c) and " ".join(without_its_last(c)) not in WHOLE
]


def name_of(command):
    return command.usage


@pytest.mark.parametrize(
    "command", [c for c in SERVED if SPECIAL.get(c.usage, []) is not None], ids=name_of
)
def test_each_command_is_answered(ssh, command):
    if command.usage in BEFORE:
        ssh.ask(*BEFORE[command.usage])

    assert ssh.answer(*right_words(command, ssh.log))[0] == 0


def test_a_journal_match_that_is_not_there_cannot_be_deleted(ssh):
    assert isinstance(ssh.refused("set", "ssh", "deljournalmatch", "x"), ValueError)


@pytest.mark.parametrize("command", OF_JAILS, ids=name_of)
def test_each_command_refuses_a_jail_that_is_not_there(ssh, command):
    words = right_words(command, ssh.log) or ["set", "ssh", "deljournalmatch", "x"]
    words[command.usage.split().index("<jail>")] = "nobody"

    assert isinstance(ssh.refused(*words), UnknownJailError)


@pytest.mark.parametrize("command", CUT_SHORT, ids=name_of)
def test_each_command_refuses_too_few_words(talk, command):
    words = [WORDS.get(part, part) for part in without_its_last(command)]

    assert isinstance(talk.refused(*words), InvalidCommand | UnknownJailError | IndexError)
