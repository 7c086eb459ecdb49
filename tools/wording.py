# SPDX-License-Identifier: GPL-2.0-or-later
"""What the manual says of things that no table of the program describes: one place for each sentence.

Options that exist in files only (the program's tables hold those that are commands, too), and tags.
"""

from __future__ import annotations

from client.actionconf import ACTION_OPTIONS
from client.filterconf import FILTER_OPTIONS
from common.options import (
    BAN_TIME_OPTIONS,
    DAEMON_OPTIONS,
    DURATION,
    JAIL_OPTIONS,
    NUMBER,
    SWITCH,
    TEXT,
    Kind,
    Option,
)

DATE = "2026-11-23"

LIST = Kind("list", str)
COMMAND = Kind("command", str)
PATH = Kind("path", str)

_LISTS = (
    Option("failregex", LIST, None, "Regular expressions of failures, one a line."),
    Option("ignoreregex", LIST, None, "Regular expressions of lines to pass over, one a line."),
    Option("journalmatch", LIST, None, "Entries of the journal to follow, FIELD=VALUE; + stands between alternatives."),
)  # fmt: skip

_JAIL = (
    Option("enabled", SWITCH, False, "Whether there is such a jail at all."),
    Option("filter", TEXT, None, "The filter, a file of filter.d: name, or name[key=value]."),
    Option("logpath", LIST, None, "Log files to follow, one a line, with * and the like; tail behind one reads it from its end."),
    Option("action", LIST, None, "What is done with a host, files of action.d: name[key=value], one a line."),
    Option("ignoreip", LIST, None, "Hosts that are never banned: addresses, networks, names, file:PATH; parted by spaces or commas."),
    Option("skip_if_nologs", SWITCH, False, "Whether a jail without any log file is left out, with a word in the log."),
    Option("systemd_if_nologs", SWITCH, True, "Whether a jail with a journalmatch and the backend auto, but no log file, reads the journal; set to true, a journalmatch of its filter will do."),
)  # fmt: skip

OLD_OPTIONS = (
    Option("timepattern", TEXT, None, "A datepattern, as the first releases called it."),
    Option("timeregex", TEXT, None, "Where the date of timepattern stands; without effect, as dates are found anyway."),
    Option("maxtime", DURATION, None, "The findtime, as the first releases called it."),
)  # fmt: skip

_ACTION = {
    "actionstart": "Run before the first ban (or when the jail starts, see actionstart_on_demand): makes a chain, a set, a table.",
    "actionstart_on_demand": "Whether actionstart waits for the first ban; unless given, it does where it differs between IPv4 and IPv6.",
    "actionstop": "Run when the jail stops, after the last unban: takes away what actionstart made.",
    "actionflush": "Run in place of many single actionunbans, such as when the jail stops: lifts all bans at once.",
    "actionreload": "Run in place of actionstop and actionstart when a reload changes the action.",
    "actioncheck": "Run before bans are made, once for all that come together: fails if what actionstart made is gone.",
    "actionrepair": "Run when actioncheck fails, in place of actionstop and actionstart.",
    "actionrepair_on_unban": "Whether that is also done before an unban.",
    "actionban": "Run for each ban.",
    "actionban_many": "Run in place of actionban for bans that come together; <ips> are their addresses with commas between. One that does not name <ips> reads them: a line for each, the address and <remaining>. If it fails, it is run for halves of them, down to those that actionban has to try.",
    "actionprolong": "Run when a ban is made longer.",
    "actionprolong_many": "Run in place of actionprolong for many; reads what actionban_many does.",
    "actionreban": "Run in place of actionban for a host that is banned already, such as after a repair.",
    "actionunban": "Run when a ban ends.",
    "actionunban_many": "Run in place of actionunban for bans that end together.",
    "actionexchange_many": "Run where a network takes the place of others, or others that of a network, if the tool cannot hold both at a time; reads what to lift (unban and the address) and what to ban (ban, the address and <remaining>), a line each, and does all of it or nothing.",
    "actionlist": "Prints who is banned now: a line for each, the address and how many seconds it has left (0: no end of its own). Fails where something is missing that bans need. With it, what is enforced is compared with what should be, and mended.",
    "actionplace": "What names where the bans stand, such as a table and set. Where a reload changes it, the new bans stand before the old ones go; where it changes only how bans are made, they are exchanged there.",
    "norestored": "Whether bans that a restart brings back are none of this action's business.",
}  # fmt: skip
_ACTION_INIT = (
    Option("actionban_expires", SWITCH, False, "Stands in [Init]; whether what actionban adds goes by itself after <remaining> seconds, so that no command need lift it. A number is the longest time, in seconds, that it can do this for."),
    Option("actionlist_interval", DURATION, 60, "Stands in [Init]; how often actionlist is run, besides after bans; 0 is never."),
    Option("actionlist_watch", TEXT, "", "Stands in [Init]; what makes a look at once worth while: nftables TABLE SET is when something is taken away there."),
    Option("timeout", DURATION, 60, "Stands in [Init]; how long one command may take before it is ended."),
)  # fmt: skip

_DAEMON = (
    Option("socket", PATH, "/run/fail2ban/fail2ban.sock", "Where the server listens for clients; auto is the right place."),
    Option("pidfile", PATH, "/run/fail2ban/fail2ban.pid", "Where the server notes its process id; auto is the right place."),
)  # fmt: skip
THREAD_OPTIONS = (Option("stacksize", NUMBER, 0, "The stack of each thread in KiB; 0 leaves that to the system."),)  # fmt: skip


def jail_options() -> list[Option]:
    return [*_JAIL, *_LISTS, *(option for _, option in JAIL_OPTIONS.values()), *OLD_OPTIONS]


def growing_options() -> list[Option]:
    return [
        Option(f"bantime.{option.key}", option.kind, option.default, option.help)
        for option in BAN_TIME_OPTIONS
    ]


def filter_options() -> list[Option]:
    known = {option.key: option for option in jail_options()}
    return [known[key] for key in FILTER_OPTIONS]


def action_options() -> list[Option]:
    own = [
        Option(key, SWITCH if is_switch else COMMAND, None, _ACTION[key])
        for key, is_switch in ACTION_OPTIONS.items()
    ]
    return [*own, *_ACTION_INIT]


def daemon_options() -> list[Option]:
    return [*_DAEMON, *(option for _, option in DAEMON_OPTIONS.values())]


# Tags of an action, filled in when a host is banned.
TAGS = {
    "<ip>": "The address that is banned.",
    "<ips>": "In actionban_many and actionunban_many: all of them, with commas between.",
    "<fid>": "What the filter took for the culprit, if that is no address; else the same as <ip>.",
    "<family>": "inet4 or inet6.",
    "<ip-rev>": "The address turned round, with a dot at its end, ready for a name in a DNS list.",
    "<ip-host>": "The name that the DNS gives for the address, or the address.",
    "<failures>": "How many failures led to the ban.",
    "<ipjailfailures>": "The same.",
    "<ipfailures>": "The same, added up over the last ban of the host in each jail that knows one.",
    "<time>": "When the ban began, in seconds since 1970.",
    "<bantime>": "How long it lasts, in seconds; -1 is for ever.",
    "<remaining>": "With actionban_expires: how many seconds it has left, 0 where it is not to end by itself.",
    "<bancount>": "How many bans the host has had, with this one.",
    "<matches>": "The log lines of the failures.",
    "<ipjailmatches>": "The same.",
    "<ipmatches>": "The same of the last ban of the host in each jail that knows one, oldest first.",
    "<restored>": "1 if a restart brought the ban back, else 0.",
    "<F-NAME>": "What the filter's <F-NAME> found, such as <F-USER>.",
    "<jail.found>, <jail.found_total>": "How many failures the jail remembers, and has seen.",
    "<jail.banned>, <jail.banned_total>": "How many hosts the jail bans, and has banned.",
    "<name>": "The jail's name, unless an argument says otherwise.",
    "<actname>": "The action's name in the jail.",
}

# Tags of a filter's regular expressions.
FILTER_TAGS = {
    "<HOST>": "Whom the line blames: an address, or a name unless usedns = no.",
    "<ADDR>": "An address.",
    "<IP4>, <IP6>": "An address of that kind.",
    "<DNS>": "A name.",
    "<SUBNET>": "An address, perhaps with /LENGTH behind it: a network. <CIDR> is the length alone.",
    "<F-ID>...</F-ID>": "Whom the line blames if that is no address: a session, a user, whatever the action understands.",
    "<F-USER>...</F-USER>": "The user. Any other name does as well; what stands in it is known to the action as <F-NAME>.",
    "<F-ALT_USER>...</F-ALT_USER>": "Stands in where the field without ALT_ is empty.",
    "<F-CONTENT>...</F-CONTENT>": "In a prefregex: the part of the line that the failregexes see.",
    "<F-NOFAIL>...</F-NOFAIL>": "This match is no failure in itself; it only helps others of its conversation.",
    "<F-MLFID>...</F-MLFID>": "What lines of one conversation have in common, such as a process id.",
    "<F-MLFGAINED>...</F-MLFGAINED>": "The host was let in: what was held against it in this conversation is dropped.",
    "<F-MLFFORGET>...</F-MLFFORGET>": "The conversation ends.",
    "<SKIPLINES>": "With maxlines: lines in between that do not count.",
}
