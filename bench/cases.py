# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case is: something prepared once, then measured again and again, each time anew.

A case yields quantities.  Of each there are values in one unit: ours, perhaps another
implementation's, and those of yardsticks measured in the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.servers import Implementation, Server, Setup, running

LINES = "lines per CPU-second"


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something measured; `goal` and what fail2ban 1.1 once took are in the same unit."""

    title: str
    unit: str
    goal: float = 0.0
    earlier: float = 0.0  # fail2ban 1.1.2 on Python 3.11, two cores of a machine like this
    means: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all cases share: where files may be made, the stock configuration, how much to do."""

    place: Path
    stock: Path
    scale: float
    is_full: bool

    def lines(self, usual: int) -> int:
        return max(1000, int(usual * self.scale))

    @contextmanager
    def empty_directory(self) -> Iterator[Path]:
        """A directory for one server, gone afterwards."""
        with TemporaryDirectory(dir=self.place) as name:
            yield Path(name)

    @contextmanager
    def server(
        self, who: Implementation, jails: Mapping[str, Mapping[str, str]], **files: str
    ) -> Iterator[tuple[Server, Path]]:
        """A server with `jails`, whose logs are empty, and its directory: `{place}` in options.

        Files of the configuration are named filter_NAME or action_NAME.
        """
        with self.empty_directory() as place:
            sections = {
                name: {key: value.replace("{place}", str(place)) for key, value in jail.items()}
                for name, jail in jails.items()
            }
            named = {
                f"{kind}.d/{name}.conf": text.replace("{place}", str(place))
                for (kind, _, name), text in zip(
                    (key.partition("_") for key in files), files.values(), strict=True
                )
            }
            for section in sections.values():
                Path(section["logpath"].split()[0]).touch()  # others want them to be there
            with running(who, Setup(self.stock, sections, named), place) as server:
                yield server, place


Values = dict[str, float]  # by the quantity's name


@dataclass(frozen=True, slots=True)
class Trial:
    """A case that is prepared.  Both measure once: an implementation, and the yardsticks."""

    measured: Callable[[Implementation], Values]
    yardsticks: Callable[[], dict[str, Values]]  # by the quantity's name, then the yardstick's


@dataclass(frozen=True, slots=True)
class Case:
    """A case of the table, before anything is done."""

    name: str
    quantities: Mapping[str, Quantity]
    prepare: Callable[[Surroundings], Trial]


def jail(filter: str, log: str, **more: str) -> dict[str, str]:
    """A jail that counts and never bans, unless `more` says otherwise."""
    return {
        "enabled": "true",
        "filter": filter,
        "logpath": f"{log} head",
        "maxretry": "1000000",
        "findtime": "1d",
        "action": "",
        **more,
    }


def definition(**options: str) -> str:
    """The text of a filter or an action."""
    lines = (f"{key} = {value.replace('%', '%%')}\n" for key, value in options.items())
    return "[Definition]\n" + "".join(lines)
