# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes what is read from the tables: man pages, reference in doc/, completion for shells.

`python tools/manual.py` writes; with `--check` it says what is not as the tables have it.  Each file
is a text of tools/texts, in which a name between two `@` stands for what comes from a table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from common.cli import SWITCHES, Switch  # noqa: E402
from common.commands import COMMANDS, INTERNAL, Command  # noqa: E402
from common.version import VERSION  # noqa: E402
from tools import completion, wording  # noqa: E402
from tools.answers import answer  # noqa: E402
from tools.markup import (  # noqa: E402
    cell,
    markdown,
    roff_entry,
    roff_options,
    roff_terms,
    roff_usage,
    table,
    table_of_options,
)
from tryout.arguments import parser  # noqa: E402

TEXTS = ROOT / "tools" / "texts"
# Which text becomes which file.
FILES = {
    **{
        f"man/{name}": name
        for name in (
            "fail2ban-client.1",
            "fail2ban-server.1",
            "fail2ban-regex.1",
            "fail2ban.conf.5",
            "jail.conf.5",
        )
    },
    "doc/commands.md": "commands.md",
    "doc/options.md": "options.md",
    "completions/_fail2ban": "_fail2ban",
    "completions/fail2ban-client.bash": "fail2ban-client.bash",
    "completions/fail2ban-server.bash": "other.bash",
    "completions/fail2ban-regex.bash": "other.bash",
    "completions/fail2ban-client.fish": "fail2ban-client.fish",
    "completions/fail2ban-server.fish": "other.fish",
    "completions/fail2ban-regex.fish": "other.fish",
}
_MARK = re.compile(r"@(\w+)@")

Tables = Mapping[str, Callable[[], str]]


def files(
    commands: Sequence[Command] = COMMANDS, switches: Sequence[Switch] = SWITCHES
) -> dict[str, str]:
    """Every file, by its path in the project, as these tables have it."""
    tables = {
        "made": lambda: "Made by tools/manual.py, from the program's tables and from tools/texts.",
        "version": lambda: VERSION,
        "date": lambda: wording.DATE,
        **_tables_of_options(),
        **_tables_of_commands(commands),
        **_tables_of_command_lines(switches),
        **_tables_for_shells(commands, switches),
    }
    return {path: _filled(TEXTS / text, tables) for path, text in FILES.items()}


def _filled(path: Path, tables: Tables) -> str:
    return _MARK.sub(lambda mark: tables[mark[1]](), path.read_text("utf-8"))


def _tables_of_options() -> Tables:
    """What may stand in the files of the configuration."""
    return {
        "jail_options": lambda: roff_options(wording.jail_options()),
        "jail_rows": lambda: table_of_options(wording.jail_options()),
        "growing_options": lambda: roff_options(wording.growing_options()),
        "growing_rows": lambda: table_of_options(wording.growing_options()),
        "filter_options": lambda: roff_options(wording.filter_options()),
        "filter_rows": lambda: table_of_options(wording.filter_options()),
        "action_options": lambda: roff_options(wording.action_options()),
        "action_rows": lambda: table_of_options(wording.action_options()),
        "daemon_options": lambda: roff_options(wording.daemon_options()),
        "daemon_rows": lambda: table_of_options(wording.daemon_options()),
        "thread_options": lambda: roff_options(wording.THREAD_OPTIONS),
        "thread_rows": lambda: table_of_options(wording.THREAD_OPTIONS),
        "tags": lambda: roff_terms(wording.TAGS),
        "tag_rows": lambda: table(("tag", "what it is"), wording.TAGS),
        "filter_tags": lambda: roff_terms(wording.FILTER_TAGS),
        "filter_tag_rows": lambda: table(("tag", "what it is"), wording.FILTER_TAGS),
    }


def _tables_of_command_lines(switches: Sequence[Switch]) -> Tables:
    return {
        "switches": lambda: _roff_choices(completion.of_switches(switches)),
        "regex_switches": lambda: _roff_choices(completion.of_parser(parser())),
        "switch_rows": lambda: _choice_rows(completion.of_switches(switches)),
    }


def _roff_choices(choices: Iterable[completion.Choice]) -> str:
    entries = []
    for choice in choices:
        usages = (name + (f" <{choice.word}>" if choice.word else "") for name in choice.names)
        entries.append(roff_entry(", ".join(map(roff_usage, usages)), choice.help))
    return "\n".join(entries)


def _choice_rows(choices: Iterable[completion.Choice]) -> str:
    return markdown(
        ("option", "what it does"),
        (
            (
                ", ".join(f"`{name}{f' <{choice.word}>' if choice.word else ''}`" for name in choice.names),
                cell(choice.help),
            )
            for choice in choices
        ),
    )  # fmt: skip


# -- commands


def _tables_of_commands(commands: Sequence[Command]) -> Tables:
    return {
        "commands": lambda: _roff_commands(commands),
        "command_sections": lambda: _command_sections(commands),
    }


def _by_group(commands: Iterable[Command]) -> dict[str, list[Command]]:
    """The commands of each group, those last that people have no use for."""
    groups: dict[str, list[Command]] = {}
    for command in commands:
        groups.setdefault(command.group, []).append(command)
    if INTERNAL in groups:
        groups[INTERNAL] = groups.pop(INTERNAL)
    return groups


def _title(group: str) -> str:
    return group.capitalize()


def _roff_commands(commands: Sequence[Command]) -> str:
    parts = []
    for group, members in _by_group(commands).items():
        parts.append(f".SS {_title(group)}")
        parts += [roff_entry(roff_usage(command.usage), command.help) for command in members]
    return "\n".join(parts)


def _command_sections(commands: Sequence[Command]) -> str:
    parts = []
    for group, members in _by_group(commands).items():
        parts.append(f"## {_title(group)}")
        parts += [_described(command) for command in members]
    return "\n\n".join(parts)


def _described(command: Command) -> str:
    option = completion.option_of(command)
    said = answer(command, option.kind.name if option else "")
    lines = [f"### `{command.usage}`", "", cell(command.help)]
    if said.value:
        lines += ["", f"Answer: {cell(said.value)}."]
    if said.example:
        lines += ["", "```console", f"$ fail2ban-client {said.example}"]
        lines += [*said.printed.splitlines(), "```"]
    return "\n".join(lines)


# -- completion


def _tables_for_shells(commands: Sequence[Command], switches: Sequence[Switch]) -> Tables:
    offers = completion.of_commands(commands)
    choices = completion.of_switches(switches)
    arguments = completion.of_arguments(parser())
    regex_choices = completion.of_parser(parser())
    fish, sh = completion.for_fish, completion.for_sh
    is_before = "__fail2ban_takes_options"
    return {
        "sh_commands": lambda: sh(completion.rows(offers)),
        "sh_commands_with_help": lambda: sh(completion.rows(offers, with_help=True)),
        "sh_options": lambda: sh(completion.option_rows(choices)),
        "sh_regex_arguments": lambda: sh(completion.rows(arguments)),
        "sh_regex_options": lambda: sh(completion.option_rows(regex_choices)),
        "zsh_options": lambda: completion.zsh_specs(choices),
        "zsh_regex_options": lambda: completion.zsh_specs(regex_choices),
        "zsh_regex_arguments": lambda: completion.zsh_arguments(arguments),
        "fish_commands": lambda: completion.fish_rows(offers),
        "fish_regex_arguments": lambda: completion.fish_rows(arguments),
        "fish_with_word": lambda: " ".join(map(fish, completion.with_word(choices))),
        "fish_regex_with_word": lambda: " ".join(map(fish, completion.with_word(regex_choices))),
        "fish_client_options": lambda: completion.fish_options("fail2ban-client", choices, is_before),
        "fish_server_options": lambda: completion.fish_options("fail2ban-server", choices, is_before),
        "fish_regex_options": lambda: completion.fish_options("fail2ban-regex", regex_choices, "true"),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or compare them; 1 if they differ."""
    arguments = argparse.ArgumentParser(description="Write what is read from the tables.")
    arguments.add_argument("--check", action="store_true", help="write nothing, but compare")
    is_check = arguments.parse_args(argv).check
    stale = []
    for name, text in files().items():
        path = ROOT / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if is_check:
            stale.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"written: {name}")
    for name in stale:
        print(f"{name} is not what the tables say; python tools/manual.py makes it anew")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
