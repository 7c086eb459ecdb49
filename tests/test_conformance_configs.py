# SPDX-License-Identifier: GPL-2.0-or-later
"""Every configuration directory gives the commands and the exit status that it is known to give."""

import json
import re
from pathlib import Path

import pytest

from client.stream import exit_status, read

CONFIGS = Path(__file__).resolve().parent / "conformance" / "configs"
NAMES = sorted(path.name.removesuffix(".expected.json") for path in CONFIGS.glob("*.json"))
RUNS = ("dump", "pretty", "test", "server")


def expected(name):
    text = (CONFIGS / f"{name}.expected.json").read_text(encoding="utf-8")
    return json.loads(text.replace("<CONF>", str(CONFIGS / name)))["runs"]


def test_the_directories_are_all_there():
    assert len(NAMES) == len([path for path in CONFIGS.iterdir() if path.is_dir()]) >= 47


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("run", RUNS)
def test_a_directory_ends_as_it_should(name, run):
    reading = read(CONFIGS / name)

    assert expected(name)[run]["exit"] == exit_status(reading, "test" if run == "test" else "dump")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("run", ["dump", "pretty", "server"])
def test_a_directory_gives_its_commands(name, run):
    wanted = expected(name)[run].get("commands") or []

    commands = read(CONFIGS / name).commands

    assert wanted == list(commands)
    assert json.dumps(wanted) == json.dumps(commands)  # True is not 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_is_told_with_its_jail_file_or_option(name):
    reading = read(CONFIGS / name)
    told = "\n".join(str(problem) for problem in reading.problems)

    for line in expected(name)["dump"].get("stderr", []):
        words = set(re.findall(r"'([^']+)'|for (?:jail )?(\w+)$", line))
        names = {word for pair in words for word in pair if word}
        if line.startswith("'"):
            continue  # the rest of a message of several lines
        assert not names or any(word in told for word in names), line
