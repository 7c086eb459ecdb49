# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-regex, as people type it."""

import ast
import bz2
import gzip
import io
import json
import lzma
import sys
from collections import deque

import pytest

from tests.filters import same_host, zone
from tests.support import IS_CI, ROOT, SHARED, need
from tryout.main import main

CONFIG = str(ROOT / "config")
CAPTURED = ROOT / "tests" / "captured-logs"
LINE = "2026-11-22 10:00:00 door: knock of eve refused for 192.0.2.66"
REGEX = r"^\s*door: knock of <F-USER>\S+</F-USER> refused for <HOST>$"


@pytest.fixture
def tried(capsys):
    """What a command line prints and exits with: `tried(words…)` gives (exit, stdout, stderr)."""

    def run(*words):
        code = main(["-c", CONFIG, *map(str, words)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        return code, printed.out, printed.err

    return run


def test_a_line_and_a_regex_give_the_summary_that_people_know(tried):
    code, out, _ = tried(LINE, REGEX)

    assert code == 0
    for part in (
        "Running tests\n=============\n",
        "Results\n=======\n",
        "Failregex: 1 total\n|-  #) [# of hits] regular expression\n|   1) [1] ^",
        "Ignoreregex: 0 total\n",
        "Date template hits:\n|- [# of hits] date format\n|  [1] ",
        "Lines: 1 lines, 0 ignored, 1 matched, 0 missed\n[processed in ",
    ):
        assert part in out


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("id", "192.0.2.66"),
        ("ip", "192.0.2.66"),
        ("fid", "192.0.2.66"),
        ("host", "192.0.2.66"),
        ("ip4", "192.0.2.66"),
        ("ip6", ""),
        ("user", "eve"),
        ("msg", LINE),
        ("matches", LINE),
        ("<ip> was <F-USER>", "192.0.2.66 was eve"),
    ],
)
def test_out_prints_just_that_of_each_match(tried, form, answer):
    assert tried("-o", form, LINE, REGEX)[1] == answer + "\n"


def test_a_row_can_be_read_by_a_program(tried):
    with zone("UTC"):
        (row,) = ast.literal_eval(f"[{tried('-o', 'row', LINE, REGEX)[1]}]")

    assert row[:2] == ["192.0.2.66", 1795341600.0]
    assert row[2]["user"] == "eve" and row[2]["matches"] == [LINE]


def test_inverted_prints_what_does_not_match(tried, tmp_path):
    log = tmp_path / "log"
    log.write_text(f"{LINE}\n# a comment\n\n2026-11-22 10:00:01 something else\n")

    assert tried("-i", "-o", "msg", log, REGEX)[1] == "2026-11-22 10:00:01 something else\n"
    assert "Lines: 2 lines, 0 ignored, 1 matched, 1 missed" in tried(log, REGEX)[1]


def test_standard_input_is_a_log(tried, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{LINE}\n".encode())))

    assert tried("-o", "ip", "-", REGEX)[1] == "192.0.2.66\n"


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_log_is_read_as_it_is(tried, tmp_path, suffix, pack):
    log = tmp_path / f"log.{suffix}"
    log.write_bytes(pack(f"{LINE}\n".encode() * 3))

    assert tried("-o", "ip", log, REGEX)[1] == "192.0.2.66\n" * 3


def test_a_log_compressed_with_zstandard_is_read_as_it_is(tried, tmp_path):
    zstandard = pytest.importorskip("zstandard") if not IS_CI else __import__("zstandard")
    log = tmp_path / "log.zst"
    log.write_bytes(zstandard.compress(f"{LINE}\n".encode() * 3))

    assert tried("-o", "ip", log, REGEX)[1] == "192.0.2.66\n" * 3


def test_what_is_not_compressed_as_its_name_says_is_told(tried, tmp_path):
    log = tmp_path / "log.gz"
    log.write_text(LINE)

    assert tried(log, REGEX)[0] == 255


def test_an_ignoreregex_takes_matches_back(tried):
    out = tried(LINE, REGEX, "of eve ")[1]

    assert "Ignoreregex: 1 total" in out and "1 ignored, 0 matched, 0 missed" in out


@pytest.mark.parametrize("name", ["sshd", "sshd[mode=aggressive]", "filter.d/sshd.conf", f"{CONFIG}/filter.d/sshd.conf"])  # fmt: skip
def test_a_filter_goes_by_many_names(tried, name):
    out = tried("-o", "ip", CAPTURED / "sshd.log", name)[1].split()

    assert "192.0.2.23" in out and "192.0.2.199" not in out


def test_a_filter_may_stand_anywhere_with_what_belongs_to_it(tried, tmp_path, monkeypatch):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "parts.conf").write_text("[DEFAULT]\n_what = knock of \\S+ refused\n")
    (place / "door.conf").write_text(
        "[INCLUDES]\nbefore = parts.conf\n[Definition]\nfailregex = door: %(_what)s for <HOST>$\n"
    )
    (place / "eve.conf").write_text("[Definition]\nignoreregex = of <who>\n[Init]\nwho = eve\n")
    monkeypatch.chdir(place)

    for name in (
        "./door.conf",
        "../mine/door.conf",
        f"{place}/door.conf",
        f"{place}/door.conf[x=y]",
    ):
        assert tried("-o", "ip", LINE, name)[:2] == (0, "192.0.2.66\n")
    assert "1 ignored, 0 matched" in tried(LINE, "./door.conf", "./eve.conf")[1]
    (place / "door.conf").write_text("[Definition]\nfailregex = door %(_x)s\n")
    code, _, err = tried(LINE, "./door.conf")
    assert code == 255 and f"{place}/door.conf:2" in err


def test_the_verdict_says_who_would_have_been_banned_and_when(tried):
    code, out, _ = tried("--verdict", "--jail", "sshd", CAPTURED / "sshd.log")

    assert code == 0
    *bans, last = out.splitlines()
    assert bans and all("banned for 600 s, after" in ban for ban in bans)
    assert last.startswith(f"{len(bans)} bans by the limits of sshd: maxretry 5, findtime 600 s")


def test_lines_are_printed_when_asked_for(tried, tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"2026-11-22 10:00:00 nothing {number}\n" for number in range(30)))

    few, all_, none = (tried(*more, log, REGEX)[1] for more in ((), ("--print-all-missed",), ("--print-no-missed",)))  # fmt: skip

    assert "too many to print.  Use --print-all-missed to print all 30 lines" in few
    assert all_.count("|  2026-11-22") == 30
    assert "nothing" not in none


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["/no/such.log", "sshd"], "there is no log file"),
        ([LINE, "no-such-filter"], "filter.d/no-such-filter.conf"),
        ([LINE, "^(<HOST>$"], "'^(<HOST>$': missing )"),
        ([LINE, "^no id here, sir$"], "No failure-id group"),
        ([LINE], "what is to be tried"),
        ([LINE, REGEX, "--no-such-option"], "--no-such-option"),
        (["-o", "nonsense", LINE, REGEX], "is no form"),
        (["-d", "%Q (", LINE, REGEX], ""),
        (["--timezone", "Mars/Olympus", LINE, REGEX], "Mars/Olympus"),
        (["-e", "no-code", LINE, REGEX], "no-code"),
        (["-L", "0", LINE, REGEX], "1 or more"),
    ],
)
def test_a_mistake_is_told_and_the_exit_status_shows_it(tried, words, problem):
    code, _, err = tried(*words)

    assert code == 255
    assert problem in err and err.startswith("fail2ban-regex: ")


def dates():
    path = ROOT / "tests" / "conformance" / "dates.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()][1:]


@pytest.mark.parametrize("record", dates(), ids=lambda record: record["id"])
def test_a_date_pattern_is_taken_or_refused_as_elsewhere(tried, record, tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(record["lines"]) + "\n", encoding="utf-8")
    words = ["-r", "-e", "utf-8", "-o", "row"]
    if record["pattern"] is not None:
        words += ["-d", record["pattern"]]
    if record["timezone"] is not None:
        words += ["--timezone", record["timezone"]]

    code, out, _ = tried(*words, log, r"^<F-PRE>.*?</F-PRE><F-ID>ID\d+</F-ID><F-POST>.*</F-POST>$")

    assert (code == 0) == (record["exit"] == 0)
    rows = ast.literal_eval(f"[{out}]")
    expected = [(one["before"], one["after"]) for one in record.get("results") or () if one]
    if code == 0 and None not in record["results"]:
        assert [(row[2].get("pre"), row[2].get("post")) for row in rows] == expected


def test_samples_of_vsftpd_come_out_as_rows(tried, tmp_path):
    path = need(SHARED / "conformance" / "samples.jsonl")
    records = [one for one in map(json.loads, path.read_text("utf-8").splitlines()) if one.get("filter") == "vsftpd"]  # fmt: skip
    log = tmp_path / "log"
    log.write_text("\n".join(one["line"] for one in records) + "\n")

    rows = ast.literal_eval(
        f"[{tried('-r', '-e', 'utf-8', '-o', 'row', log, 'filter.d/vsftpd.conf')[1]}]"
    )

    wanted = [one["host"] for one in records if one["match"]]
    assert len(rows) == len(wanted)
    assert all(same_host(row[0], host) for row, host in zip(rows, wanted, strict=True))


def test_who_wants_to_know_is_told_that_big_logs_are_read_slower_than_could_be(
    tried, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyperscan", None)
    monkeypatch.setattr("server.screen._troubles", deque(maxlen=1))
    log = tmp_path / "door.log"
    log.write_text(f"{LINE}\n" * 8000)

    code, out, err = tried("-l", "info", log, REGEX)

    assert (code, "8000 matched" in out) == (0, True)
    assert "slower than could be: no pyperscan (import of pyperscan halted" in err
