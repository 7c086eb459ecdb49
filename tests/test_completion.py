# SPDX-License-Identifier: GPL-2.0-or-later
"""What the shells offer, asked of the shells themselves, with a server that runs."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from common.commands import COMMANDS, INTERNAL, Command, may_follow
from tests.ours import Ours
from tests.support import ROOT, unavailable
from tools import completion

COMPLETIONS = ROOT / "completions"
SECONDS = 120
EVIL = "x;reboot $(reboot) `reboot`"


# -- the shells


class Bash:
    """Calls the function that stands behind the program's name."""

    script = """
    source "$1"
    program=${2%% *} program=${program##*/}
    COMP_LINE=$2 COMP_POINT=${#2}
    "$(complete -p "$program" | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
    (( ${#COMPREPLY[@]} )) && printf '%s\\n' "${COMPREPLY[@]}"
    """

    def __init__(self, folder, path):
        self._environment = {**os.environ, "PATH": path}

    def offers(self, line):
        program = program_of(line)
        words = ("--norc", "-c", self.script, "bash", COMPLETIONS / f"{program}.bash", line)
        return lines_of(["bash", *words], self._environment)

    def end(self):
        pass


class Fish:
    def __init__(self, folder, path):
        self._environment = {**os.environ, "PATH": path, "HOME": str(folder)}

    def offers(self, line):
        file = COMPLETIONS / f"{program_of(line)}.fish"
        words = ("--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, line)
        return [each.split("\t")[0] for each in lines_of(["fish", *words], self._environment)]

    def end(self):
        pass


def program_of(line):
    return line.split(" ", 1)[0].rpartition("/")[2]


def lines_of(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


class Terminal:
    """A shell that believes to have a person before it."""

    def __init__(self, command, environment):
        self.pid, self._end = pty.fork()
        if not self.pid:
            os.execvpe(command[0], command, {**environment, "TERM": "dumb"})
        self.shown = ""

    def type(self, text):
        os.write(self._end, text.encode())

    def wait_until(self, condition):
        """Read what is shown until `condition()`."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"nothing came: {self.shown}"
            if select.select([self._end], [], [], 0.02)[0]:
                self.shown += os.read(self._end, 65536).decode(errors="replace")

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._end)


class Zsh:
    """Presses the tabulator key, and has every match written down that is added."""

    setup = """
    bindkey -e
    LISTMAX=100000
    fpath=({completions} $fpath)
    autoload -Uz compinit
    compinit -u -D
    compadd() {{
        if (( ! ${{@[(I)-[OAD]]}} )); then
            local -a hits
            builtin compadd -O hits "$@"
            print -rl -- $hits >>{found}
        fi
        builtin compadd "$@"
    }}
    tab() {{ zle complete-word; print -r END >>{found} }}
    zle -N tab
    bindkey '^I' tab
    : >{found}
    """

    def __init__(self, folder, path):
        self._found = folder / "found"
        (folder / "setup").write_text(self.setup.format(completions=COMPLETIONS, found=self._found))
        self._terminal = Terminal(["zsh", "-f", "-i"], {**os.environ, "PATH": path})
        self._terminal.type(f"source {folder / 'setup'}\n")
        self._terminal.wait_until(self._found.exists)

    def offers(self, line):
        self._found.write_text("")
        self._terminal.type(f"\x15{line}\t")
        self._terminal.wait_until(lambda: self._found.read_text().endswith("END\n"))
        return [each for each in self._found.read_text().splitlines()[:-1] if each]

    def end(self):
        self._terminal.end()


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Two jails, one of which bans somebody."""
    ours = Ours(tmp_path_factory.mktemp("completion")).configured(
        "".join(f"[{name}]\nenabled = true\nlogpath = {{}}/{name}.log\n" for name in ("front", "yard"))
        .replace("{}", str(tmp_path_factory.getbasetemp()))
    )  # fmt: skip
    ours.start()
    ours.client("set", "front", "banip", "192.0.2.1", "2001:db8::2", EVIL)
    yield ours
    ours.finish()


@pytest.fixture(scope="module", params=SHELLS)
def shell(request, tmp_path_factory):
    if not shutil.which(request.param):
        unavailable(f"there is no {request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    made = SHELLS[request.param](folder, f"{ROOT}:{os.environ['PATH']}")
    yield made
    made.end()


# -- what they offer


def test_commands_are_offered(shell):
    firsts = {command.usage.split()[0] for command in COMMANDS if command.group != INTERNAL}

    assert firsts == set(shell.offers("fail2ban-client "))
    assert {"status", "stats", "start", "statistic", "statistics"} == set(
        shell.offers("fail2ban-client sta")
    )


def test_the_server_takes_the_same_commands(shell):
    assert ["flushlogs"] == shell.offers("fail2ban-server flu")


def test_a_program_may_be_named_by_its_path(shell):
    assert ["version"] == shell.offers(f"{ROOT}/fail2ban-client vers")
    assert ["--verdict"] == shell.offers(f"{ROOT}/fail2ban-regex --verd")


@pytest.mark.parametrize(
    "said, wanted",
    [
        ("set nobody max", "maxhosts maxlines maxretry maxmatches"),
        ("set nobody usedns ", "yes warn no raw"),
        ("set nobody ignoreself ", "true false"),
        ("set nobody bantime.incr", "bantime.increment"),
        ("set nobody bantime.increment ", "true false"),
        ("set loglevel ", "CRITICAL ERROR WARNING NOTICE INFO DEBUG"),
        ("set nobody idle ", "on off"),
        ("add new ", "auto pyinotify polling systemd"),
        ("status nobody ", "basic short stats cymru"),
        ("get nobody banip --", "--with-time"),
        ("reload --unban --", "--restart --if-exists --all"),
        ("version ", ""),
        ("get nobody maxretry ", ""),
    ],
)
def test_words_of_a_command_are_offered(shell, said, wanted):
    assert set(wanted.split()) == set(shell.offers(f"fail2ban-client {said}"))


@pytest.mark.parametrize(
    "said, wanted",
    [
        ("--log", "--loglevel --logtarget"),
        ("-v --sy", "--syslogsocket"),
        ("--loglevel ", "CRITICAL ERROR WARNING NOTICE INFO DEBUG"),
        ("--dbfile N", "None"),
        ("-s /nowhere vers", "version"),
        ("--loglevel DEBUG vers", "version"),
    ],
)
def test_options_and_their_words_are_offered(shell, said, wanted):
    assert set(wanted.split()) == set(shell.offers(f"fail2ban-client {said}"))


@pytest.mark.parametrize(
    "said, wanted",
    [
        ("-s {socket} stop ", "front yard --all"),
        ("--socket={socket} status f", "front"),
        ("-c {conf} status y", "yard"),
        ("-s {socket} set front unbanip 192", "192.0.2.1"),
        ("-s {socket} unban 192", "192.0.2.1"),
        ("-s {socket} get front action ", "note"),
        ("-s {socket} get front action note actionun", "actionunban"),
        ("-s {socket} set yard delaction ", "note"),
    ],
)
def test_what_the_server_knows_is_offered(shell, server, said, wanted):
    line = said.format(socket=server.socket, conf=server.conf)

    assert set(wanted.split()) == set(shell.offers(f"fail2ban-client {line}"))


def test_an_id_that_would_mean_something_to_a_shell_is_not_offered(shell, server):
    assert EVIL in server.says("get", "front", "banned")

    offered = shell.offers(f"fail2ban-client -s {server.socket} set front unbanip ")
    assert {"192.0.2.1", "2001:db8::2", "--report-absent"} == set(offered)


def test_jails_stand_beside_the_words_that_may_stand_there_too(shell, server):
    offered = shell.offers(f"fail2ban-client -s {server.socket} set ")

    assert {"front", "yard", "loglevel", "dbfile"} <= set(offered)
    assert not {"maxretry", "banip"} & set(offered)


def test_without_a_server_there_is_silence(shell, tmp_path):
    assert [] == shell.offers(f"fail2ban-client -s {tmp_path}/none get nobody action ")


def test_files_are_offered(shell, tmp_path):
    (tmp_path / "some.log").touch()
    (tmp_path / "somewhere").mkdir()

    offered = shell.offers(f"fail2ban-client set nobody addlogpath {tmp_path}/some")
    assert {"some.log", "somewhere"} == {each.rstrip("/").rpartition("/")[2] for each in offered}
    offered = shell.offers(f"fail2ban-client -c {tmp_path}/some")
    assert {"somewhere"} == {each.rstrip("/").rpartition("/")[2] for each in offered}


def test_fail2ban_regex_offers_filters_and_jails(shell, server):
    offered = shell.offers(f"fail2ban-regex -c {server.conf} some.log ")

    assert {"door", "front", "yard"} <= set(offered)
    assert ["door"] == shell.offers(f"fail2ban-regex -c {server.conf} some.log doo")
    assert "front" in shell.offers(f"fail2ban-regex -c {server.conf} --jail ")


def test_fail2ban_regex_offers_its_options(shell):
    wanted = {"--print-no-missed", "--print-no-ignored"}

    assert wanted == set(shell.offers("fail2ban-regex --print-no"))
    assert {"yes", "warn", "no", "raw"} == set(shell.offers("fail2ban-regex --usedns "))


def test_the_tabulator_key_completes_in_bash(tmp_path):
    terminal = Terminal(["bash", "--norc", "-i"], {**os.environ, "PS1": "$ "})
    try:
        terminal.type(f"source {COMPLETIONS}/fail2ban-client.bash; echo rea''dy\n")
        terminal.wait_until(lambda: "ready" in terminal.shown)
        terminal.type("fail2ban-client vers\t")
        terminal.wait_until(lambda: "fail2ban-client version " in terminal.shown)
    finally:
        terminal.end()


# -- what they are made of


def offered_by_rows(words, commands=COMMANDS):
    """What the rows say to offer after `words`, as the shells compare them."""
    said = "".join(f" {word}" for word in words)
    fitting = [
        offer for offer in completion.of_commands(commands) if re.search(f"^{offer.after}$", said)
    ]
    return {
        offer.word for offer in fitting if offer.rank == fitting[0].rank and offer.word not in words
    }


@pytest.mark.parametrize(
    "words",
    ["", "set", "get", "set j", "get j", "reload", "reload --all", "restart --unban", "unban"]
    + ["stop", "start", "status", "get j banip", "set j unbanip", "get j action a"],
)
def test_the_rows_say_what_the_table_of_commands_says(words):
    plain = {word for word in offered_by_rows(words.split()) if not word.startswith("=")}

    assert set(may_follow(words.split())) == plain


def test_a_command_that_is_added_to_the_table_is_offered():
    added = Command("set <jail> colour [--deep] <path>", "Paint <jail>.", "JAILS")
    commands = (*COMMANDS, added)

    assert "colour" in offered_by_rows(["set", "j"], commands)
    assert {"--deep", completion.FILE} == offered_by_rows(["set", "j", "colour"], commands)


def test_words_that_are_offered_are_words_of_the_help():
    helps = " ".join(command.help for command in COMMANDS if not command.option)
    for command in COMMANDS:
        option = completion.option_of(command)
        told = f"{option.help} {option.kind.name}" if option else helps
        for offer in completion.of_commands([command]):
            if not offer.word.startswith("=") and offer.word not in (
                *command.usage.split(),
                "true",
                "false",
            ):
                assert offer.word in told or f"[{offer.word}]" in command.usage, command.usage
