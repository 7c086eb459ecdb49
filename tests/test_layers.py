# SPDX-License-Identifier: GPL-2.0-or-later
"""Every module has its place, and knows only what stands before it."""

from __future__ import annotations

import ast

import pytest

from tests.support import ROOT

# In reading order.  After the bar stand those that touch the world: files, sockets, threads, the
# clock.  A new module begins by finding its place here.
LAYERS = {
    "common": """
        version errors units address tags options commands cli paths wire
        | clock logs
        """,
    "server": """
        records
        trees charsets automaton ambiguity budget
        zones datestyles dates seek pattern conversation rules joined packing quick
        literals scan screen lines border sharing aside filter slow lint ignore
        portion changes rows counter bantime networks bans pardons jail
        quoting actionbase actions action ledger steps singles exchange caller keeper executor runner enforcer announce
        draft inspection plan handlers standing transmitter
        | source generations delivery tail watch journal reader resolver sessions shell tables store helper guard
        patrol plugins actor exempt worker server control check daemon main
        """,
    "client": """
        ini include expand filterconf actionconf jailconf stream present asjson
        | connection launch main
        """,
    "tryout": """
        arguments subject faults unpack tally trial report job
        | progress logs crew main
        """,
}
# Whose modules a package may use besides its own.
WITHIN_REACH = {
    "common": (),
    "server": ("common",),
    "client": ("common",),
    "tryout": ("common", "server", "client"),
}
RIM = "|"

# What a pure module does without: the world, and the libraries that reach it.
WORLDLY = frozenset(
    """
    os io sys socket socketserver selectors select signal subprocess threading _thread queue time
    logging asyncio multiprocessing concurrent sqlite3 shutil tempfile glob fcntl pwd grp random
    pathlib pyinotify daemon lockfile systemd urllib http ssl ctypes importlib
    """.split()
)

# What a pure module never asks for, whatever it imports.
CLOCKS = frozenset(
    """
    time.time time.time_ns time.monotonic time.perf_counter time.sleep
    datetime.now datetime.today datetime.utcnow date.today
    """.split()
)

# The few exceptions, each with its reason.
ALLOWED = {
    ("client.include", "glob"): "files are found and read here, through what it is handed",
    ("client.include", "os.path"): "as above",
    ("client.include", "pathlib"): "as above",
    ("client.ini", "io"): "StringIO, which is memory",
    ("client.stream", "pathlib"): "the type of an argument",
    ("server.action", "signal"): "names of signals",
    ("server.actionbase", "logging"): "the logger that actions of others find in themselves",
    ("server.caller", "logging"): "names of levels; logs nothing",
    ("server.announce", "time"): "a moment in local time; asks no clock",
    ("common.address", "socket"): "reads and writes addresses; opens none",
    ("server.dates", "time"): "the year of a moment; asks no clock",
    ("server.lint", "importlib"): "the compiler of regexes",
    ("tryout.faults", "pathlib"): "the type of an argument",
    ("server.keeper", "logging"): "names of levels; logs nothing",
    ("server.executor", "logging"): "names of levels; logs nothing",
    ("server.runner", "logging"): "names of levels; logs nothing",
    ("server.trees", "threading"): "a lock: several threads may need the same at once",
    ("server.trees", "importlib"): "the parser of regexes, which has another name in later Pythons",
    ("server.transmitter", "logging"): "`config-error` is a command to log something",
    ("server.handlers", "server.server"): "the type of an argument; not imported when it runs",
    ("server.standing", "server.server"): "the type of an argument; not imported when it runs",
    ("server.standing", "time"): "a moment in local time; asks no clock",
    ("server.transmitter", "server.server"): "the type of an argument; not imported when it runs",
    ("tryout.report", "time"): "a moment in local time; asks no clock",
    ("tryout.subject", "os.path"): "from one path to another; touches no file",
    ("tryout.subject", "pathlib"): "the type of an argument",
    ("server.zones", "time"): "this machine's time zone; asks no clock",
}

PLACES = {
    f"{package}.{name}": (package, rank, rank > order.index(RIM))
    for package, layers in LAYERS.items()
    for order in [layers.split()]
    for rank, name in enumerate(order)
    if name != RIM
}
MODULES = sorted(
    path
    for package in LAYERS
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_of(source):
    """The full name of everything that `source` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            # `from server import jail` names a module, `from server.jail import Jail` does not
            if origin in LAYERS:
                yield from (f"{origin}.{alias.name}" for alias in node.names)
            else:
                yield origin


def problems_of(module, source):
    """What is wrong with the place of `module`, as sentences."""
    problems = []
    if not source.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n"):
        problems.append("does not begin with the SPDX line")
    if not ast.get_docstring(ast.parse(source)):
        problems.append("has no docstring")
    if module not in PLACES:
        return [*problems, "has no place in LAYERS"]
    package, rank, is_worldly = PLACES[module]
    for name in sorted(set(imports_of(source))):
        top = name.partition(".")[0]
        if (module, name) in ALLOWED:
            continue
        if top in ("", "tests", "fail2ban"):
            problems.append(f"imports {name}, which no module may")
        elif top in LAYERS:
            problems += _wrong_way(package, rank, is_worldly, name)
        elif top in WORLDLY and not is_worldly:
            problems.append(f"is pure and imports {name}")
    if not is_worldly:
        problems += [f"is pure and asks for {what}" for what in _asked_of_the_world(source)]
    return problems


def _asked_of_the_world(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "input", "print"):
            yield ast.unparse(node.func)


def _wrong_way(package, rank, is_worldly, name):
    if name not in PLACES:
        return [f"imports {name}, which has no place in LAYERS"]
    its_package, its_rank, it_is_worldly = PLACES[name]
    if its_package not in (package, *WITHIN_REACH[package]):
        return [f"imports {name}, of another package"]
    if its_package == package and its_rank >= rank:
        return [f"imports {name}, which stands after it"]
    if it_is_worldly and not is_worldly:
        return [f"is pure and imports {name}, which touches the world"]
    return []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_in_its_place(path):
    assert [] == problems_of(name_of(path), path.read_text("utf-8"))


def test_no_exception_is_left_that_nobody_needs():
    used = {
        (name_of(path), name) for path in MODULES for name in imports_of(path.read_text("utf-8"))
    }

    assert set() == set(ALLOWED) - used


HEADER = '# SPDX-License-Identifier: GPL-2.0-or-later\n"""Made up."""\n'


@pytest.mark.parametrize(
    ("module", "line", "problem"),
    [
        ("server.jail", "from server.server import Server", "stands after it"),
        ("server.jail", "from server import worker", "stands after it"),
        ("server.jail", "import server.store", "stands after it"),
        ("server.store", "import server.server", "stands after it"),
        ("server.jail", "from client.ini import read", "of another package"),
        ("client.ini", "from server.records import Ban", "of another package"),
        ("common.wire", "from server.records import Ban", "of another package"),
        ("server.jail", "from tryout.tally import Tally", "of another package"),
        ("server.jail", "from common.clock import now", "touches the world"),
        ("server.jail", "import time", "is pure and imports time"),
        ("server.jail", "import os.path", "is pure and imports os.path"),
        (
            "server.jail",
            "def f():\n    from threading import Lock",
            "is pure and imports threading",
        ),
        ("server.jail", "from . import bans", "which no module may"),
        ("server.jail", "from tests.support import ROOT", "which no module may"),
        ("server.jail", "from server.unheard import of", "has no place"),
        ("server.unheard", "", "has no place"),
        ("server.zones", "import time\nnow = time.time()", "is pure and asks for time.time"),
        ("server.jail", "open('/etc/passwd')", "is pure and asks for open"),
    ],
)
def test_a_module_in_the_wrong_place_is_noticed(module, line, problem):
    (found,) = problems_of(module, f"{HEADER}{line}\n")

    assert problem in found


def test_a_module_without_licence_or_docstring_is_noticed():
    assert ["does not begin with the SPDX line"] == problems_of("server.jail", '"""Made up."""\n')
    assert ["has no docstring"] == problems_of("server.jail", HEADER.splitlines()[0] + "\n")


@pytest.mark.parametrize(
    "line",
    ["from server.bans import BanList", "from common.options import JailConf", "import heapq"],
)
def test_a_module_may_import_what_stands_before_it(line):
    assert [] == problems_of("server.jail", f"{HEADER}{line}\n")


SOURCES = [
    *(path for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")),
    *(path for package in (*LAYERS, "fail2ban") for path in (ROOT / package).rglob("__init__.py")),
    *ROOT.glob("*.py"),
    *ROOT.glob("fail2ban-*"),
    *(path for path in ROOT.glob("tools/*") if path.is_file()),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_names_its_licence(path):
    text = path.read_text("utf-8")

    assert "# SPDX-License-Identifier: GPL-2.0-or-later" in text.splitlines()[:2]
    assert not text.startswith("#!") or path.stat().st_mode & 0o111
