# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for fail2ban-client, fail2ban-server and fail2ban-regex.
# Made by tools/manual.py from the tables of commands and options.

# Rank, expression of the words before, word; and for options: name, takes a word, words for it.
_fail2ban_commands=@sh_commands@

_fail2ban_options=@sh_options@

_fail2ban_regex_arguments=@sh_regex_arguments@

_fail2ban_regex_options=@sh_regex_options@

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
