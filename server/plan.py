# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be done so that what runs becomes what is wanted.  Compares records; does nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from common.errors import CommandError
from common.options import Config, DaemonConf, JailConf


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of the daemon's fields that differ; jails to take away, to bring, and to change."""

    daemon: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[JailConf, ...]
    changed: tuple[JailConf, ...]


def difference(running: Config, wanted: Config) -> Plan:
    """The way from `running` to `wanted`; CommandError where there is none."""
    plan = Plan(
        daemon=tuple(
            field.name
            for field in fields(DaemonConf)
            if getattr(running.daemon, field.name) != getattr(wanted.daemon, field.name)
        ),
        gone=tuple(name for name in running.jails if name not in wanted.jails),
        new=tuple(conf for name, conf in wanted.jails.items() if name not in running.jails),
        changed=tuple(
            conf
            for name, conf in wanted.jails.items()
            if name in running.jails and running.jails[name] != conf
        ),
    )
    if "db_file" in plan.daemon and running.jails:
        raise CommandError("Cannot change database when there are jails present")
    return plan
