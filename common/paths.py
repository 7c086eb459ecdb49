# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are when nobody says.  Knows the places, and touches none of them.

A checkout is a directory with `config/` beside the packages; what runs from it, and what runs without
root's rights, keeps to /tmp and leaves the system alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

SYSTEM_CONFDIR = "/etc/fail2ban"


@dataclass(frozen=True, slots=True)
class Places:
    """The default places of one installation."""

    confdir: str
    socket: str
    pidfile: str
    dbfile: str
    logtarget: str

    @property
    def auto(self) -> Mapping[str, str]:
        """What `auto` stands for in fail2ban.conf, by option."""
        return {
            "socket": self.socket,
            "pidfile": self.pidfile,
            "dbfile": self.dbfile,
            "logtarget": self.logtarget,
        }


def places(root: str, has_directory: Callable[[str], bool], is_root: bool) -> Places:
    """The places of the program whose packages stand in the directory `root`."""
    is_checkout = has_directory(f"{root}/config")
    if is_checkout:
        confdir = f"{root}/config"
    elif has_directory(SYSTEM_CONFDIR):
        confdir = SYSTEM_CONFDIR
    else:
        confdir = f"{root}/etc"  # the stock configuration that came with the installation
    if is_checkout or not is_root:
        return Places(confdir, "/tmp/fail2ban.sock", "/tmp/fail2ban.pid", "None", "STDERR")
    return Places(
        confdir,
        "/run/fail2ban/fail2ban.sock",
        "/run/fail2ban/fail2ban.pid",
        "/var/lib/fail2ban/fail2ban.sqlite3",
        "/var/log/fail2ban.log",
    )
