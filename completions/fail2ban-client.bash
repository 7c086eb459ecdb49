# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for fail2ban-client, fail2ban-server and fail2ban-regex.
# Made by tools/manual.py from the tables of commands and options.

# Rank, expression of the words before, word; and for options: name, takes a word, words for it.
_fail2ban_commands='0	^$	start
0	^$	restart
0	^$	reload
0	^$	loadconf
0	^$	stop
0	^$	quit
0	^$	status
0	^$	stats
0	^$	statistic
0	^$	statistics
0	^$	banned
0	^$	unban
0	^$	ping
0	^$	echo
0	^$	sleep
0	^$	version
0	^$	set
0	^$	get
0	^$	flushlogs
0	^$	add
1	^ banned( [^ ]+)*$	=ask banned
1	^ get$	thread
1	^ get$	loglevel
1	^ get$	logtarget
1	^ get$	syslogsocket
1	^ get$	dbfile
1	^ get$	dbmaxmatches
1	^ get$	dbpurgeage
1	^ get$	=jails
1	^ reload( --restart| --unban| --if-exists)*$	--restart
1	^ reload( --restart| --unban| --if-exists)*$	--unban
1	^ reload( --restart| --unban| --if-exists)*$	--if-exists
1	^ reload( --restart| --unban| --if-exists)*$	=jails
1	^ reload( --restart| --unban| --if-exists| --all)*$	--restart
1	^ reload( --restart| --unban| --if-exists| --all)*$	--unban
1	^ reload( --restart| --unban| --if-exists| --all)*$	--if-exists
1	^ reload( --restart| --unban| --if-exists| --all)*$	--all
1	^ restart( --unban| --if-exists)*$	--unban
1	^ restart( --unban| --if-exists)*$	--if-exists
1	^ restart( --unban| --if-exists)*$	=jails
1	^ set$	thread
1	^ set$	loglevel
1	^ set$	logtarget
1	^ set$	syslogsocket
1	^ set$	allowipv6
1	^ set$	dbfile
1	^ set$	dbmaxmatches
1	^ set$	dbpurgeage
1	^ set$	=jails
1	^ start$	=jails
1	^ status$	--all
1	^ status$	=jails
1	^ stop$	=jails
1	^ stop$	--all
1	^ unban$	--all
1	^ unban( [^ ]+)*$	=ask banned
2	^ set allowipv6$	auto
2	^ set allowipv6$	yes
2	^ set allowipv6$	no
2	^ set dbfile$	None
2	^ set dbfile$	:memory:
2	^ set dbfile$	=file
2	^ set loglevel$	CRITICAL
2	^ set loglevel$	ERROR
2	^ set loglevel$	WARNING
2	^ set loglevel$	NOTICE
2	^ set loglevel$	INFO
2	^ set loglevel$	DEBUG
2	^ set logtarget$	STDOUT
2	^ set logtarget$	STDERR
2	^ set logtarget$	SYSLOG
2	^ set logtarget$	SYSTEMD-JOURNAL
2	^ set logtarget$	=file
2	^ set syslogsocket$	auto
2	^ set syslogsocket$	=file
2	^ status --all$	basic
2	^ status --all$	short
2	^ status --all$	stats
2	^ status --all$	cymru
3	^ add [^ ]+$	auto
3	^ add [^ ]+$	pyinotify
3	^ add [^ ]+$	polling
3	^ add [^ ]+$	systemd
3	^ get [^ ]+$	banned
3	^ get [^ ]+$	banip
3	^ get [^ ]+$	usedns
3	^ get [^ ]+$	prefregex
3	^ get [^ ]+$	maxlines
3	^ get [^ ]+$	datepattern
3	^ get [^ ]+$	maxretry
3	^ get [^ ]+$	maxhosts
3	^ get [^ ]+$	maxmatches
3	^ get [^ ]+$	findtime
3	^ get [^ ]+$	bantime
3	^ get [^ ]+$	ignorecommand
3	^ get [^ ]+$	ignoreself
3	^ get [^ ]+$	ignorecache
3	^ get [^ ]+$	logtimezone
3	^ get [^ ]+$	logencoding
3	^ get [^ ]+$	ipv6prefix
3	^ get [^ ]+$	aggregate
3	^ get [^ ]+$	aggregatetime
3	^ get [^ ]+$	ignoresessions
3	^ get [^ ]+$	bantime.increment
3	^ get [^ ]+$	bantime.factor
3	^ get [^ ]+$	bantime.formula
3	^ get [^ ]+$	bantime.multipliers
3	^ get [^ ]+$	bantime.maxtime
3	^ get [^ ]+$	bantime.rndtime
3	^ get [^ ]+$	bantime.overalljails
3	^ get [^ ]+$	ignoreip
3	^ get [^ ]+$	logpath
3	^ get [^ ]+$	journalmatch
3	^ get [^ ]+$	failregex
3	^ get [^ ]+$	ignoreregex
3	^ get [^ ]+$	actions
3	^ get [^ ]+$	action
3	^ get [^ ]+$	actionproperties
3	^ get [^ ]+$	actionmethods
3	^ set [^ ]+$	idle
3	^ set [^ ]+$	banip
3	^ set [^ ]+$	unbanip
3	^ set [^ ]+$	attempt
3	^ set [^ ]+$	usedns
3	^ set [^ ]+$	prefregex
3	^ set [^ ]+$	maxlines
3	^ set [^ ]+$	datepattern
3	^ set [^ ]+$	maxretry
3	^ set [^ ]+$	maxhosts
3	^ set [^ ]+$	maxmatches
3	^ set [^ ]+$	findtime
3	^ set [^ ]+$	bantime
3	^ set [^ ]+$	ignorecommand
3	^ set [^ ]+$	ignoreself
3	^ set [^ ]+$	ignorecache
3	^ set [^ ]+$	logtimezone
3	^ set [^ ]+$	logencoding
3	^ set [^ ]+$	ipv6prefix
3	^ set [^ ]+$	aggregate
3	^ set [^ ]+$	aggregatetime
3	^ set [^ ]+$	ignoresessions
3	^ set [^ ]+$	bantime.increment
3	^ set [^ ]+$	bantime.factor
3	^ set [^ ]+$	bantime.formula
3	^ set [^ ]+$	bantime.multipliers
3	^ set [^ ]+$	bantime.maxtime
3	^ set [^ ]+$	bantime.rndtime
3	^ set [^ ]+$	bantime.overalljails
3	^ set [^ ]+$	addignoreip
3	^ set [^ ]+$	delignoreip
3	^ set [^ ]+$	addlogpath
3	^ set [^ ]+$	dellogpath
3	^ set [^ ]+$	addjournalmatch
3	^ set [^ ]+$	deljournalmatch
3	^ set [^ ]+$	addfailregex
3	^ set [^ ]+$	delfailregex
3	^ set [^ ]+$	addignoreregex
3	^ set [^ ]+$	delignoreregex
3	^ set [^ ]+$	addaction
3	^ set [^ ]+$	delaction
3	^ set [^ ]+$	action
3	^ status [^ ]+$	basic
3	^ status [^ ]+$	short
3	^ status [^ ]+$	stats
3	^ status [^ ]+$	cymru
4	^ get [^ ]+ action$	=ask get %2 actions
4	^ get [^ ]+ actionmethods$	=ask get %2 actions
4	^ get [^ ]+ actionproperties$	=ask get %2 actions
4	^ get [^ ]+ banip$	--with-time
4	^ get [^ ]+ banned( [^ ]+)*$	=ask get %2 banned
4	^ set [^ ]+ action$	=ask get %2 actions
4	^ set [^ ]+ addaction$	=names action.d
4	^ set [^ ]+ addlogpath$	=file
4	^ set [^ ]+ bantime[.]increment$	true
4	^ set [^ ]+ bantime[.]increment$	false
4	^ set [^ ]+ bantime[.]overalljails$	true
4	^ set [^ ]+ bantime[.]overalljails$	false
4	^ set [^ ]+ delaction$	=ask get %2 actions
4	^ set [^ ]+ delignoreip$	=ask get %2 ignoreip
4	^ set [^ ]+ dellogpath$	=ask get %2 logpath
4	^ set [^ ]+ idle$	on
4	^ set [^ ]+ idle$	off
4	^ set [^ ]+ ignoreself$	true
4	^ set [^ ]+ ignoreself$	false
4	^ set [^ ]+ ignoresessions$	true
4	^ set [^ ]+ ignoresessions$	false
4	^ set [^ ]+ ipv6prefix$	16..128
4	^ set [^ ]+ ipv6prefix$	off
4	^ set [^ ]+ logencoding$	auto
4	^ set [^ ]+ unbanip( --report-absent)*$	--report-absent
4	^ set [^ ]+ unbanip( --report-absent)*( [^ ]+)*$	=ask get %2 banned
4	^ set [^ ]+ usedns$	yes
4	^ set [^ ]+ usedns$	warn
4	^ set [^ ]+ usedns$	no
4	^ set [^ ]+ usedns$	raw
5	^ get [^ ]+ action [^ ]+$	=ask get %2 actionproperties %4
5	^ set [^ ]+ action [^ ]+$	=ask get %2 actionproperties %4
5	^ set [^ ]+ addaction [^ ]+$	=file
5	^ set [^ ]+ addlogpath [^ ]+$	head
5	^ set [^ ]+ addlogpath [^ ]+$	tail'

_fail2ban_options='-c	1	=dir
--conf	1	=dir
-s	1	=file
--socket	1	=file
-p	1	=file
--pidfile	1	=file
--pname	1
--loglevel	1	CRITICAL	ERROR	WARNING	NOTICE	INFO	DEBUG
--logtarget	1	STDOUT	STDERR	SYSLOG	SYSTEMD-JOURNAL	=file
--syslogsocket	1	auto	=file
--dbfile	1	None	:memory:	=file
-d	0
--dp	0
--dump-pretty	0
-t	0
--test	0
-i	0
-v	0
-q	0
-x	0
-b	0
-f	0
--async	0
--timeout	1
--str2sec	1
--format	1
--json	0
-h	0
--help	0
-V	0
--version	0'

_fail2ban_regex_arguments='0	^$	=file
0	^$	systemd-journal
0	^$	-
1	^ [^ ]+$	=names filter.d
1	^ [^ ]+$	=sections
1	^ [^ ]+$	=file'

_fail2ban_regex_options='-h	0
--help	0
-c	1	=dir
--config	1	=dir
-d	1
--datepattern	1
--timezone	1
--TZ	1
-e	1
--encoding	1
-r	0	yes	warn	no	raw
--raw	0	yes	warn	no	raw
--usedns	1	yes	warn	no	raw
-L	1
--maxlines	1
-m	1
--journalmatch	1
-o	1	id	ip	fid	host	user	row	msg	matches	stats
--out	1	id	ip	fid	host	user	row	msg	matches	stats
-i	0
--invert	0
--no-check-all	0
-v	0
--verbose	0
--verbosity	1
--verbose-date	0
--VD	0
-D	0
--debuggex	0
--print-all-matched	0
--print-all-missed	0
--print-all-ignored	0
--print-no-missed	0
--print-no-ignored	0
-l	1	critical	error	warning	notice	info	debug
--log-level	1	critical	error	warning	notice	info	debug
-n	0
--full-traceback	0
-t	0
--log-traceback	0
--jail	1	=sections
--verdict	0
--lint	1	=names filter.d
-V	0
--version	0'

# Complete for $1, the program as it was typed; $ask is how to run it.
_fail2ban() {
    local line=${COMP_LINE:0:COMP_POINT} offers=$_fail2ban_commands options=$_fail2ban_options
    local words ask given=() said= current prefix= option at=1 is_option=1 is_mixed= found=() IFS=$' \t\n'
    local conf=/etc/fail2ban
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    if [[ ${words[0]##*/} == fail2ban-regex ]]; then
        offers=$_fail2ban_regex_arguments options=$_fail2ban_regex_options is_mixed=1
    fi
    local last=$((${#words[@]} - 1))
    ask=("${words[0]/#\~\//$HOME/}")
    current=${words[last]}

    while ((at < last)); do
        option=${words[at]}
        at=$((at + 1))
        if [[ $option == -?* && $is_option ]]; then
            [[ $option == -- ]] && is_option= && continue
            if _fail2ban_option "$option"; then
                if ((at == last)); then
                    _fail2ban_offer "${found[@]}"
                    _fail2ban_reply
                    return
                fi
                _fail2ban_note "$option" "${words[at]}"
                at=$((at + 1))
            else
                _fail2ban_note "$option"
            fi
        else
            given+=("$option")
            said+=" ${option// /_}"
            [[ $is_mixed ]] || is_option=
        fi
    done

    found=()
    if [[ $current == --*=* && $is_option ]]; then
        prefix=${current%%=*}=
        _fail2ban_option "${current%%=*}" && _fail2ban_offer "${found[@]}"
    elif [[ $current == -* && $is_option ]]; then
        local name rest
        while IFS=$'\t' read -r name rest; do
            found+=("$name")
        done <<<"$options"
    else
        local rank= row after word
        while IFS=$'\t' read -r row after word; do
            [[ $rank && $row != "$rank" ]] && break
            [[ $said =~ $after ]] || continue
            rank=$row
            [[ $word == -* && " $said " == *" $word "* ]] || _fail2ban_offer "$word"
        done <<<"$offers"
    fi
    _fail2ban_reply
}

# Whether option $1 takes a word; $found are then the offers for it.
_fail2ban_option() {
    local name takes rest
    while IFS=$'\t' read -r name takes rest; do
        if [[ $name == "$1" ]]; then
            IFS=$'\t' read -ra found <<<"$rest"
            ((takes))
            return
        fi
    done <<<"$options"
    return 1
}

# Remember what says where the server and the configuration are.
_fail2ban_note() {
    case $1 in
    -s | --socket) ask+=(-s "$2") ;;
    -c | --conf | --config) conf=$2 ask+=(-c "$2") ;;
    -s?* | --socket=*) ask+=("$1") ;;
    -c?*) conf=${1#-c} ask+=("$1") ;;
    --conf=* | --config=*) conf=${1#*=} ask+=("$1") ;;
    esac
}

# Add what each of the words stands for to the reply.  What the server knows may be an attacker's words:
# only what means nothing to a shell is offered.
_fail2ban_offer() {
    local offer typed=${current#"$prefix"} number file
    found=()
    for offer in "$@"; do
        case $offer in
        =file | =dir)
            compopt -o filenames 2>/dev/null
            local how=-f
            [[ $offer == =dir ]] && how=-d
            while IFS= read -r file; do
                COMPREPLY+=("$prefix$file")
            done < <(compgen $how -- "$typed")
            ;;
        =jails)
            found+=($("${ask[@]}" --timeout 2 status 2>/dev/null </dev/null |
                sed -n 's/.*Jail list:[[:space:]]*//p' | tr -d ,))
            ;;
        =sections)
            found+=($(cat "$conf"/jail.{conf,local} "$conf"/jail.d/*.{conf,local} 2>/dev/null |
                sed -n 's/^\[\([^]]*\)\].*/\1/p' | grep -vx -e DEFAULT -e INCLUDES))
            ;;
        =names*)
            for file in "$conf/${offer#=names }"/*.conf; do
                file=${file##*/}
                [[ $file == \** ]] || found+=("${file%.conf}")
            done
            ;;
        =ask*)
            offer=${offer#=ask }
            for number in 2 4; do
                offer=${offer//%$number/"${given[number - 1]}"}
            done
            found+=($("${ask[@]}" --timeout 2 --json $offer 2>/dev/null </dev/null |
                grep -v '^{"error"' | grep -oE '"[[:alnum:]_.:/@%+-]+"[],]' | sed 's/^"//; s/"[],]$//'))
            ;;
        *) found+=("$offer") ;;
        esac
    done
    local word
    for word in "${found[@]}"; do
        _fail2ban_add "$prefix$word"
    done
    found=()
}

_fail2ban_add() {
    [[ $1 == "$current"* && $'\n'$(printf '%s\n' "${COMPREPLY[@]}")$'\n' != *$'\n'"$1"$'\n'* ]] &&
        COMPREPLY+=("$1")
}

# Readline puts a word in place of what follows the last of its own word breaks only.
_fail2ban_reply() {
    local word i
    for word in "${found[@]}"; do
        _fail2ban_add "$word"
    done
    word=${current%"${current##*[:=]}"}
    if [[ $word && $COMP_WORDBREAKS == *[:=]* ]]; then
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$word"}
        done
    fi
}

complete -F _fail2ban fail2ban-client fail2ban-server fail2ban-regex
