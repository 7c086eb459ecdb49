# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read from the tables says what they say, and can be read."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client.actionconf import ACTION_OPTIONS
from client.filterconf import FILTER_OPTIONS
from common.cli import SWITCHES, Switch
from common.commands import COMMANDS, Command, parse, parse_for_client
from common.options import BAN_TIME_OPTIONS, DAEMON_OPTIONS, JAIL_OPTIONS
from tests.support import ROOT, unavailable
from tools import answers, completion, manual
from tools.markup import cell, roff
from tryout.arguments import parser

PAGES = sorted(name for name in manual.FILES if name.startswith("man/"))


@pytest.fixture(scope="module")
def made():
    return manual.files()


def unformatted(page):
    """The text of a man page without fonts and signs."""
    plain = re.sub(r"\\f[BIR]", "", page).replace("\\-", "-").replace("\\&", "")
    return plain.replace("\\e", "\\")


def plain_usage(usage):
    """A usage as a man page has it: names are told apart by their font only."""
    return usage.replace("<", "").replace(">", "")


@pytest.mark.parametrize("name", manual.FILES)
def test_the_files_are_what_the_tables_say(made, name):
    assert made[name] == (ROOT / name).read_text("utf-8"), "python tools/manual.py makes it anew"


def test_nothing_else_stands_beside_them():
    found = {
        str(path.relative_to(ROOT)) for name in ("man", "completions") for path in (ROOT / name).iterdir()
    }  # fmt: skip

    assert found <= set(manual.FILES)


def test_the_check_tells_what_is_out_of_date(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(manual, "ROOT", tmp_path)
    assert 1 == manual.main(["--check"])
    assert "man/jail.conf.5 is not what the tables say" in capsys.readouterr().out

    assert 0 == manual.main([])
    assert 0 == manual.main(["--check"])

    (tmp_path / "doc/commands.md").write_text("something else")
    assert 1 == manual.main(["--check"])


def test_the_program_can_be_run_from_anywhere(tmp_path):
    command = [sys.executable, ROOT / "tools" / "manual.py", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert 0 == done.returncode, done.stdout + done.stderr


# -- commands


def test_every_command_is_in_the_man_page_with_its_help(made):
    page = unformatted(made["man/fail2ban-client.1"])
    for command in COMMANDS:
        assert f"\n{plain_usage(command.usage)}\n{unformatted(roff(command.help))}\n" in page


def test_every_command_is_in_the_reference_with_its_help_and_its_answer(made):
    sections = dict(
        section.split("`\n", 1) for section in made["doc/commands.md"].split("\n### `")[1:]
    )
    for command in COMMANDS:
        section = sections[command.usage]
        assert cell(command.help) in section
        assert "\nAnswer: " in section, command.usage


@pytest.mark.parametrize("program", ["fail2ban-client", "fail2ban-server"])
def test_every_switch_is_in_the_man_page_with_its_help(made, program):
    page = unformatted(made[f"man/{program}.1"])
    for switch in SWITCHES:
        word = f" {switch.word}" if switch.word else ""
        names = ", ".join(f"{name}{word}" for name in switch.names)
        assert f"\n{names}\n{unformatted(roff(switch.help))}\n" in page


def test_every_option_of_fail2ban_regex_is_in_its_man_page(made):
    page = unformatted(made["man/fail2ban-regex.1"])
    choices = completion.of_parser(parser())
    assert len(choices) > 20
    for choice in choices:
        assert all(name in page for name in choice.names) and choice.help in page


def test_what_is_added_to_the_tables_appears_everywhere():
    commands = (*COMMANDS, Command("set <jail> colour <path>", "Paint it.", "JAILS"))
    switches = (*SWITCHES, Switch(("--quick",), "is_quick", "Make haste."))

    made = manual.files(commands, switches)

    changed = {
        name for name in manual.FILES if made[name] != (ROOT / name).read_text("utf-8")
    }  # fmt: skip
    assert {"man/fail2ban-client.1", "man/fail2ban-server.1", "doc/commands.md"} < changed
    assert {
        name for name in manual.FILES if "client" in name or name.endswith("/_fail2ban")
    } <= changed
    assert "set jail colour path\nPaint it.\n" in unformatted(made["man/fail2ban-client.1"])
    assert "### `set <jail> colour <path>`\n\nPaint it." in made["doc/commands.md"]
    for name in ("fail2ban-client.bash", "fail2ban-client.fish", "_fail2ban"):
        assert "colour" in made[f"completions/{name}"]
        assert "quick" in made[f"completions/{name}"]


def test_answers_are_told_of_commands_that_there_are():
    assert answers.usages() <= {command.usage for command in COMMANDS}


def test_examples_are_examples_of_their_commands():
    found = 0
    for command in COMMANDS:
        words = shlex.split(answers.answer(command, "").example)
        if words[:1] == ["--json"]:
            words = words[1:]
        if words:
            found += 1
            meant, _ = parse_for_client(words) or parse(words)
            assert command.usage == meant.usage
    assert found > 20


# -- options


@pytest.mark.parametrize("name", ["man/jail.conf.5", "doc/options.md"])
def test_every_option_of_jails_filters_and_actions_is_described(made, name):
    page = unformatted(made[name])
    for key, (_, option) in JAIL_OPTIONS.items():
        assert key in page
        assert unformatted(roff(option.help)) in page or cell(option.help) in page
    for option in BAN_TIME_OPTIONS:
        assert f"bantime.{option.key}" in page
    for key in (*FILTER_OPTIONS, *ACTION_OPTIONS):
        assert re.search(rf"^(?:\| `)?{key}(?:` \|| = )", page, re.M), key


@pytest.mark.parametrize("name", ["man/fail2ban.conf.5", "doc/options.md"])
def test_every_option_of_the_daemon_is_described(made, name):
    page = unformatted(made[name])
    for key in (*DAEMON_OPTIONS, "socket", "pidfile", "stacksize"):
        assert re.search(rf"^(?:\| `)?{key}(?:` \|| = )", page, re.M), key


def stock_options(folder, section):
    """The options that the stock configuration uses."""
    for path in sorted((ROOT / "config" / folder).glob("*.conf")):
        inside = ""
        for line in path.read_text("utf-8").splitlines():
            if head := re.match(r"\[([^\]]*)\]", line):
                inside = head[1]
            elif inside == section and (option := re.match(r"(action\w+|\w+regex)\s*=", line)):
                yield option[1]


def test_options_that_the_stock_filters_and_actions_use_are_described(made):
    page = unformatted(made["man/jail.conf.5"])
    used = {
        *stock_options("action.d", "Definition"),
        *stock_options("action.d", "Init"),
        *stock_options("filter.d", "Definition"),
    }
    assert {"actionban", "actionban_many", "failregex"} <= used
    for key in used:
        assert f"\n{key} = " in page, key


# -- the pages can be read


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "program",
    [
        ("groff", "-ww", "-man", "-Tascii"),
        ("mandoc", "-T", "lint", "-W", "warning"),
        ("man", "--warnings", "-l"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_wrong_with_a_man_page(program, name):
    if not shutil.which(program[0]):
        unavailable(f"there is no {program[0]}")
    done = subprocess.run([*program, ROOT / name], capture_output=True, text=True)

    assert "" == done.stderr
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_man_page_tells_what_its_subject_is_for(made, name):
    subject = name.removeprefix("man/")[:-2].replace("-", "\\-")

    assert re.search(rf"^\.SH NAME\n{re.escape(subject)} \\- [a-z].*[^.]$", made[name], re.M)
    assert made[name].isascii()


def test_the_same_number_of_cells_stands_in_each_row(made):
    for name in ("doc/commands.md", "doc/options.md"):
        lines = [
            line for line in made[name].splitlines() if line.startswith("|") and line.endswith("|")
        ]
        assert lines
        for line, following in zip(lines, lines[1:], strict=False):
            if following.startswith("|---"):
                width = line.count(" | ")
            elif not line.startswith("|---"):
                assert width == len(re.findall(r"(?<!\\)\|", line)) - 2, line


# -- where they go


def test_each_is_installed_where_its_readers_look_for_it(monkeypatch):
    told = {}
    monkeypatch.setattr("setuptools.setup", told.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))

    installed = {
        name: folder for folder, names in told["data_files"] for name in map(str, names)
    }  # fmt: skip
    places = {
        ".1": "share/man/man1",
        ".5": "share/man/man5",
        ".bash": "share/bash-completion/completions",
        ".fish": "share/fish/vendor_completions.d",
        "": "share/zsh/site-functions",
    }
    for name in manual.FILES:
        if not name.startswith("doc/"):
            assert places[Path(name).suffix] == installed[name]
