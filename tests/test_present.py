# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed for an answer: texts that scripts and exporters read."""

from __future__ import annotations

import pytest

from client.present import present, present_error, without_control
from common.wire import RemoteError

STATUS = [
    (
        "Filter",
        [
            ("Currently failed", 0),
            ("Total failed", 0),
            ("File list", ["/var/log/a.log", "/var/log/b.log"]),
        ],
    ),
    (
        "Actions",
        [
            ("Currently banned", 2),
            ("Total banned", 2),
            ("Banned IP list", ["192.0.2.1", "2001:db8::2"]),
        ],
    ),
]
LISTS = {
    "ignoreip": "These IP addresses/networks are ignored:",
    "logpath": "Current monitored log file(s):",
}
TEXTS = [
    ("ping", "pong", "Server replied: pong"),
    ("version", "1.1.2", "1.1.2"),
    ("echo a b", ["a", "b"], "a b"),
    ("server-status", "Server ready", "Server ready"),
    ("reload --all x y", "OK", "OK"),
    ("stop", None, "Shutdown successful"),
    ("stop J", None, "Jail stopped"),
    ("start J", None, "Jail started"),
    ("add J", "J", "Added jail J"),
    ("add J polling", "J", "Added jail J"),
    ("flushlogs", "rolled over", "logs: rolled over"),
    ("banned", [{"J": ["192.0.2.1"]}], "[{'J': ['192.0.2.1']}]"),
    ("banned 192.0.2.1", [["J"]], "[['J']]"),
    ("get J banned", ["192.0.2.1"], "['192.0.2.1']"),
    ("unban --all", 1, "1"),
    ("set J banip 192.0.2.1", 1, "1"),
    ("get J banip", ["a", "b"], "a b"),
    ("get J banip ,", ["a", "b"], "a,b"),
    ("get J banip --with-time", ["a \tx", "b \ty"], "a \tx\nb \ty"),
    ("get loglevel", "INFO", "Current logging level is 'INFO'"),
    ("set loglevel INFO", "INFO", "INFO"),
    ("get logtarget", "STDERR", "Current logging target is:\n`- STDERR"),
    ("get syslogsocket", "auto", "Current syslog socket is:\n`- auto"),
    ("get dbfile", "/x.db", "Current database file is:\n`- /x.db"),
    ("get dbfile", None, "Database currently disabled"),
    ("get dbpurgeage", 86400, "Current database purge age is:\n`- 86400seconds"),
    ("get dbpurgeage", None, "Database currently disabled"),
    ("get J logpath", ["/a", "/b"], "Current monitored log file(s):\n|- /a\n`- /b"),
    ("set J addlogpath /a", ["/a"], "Current monitored log file(s):\n`- /a"),
    ("set J dellogpath /a", [], "No file is currently monitored"),
    ("get J ignoreip", ["a", "b"], "These IP addresses/networks are ignored:\n|- a\n`- b"),
    ("set J delignoreip a", [], "No IP address/network is ignored"),
    (
        "get J failregex",
        ["x", "y"],
        "The following regular expression are defined:\n|- [0]: x\n`- [1]: y",
    ),
    ("set J addignoreregex x", ["x"], "The following regular expression are defined:\n`- [0]: x"),
    ("set J delfailregex 0", [], "No regular expression is defined"),
    ("get J logencoding", "UTF-8", "Current log encoding is set to:\nUTF-8"),
    ("get J journalmatch", [["A=1", "B=2"], ["C=3"]], "Current match filter:\nA=1 B=2 + C=3"),
    ("get J journalmatch", [], "No journal match filter set"),
    ("get J datepattern", ("%Y", "Year"), "Current date pattern set to: %Y (Year)"),
    ("get J datepattern", (None, "Epoch"), "Current date pattern set to: Epoch"),
    ("get J datepattern", None, "Current date pattern set to: Not set/required"),
    ("get J actions", ["a", "b"], "The jail J has the following actions:\na, b"),
    ("get J actions", [], "No actions for jail J"),
    (
        "get J actionproperties A",
        ["p", "q"],
        "The jail J action A has the following properties:\np, q",
    ),
    ("get J actionmethods A", ["m"], "The jail J action A has the following methods:\nm"),
    ("get J bantime", 600, "600"),
    ("set J idle on", True, "True"),
    ("get J ignorecache", None, "None"),
    ("get J prefregex", "", ""),
    ("a command of another release", [1], "[1]"),
    ("stats", {}, "No jails found."),
    ("statistic", {"c": ["polling", (0, 0), (3, 3)]}, "{'c': ['polling', (0, 0), (3, 3)]}"),
    (
        "status",
        [("Number of jail", 2), ("Jail list", "a, b")],
        "Status\n|- Number of jail:\t2\n`- Jail list:\ta, b",
    ),
]


@pytest.mark.parametrize(("words", "answer", "text"), TEXTS, ids=[row[0] for row in TEXTS])
def test_each_answer_has_its_text(words, answer, text):
    assert present(words.split(), answer) == text


TREE = """\
|- Filter
|  |- Currently failed:\t0
|  |- Total failed:\t0
|  `- File list:\t/var/log/a.log /var/log/b.log
`- Actions
   |- Currently banned:\t2
   |- Total banned:\t2
   `- Banned IP list:\t192.0.2.1 2001:db8::2"""


def test_the_status_of_a_jail_is_a_tree():
    assert present(["status", "J"], STATUS) == f"Status for the jail: J\n{TREE}"


def test_the_status_of_all_jails_is_a_tree_of_trees():
    answer = [("Number of jail", 2), ("Jail list", "J, K"), {"J": STATUS, "K": STATUS}]

    first = "\n".join("   |  " + line for line in TREE.splitlines())
    last = "\n".join("      " + line for line in TREE.splitlines())
    assert present(["status", "--all"], answer) == (
        "Status\n|- Number of jail:\t2\n|- Jail list:\tJ, K\n`- Status for the jails:\n"
        f"   |- Jail: J\n{first}\n   `- Jail: K\n{last}"
    )


def test_an_empty_list_is_a_leaf():
    text = present(["status", "J"], [("Actions", [("Banned IP list", [])])])

    assert text == "Status for the jail: J\n`- Actions\n   `- Banned IP list:\t"


@pytest.mark.parametrize("label", ["Problems", "Lines cut", "Catching up"])
def test_texts_stand_one_a_line(label):
    text = present(["status"], [("Number of jail", 0), (label, ["this is\nwrong", "and that"])])

    assert text == (
        f"Status\n|- Number of jail:\t0\n`- {label}:\n   |- this is wrong\n   `- and that"
    )


TABLE = """\
          ║          ║ Filter    ║ Actions  \n\
 Jail     ║ Backend  ╟───────────╫───────────
          ║          ║ cur │ tot ║ cur │ tot
══════════╬══════════╬═══════════╬═══════════
 c        ║ polling  ║   0 │   0 ║   3 │   3
══════════╩══════════╩═══════════╩═══════════"""


def test_stats_is_a_table():
    assert present(["stats"], {"c": ["polling", (0, 0), (3, 3)]}) == TABLE
    assert present(["status", "c", "stats"], ["polling", (0, 0), (3, 3)]) == TABLE
    assert present(["status", "--all", "stats"], {"c": ["polling", (0, 0), (3, 3)]}) == TABLE


def test_the_columns_of_the_table_grow_with_what_they_hold():
    text = present(["stats"], {"a-long-jail": ["pyinotify", (1, 12345), (3, 3)]})

    assert " a-long-jail ║ pyinotify ║   1 │ 12345 ║   3 │   3" in text.splitlines()
    assert " Jail        ║ Backend   ╟─────────────╫───────────" in text.splitlines()


def test_where_there_are_no_box_characters_the_table_is_plain():
    text = present(["stats"], {"c": ["polling", (0, 0), (3, 3)]}, has_boxes=False)

    assert text.isascii() and " c        | polling  |   0 |   0 |   3 |   3" in text


@pytest.mark.parametrize(
    ("error", "text"),
    [(RemoteError("UnknownJailException", ("J",)), "Sorry but the jail 'J' does not exist"),
     (RemoteError("DuplicateJailException", ("J",)), "The jail 'J' already exists"),
     (RemoteError("IndexError", ("x",)), "Sorry but the command is invalid"),
     (RemoteError("ValueError", ("not banned: ['x']",)), "not banned: ['x']"),
     (RemoteError("KeyError", ("Invalid Action name: A",)), "'Invalid Action name: A'")],
    ids=lambda value: getattr(value, "kind", ""),
)  # fmt: skip
def test_a_refusal_has_its_text(error, text):
    assert present_error(error) == text


def test_an_answer_in_an_unforeseen_shape_is_printed_as_it_is():
    assert present(["status"], 5) == "5"
    assert present(["stats"], [1]) == "[1]"


def test_nothing_that_moves_a_terminal_is_left():
    assert without_control("a\x1b[2Jb\x07\x9b\n\tü") == "a\\x1b[2Jb\\x07\\x9b\n\tü"
