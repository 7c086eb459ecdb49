# SPDX-License-Identifier: GPL-2.0-or-later
from dataclasses import replace

import pytest

from common.errors import CommandError
from common.options import Config, DaemonConf, JailConf
from server.plan import Plan, difference


def config(*jails, **daemon):
    return Config(DaemonConf(**daemon), {jail.name: jail for jail in jails})


SSH, WEB, FTP = JailConf("ssh"), JailConf("web"), JailConf("ftp")


def test_what_is_the_same_is_left_alone():
    assert difference(config(SSH, WEB), config(WEB, SSH)) == Plan((), (), (), ())


def test_jails_come_go_and_change():
    stricter = replace(SSH, max_retry=1)

    plan = difference(config(SSH, WEB), config(stricter, FTP))

    assert (plan.gone, plan.new, plan.changed) == (("web",), (FTP,), (stricter,))


def test_options_of_the_daemon_that_differ_are_named():
    assert difference(config(), config(log_level="DEBUG")).daemon == ("log_level",)


def test_the_database_stays_while_there_are_jails():
    with pytest.raises(CommandError, match="jails present"):
        difference(config(SSH), config(SSH, db_file="/elsewhere"))

    assert difference(config(), config(SSH, db_file="/elsewhere")).daemon == ("db_file",)
