# SPDX-License-Identifier: GPL-2.0-or-later
"""What shell commands an action means, and what a person can do when one fails.  Pure.

What the admin wrote is pasted into a script; what a log or a ban says travels in the environment.  The
two never meet in one string.  A script may have many lines; its status is that of its last command.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from common import address, units
from common.errors import CommandError
from common.options import ActionConf
from common.tags import replace_tags
from server.actionbase import ActionBase as ActionBase  # where actions in Python look for it
from server.quoting import Reading, bind
from server.records import Ban, Result, ShellCommand

INET4, INET6 = "inet4", "inet6"
FAMILIES = (INET4, INET6)
TIMEOUT = 60.0

# Linux takes 128 KiB in one variable; a value may double where it has to be written for printf.
LONGEST_VALUE = 32 * 1024
_MOST_AT_ONCE = 100_000  # bans that one command reads from its standard input
_LONGEST_LIST = 64 << 20  # bytes that actionlist may print: some 50 for each ban
_ADDRESS = re.compile(r"[0-9A-Fa-f]*[:.][0-9A-Fa-f:./]*")
_ADDRESSES = re.compile(rf"(?:{_ADDRESS.pattern}\n)*")
_PLAIN = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+").fullmatch
_FOR_EVER = 3650 * 86400.0  # seconds; no tool need count down longer
_LONGEST_QUOTE = 500  # letters of a command's output that an error repeats

Facts = Callable[[str, Ban], str | None]
Clock = Callable[[], float]


def render(
    script: str,
    properties: Mapping[str, Any],
    values: Mapping[str, str],
    family: str | None = None,
) -> ShellCommand:
    """`script` with its properties pasted in, and its values to be found in the environment.

    A property `x?family=inet6` goes before `x` for that family.  Tags that neither knows stay.
    Raises CommandError where a property needs itself, or a value stands where none can.
    """
    return _with_values(_paste(script, properties, family), values)


def _paste(script: str, properties: Mapping[str, Any], family: str | None) -> str:
    def find(tag: str) -> str | None:
        value = properties.get(f"{tag}?family={family}", properties.get(tag))
        if value is None:
            return family if tag == "family" else None
        return str(value)

    try:
        return replace_tags(script, find)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _with_values(script: str, values: Mapping[str, str]) -> ShellCommand:
    environment = _Environment(values)
    bound = bind(script, values.__contains__, environment.variable)
    return ShellCommand(environment.prelude() + bound, environment.variables)


class _Environment:
    """The variables that one script needs: a value, and the same written for what reads it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.variables: dict[str, str] = {}
        self._values = values
        self._names: dict[str, str] = {}
        self._echoed: dict[str, tuple[str, str]] = {}

    def variable(self, tag: str, reading: Reading) -> str:
        name = self._name(tag)
        plain = self.variables.get(name)
        if plain is None:
            plain = clean(self._values[tag])
        written = _written(plain, reading)
        if written == plain:
            self.variables[name] = plain
            return name
        other = f"{name}_{reading.value}"
        if reading in (Reading.ECHO, Reading.ECHO_E):
            self.variables[name] = plain
            self._echoed[other] = (name, "-e " if reading is Reading.ECHO_E else "")
        self.variables[other] = written
        return other

    def prelude(self) -> str:
        """Which way of writing it the shell's own echo wants is known to that shell only."""
        return "".join(
            f"case $(echo {option}'\\\\') in *'\\\\'*) {other}=${name};; esac\n"
            for other, (name, option) in self._echoed.items()
        )

    def _name(self, tag: str) -> str:
        if tag not in self._names:
            name = "f2b_" + re.sub(r"\W", "_", tag, flags=re.ASCII)
            while name in self._names.values():
                name += "_"
            self._names[tag] = name
        return self._names[tag]


def _written(plain: str, reading: Reading) -> str:
    if reading is Reading.NUMBER:
        return plain if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", plain) else "0"
    if reading in (Reading.PLAIN, Reading.SCRIPT):
        return plain
    escaped = plain.replace("\\", "\\\\")
    return escaped.replace("%", "%%") if reading is Reading.FORMAT else escaped


def clean(value: str) -> str:
    """`value` as an environment can hold it: without NUL, in UTF-8, and not too long."""
    data = value.replace("\0", "").encode("utf-8", "replace")
    return data[:LONGEST_VALUE].decode("utf-8", "ignore")


# -- what a ban says


def ip_of(ban: Ban) -> str:
    """The address of a ban; of an id that is none, the address the failure knew, else the id."""
    if is_plain(ban.host):  # most are: what follows takes ten times as long
        return ban.host
    if _version(ban.host) is None:
        for key in ("ip4", "ip6"):
            if address.shortest(str(ban.fields.get(key) or "")):
                return str(ban.fields[key])
    return ban.host


def is_plain(host: str) -> bool:
    """Whether `host` looks like an IPv4 address."""
    return _PLAIN(host) is not None


def family_of(ban: Ban) -> str:
    """`inet6` for IPv6 addresses and networks, `inet4` for all else."""
    return family_of_ip(ip_of(ban))


def family_of_ip(ip: str) -> str:
    return INET6 if ":" in ip and _version(ip) == 6 else INET4


def _version(host: str) -> int | None:
    found = address.network(host) if "." in host or ":" in host else None
    return found[0] if found else None


def _reversed(ip: str) -> str:
    """`192.0.2.1` as `1.2.0.192.`, an IPv6 address digit by digit: ready for a DNS list's name."""
    found = address.number(ip)
    if found is None:
        return ip
    version, bits = found
    if version == 4:
        parts: Iterable[str] = ip.split(".")
    else:
        parts = f"{bits:032x}"
    return "".join(f"{part}." for part in reversed(list(parts)))


def _whole(number: float) -> str:
    return "-1" if math.isinf(number) else str(int(number))


def _matches(ban: Ban) -> str:
    return "\n".join(ban.matches)


_TAGS: dict[str, Callable[[Ban], str]] = {
    "ip": ip_of,
    "fid": lambda ban: ban.host,
    "ip-rev": lambda ban: _reversed(ip_of(ban)),
    "ip-host": ip_of,
    "failures": lambda ban: str(ban.failures),
    "ipfailures": lambda ban: str(ban.failures),
    "ipjailfailures": lambda ban: str(ban.failures),
    "time": lambda ban: _whole(ban.since),
    "bantime": lambda ban: _whole(ban.seconds),
    "remaining": lambda ban: "0",
    "bancount": lambda ban: str(ban.count),
    "matches": _matches,
    "ipmatches": _matches,
    "ipjailmatches": _matches,
    "jail.banned": lambda ban: "0",
    "jail.banned_total": lambda ban: "0",
    "jail.found": lambda ban: "0",
    "jail.found_total": lambda ban: "0",
}


class BanValues(Mapping[str, str]):
    """The values of a ban's tags, worked out when they are asked for.

    `facts(tag, ban)` is asked first: it tells what a ban alone does not know (`ip-host`,
    `ipfailures`, `jail.found`, …), None for the rest.  `<F-NAME>` is empty where it is not known.
    """

    def __init__(self, ban: Ban, restored: bool, facts: Facts) -> None:
        self._ban = ban
        self._restored = restored
        self._facts = facts

    def __contains__(self, tag: object) -> bool:
        return tag in _TAGS or tag == "restored" or str(tag).startswith("F-")

    def __getitem__(self, tag: str) -> str:
        if tag == "restored":
            return "1" if self._restored else "0"
        if tag in _TAGS:
            told = self._facts(tag, self._ban)
            return _TAGS[tag](self._ban) if told is None else told
        if not tag.startswith("F-"):
            raise KeyError(tag)
        return _field(self._ban.fields, tag)

    def __iter__(self) -> Iterator[str]:
        return iter([*_TAGS, "restored"])

    def __len__(self) -> int:
        return len(_TAGS) + 1


def _field(fields: Mapping[str, Any], tag: str) -> str:
    wanted = tag[2:].lower().replace("-", "_")
    for name, value in fields.items():
        if name == tag or name.lower().replace("-", "_") in (wanted, f"f_{wanted}"):
            if isinstance(value, (list, tuple, set, frozenset)):
                return "\n".join(sorted(map(str, value)))
            return "" if value is None else str(value)
    return ""


def from_history(tag: str, ban: Ban, bans_of: Callable[[str], Sequence[Ban]]) -> str | None:
    """What all jails know of the host of `ban`: `ipfailures`, `ipmatches`; None for other tags.

    `bans_of(host)` are the last bans of a host, one a jail; that of this jail is `ban`.
    """
    if tag not in ("ipfailures", "ipmatches"):
        return None
    known = [one for one in bans_of(ban.host) if one.jail != ban.jail]
    every = sorted((*known, ban), key=lambda one: one.since)
    if tag == "ipfailures":
        return str(sum(one.failures for one in every))
    return "\n".join(line for one in every for line in one.matches)


def no_facts(tag: str, ban: Ban) -> str | None:
    return None


# -- an action


class Action:
    """The commands that an `ActionConf` stands for; None where it has no such command."""

    def __init__(
        self, jail: str, conf: ActionConf, facts: Facts = no_facts, clock: Clock | None = None
    ) -> None:
        self.jail = jail
        self.conf = conf
        self.name = conf.name
        self.is_for_restored = not units.is_on(conf.properties.get("norestored", False))
        self.repairs_on_unban = units.is_on(conf.properties.get("actionrepair_on_unban", False))
        self._told = facts
        self._clock = clock
        self._properties = {"name": jail, "actname": conf.name, **conf.properties}
        self._timeout = _timeout(conf.properties.get("timeout"))
        self._pasted: dict[tuple[str, str | None], str | None] = {}

    @cached_property
    def _longest(self) -> float:
        """How many seconds the action's tool can count down by itself; 0 where it does not."""
        given = self.conf.properties.get("actionban_expires", False)
        # An actionban of somebody's own that does not tell the time would ban for ever.
        if self._clock is None or "<remaining>" not in (self.script("actionban", INET4) or ""):
            return 0.0
        if units.is_on(given):
            return _FOR_EVER
        try:
            return float(units.seconds(str(given)))
        except ValueError:
            return 0.0

    @property
    def expires(self) -> bool:
        """Whether the tool ends bans by itself when their time is over."""
        return self._longest > 0

    def remaining(self, ban: Ban) -> int:
        """After how many seconds the tool is to end `ban` by itself; 0 where it shall not."""
        return self.remainders([ban])[0]

    def remainders(self, bans: Sequence[Ban]) -> list[int]:
        """The `remaining` time of each of `bans`."""
        return self._remainders([ban.since + ban.seconds for ban in bans])

    def _remainders(self, ends: Sequence[float]) -> list[int]:
        longest = self._longest
        if self._clock is None or not longest:
            return [0] * len(ends)
        now = self._clock()
        left = [end - now for end in ends]
        return [max(1, math.ceil(one)) if one <= longest else 0 for one in left]

    def _facts(self, tag: str, ban: Ban) -> str | None:
        return str(self.remaining(ban)) if tag == "remaining" else self._told(tag, ban)

    @property
    def starts_on_demand(self) -> bool:
        """Whether it starts with the first ban; unless said, what differs by family does."""
        said = self.conf.properties.get("actionstart_on_demand")
        return self.is_per_family("actionstart") if said is None else units.is_on(said)

    def has(self, key: str, family: str | None = INET4) -> bool:
        return self.script(key, family) is not None

    def is_per_family(self, key: str) -> bool:
        """Whether the command `key` is another one for IPv6."""
        return self.script(key, INET4) != self.script(key, INET6)

    def start(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actionstart", family)

    def stop(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actionstop", family)

    def check(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actioncheck", family)

    def repair(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actionrepair", family)

    def flush(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actionflush", family)

    def reload(self, family: str | None = None) -> ShellCommand | None:
        return self.command("actionreload", family)

    def ban(self, ban: Ban, restored: bool = False) -> ShellCommand | None:
        return self.for_ban("actionban", ban, restored)

    def unban(self, ban: Ban, restored: bool = False) -> ShellCommand | None:
        return self.for_ban("actionunban", ban, restored)

    def prolong(self, ban: Ban, restored: bool = False) -> ShellCommand | None:
        """`actionprolong`; what has none but an `actionreban` is told that way.

        A tool that ends bans by itself must be told in any case.
        """
        family = family_of(ban)
        keys = ("actionprolong", "actionreban", *(("actionban",) if self.expires else ()))
        key = next((key for key in keys if self.has(key, family)), keys[0])
        return self.for_ban(key, ban, restored)

    def reban(self, ban: Ban, restored: bool = False) -> ShellCommand | None:
        key = "actionreban" if self.has("actionreban", family_of(ban)) else "actionban"
        return self.for_ban(key, ban, restored)

    def listing(self, family: str) -> ShellCommand | None:
        """`actionlist`, which prints what is banned now: an address a line, and its seconds left."""
        command = self.command("actionlist", family)
        return None if command is None else replace(command, output_limit=_LONGEST_LIST)

    def command(self, key: str, family: str | None) -> ShellCommand | None:
        script = self.script(key, family)
        return None if script is None else ShellCommand(script, timeout=self._timeout)

    def for_ban(self, key: str, ban: Ban, restored: bool) -> ShellCommand | None:
        script = self.script(key, family_of(ban))
        if script is None:
            return None
        values = BanValues(ban, restored, self._facts)
        return replace(_with_values(script, values), timeout=self._timeout)

    def for_many(
        self, key: str, bans: Sequence[Ban], ips: Sequence[str] | None = None
    ) -> Iterator[tuple[list[Ban], ShellCommand]]:
        """The command `key` for many addresses of one family at once, in portions.

        Its tag `<ips>` are the addresses with commas between.  One that does not name it reads them,
        an address a line with its `<remaining>` time.  What is no address is left out.
        `ips` are the addresses of `bans`, for who knows them already.
        """
        if ips is None:
            ips = [ip_of(ban) for ban in bans]
        fit = list(zip(bans, ips, strict=True))
        if not _ADDRESSES.fullmatch("".join([f"{ip}\n" for ip in ips])):  # as a rule it does
            fit = [pair for pair in fit if _ADDRESS.fullmatch(pair[1])]
        script = self.script(key, family_of(fit[0][0])) if fit else None
        if script is None:
            return
        is_reading = "<ips>" not in script
        for portion in _read_portions(fit) if is_reading else _named_portions(fit):
            some = [ban for ban, _ in portion]
            if is_reading:
                left = self.remainders(some)
                lines = [f"{ip} {n}\n" for (_, ip), n in zip(portion, left, strict=True)]
                command = ShellCommand(script, input="".join(lines).encode())
            else:
                command = _with_values(script, {"ips": ",".join(ip for _, ip in portion)})
            yield some, replace(command, timeout=self._timeout)

    def for_ends(
        self, key: str, family: str, ends: Mapping[str, float]
    ) -> Iterator[tuple[list[str], ShellCommand]]:
        """The command `key` for plain addresses, and until when, in portions; if it reads them."""
        script = self.script(key, family)
        if script is None or "<ips>" in script:
            return
        fit = [ip for ip in ends if _ADDRESS.fullmatch(ip)]
        for at in range(0, len(fit), _MOST_AT_ONCE):
            some = fit[at : at + _MOST_AT_ONCE]
            left = self._remainders([ends[ip] for ip in some])
            lines = [f"{ip} {n}\n" for ip, n in zip(some, left, strict=True)]
            command = ShellCommand(script, input="".join(lines).encode(), timeout=self._timeout)
            yield some, command

    def exchange(self, bans: Sequence[Ban], lifted: Sequence[str]) -> ShellCommand | None:
        """The command that has `bans` stand in the place of `lifted`, all of one family, in one go."""
        script = self.script("actionexchange_many", family_of(bans[0]))
        if script is None:
            return None
        lines = [f"unban {ip}\n" for ip in lifted]
        lines += [
            f"ban {ip_of(ban)} {left}\n"
            for ban, left in zip(bans, self.remainders(bans), strict=True)
        ]
        return ShellCommand(script, input="".join(lines).encode(), timeout=self._timeout)

    def script(self, key: str, family: str | None) -> str | None:
        """The command `key` as it is before a ban's values are put to it."""
        if (key, family) not in self._pasted:
            found = self._properties.get(f"{key}?family={family}", self._properties.get(key))
            script = _paste(str(found), self._properties, family) if found else ""
            self._pasted[key, family] = script if script.strip() else None
        return self._pasted[key, family]


_Portion = list[tuple[Ban, str]]


def _read_portions(fit: _Portion) -> Iterator[_Portion]:
    return (fit[at : at + _MOST_AT_ONCE] for at in range(0, len(fit), _MOST_AT_ONCE))


def _named_portions(fit: _Portion) -> Iterator[_Portion]:
    """As many at a time as a variable can hold."""
    portion: _Portion = []
    length = 0
    for ban, ip in fit:
        length += len(ip) + 1
        if length > LONGEST_VALUE:
            yield portion
            portion, length = [], len(ip) + 1
        portion.append((ban, ip))
    yield portion


def _timeout(given: Any) -> float:
    try:
        seconds = float(units.seconds(str(given)))
    except ValueError:
        return TIMEOUT
    return seconds if seconds > 0 else TIMEOUT


# -- when it fails


_NOT_FOUND = re.compile(
    r"(?:^|: )(?:line )?(?:\d+: )?([^\s:]+): (?:command )?not found|env: .?([^\s:’']+)", re.M
)


def ending(result: Result) -> str:
    """How a command ended, and what it printed, in one line."""
    if result.is_timeout:
        how = f"ended after {result.command.timeout:g} seconds"
    elif result.status < 0:
        how = f"ended by {_signal(-result.status)}"
    else:
        how = f"exit status {result.status}"
    said = " | ".join(line.strip() for line in (result.stderr or result.stdout).splitlines())
    return f"{how}: {quotable(said)}" if said else how


def quotable(text: str) -> str:
    """`text`, which an attacker may have written, fit to stand in a line of the log."""
    letters = text[:_LONGEST_QUOTE] + ("…" if len(text) > _LONGEST_QUOTE else "")
    return "".join(letter if letter.isprintable() else "?" for letter in letters)


def hint(result: Result) -> str:
    """What a person can do about a command that failed; empty where nobody can tell."""
    if result.is_timeout:
        return "It took too long; see whether it hangs, or give the action a longer 'timeout'."
    if result.status == 127:
        found = _NOT_FOUND.search(result.stderr)
        name = (found[1] or found[2]) if found else "the program"
        return f"Is {name} installed, and in the PATH of the server?"
    if result.status == 126:
        return "A file in it is not executable, or this user may not run it."
    if result.status in (-9, 137):
        return "Something killed it; the kernel does so when memory runs out."
    if result.status > 128:
        return f"A program in it was ended by {_signal(result.status - 128)}."
    if re.search(r"permission denied|not permitted|must be root", result.stderr, re.IGNORECASE):
        return "Does the server run as a user who may do this?"
    return ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
