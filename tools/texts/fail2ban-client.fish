# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for fail2ban-client, fail2ban-server and fail2ban-regex.
# Made by tools/manual.py from the tables of commands and options.

# Rank, expression of the words before, word, help; and options that take a word.
set -g __fail2ban_commands @fish_commands@

set -g __fail2ban_regex_arguments @fish_regex_arguments@

set -g __fail2ban_with_word @fish_with_word@

set -g __fail2ban_regex_with_word @fish_regex_with_word@

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

@fish_client_options@

@fish_server_options@

@fish_regex_options@
