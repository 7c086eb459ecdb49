# SPDX-License-Identifier: GPL-2.0-or-later
"""What doc/actions.md says of writing an action is so."""

from __future__ import annotations

import re

import pytest

from client.actionconf import ACTION_OPTIONS, read_action
from client.ini import Value
from common.errors import Where
from common.options import ActionConf
from server.action import Action
from server.enforcer import Enforcer
from tests.network import World, a_ban, bans, lifts
from tests.shelf import library
from tests.support import ROOT

PAGE = (ROOT / "doc/actions.md").read_text("utf-8")
[EXAMPLE] = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def blocklist(tmp_path):
    """The file of the example's list, and an enforcer of the example."""
    common = (ROOT / "config/action.d/address.conf").read_text("utf-8")
    shelf = library({"action.d/blocklist.conf": EXAMPLE, "action.d/address.conf": common})
    value = Value(f"blocklist[list={tmp_path}/list]", Where("jail.conf"))
    action = read_action(shelf, value, "sshd")
    conf = ActionConf(action.name, dict(map(tuple, action.commands[1][-1])))
    return tmp_path / "list", Enforcer("sshd", (conf,)), Action("sshd", conf)


def test_the_example_bans_and_lifts_one_and_many(blocklist):
    file, enforcer, action = blocklist
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::/64")))
    world.drive(enforcer.carry_out(bans("192.0.2.4", "192.0.2.1")))
    assert "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 2001:db8::/64" == " ".join(
        file.read_text().split()
    )

    world.drive(enforcer.carry_out(lifts("192.0.2.1", "192.0.2.2")))
    world.drive(enforcer.carry_out(lifts("2001:db8::/64")))
    assert world.run(action.unban(a_ban("192.0.2.9"))).is_success
    assert "192.0.2.3\n192.0.2.4\n" == file.read_text()
    world.drive(enforcer.stop())
    assert not file.exists()
    assert [] == world.notes


def test_the_example_has_what_somebody_took_away_put_back(blocklist):
    file, enforcer, _ = blocklist
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("192.0.2.1", "192.0.2.2", "2001:db8::1")))
    file.write_text("192.0.2.2\n2001:db8::1\n")
    world.drive(enforcer.look())

    assert {"192.0.2.1", "192.0.2.2", "2001:db8::1"} == {*file.read_text().split()}
    assert (3, 3) == enforcer.enforced["blocklist"]


def test_the_example_refuses_what_is_no_address(blocklist):
    file, enforcer, _ = blocklist
    World().drive(enforcer.carry_out(bans("not an address")))

    assert "" == file.read_text()
    assert "not an address" in enforcer.problems[0]


def test_every_option_of_an_action_has_its_place_on_the_page():
    for option in ACTION_OPTIONS:
        assert f"`{option}" in PAGE, option


def test_every_stock_action_with_a_command_for_many_is_on_the_page():
    table = PAGE.partition("## The stock actions")[2]
    for path in (ROOT / "config/action.d").glob("*.conf"):
        if "\nactionban_many" in path.read_text("utf-8") and not path.stem.endswith("common"):
            assert path.stem in table
