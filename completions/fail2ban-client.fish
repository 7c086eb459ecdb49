# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for fail2ban-client, fail2ban-server and fail2ban-regex.
# Made by tools/manual.py from the tables of commands and options.

# Rank, expression of the words before, word, help; and options that take a word.
set -g __fail2ban_commands '0	^$	start	Start the server and its jails.' \
    '0	^$	restart	Stop the server, if there is one, and start it anew.' \
    '0	^$	reload	Read the configuration again and change what differs; a mistake in it changes nothing.' \
    '0	^$	loadconf	Send the configuration to the running server, all of it or, if there is a mistake in it, nothing.' \
    '0	^$	stop	Stop all jails and end the server.' \
    '0	^$	quit	The same as stop, as it was first called.' \
    '0	^$	status	How many jails there are, and their names.' \
    '0	^$	stats	A table: failures and bans, current and total, of every jail.' \
    '0	^$	statistic	The same as plain data.' \
    '0	^$	statistics	The same as plain data.' \
    '0	^$	banned	The hosts that are banned, jail by jail.' \
    '0	^$	unban	Lift the ban on each <ip> in all jails.' \
    '0	^$	ping	See whether the server answers, within <seconds>.' \
    '0	^$	echo	Have the server repeat the words.' \
    '0	^$	sleep	Have the server answer after <seconds>.' \
    '0	^$	version	Show the server\'s version.' \
    '0	^$	set	' \
    '0	^$	get	' \
    '0	^$	flushlogs	Open the log file anew after it was moved, or write out what is held back.' \
    '0	^$	add	Make a jail that follows its logs with <backend>: auto, pyinotify, polling or systemd.' \
    '1	^ banned( [^ ]+)*$	=ask banned	' \
    '1	^ get$	thread	Show the stack size of new threads.' \
    '1	^ get$	loglevel	Show it: how much is logged: CRITICAL ERROR WARNING NOTICE INFO DEBUG, or 1 to 4.' \
    '1	^ get$	logtarget	Show it: where: a file, STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL.' \
    '1	^ get$	syslogsocket	Show it: the socket of syslog; auto finds it.' \
    '1	^ get$	dbfile	Show it: the database; None for none, :memory: for one that is not kept.' \
    '1	^ get$	dbmaxmatches	Show it: log lines kept of a ban in the database.' \
    '1	^ get$	dbpurgeage	Show it: how long bans that are over are kept in the database.' \
    '1	^ get$	=jails	' \
    '1	^ reload( --restart| --unban| --if-exists)*$	--restart	' \
    '1	^ reload( --restart| --unban| --if-exists)*$	--unban	' \
    '1	^ reload( --restart| --unban| --if-exists)*$	--if-exists	' \
    '1	^ reload( --restart| --unban| --if-exists)*$	=jails	' \
    '1	^ reload( --restart| --unban| --if-exists| --all)*$	--restart	' \
    '1	^ reload( --restart| --unban| --if-exists| --all)*$	--unban	' \
    '1	^ reload( --restart| --unban| --if-exists| --all)*$	--if-exists	' \
    '1	^ reload( --restart| --unban| --if-exists| --all)*$	--all	' \
    '1	^ restart( --unban| --if-exists)*$	--unban	' \
    '1	^ restart( --unban| --if-exists)*$	--if-exists	' \
    '1	^ restart( --unban| --if-exists)*$	=jails	' \
    '1	^ set$	thread	Set the stack size of new threads: {\'stacksize\': KiB}, 0 for the system\'s own.' \
    '1	^ set$	loglevel	How much is logged: CRITICAL ERROR WARNING NOTICE INFO DEBUG, or 1 to 4.' \
    '1	^ set$	logtarget	Where: a file, STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL.' \
    '1	^ set$	syslogsocket	The socket of syslog; auto finds it.' \
    '1	^ set$	allowipv6	Whether IPv6 is in use: auto, yes, no.' \
    '1	^ set$	dbfile	The database; None for none, :memory: for one that is not kept.' \
    '1	^ set$	dbmaxmatches	Log lines kept of a ban in the database.' \
    '1	^ set$	dbpurgeage	How long bans that are over are kept in the database.' \
    '1	^ set$	=jails	' \
    '1	^ start$	=jails	' \
    '1	^ status$	--all	The status of all jails.' \
    '1	^ status$	=jails	' \
    '1	^ stop$	=jails	' \
    '1	^ stop$	--all	Stop all jails; the server goes on.' \
    '1	^ unban$	--all	Lift all bans in all jails.' \
    '1	^ unban( [^ ]+)*$	=ask banned	' \
    '2	^ set allowipv6$	auto	' \
    '2	^ set allowipv6$	yes	' \
    '2	^ set allowipv6$	no	' \
    '2	^ set dbfile$	None	' \
    '2	^ set dbfile$	:memory:	' \
    '2	^ set dbfile$	=file	' \
    '2	^ set loglevel$	CRITICAL	' \
    '2	^ set loglevel$	ERROR	' \
    '2	^ set loglevel$	WARNING	' \
    '2	^ set loglevel$	NOTICE	' \
    '2	^ set loglevel$	INFO	' \
    '2	^ set loglevel$	DEBUG	' \
    '2	^ set logtarget$	STDOUT	' \
    '2	^ set logtarget$	STDERR	' \
    '2	^ set logtarget$	SYSLOG	' \
    '2	^ set logtarget$	SYSTEMD-JOURNAL	' \
    '2	^ set logtarget$	=file	' \
    '2	^ set syslogsocket$	auto	' \
    '2	^ set syslogsocket$	=file	' \
    '2	^ status --all$	basic	' \
    '2	^ status --all$	short	' \
    '2	^ status --all$	stats	' \
    '2	^ status --all$	cymru	' \
    '3	^ add [^ ]+$	auto	' \
    '3	^ add [^ ]+$	pyinotify	' \
    '3	^ add [^ ]+$	polling	' \
    '3	^ add [^ ]+$	systemd	' \
    '3	^ get [^ ]+$	banned	The hosts that <jail> bans, oldest first.' \
    '3	^ get [^ ]+$	banip	The hosts that <jail> bans, by end of ban.' \
    '3	^ get [^ ]+$	usedns	Show it: whether host names in a log are looked up: yes, warn (and say so), no, raw (ban the name).' \
    '3	^ get [^ ]+$	prefregex	Show it: what every line of interest begins with; its <F-CONTENT> is what the failregexes see.' \
    '3	^ get [^ ]+$	maxlines	Show it: how many lines a failregex may span.' \
    '3	^ get [^ ]+$	datepattern	Show it: how dates are written in the log, where it is not one of the usual ways.' \
    '3	^ get [^ ]+$	maxretry	Show it: failures within findtime that earn a ban.' \
    '3	^ get [^ ]+$	maxhosts	Show it: hosts whose failures are counted at a time; beyond that, those that failed least are forgotten.' \
    '3	^ get [^ ]+$	maxmatches	Show it: log lines kept of a host that fails.' \
    '3	^ get [^ ]+$	findtime	Show it: how long a failure counts.' \
    '3	^ get [^ ]+$	bantime	Show it: how long a ban lasts; -1 is for ever.' \
    '3	^ get [^ ]+$	ignorecommand	Show it: a command that exits with 0 where a host is not to be banned.' \
    '3	^ get [^ ]+$	ignoreself	Show it: never ban one of this machine\'s own addresses.' \
    '3	^ get [^ ]+$	ignorecache	Show it: how long answers of ignorecommand are kept: key="<ip>", max-count=100, max-time=5m.' \
    '3	^ get [^ ]+$	logtimezone	Show it: the time zone of dates in the log that name none.' \
    '3	^ get [^ ]+$	logencoding	Show it: the log\'s encoding; auto is the locale\'s.' \
    '3	^ get [^ ]+$	ipv6prefix	Show it: the length of the prefix that IPv6 hosts are counted and banned by; off is each address by itself.' \
    '3	^ get [^ ]+$	aggregate	Show it: how many banned hosts of a network (/24 of IPv4, /56 of IPv6) have all of it banned; 0 is never.' \
    '3	^ get [^ ]+$	aggregatetime	Show it: how far apart their bans may have begun.' \
    '3	^ get [^ ]+$	ignoresessions	Show it: spare addresses from which somebody is logged in now: they are told of, and banned by hand only.' \
    '3	^ get [^ ]+$	bantime.increment	Show it: whether each further ban of a host is longer.' \
    '3	^ get [^ ]+$	bantime.factor	Show it: what the length of a growing ban is multiplied with.' \
    '3	^ get [^ ]+$	bantime.formula	Show it: arithmetic that gives the length of a growing ban.' \
    '3	^ get [^ ]+$	bantime.multipliers	Show it: factors for the first, second, … ban of a host.' \
    '3	^ get [^ ]+$	bantime.maxtime	Show it: the longest that a growing ban may get.' \
    '3	^ get [^ ]+$	bantime.rndtime	Show it: up to how much time is added at random to a growing ban.' \
    '3	^ get [^ ]+$	bantime.overalljails	Show it: whether bans in other jails count, too.' \
    '3	^ get [^ ]+$	ignoreip	The hosts that <jail> never bans.' \
    '3	^ get [^ ]+$	logpath	The log files that <jail> follows.' \
    '3	^ get [^ ]+$	journalmatch	Which entries of the journal <jail> follows.' \
    '3	^ get [^ ]+$	failregex	The regular expressions that find failures, with their index.' \
    '3	^ get [^ ]+$	ignoreregex	The regular expressions of lines to pass over, with their index.' \
    '3	^ get [^ ]+$	actions	The names of the actions of <jail>.' \
    '3	^ get [^ ]+$	action	A property of an action.' \
    '3	^ get [^ ]+$	actionproperties	The names of an action\'s properties.' \
    '3	^ get [^ ]+$	actionmethods	The names of an action\'s methods.' \
    '3	^ set [^ ]+$	idle	Whether <jail> rests: on or off.' \
    '3	^ set [^ ]+$	banip	Ban each <ip>: an address, a network, or any text that the actions understand.' \
    '3	^ set [^ ]+$	unbanip	Lift the ban on each <ip> in <jail>; with --report-absent it is an error if there is none.' \
    '3	^ set [^ ]+$	attempt	Count a failure of <ip>, one for each <text>.' \
    '3	^ set [^ ]+$	usedns	Whether host names in a log are looked up: yes, warn (and say so), no, raw (ban the name).' \
    '3	^ set [^ ]+$	prefregex	What every line of interest begins with; its <F-CONTENT> is what the failregexes see.' \
    '3	^ set [^ ]+$	maxlines	How many lines a failregex may span.' \
    '3	^ set [^ ]+$	datepattern	How dates are written in the log, where it is not one of the usual ways.' \
    '3	^ set [^ ]+$	maxretry	Failures within findtime that earn a ban.' \
    '3	^ set [^ ]+$	maxhosts	Hosts whose failures are counted at a time; beyond that, those that failed least are forgotten.' \
    '3	^ set [^ ]+$	maxmatches	Log lines kept of a host that fails.' \
    '3	^ set [^ ]+$	findtime	How long a failure counts.' \
    '3	^ set [^ ]+$	bantime	How long a ban lasts; -1 is for ever.' \
    '3	^ set [^ ]+$	ignorecommand	A command that exits with 0 where a host is not to be banned.' \
    '3	^ set [^ ]+$	ignoreself	Never ban one of this machine\'s own addresses.' \
    '3	^ set [^ ]+$	ignorecache	How long answers of ignorecommand are kept: key="<ip>", max-count=100, max-time=5m.' \
    '3	^ set [^ ]+$	logtimezone	The time zone of dates in the log that name none.' \
    '3	^ set [^ ]+$	logencoding	The log\'s encoding; auto is the locale\'s.' \
    '3	^ set [^ ]+$	ipv6prefix	The length of the prefix that IPv6 hosts are counted and banned by; off is each address by itself.' \
    '3	^ set [^ ]+$	aggregate	How many banned hosts of a network (/24 of IPv4, /56 of IPv6) have all of it banned; 0 is never.' \
    '3	^ set [^ ]+$	aggregatetime	How far apart their bans may have begun.' \
    '3	^ set [^ ]+$	ignoresessions	Spare addresses from which somebody is logged in now: they are told of, and banned by hand only.' \
    '3	^ set [^ ]+$	bantime.increment	Whether each further ban of a host is longer.' \
    '3	^ set [^ ]+$	bantime.factor	What the length of a growing ban is multiplied with.' \
    '3	^ set [^ ]+$	bantime.formula	Arithmetic that gives the length of a growing ban.' \
    '3	^ set [^ ]+$	bantime.multipliers	Factors for the first, second, … ban of a host.' \
    '3	^ set [^ ]+$	bantime.maxtime	The longest that a growing ban may get.' \
    '3	^ set [^ ]+$	bantime.rndtime	Up to how much time is added at random to a growing ban.' \
    '3	^ set [^ ]+$	bantime.overalljails	Whether bans in other jails count, too.' \
    '3	^ set [^ ]+$	addignoreip	Never ban each <ip>: addresses, networks, host names, file:<path>.' \
    '3	^ set [^ ]+$	delignoreip	Take <ip> out of the list of hosts never banned.' \
    '3	^ set [^ ]+$	addlogpath	Follow a log file from its tail, or first read it from its head.' \
    '3	^ set [^ ]+$	dellogpath	Follow a log file no longer.' \
    '3	^ set [^ ]+$	addjournalmatch	Follow entries of the journal that match; + stands between alternatives.' \
    '3	^ set [^ ]+$	deljournalmatch	Take a match of journal entries away.' \
    '3	^ set [^ ]+$	addfailregex	Add a regular expression that finds failures.' \
    '3	^ set [^ ]+$	delfailregex	Remove the one with this index.' \
    '3	^ set [^ ]+$	addignoreregex	Add a regular expression of lines to pass over.' \
    '3	^ set [^ ]+$	delignoreregex	Remove the one with this index.' \
    '3	^ set [^ ]+$	addaction	Add an action; one in Python stands in <file> and is made with the arguments in <json>.' \
    '3	^ set [^ ]+$	delaction	Remove an action.' \
    '3	^ set [^ ]+$	action	Set the property <name> of an action, such as actionban or timeout; or call that method of an action in Python, with the arguments in the JSON text <value>.' \
    '3	^ status [^ ]+$	basic	' \
    '3	^ status [^ ]+$	short	' \
    '3	^ status [^ ]+$	stats	' \
    '3	^ status [^ ]+$	cymru	' \
    '4	^ get [^ ]+ action$	=ask get %2 actions	' \
    '4	^ get [^ ]+ actionmethods$	=ask get %2 actions	' \
    '4	^ get [^ ]+ actionproperties$	=ask get %2 actions	' \
    '4	^ get [^ ]+ banip$	--with-time	The same, one a line, with start, length and end.' \
    '4	^ get [^ ]+ banned( [^ ]+)*$	=ask get %2 banned	' \
    '4	^ set [^ ]+ action$	=ask get %2 actions	' \
    '4	^ set [^ ]+ addaction$	=names action.d	' \
    '4	^ set [^ ]+ addlogpath$	=file	' \
    '4	^ set [^ ]+ bantime[.]increment$	true	' \
    '4	^ set [^ ]+ bantime[.]increment$	false	' \
    '4	^ set [^ ]+ bantime[.]overalljails$	true	' \
    '4	^ set [^ ]+ bantime[.]overalljails$	false	' \
    '4	^ set [^ ]+ delaction$	=ask get %2 actions	' \
    '4	^ set [^ ]+ delignoreip$	=ask get %2 ignoreip	' \
    '4	^ set [^ ]+ dellogpath$	=ask get %2 logpath	' \
    '4	^ set [^ ]+ idle$	on	' \
    '4	^ set [^ ]+ idle$	off	' \
    '4	^ set [^ ]+ ignoreself$	true	' \
    '4	^ set [^ ]+ ignoreself$	false	' \
    '4	^ set [^ ]+ ignoresessions$	true	' \
    '4	^ set [^ ]+ ignoresessions$	false	' \
    '4	^ set [^ ]+ ipv6prefix$	16..128	' \
    '4	^ set [^ ]+ ipv6prefix$	off	' \
    '4	^ set [^ ]+ logencoding$	auto	' \
    '4	^ set [^ ]+ unbanip( --report-absent)*$	--report-absent	' \
    '4	^ set [^ ]+ unbanip( --report-absent)*( [^ ]+)*$	=ask get %2 banned	' \
    '4	^ set [^ ]+ usedns$	yes	' \
    '4	^ set [^ ]+ usedns$	warn	' \
    '4	^ set [^ ]+ usedns$	no	' \
    '4	^ set [^ ]+ usedns$	raw	' \
    '5	^ get [^ ]+ action [^ ]+$	=ask get %2 actionproperties %4	' \
    '5	^ set [^ ]+ action [^ ]+$	=ask get %2 actionproperties %4	' \
    '5	^ set [^ ]+ addaction [^ ]+$	=file	' \
    '5	^ set [^ ]+ addlogpath [^ ]+$	head	' \
    '5	^ set [^ ]+ addlogpath [^ ]+$	tail	'

set -g __fail2ban_regex_arguments '0	^$	=file	' \
    '0	^$	systemd-journal	' \
    '0	^$	-	' \
    '1	^ [^ ]+$	=names filter.d	' \
    '1	^ [^ ]+$	=sections	' \
    '1	^ [^ ]+$	=file	'

set -g __fail2ban_with_word '-c' '--conf' '-s' '--socket' '-p' '--pidfile' '--pname' '--loglevel' '--logtarget' '--syslogsocket' '--dbfile' '--timeout' '--str2sec' '--format'

set -g __fail2ban_regex_with_word '-c' '--config' '-d' '--datepattern' '--timezone' '--TZ' '-e' '--encoding' '--usedns' '-L' '--maxlines' '-m' '--journalmatch' '-o' '--out' '--verbosity' '-l' '--log-level' '--jail' '--lint'

# Read the line: $ask is how to run the program, $given its words but for options.
function __fail2ban_read --no-scope-shadowing
    set -l tokens (commandline -opc)
    set ask $tokens[1]
    set given
    set conf /etc/fail2ban
    set is_regex (string match -q '*fail2ban-regex' -- $tokens[1]; and echo yes)
    set -l with_word $__fail2ban_with_word
    test -n "$is_regex"; and set with_word $__fail2ban_regex_with_word
    set -e tokens[1]
    while set -q tokens[1]
        set -l token $tokens[1]
        set -e tokens[1]
        if test "$token" = --
            set -a given $tokens
            break
        else if not string match -qr '^-.' -- $token
            set -a given $token
            test -n "$is_regex"; and continue
            set -a given $tokens
            break
        end
        set -l word
        if contains -- $token $with_word
            set word $tokens[1]
            set -e tokens[1]
        end
        switch $token
            case -s --socket
                set -a ask -s $word
            case -c --conf --config
                set conf $word
                set -a ask -c $word
            case '-s?*' '--socket=*'
                set -a ask $token
            case '-c?*'
                set conf (string sub -s 3 -- $token)
                set -a ask $token
            case '--conf=*' '--config=*'
                set conf (string replace -r '^[^=]*=' '' -- $token)
                set -a ask $token
        end
    end
end

# Print what each of the words stands for.  What the server knows may be an attacker's words: only what
# means nothing to a shell is offered.
function __fail2ban_offer
    set -l ask
    set -l given
    set -l conf
    set -l is_regex
    __fail2ban_read
    type -q $ask[1]; or set ask false
    for offer in $argv
        switch $offer
            case =file
                __fish_complete_path (commandline -ct | string replace -r '^--[^=]*=' '')
            case =dir
                __fish_complete_directories (commandline -ct | string replace -r '^--[^=]*=' '') ''
            case =jails
                $ask --timeout 2 status 2>/dev/null </dev/null |
                    string replace -rf '.*Jail list:\s*' '' | string split -n ', '
            case =sections
                set -l files $conf/jail.{conf,local} $conf/jail.d/*.conf $conf/jail.d/*.local
                cat $files 2>/dev/null | string replace -rf '^\[([^]]*)\].*' '$1' |
                    string match -vr '^(DEFAULT|INCLUDES)$'
            case '=names *'
                set -l names $conf/(string sub -s 8 -- $offer)/*.conf
                string replace -r '.*/(.*)\.conf$' '$1' -- $names
            case '=ask *'
                set -l words (string split ' ' -- (string sub -s 6 -- $offer))
                for at in (seq (count $words))
                    switch $words[$at]
                        case %2
                            set words[$at] $given[2]
                        case %4
                            set words[$at] $given[4]
                    end
                end
                $ask --timeout 2 --json $words 2>/dev/null </dev/null |
                    string match -v '{"error"*' |
                    string match -ar '"[\w.:/@%+-]+"[],]' | string replace -r '^"(.*)"[],]$' '$1'
            case '*'
                printf '%s\n' $offer
        end
    end
end

# Print what may come next.
function __fail2ban_next
    set -l ask
    set -l given
    set -l conf
    set -l is_regex
    __fail2ban_read
    set -l said
    for word in $given
        set said "$said "(string replace -a ' ' _ -- $word)
    end
    set -l rows $__fail2ban_commands
    test -n "$is_regex"; and set rows $__fail2ban_regex_arguments
    set -l rank
    for row in $rows
        set -l cells (string split \t -- $row)
        if test -n "$rank" -a "$cells[1]" != "$rank"
            break
        end
        string match -qr -- $cells[2] "$said"; or continue
        set rank $cells[1]
        set -l word $cells[3]
        if string match -q -- '-*' $word; and contains -- $word $given
            continue
        else if string match -q '=*' -- $word
            __fail2ban_offer $word
        else
            printf '%s\t%s\n' $word "$cells[4]"
        end
    end
end

function __fail2ban_takes_options
    set -l ask
    set -l given
    set -l conf
    set -l is_regex
    __fail2ban_read
    not set -q given[1]
end

for program in fail2ban-client fail2ban-server fail2ban-regex
    complete -c $program -f -a '(__fail2ban_next)'
end

complete -c fail2ban-client -n __fail2ban_takes_options -s c -l conf -x -a '(__fail2ban_offer \'=dir\')' -d 'Read the configuration in <dir>.'
complete -c fail2ban-client -n __fail2ban_takes_options -s s -l socket -x -a '(__fail2ban_offer \'=file\')' -d 'Talk over the socket at <path>.'
complete -c fail2ban-client -n __fail2ban_takes_options -s p -l pidfile -x -a '(__fail2ban_offer \'=file\')' -d 'Keep the server\'s process id in <path>.'
complete -c fail2ban-client -n __fail2ban_takes_options -l pname -x -d 'Call the server\'s process <name>.'
complete -c fail2ban-client -n __fail2ban_takes_options -l loglevel -x -a '(__fail2ban_offer \'CRITICAL\' \'ERROR\' \'WARNING\' \'NOTICE\' \'INFO\' \'DEBUG\')' -d 'Log as much as <level> says, whatever the configuration says.'
complete -c fail2ban-client -n __fail2ban_takes_options -l logtarget -x -a '(__fail2ban_offer \'STDOUT\' \'STDERR\' \'SYSLOG\' \'SYSTEMD-JOURNAL\' \'=file\')' -d 'Log to <target>: a file, STDOUT, STDERR, SYSLOG, SYSOUT, SYSTEMD-JOURNAL.'
complete -c fail2ban-client -n __fail2ban_takes_options -l syslogsocket -x -a '(__fail2ban_offer \'auto\' \'=file\')' -d 'The socket of syslog: auto or <path>.'
complete -c fail2ban-client -n __fail2ban_takes_options -l dbfile -x -a '(__fail2ban_offer \'None\' \':memory:\' \'=file\')' -d 'Keep bans and positions in <path>: a file, :memory:, or None.'
complete -c fail2ban-client -n __fail2ban_takes_options -s d -d 'Print the commands that the configuration comes to, and end.'
complete -c fail2ban-client -n __fail2ban_takes_options -l dp -l dump-pretty -d 'The same, made for reading.'
complete -c fail2ban-client -n __fail2ban_takes_options -s t -l test -d 'See whether the configuration is right, and end.'
complete -c fail2ban-client -n __fail2ban_takes_options -s i -d 'Ask for commands, one after the other.'
complete -c fail2ban-client -n __fail2ban_takes_options -s v -d 'Say more; may be given again.'
complete -c fail2ban-client -n __fail2ban_takes_options -s q -d 'Say less.'
complete -c fail2ban-client -n __fail2ban_takes_options -s x -d 'Replace a socket that a dead server left behind, whoever owns it.'
complete -c fail2ban-client -n __fail2ban_takes_options -s b -d 'Have the server run in the background (as it does anyway).'
complete -c fail2ban-client -n __fail2ban_takes_options -s f -d 'Have the server run in the foreground.'
complete -c fail2ban-client -n __fail2ban_takes_options -l async -d 'Have the server start without a configuration: a client sends it.'
complete -c fail2ban-client -n __fail2ban_takes_options -l timeout -x -d 'Wait no longer than <time> for the server.'
complete -c fail2ban-client -n __fail2ban_takes_options -l str2sec -x -d 'Print how many seconds <time> is, and end.'
complete -c fail2ban-client -n __fail2ban_takes_options -l format -x -d 'Print answers and errors in <format>: text, or json as doc/json.md tells.'
complete -c fail2ban-client -n __fail2ban_takes_options -l json -d 'The same as --format json.'
complete -c fail2ban-client -n __fail2ban_takes_options -s h -l help -d 'Print this help.'
complete -c fail2ban-client -n __fail2ban_takes_options -s V -d 'Print the bare version.'
complete -c fail2ban-client -n __fail2ban_takes_options -l version -d 'Print the version.'

complete -c fail2ban-server -n __fail2ban_takes_options -s c -l conf -x -a '(__fail2ban_offer \'=dir\')' -d 'Read the configuration in <dir>.'
complete -c fail2ban-server -n __fail2ban_takes_options -s s -l socket -x -a '(__fail2ban_offer \'=file\')' -d 'Talk over the socket at <path>.'
complete -c fail2ban-server -n __fail2ban_takes_options -s p -l pidfile -x -a '(__fail2ban_offer \'=file\')' -d 'Keep the server\'s process id in <path>.'
complete -c fail2ban-server -n __fail2ban_takes_options -l pname -x -d 'Call the server\'s process <name>.'
complete -c fail2ban-server -n __fail2ban_takes_options -l loglevel -x -a '(__fail2ban_offer \'CRITICAL\' \'ERROR\' \'WARNING\' \'NOTICE\' \'INFO\' \'DEBUG\')' -d 'Log as much as <level> says, whatever the configuration says.'
complete -c fail2ban-server -n __fail2ban_takes_options -l logtarget -x -a '(__fail2ban_offer \'STDOUT\' \'STDERR\' \'SYSLOG\' \'SYSTEMD-JOURNAL\' \'=file\')' -d 'Log to <target>: a file, STDOUT, STDERR, SYSLOG, SYSOUT, SYSTEMD-JOURNAL.'
complete -c fail2ban-server -n __fail2ban_takes_options -l syslogsocket -x -a '(__fail2ban_offer \'auto\' \'=file\')' -d 'The socket of syslog: auto or <path>.'
complete -c fail2ban-server -n __fail2ban_takes_options -l dbfile -x -a '(__fail2ban_offer \'None\' \':memory:\' \'=file\')' -d 'Keep bans and positions in <path>: a file, :memory:, or None.'
complete -c fail2ban-server -n __fail2ban_takes_options -s d -d 'Print the commands that the configuration comes to, and end.'
complete -c fail2ban-server -n __fail2ban_takes_options -l dp -l dump-pretty -d 'The same, made for reading.'
complete -c fail2ban-server -n __fail2ban_takes_options -s t -l test -d 'See whether the configuration is right, and end.'
complete -c fail2ban-server -n __fail2ban_takes_options -s i -d 'Ask for commands, one after the other.'
complete -c fail2ban-server -n __fail2ban_takes_options -s v -d 'Say more; may be given again.'
complete -c fail2ban-server -n __fail2ban_takes_options -s q -d 'Say less.'
complete -c fail2ban-server -n __fail2ban_takes_options -s x -d 'Replace a socket that a dead server left behind, whoever owns it.'
complete -c fail2ban-server -n __fail2ban_takes_options -s b -d 'Have the server run in the background (as it does anyway).'
complete -c fail2ban-server -n __fail2ban_takes_options -s f -d 'Have the server run in the foreground.'
complete -c fail2ban-server -n __fail2ban_takes_options -l async -d 'Have the server start without a configuration: a client sends it.'
complete -c fail2ban-server -n __fail2ban_takes_options -l timeout -x -d 'Wait no longer than <time> for the server.'
complete -c fail2ban-server -n __fail2ban_takes_options -l str2sec -x -d 'Print how many seconds <time> is, and end.'
complete -c fail2ban-server -n __fail2ban_takes_options -l format -x -d 'Print answers and errors in <format>: text, or json as doc/json.md tells.'
complete -c fail2ban-server -n __fail2ban_takes_options -l json -d 'The same as --format json.'
complete -c fail2ban-server -n __fail2ban_takes_options -s h -l help -d 'Print this help.'
complete -c fail2ban-server -n __fail2ban_takes_options -s V -d 'Print the bare version.'
complete -c fail2ban-server -n __fail2ban_takes_options -l version -d 'Print the version.'

complete -c fail2ban-regex -n true -s h -l help -d 'Show this help message and exit.'
complete -c fail2ban-regex -n true -s c -l config -x -a '(__fail2ban_offer \'=dir\')' -d 'The configuration\'s directory.'
complete -c fail2ban-regex -n true -s d -l datepattern -x -d 'How dates are written in the log.'
complete -c fail2ban-regex -n true -l timezone -l TZ -x -d 'The zone of dates that name none.'
complete -c fail2ban-regex -n true -s e -l encoding -x -d 'The log\'s encoding; the locale\'s unless given.'
complete -c fail2ban-regex -n true -s r -l raw -a '(__fail2ban_offer \'yes\' \'warn\' \'no\' \'raw\')' -d 'Look no names up.'
complete -c fail2ban-regex -n true -l usedns -x -a '(__fail2ban_offer \'yes\' \'warn\' \'no\' \'raw\')' -d 'Yes, warn, no or raw, as in a jail.'
complete -c fail2ban-regex -n true -s L -l maxlines -x -d 'How many lines a failregex may span.'
complete -c fail2ban-regex -n true -s m -l journalmatch -x -d 'Which entries of the journal.'
complete -c fail2ban-regex -n true -s o -l out -x -a '(__fail2ban_offer \'id\' \'ip\' \'fid\' \'host\' \'user\' \'row\' \'msg\' \'matches\' \'stats\')' -d 'Print only this of each match: id, ip, fid, host, ip4, ip6, dns, user, row, msg, matches, raw-ids, stats, or a text with <tags>.'
complete -c fail2ban-regex -n true -s i -l invert -d 'With -o: the lines that do not match.'
complete -c fail2ban-regex -n true -l no-check-all -d 'Count the first regex that matches only.'
complete -c fail2ban-regex -n true -s v -l verbose -d 'Say more; may be given again.'
complete -c fail2ban-regex -n true -l verbosity -x -d 'The same as a number.'
complete -c fail2ban-regex -n true -l verbose-date -l VD -d 'Show what of each line was its date.'
complete -c fail2ban-regex -n true -s D -l debuggex -d 'Show the regexes as they are tried, for a tool to look into.'
complete -c fail2ban-regex -n true -l print-all-matched -d 'Print all lines that match.'
complete -c fail2ban-regex -n true -l print-all-missed -d 'Print all lines that do not.'
complete -c fail2ban-regex -n true -l print-all-ignored -d 'Print all lines that are ignored.'
complete -c fail2ban-regex -n true -l print-no-missed -d 'Print no lines that do not match.'
complete -c fail2ban-regex -n true -l print-no-ignored -d 'Print no lines that are ignored.'
complete -c fail2ban-regex -n true -s l -l log-level -x -a '(__fail2ban_offer \'critical\' \'error\' \'warning\' \'notice\' \'info\' \'debug\')' -d 'Which messages about the work go to standard error: critical, error, warning (slow rules), notice, info (how it was read), debug.'
complete -c fail2ban-regex -n true -s n -l full-traceback -d 'Show where in the program an unforeseen error came up.'
complete -c fail2ban-regex -n true -s t -l log-traceback -d 'Taken, and without effect.'
complete -c fail2ban-regex -n true -l jail -x -a '(__fail2ban_offer \'=sections\')' -d 'The limits of this jail, for --verdict; also the filter, if none is given.'
complete -c fail2ban-regex -n true -l verdict -d 'Show who would have been banned, and when.'
complete -c fail2ban-regex -n true -l lint -x -a '(__fail2ban_offer \'=names filter.d\')' -d 'Look for faults in these filters, or in all; reads no log.'
complete -c fail2ban-regex -n true -s V -d 'Print the bare version.'
complete -c fail2ban-regex -n true -l version -d 'Print the version.'
