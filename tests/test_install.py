# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pip install .` leaves behind, and that it runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from common.version import VERSION
from tests.support import ROOT

PACKAGES = ("common", "server", "client", "tryout")
NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    "__pycache__",
    "build",
    "dist",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    "tests",
)


class Installation:
    def __init__(self, prefix):
        self.bin = prefix / "bin"
        (self.site,) = prefix.glob("lib/python3*/site-packages")
        self.share = prefix / "share"

    def run(self, program, *words, cwd="/"):
        """What `program` prints; it has to succeed."""
        done = subprocess.run(
            [self.bin / program, *words], cwd=cwd, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code, **more):
        return self.run("python", "-I", "-c", code, **more)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment of its own, with fail2ban in it; libraries are borrowed from this one."""
    folder = tmp_path_factory.mktemp("install")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    found = Installation(folder / "env")
    (found.site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # a copy, since setuptools leaves build/ behind
    shutil.copytree(ROOT, folder / "source", ignore=NOT_COPIED)
    done = subprocess.run(
        [found.bin / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        + ["--no-build-isolation", "--disable-pip-version-check", "."],
        cwd=folder / "source",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(folder / "source")
    return found


def test_only_the_package_fail2ban_stands_among_other_programs(installed):
    names = {path.name for path in installed.site.iterdir()} - {"borrowed.pth"}

    assert "fail2ban" in names
    assert {"fail2ban"} == {name for name in names if not name.endswith(".dist-info")}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_installed(installed, package):
    wanted = {path.name for path in (ROOT / package).glob("*.py")}

    assert wanted == {path.name for path in (installed.site / "fail2ban" / package).glob("*.py")}


def test_the_stock_configuration_is_installed_whole(installed):
    def files(folder):
        return {
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".local"
        }

    assert files(ROOT / "config") == files(installed.site / "fail2ban" / "etc")


@pytest.mark.parametrize("program", ["fail2ban-server", "fail2ban-client", "fail2ban-regex"])
def test_the_programs_run_from_anywhere(installed, program, tmp_path):
    assert f"Fail2Ban v{VERSION}\n" == installed.run(program, "--version", cwd=tmp_path)


def test_the_programs_also_run_from_a_checkout(tmp_path):
    link = tmp_path / "client"
    link.symlink_to(ROOT / "fail2ban-client")
    for program in (ROOT / "fail2ban-client", link):
        done = subprocess.run(
            [sys.executable, program, "--version"], cwd=tmp_path, capture_output=True, text=True
        )

        assert f"Fail2Ban v{VERSION}\n" == done.stdout, done.stderr


PLACES = """
import fail2ban
from pathlib import Path
from common.paths import places

def exists(directory):
    return {answer} if directory == "/etc/fail2ban" else Path(directory).is_dir()

print(places(fail2ban.ROOT, exists, True).confdir)
"""


def test_etc_comes_before_the_configuration_that_was_installed(installed):
    assert "/etc/fail2ban\n" == installed.python(PLACES.format(answer=True))

    own = Path(installed.python(PLACES.format(answer=False)).strip())
    assert installed.site / "fail2ban" / "etc" == own
    assert (own / "jail.conf").is_file()


def test_the_installed_configuration_can_be_read(installed):
    confdir = installed.site / "fail2ban" / "etc"

    assert "'set', 'loglevel'" in installed.run("fail2ban-client", "-c", str(confdir), "-d")


TWO_NAMES = """
import fail2ban.server.action
import server.action
import server.jail
from fail2ban.server.jail import Jail
from fail2ban.common import units
import common.units

assert Jail is server.jail.Jail
assert fail2ban.server.action is server.action
assert units is common.units
assert server.action.__spec__.name == "server.action"
print(server.action.__file__)
"""


def test_a_module_has_two_names_but_is_one(installed):
    home = installed.site / "fail2ban" / "server" / "action.py"

    assert f"{home}\n" == installed.python(TWO_NAMES)


def test_a_module_has_two_names_in_a_checkout_too():
    done = subprocess.run(
        [sys.executable, "-c", TWO_NAMES], cwd=ROOT, capture_output=True, text=True
    )

    assert f"{ROOT / 'server' / 'action.py'}\n" == done.stdout, done.stderr


def test_what_is_not_there_cannot_be_imported_under_the_other_name_either():
    code = "import fail2ban.server.unheard"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert "ModuleNotFoundError: No module named 'server.unheard'" in done.stderr


def test_an_installed_server_starts_answers_and_stops(installed, tmp_path):
    confdir = tmp_path / "config"
    confdir.mkdir()
    (confdir / "filter.d").symlink_to(installed.site / "fail2ban" / "etc" / "filter.d")
    (confdir / "fail2ban.conf").write_text(f"[Definition]\nlogtarget = {tmp_path}/log\n")
    (confdir / "jail.conf").write_text(
        f"[sshd]\nenabled = true\nfilter = sshd\nlogpath = {tmp_path}/auth.log\n"
    )
    (tmp_path / "auth.log").touch()
    words = ["-c", confdir, "-s", tmp_path / "socket", "-p", tmp_path / "pid"]

    assert "Server ready\n" == installed.run("fail2ban-client", *words, "start")
    try:
        assert f"{tmp_path}/auth.log" in installed.run("fail2ban-client", *words, "status", "sshd")
    finally:
        assert "Shutdown successful\n" == installed.run("fail2ban-client", *words, "stop")
    assert not (tmp_path / "socket").exists()
