# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are when nobody says."""

from __future__ import annotations

from common.paths import places


def test_places_depend_on_where_the_program_is_and_who_runs_it():
    checkout = places("/home/eve/f2b", lambda path: path == "/home/eve/f2b/config", True)
    installed = places("/usr/share/fail2ban", lambda path: path == "/etc/fail2ban", True)
    private = places("/opt/f2b", lambda path: False, False)

    assert (checkout.confdir, checkout.socket) == ("/home/eve/f2b/config", "/tmp/fail2ban.sock")
    assert (installed.confdir, installed.socket) == ("/etc/fail2ban", "/run/fail2ban/fail2ban.sock")
    assert private.confdir == "/opt/f2b/etc" and private.auto["dbfile"] == "None"
