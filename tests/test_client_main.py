# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-client from the command line to what it prints, against a server that plays along."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from client.main import main
from common.errors import DuplicateJailError, UnknownJailError
from common.version import VERSION
from server.control import Control
from tests.support import ROOT, a_configuration, eventually


class Player:
    """A server that answers what it is told to, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers = {"ping": (0, "pong"), "version": (0, "2.0.0"), **answers}
        self.asked = []

    def __call__(self, words):
        self.asked.append(words)
        return self.answers.get(" ".join(map(str, words)), self.answers.get(words[0], (0, None)))


@contextlib.contextmanager
def a_server(path, answers=None):
    player = Player(answers or {})
    control = Control(str(path), player)
    control.open()
    thread = threading.Thread(target=control.serve)
    thread.start()
    try:
        yield player
    finally:
        control.stop()
        thread.join(60)
        control.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f2b.sock"


@pytest.fixture
def confdir(tmp_path):
    return a_configuration(tmp_path)


def run(capsys, path, *words):
    """Exit status, stdout, stderr of the client."""
    status = main(["-s", str(path), *words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_an_answer_is_printed(path, capsys):
    with a_server(path):
        assert run(capsys, path, "ping") == (0, "Server replied: pong\n", "")


def test_words_that_look_like_options_belong_to_the_command(path, capsys):
    with a_server(path, {"set": (0, -1)}) as player:
        assert run(capsys, path, "set", "ssh", "bantime", "-1") == (0, "-1\n", "")

    assert player.asked == [["set", "ssh", "bantime", "-1"]]


REFUSALS = [
    (UnknownJailError("x"), "Sorry but the jail 'x' does not exist\n", "('x',)"),
    (DuplicateJailError("x"), "The jail 'x' already exists\n", "('x',)"),
    (IndexError("list index out of range"), "Sorry but the command is invalid\n", "('list index out of range',)"),
    (ValueError("not banned: ['y']"), "not banned: ['y']\n", "(\"not banned: ['y']\",)"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "out", "args"), REFUSALS, ids=[repr(r[0]) for r in REFUSALS])
def test_a_refusal_goes_to_stdout_and_its_details_to_stderr(path, capsys, error, out, args):
    with a_server(path, {"status": (1, error)}):
        status, printed, said = run(capsys, path, "status", "x")

    assert (status, printed) == (255, out)
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban                \[\d+\]: ERROR   NOK: "
    assert re.fullmatch(line + re.escape(args) + "\n", said)


def test_a_slip_of_the_pen_is_pointed_out(path, capsys):
    wire = Exception("Invalid command (no get action or not yet implemented)")
    with a_server(path, {"get": (1, wire)}):
        status, _, said = run(capsys, path, "get", "sshd", "maxretri")

    assert status == 255
    assert "'get sshd' cannot go on with 'maxretri'; try: maxretry" in said


def test_without_a_server_the_socket_is_named(path, capsys):
    status, out, said = run(capsys, path, "status")

    assert (status, out) == (255, "")
    assert said.endswith(f"ERROR   Failed to access socket path: {path}. Is fail2ban running?\n")


def test_reload_without_a_server_finds_none(path, confdir, capsys):
    for word in ("reload", "loadconf"):
        status, out, said = run(capsys, path, "-c", str(confdir), word)

        assert (status, out) == (255, "") and said.endswith("ERROR   Could not find server\n")


def test_start_with_a_server_is_refused(path, confdir, capsys):
    with a_server(path) as player:
        status, out, said = run(capsys, path, "-c", str(confdir), "start")

    assert (status, out) == (255, "") and said.endswith("ERROR   Server already running\n")
    assert player.asked == [["ping"]]


def test_a_start_that_is_refused_says_why_and_what_is_left_of_it(
    path, confdir, capsys, monkeypatch
):
    answers = {"server-stream": (1, ValueError("no such zone"))}
    with contextlib.ExitStack() as running:

        def launched(choices):
            return running.enter_context(a_server(path, answers))

        monkeypatch.setattr("client.main.launch", launched)
        monkeypatch.setattr("client.main.is_gone", lambda process, seconds: False)
        status, out, said = run(capsys, path, "-c", str(confdir), "start")

    assert (status, out) == (255, "no such zone\n")
    assert f"ERROR   The server does not end (process {os.getpid()})\n" in said
    assert said.endswith("NOK: ('no such zone',)\n")


@pytest.mark.parametrize(
    ("words", "name", "options"),
    [("reload", "--all", []), ("loadconf", "--all", []), ("reload --all", "--all", []),
     ("reload --restart --unban door", "door", ["--unban", "--restart"]),
     ("reload --if-exists door", "door", ["--if-exists"]), ("restart door", "door", ["--restart"])],
)  # fmt: skip
def test_reload_sends_the_configuration_at_once(path, confdir, capsys, words, name, options):
    with a_server(path, {"reload": (0, "OK")}) as player:
        status, out, _ = run(capsys, path, "-c", str(confdir), *words.split())

    assert (status, out) == (0, "OK\n")
    (sent,) = [words for words in player.asked if words[0] == "reload"]
    assert sent[1:3] == [name, options]
    assert ["add", "door", "auto"] in sent[3] and ["start", "door"] in sent[3]


@pytest.mark.parametrize(("version", "is_glob"), [("1.1.2", False), ("2.0.0", True)])
def test_a_server_of_another_release_gets_files_where_ours_gets_globs(
    path, confdir, tmp_path, capsys, version, is_glob
):
    (tmp_path / "a.log").touch()
    (confdir / "jail.local").write_text(f"[door]\nlogpath = {tmp_path}/*.log\n")
    with a_server(path, {"version": (0, version), "reload": (0, "OK")}) as player:
        assert run(capsys, path, "-c", str(confdir), "reload")[0] == 0

    (sent,) = [words for words in player.asked if words[0] == "reload"]
    (added,) = [command for command in sent[3] if command[2:3] == ["addlogpath"]]
    assert added[3] == f"{tmp_path}/{'*' if is_glob else 'a'}.log"


@pytest.mark.parametrize("words", [["reload"], ["loadconf"], ["reload", "door"]], ids=str)
def test_a_mistake_in_the_configuration_keeps_all_of_it_back(path, confdir, capsys, words):
    (confdir / "jail.local").write_text("[door]\nmaxretry = three\nbantime = never\n")
    with a_server(path) as player:
        status, out, said = run(capsys, path, "-c", str(confdir), *words)

    assert (status, out) == (255, "")
    assert "maxretry" in said and "bantime" in said and "jail.local:2" in said
    assert [asked for asked in player.asked if asked[0] == "reload"] == []


def test_a_jail_that_no_file_names_is_a_mistake(path, confdir, capsys):
    with a_server(path) as player:
        status, _, said = run(capsys, path, "-c", str(confdir), "reload", "--if-exists", "nosuch")

    assert status == 255 and "nosuch" in said
    assert [asked for asked in player.asked if asked[0] == "reload"] == []


def test_quit_ends_the_server_as_it_did_at_first(path, capsys):
    with a_server(path) as player:
        assert run(capsys, path, "quit") == (0, "Shutdown successful\n", "")

    assert player.asked == [["stop"]]


def test_the_socket_is_the_configuration_s_if_none_is_given(path, confdir, capsys):
    with a_server(path):
        assert main(["-c", str(confdir), "ping"]) == 0

    assert capsys.readouterr().out == "Server replied: pong\n"


def test_an_answer_can_be_had_as_json(path, capsys):
    answer = {"a": ["polling", (0, 1), (2, 3)]}
    with a_server(path, {"stats": (0, answer)}):
        _, out, _ = run(capsys, path, "--json", "stats")

    figures = {"failed": {"current": 0, "total": 1}, "banned": {"current": 2, "total": 3}}
    assert json.loads(out) == {"jails": [{"jail": "a", "backend": "polling", **figures}]}


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--format=json"]], ids=str)
def test_a_refusal_can_be_had_as_json(path, capsys, option):
    with a_server(path, {"status": (1, UnknownJailError("x"))}):
        status, out, said = run(capsys, path, *option, "status", "x")

    message = "Sorry but the jail 'x' does not exist"
    assert (status, json.loads(out)) == (
        255,
        {"error": {"kind": "unknown_jail", "message": message}},
    )
    assert "NOK" in said


@pytest.mark.parametrize(
    ("words", "kind"), [("status", "no_server"), ("reload", "no_server"), ("stop", "no_server")]
)
def test_json_tells_that_nobody_is_there(path, confdir, capsys, words, kind):
    status, out, _ = run(capsys, path, "-c", str(confdir), "--json", words)

    assert (status, json.loads(out)["error"]["kind"]) == (255, kind)


def test_json_tells_of_mistakes_in_the_configuration(path, confdir, capsys):
    (confdir / "jail.local").write_text("[door]\nmaxretry = three\n")
    with a_server(path):
        status, out, _ = run(capsys, path, "-c", str(confdir), "--json", "reload")

    assert (status, json.loads(out)["error"]["kind"]) == (255, "configuration")


def test_an_answer_as_json_is_one_line_whatever_it_holds(path, capsys):
    with a_server(path, {"echo": (0, ["a\nb\x1b[1m\x7f", "ü", "\udcff"])}):
        _, out, _ = run(capsys, path, "--json", "echo")

    assert out.count("\n") == 1 and "\x1b" not in out and "\x7f" not in out
    assert json.loads(out)[:2] == ["a\nb\x1b[1m\x7f", "ü"]


def test_another_format_is_refused(path, capsys):
    status, _, said = run(capsys, path, "--format", "xml", "ping")

    assert status == 255 and "--format xml is none of text, json" in said


@pytest.mark.parametrize(
    ("argv", "out"),
    [(["-V"], f"{VERSION}\n"), (["--version"], f"Fail2Ban v{VERSION}\n"),
     (["--str2sec", "1d12h"], "129600\n"), (["--str2sec", "1y6mo"], "47336400.0\n"),
     (["--vers"], f"Fail2Ban v{VERSION}\n")],
)  # fmt: skip
def test_some_questions_need_no_server(capsys, argv, out):
    assert main(argv) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("argv", [["--str2sec", "soon"], ["-z"], ["--log", "x"], ["-c"], ["--timeout", "x", "ping"]], ids=str)  # fmt: skip
def test_what_cannot_be_understood_ends_with_255(capsys, argv):
    assert main(argv) == 255
    printed = capsys.readouterr()
    assert "ERROR" in printed.err and "Traceback" not in printed.err


@pytest.mark.parametrize(("argv", "status"), [(["-h"], 0), (["--help"], 0), ([], 255)], ids=str)
def test_the_help_names_every_command(capsys, argv, status):
    assert main(argv) == status
    out = capsys.readouterr().out
    for text in ("set <jail> maxretry <value>", "loadconf", "--loglevel <level>", "banip"):
        assert text in out
    assert "server-stream" not in out


def test_a_dump_is_a_list_a_line(confdir, capsys):
    assert main(["-c", str(confdir), "-d"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "['add', 'door', 'auto']" in lines and lines[-1] == "['start', 'door']"


def test_a_test_of_the_configuration_says_how_it_went(confdir, capsys):
    assert main(["-c", str(confdir), "-t"]) == 0
    assert capsys.readouterr().out == "OK: configuration test is successful\n"

    (confdir / "jail.local").write_text("[door]\nfilter = nosuch\n")
    assert main(["-c", str(confdir), "-t"]) == 255
    printed = capsys.readouterr()
    assert printed.out == "ERROR: test configuration failed\n" and "nosuch" in printed.err


@pytest.mark.parametrize(
    ("name", "text", "status", "told"),
    [
        # as in fail2ban 1.1 the test succeeds, but what the server would say is said
        ("filter.d/door.conf", "[Definition]\nfailregex = ^(<HOST>$\n", 0,
         "ERROR   [door] failregex: Unable to compile regular expression '^(<HOST>$'"),
        ("filter.d/door.conf", "[Definition]\nfailregex = ^<HOST>$\ndatepattern = (%%Y\n", 255,
         "ERROR   [door] datepattern: '(%Y' is no date pattern"),
        ("jail.local", "[door]\nlogtimezone = Moon\n", 255, "ERROR   [door] logtimezone: 'Moon'"),
        ("jail.local", "[door]\nlogencoding = klingon\n", 255, "ERROR   [door] logencoding: "),
        ("action.d/wall.conf", "[Definition]\nactionban = echo <ipp>\n", 0,
         "WARNING [door] action wall: actionban: nothing says what <ipp> is"),
        ("action.d/wall.conf", "[Definition]\nactionban = nosuchprogram <ip>\n", 0,
         "WARNING nosuchprogram is not installed"),
        ("jail.local", "[door]\naction = bad.py\n", 255, "ERROR   [door] action bad: "),
    ],
)  # fmt: skip
def test_a_test_says_what_the_server_would(confdir, capsys, name, text, status, told):
    (confdir / "action.d/wall.conf").write_text("[Definition]\nactionban = echo <ip>\n")
    (confdir / "action.d/bad.py").write_text("1 / 0\n")
    (confdir / name).write_text(text)

    assert main(["-c", str(confdir), "-t"]) == status
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out.startswith("ERROR: " if status else "OK: ")


def test_a_test_tells_all_as_json(confdir, capsys):
    (confdir / "action.d/wall.conf").write_text("[Definition]\nactionban = echo <ipp>\n")
    (confdir / "jail.local").write_text("[door]\nmaxretri = 3\nlogtimezone = Moon\n")

    assert main(["-c", str(confdir), "--json", "-t"]) == 255
    told = json.loads(capsys.readouterr().out)

    assert told["is_right"] is False
    assert [one["level"] for one in told["problems"]] == ["warning", "error", "warning"]
    assert "jail.local:2" in told["problems"][0]["message"]
    assert told["problems"][1]["jail"] == "door"


def test_a_dump_can_be_had_as_json(confdir, capsys):
    assert main(["-c", str(confdir), "--json", "-d"]) == 0
    assert ["add", "door", "auto"] in json.loads(capsys.readouterr().out)


CLIENT = [sys.executable, str(ROOT / "fail2ban-client")]


def test_the_interactive_client_goes_on_after_a_failure(path):
    with a_server(path, {"echo": (0, ["a b"]), "status": (1, UnknownJailError("x"))}):
        done = subprocess.run(
            [*CLIENT, "-s", str(path), "-i"],
            input='status x\necho "a b"\necho "\n\nquit\necho never\n',
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    greeting, rest = done.stdout.split("\n\n", 1)
    assert len(greeting.splitlines()) == 2 and rest.count("fail2ban> ") == 5
    assert "Sorry but the jail 'x' does not exist" in rest and "a b" in rest
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_a_reader_that_has_enough_is_no_fault(path):
    with a_server(path, {"echo": (0, ["x" * 100_000] * 20)}):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [*CLIENT, "-s", str(path), "echo"], stdout=writer, stderr=subprocess.PIPE,
            text=True, timeout=90, check=False,
        )  # fmt: skip
        os.close(writer)

    assert done.stderr == ""


def test_the_server_s_program_acts_as_the_client_with_other_commands(path):
    with a_server(path):
        done = subprocess.run(
            [sys.executable, str(ROOT / "fail2ban-server"), "-s", str(path), "ping"],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "Server replied: pong\n")


def test_a_program_without_stdout_works_too(path):
    with a_server(path):
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *CLIENT, "-s", str(path), "ping"],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


# with a server of its own


@pytest.fixture
def client(tmp_path, confdir):
    """Runs the client's program; a server that it left behind is stopped."""

    def run(*words):
        own = ["-c", str(confdir), "-p", str(tmp_path / "f2b.pid")]
        return subprocess.run(
            [*CLIENT, *own, *words], capture_output=True, text=True, timeout=90, check=False
        )

    yield run
    if (tmp_path / "f2b.pid").exists():
        run("stop")


def test_a_server_is_started_restarted_and_stopped(client, tmp_path):
    started = client("start")
    assert (started.returncode, started.stdout, started.stderr) == (0, "Server ready\n", "")
    first = (tmp_path / "f2b.pid").read_text()

    assert "Jail list:\tdoor" in client("status").stdout
    assert client("reload").stdout == "OK\n"
    assert client("restart").stdout == "Shutdown successful\nServer ready\n"
    assert (tmp_path / "f2b.pid").read_text() != first

    assert client("stop").stdout == "Shutdown successful\n"
    assert not (tmp_path / "f2b.pid").exists() and not (tmp_path / "f2b.sock").exists()


def test_a_reload_that_is_refused_names_jail_and_regex(client, confdir):
    client("start")
    (confdir / "filter.d/door.conf").write_text("[Definition]\nfailregex = ^(<HOST>$\n")

    refused = client("reload")
    assert refused.returncode == 255
    told = "[door] failregex: Unable to compile regular expression '^(<HOST>$'"
    assert told in refused.stdout and told in refused.stderr.replace('"', "'")
    assert "Jail list:\tdoor" in client("status").stdout
    assert "knock" in client("get", "door", "failregex").stdout


def test_a_reload_that_is_refused_tells_all_mistakes(client, confdir):
    client("start")
    (confdir / "jail.local").write_text("[door]\nlogtimezone = Moon\nlogencoding = klingon\n")

    refused = client("reload")
    assert refused.returncode == 255
    assert "Moon" in refused.stderr and "klingon" in refused.stderr
    assert "goes on with" not in refused.stderr  # the command was right


def test_restart_starts_where_there_was_no_server(client):
    assert client("restart").stdout == "Server ready\n"


def test_a_restart_that_could_not_start_stops_nothing(client, confdir):
    client("start")
    (confdir / "jail.conf").write_text("enabled = true\n")

    assert client("restart").returncode == 255
    assert client("ping").returncode == 0


def test_start_goes_on_with_the_jails_that_are_right(client, confdir):
    (confdir / "jail.local").write_text("[window]\nenabled = true\nfilter = nosuch\n")

    started = client("start")
    assert (started.returncode, started.stdout) == (0, "Server ready\n")
    assert "nosuch" in started.stderr
    status = client("status").stdout
    assert "Jail list:\tdoor\n" in status and "nosuch" in status


@pytest.mark.parametrize("text", ["enabled = true\n", "[door]\nenabled = true\nfilter = nosuch\n"])
def test_start_starts_nothing_if_no_jail_is_right(client, confdir, tmp_path, text):
    (confdir / "jail.conf").write_text(text)

    assert client("start").returncode == 255
    assert not (tmp_path / "f2b.sock").exists()


def test_a_server_that_cannot_start_says_why(client, tmp_path):
    (tmp_path / "f2b.sock").write_text("not a socket")

    started = client("start")
    assert (started.returncode, started.stdout) == (255, "")
    assert "no socket" in started.stderr


def test_a_server_in_the_foreground_stays_there(client, tmp_path, confdir):
    own = ["-c", str(confdir), "-p", str(tmp_path / "f2b.pid")]
    with subprocess.Popen([*CLIENT, *own, "-f", "start"], stderr=subprocess.DEVNULL) as server:
        eventually(lambda: client("status").returncode == 0, what="the start")
        assert (tmp_path / "f2b.pid").read_text() == f"{server.pid}\n"

        assert client("quit").stdout == "Shutdown successful\n"
        assert server.wait(60) == 0
