# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands answer, and examples, for the reference: by usage, as it stands in the table.

`value` is what stands behind the code 0 on the socket; `printed` what
fail2ban-client makes of it, where that is not simply the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.commands import Command


@dataclass(frozen=True, slots=True)
class Answer:
    value: str
    example: str = ""
    printed: str = ""


_LIST = "the list as it is now"
_ANSWERS = {
    "start": Answer("`Server ready`, a text", "start", "Server ready"),
    "restart": Answer("`Server ready`, a text", "restart", "Shutdown successful\nServer ready"),
    "restart [--unban] [--if-exists] <jail>": Answer("`OK`, a text", "restart --unban sshd", "OK"),
    "reload [--restart] [--unban] [--if-exists] [--all]": Answer("`OK`, a text", "reload", "OK"),
    "reload [--restart] [--unban] [--if-exists] <jail>": Answer("`OK`, a text", "reload sshd", "OK"),
    "loadconf": Answer("`OK`, a text"),
    "stop": Answer("nothing (null)", "stop", "Shutdown successful"),
    "quit": Answer("nothing (null)"),
    "status": Answer("pairs of a title and a value: the number of jails, and their names in one text", "status", "Status\n|- Number of jail:\t2\n`- Jail list:\tsshd, vsftpd"),
    "status --all [<flavour>]": Answer("the pairs of `status` and, as a third member, the status of each jail by its name; with the flavour `stats` those alone"),
    "stats": Answer("by name of the jail: its backend, a pair for failures and one for bans, each what counts now and what there ever was", "--json stats", '{"jails": [{"jail": "sshd", "backend": "pyinotify", "failed": {"current": 1, "total": 27}, "banned": {"current": 2, "total": 5}}]}'),
    "statistic": Answer("the same; it is printed as Python writes it"),
    "statistics": Answer("the same"),
    "banned": Answer("a list of `{jail: [hosts]}`", "banned", "[{'sshd': ['192.0.2.1', '2001:db8::2']}]"),
    "banned <ip>...": Answer("for each, the list of jails that ban it", "banned 192.0.2.1 192.0.2.9", "[['sshd'], []]"),
    "unban --all": Answer("how many bans were lifted"),
    "unban <ip>...": Answer("how many bans were lifted; hosts that are not banned count nothing", "unban 192.0.2.1", "1"),
    "ping [<seconds>]": Answer("`pong`, a text", "ping", "Server replied: pong"),
    "echo [<word>...]": Answer("the list of words", "echo a b", "a b"),
    "sleep <seconds>": Answer("nothing (null), after that time"),
    "version": Answer("a text"),
    "set thread <sizes>": Answer("nothing (null)", "set thread \"{'stacksize': 256}\""),
    "get thread": Answer("`{'stacksize': KiB}`"),
    "flushlogs": Answer("`rolled over` if the log target is a file, else `flushed`", "flushlogs", "logs: rolled over"),
    "add <jail> [<backend>]": Answer("the jail's name", "add ssh", "Added jail ssh"),
    "start <jail>": Answer("nothing (null)", "start ssh", "Jail started"),
    "stop <jail>": Answer("nothing (null)", "stop ssh", "Jail stopped"),
    "stop --all": Answer("nothing (null)", "stop --all", "Jail stopped"),
    "status <jail> [<flavour>]": Answer("pairs of a title and pairs: the filter's state and that of the actions. `short` leaves the list of hosts out, `stats` is as in `stats`, `cymru` adds networks, countries and registries", "status sshd", "Status for the jail: sshd\n|- Filter\n|  |- Currently failed:\t1\n|  |- Total failed:\t27\n|  `- File list:\t/var/log/auth.log\n`- Actions\n   |- Currently banned:\t2\n   |- Total banned:\t5\n   `- Banned IP list:\t192.0.2.1 2001:db8::2"),
    "set <jail> idle <value>": Answer("true or false", "set sshd idle on", "True"),
    "set <jail> banip <ip>...": Answer("how many were not banned before", "set sshd banip 192.0.2.1 198.51.100.0/24", "2"),
    "set <jail> unbanip [--report-absent] <ip>...": Answer("how many bans were lifted", "set sshd unbanip 192.0.2.1", "1"),
    "set <jail> attempt <ip> [<text>...]": Answer("1, or 0 if the host is one that is never banned", "set sshd attempt 192.0.2.1 'seen by the mail gateway'", "1"),
    "get <jail> banned": Answer("a list of hosts", "get sshd banned", "['192.0.2.1', '2001:db8::2']"),
    "get <jail> banned <ip>...": Answer("1 or 0; for several hosts a list of them", "get sshd banned 192.0.2.1 192.0.2.9", "[1, 0]"),
    "get <jail> banip [<separator>]": Answer("a list of hosts", "get sshd banip ,", "192.0.2.1,2001:db8::2"),
    "get <jail> banip --with-time": Answer("a list of texts", "get sshd banip --with-time", "192.0.2.1 \t2026-11-23 12:00:00 + 600 = 2026-11-23 12:10:00"),
    "set <jail> bantime.<key> <value>": Answer("the value"),
    "get <jail> bantime.<key>": Answer("the value, null if there is none"),
    "set <jail> addignoreip [<ip>...]": Answer(_LIST, "set sshd addignoreip 192.0.2.0/24 file:/etc/friends", "These IP addresses/networks are ignored:\n|- 192.0.2.0/24\n`- file:/etc/friends"),
    "set <jail> delignoreip <ip>": Answer(_LIST),
    "get <jail> ignoreip": Answer("a list of texts"),
    "set <jail> addlogpath <path> [<where>]": Answer(_LIST, "set sshd addlogpath /var/log/auth.log tail", "Current monitored log file(s):\n`- /var/log/auth.log"),
    "set <jail> dellogpath <path>": Answer(_LIST),
    "get <jail> logpath": Answer("a list of paths"),
    "set <jail> addjournalmatch [<match>...]": Answer("a list of lists of words", "set sshd addjournalmatch _SYSTEMD_UNIT=ssh.service + _COMM=sshd"),
    "set <jail> deljournalmatch [<match>...]": Answer("a list of lists of words"),
    "get <jail> journalmatch": Answer("a list of lists of words"),
    "set <jail> addfailregex <regex>": Answer(_LIST, "set door addfailregex '^login failed from <HOST>$'", "The following regular expression are defined:\n`- [0]: ^login failed from <HOST>$"),
    "set <jail> delfailregex <index>": Answer(_LIST),
    "get <jail> failregex": Answer("a list of texts, their tags replaced"),
    "set <jail> addignoreregex <regex>": Answer(_LIST),
    "set <jail> delignoreregex <index>": Answer(_LIST),
    "get <jail> ignoreregex": Answer("a list of texts, their tags replaced"),
    "set <jail> addaction <action> [<file>] [<json>]": Answer("the action's name", "set door addaction note", "note"),
    "set <jail> delaction <action>": Answer("nothing (null)"),
    "get <jail> actions": Answer("a list of names", "get sshd actions", "The jail sshd has the following actions:\nnftables"),
    "set <jail> action <action> <name> [<value>]": Answer("the value, or what the method returns", "set door action note actionban 'echo <ip> >>/tmp/banned'", "echo <ip> >>/tmp/banned"),
    "get <jail> action <action> <property>": Answer("the value"),
    "get <jail> actionproperties <action>": Answer("a list of names"),
    "get <jail> actionmethods <action>": Answer("a list of names"),
    "server-status": Answer("`Server ready`, a text"),
    "config-error <text>": Answer("nothing (null)"),
    "server-stream <commands>": Answer("nothing (null); of a command that fails, its exception"),
    "reload <jail> <options> <commands>": Answer("`OK`, a text"),
    "multi-set <jail> addfailregex <list>": Answer("true"),
    "multi-set <jail> addignoreregex <list>": Answer("true"),
    "multi-set <jail> origins <list>": Answer("true"),
    "multi-set <jail> action <action> <list>": Answer("true"),
}  # fmt: skip
# Of commands that set or get an option, what its kind does not say.
_MORE = {
    "set loglevel <value>": Answer("", "set loglevel DEBUG", "Current logging level is 'DEBUG'"),
    "set <jail> bantime <value>": Answer("", "set sshd bantime 1d12h", "129600"),
    "set <jail> maxretry <value>": Answer("", "set sshd maxretry 3", "3"),
    "set <jail> datepattern <value>": Answer("a pair: the pattern (null for the usual ways) and a name for people"),
    "get <jail> datepattern": Answer("the same pair", "get sshd datepattern", "Current date pattern set to: Default Detectors"),
    "set <jail> ignorecache <value>": Answer("a list: key, number of entries, seconds; null for none"),
    "get <jail> ignorecache": Answer("the same list"),
    "get dbfile": Answer("a path, null for none"),
    "set dbfile <value>": Answer("a path, null for none; refused while there are jails"),
}  # fmt: skip
_KINDS = {
    "time": "seconds, a number",
    "count": "a number",
    "amount": "a number",
    "number": "a number",
    "switch": "true or false",
}


def answer(command: Command, kind: str) -> Answer:
    """What is to be said of `command`, whose option, if it is about one, is of this `kind`."""
    if found := _ANSWERS.get(command.usage):
        return found
    more = _MORE.get(command.usage, Answer(""))
    return replace(more, value=more.value or (_KINDS.get(kind, "a text") if command.option else ""))


def usages() -> set[str]:
    """The commands that something is said about; all of them have to be in the table."""
    return {*_ANSWERS, *_MORE}
