# SPDX-License-Identifier: GPL-2.0-or-later
"""What every file in config/action.d has, and what jail.conf makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from server.action import Action
from server.enforcer import Enforcer
from server.records import Ban, ShellCommand
from server.shell import run
from tests.network import World, bans, conf, lifts
from tests.support import ROOT

ALL = sorted(path.stem for path in (ROOT / "config/action.d").glob("*.conf") if not path.stem.endswith("common") and path.stem != "address")  # fmt: skip


@pytest.mark.parametrize("action", ALL)
def test_no_tag_is_left_in_a_command_and_the_shell_can_read_it(action):
    made = Action("sshd", conf(action))
    ban = Ban("sshd", "2001:db8::1", 1700000000.0, 600, ("x",))
    commands = [getattr(made, name)(family) for name in ("start", "stop", "check", "flush", "reload")
                for family in ("inet4", "inet6")] + [made.ban(ban), made.unban(ban)]  # fmt: skip
    for key in ("actionban_many", "actionunban_many"):
        commands += [command for _, command in made.for_many(key, [ban, ban])]
    for command in filter(None, commands):
        assert not re.findall(r"<(?!f2b-|fail2ban>)[a-z_][\w.-]*>", command.script)
        checked = subprocess.run(["sh", "-n", "-c", command.script], capture_output=True, text=True)
        assert "" == checked.stderr
        assert run(ShellCommand(f"sh -n <<'NO-END'\n{command.script}\nNO-END")).is_success


@pytest.mark.parametrize("action", ALL)
def test_an_action_says_what_it_is_and_how_it_is_used(action):
    head = (ROOT / "config/action.d" / f"{action}.conf").read_text().partition("[")[0]

    assert head.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n# ")


CHOICES = {
    "action_": ["nftables"],
    "action_mw": ["nftables", "sendmail-whois"],
    "action_mwl": ["nftables", "sendmail-whois-lines"],
    "action_xarf": ["nftables", "xarf-login-attack"],
    "action_cf_mwl": ["cloudflare", "sendmail-whois-lines"],
    "action_blocklist_de": ["blocklist_de"],
    "action_abuseipdb": ["abuseipdb"],
}
LOCAL = """[DEFAULT]
cfemail = me@example.com
cfapikey = @/k
blocklist_de_apikey = @/k
[sshd]
enabled = true
backend = polling
logpath = /dev/null
action = %({})s
"""


@pytest.mark.parametrize("choice", CHOICES)
def test_jail_conf_names_the_actions_that_people_choose_from(tmp_path, choice):
    shutil.copytree(ROOT / "config", tmp_path / "conf")
    (tmp_path / "conf/jail.local").write_text(LOCAL.format(choice))
    client = [sys.executable, ROOT / "fail2ban-client", "-c", tmp_path / "conf", "-d"]
    done = subprocess.run(client, capture_output=True, text=True)

    assert CHOICES[choice] == re.findall(r"'addaction', '([^']*)'", done.stdout)
    assert "%(" not in "".join(
        re.findall(r"\['(?:sender|dest|apikey|agent|port)', .*?\]", done.stdout)
    )
    assert 0 == done.returncode
    assert "" == done.stderr


def test_log_only_runs_nothing():
    world, enforcer = World(), Enforcer("sshd", (conf("log-only"),))
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out([*bans("192.0.2.1", "$(reboot)"), *lifts("192.0.2.1")]))
    world.drive(enforcer.stop())

    assert [] == world.scripts
    assert [] == world.notes
