# SPDX-License-Identifier: GPL-2.0-or-later
"""Mails, complaints and reports go to whom they should, and are nothing but text."""

from __future__ import annotations

import os
import re
import time
from email import message_from_bytes, policy

import pytest

from server.enforcer import Enforcer
from server.records import Enforce
from tests.network import EVIL, World, a_ban, a_program, bans, conf
from tests.support import ROOT


@pytest.fixture
def mailer(tmp_path):
    """A mail program and a whois that write down what they are given."""
    tool = tmp_path / "post"
    tool.write_text(
        f'#!/bin/sh\nfor x; do printf "<%s>\\n" "$x"; done >>{tmp_path}/sent; cat >>{tmp_path}/sent\n'
    )
    tool.chmod(0o755)
    return tool


MAILS = ["mail", "mail-whois", "mail-whois-lines"]


def mail(action, mailer, whois="echo answer for"):
    return Enforcer(
        "sshd", (conf(f'{action}[mailcmd="{mailer} -s", dest=me@example.com, whois="{whois}"]'),)
    )


@pytest.mark.parametrize("action", MAILS)
def test_mail_tells_of_start_ban_and_stop(action, mailer):
    world, enforcer = World(), mail(action, mailer)
    world.drive(enforcer.start())
    world.drive(
        enforcer.carry_out([Enforce(a_ban("192.0.2.1", failures=5, matches=("one", "two")))])
    )
    world.drive(enforcer.stop())

    sent = (mailer.parent / "sent").read_text()
    host = os.uname().nodename
    for what in ("started", "banned 192.0.2.1", "stopped"):
        assert f"<-s>\n<[Fail2Ban] sshd: {what} on {host}>\n<me@example.com>\n" in sent
    assert "192.0.2.1 has just been banned by the jail sshd after 5 attempts." in sent
    assert ("answer for 192.0.2.1" in sent) == (action != "mail")
    assert ("one\ntwo\n" in sent) == (action == "mail-whois-lines")
    assert [] == world.notes


@pytest.mark.parametrize("action", MAILS)
def test_mail_tells_of_no_ban_of_an_earlier_run(action, mailer):
    World().drive(mail(action, mailer).carry_out([Enforce(a_ban("192.0.2.1"), restored=True)]))

    assert (
        not (mailer.parent / "sent").exists()
        or "banned" not in (mailer.parent / "sent").read_text()
    )


def test_mail_holds_no_control_characters_and_no_line_that_a_mail_program_obeys(mailer):
    evil = "x\n~!touch pwned\n\x1b[2J\x07bell\x7f $(id) `id` \\n ✓"
    enforcer = mail("mail-whois-lines", mailer, whois="printf '~|id\\n\\033c\\n%s'")
    World().drive(enforcer.carry_out([Enforce(a_ban("Bob\nBcc: x", matches=(evil,)))]))

    sent = (mailer.parent / "sent").read_text()
    assert " ~!touch pwned\n[2Jbell $(id) `id` \\n ✓\n" in sent
    assert not [line for line in sent.splitlines() if line.startswith("~")]
    assert not [letter for letter in sent if letter < " " and letter != "\n"]
    assert "<[Fail2Ban] sshd: banned BobBcc: x on" in sent


def test_mail_goes_out_though_whois_is_not_there(mailer):
    world = World()
    world.drive(mail("mail-whois", mailer, whois="no-such-whois").carry_out(bans("192.0.2.1")))

    assert "(no answer from whois)" in (mailer.parent / "sent").read_text()
    assert [] == world.notes


SENDMAILS = [path.stem for path in sorted((ROOT / "config/action.d").glob("sendmail*.conf")) if path.stem != "sendmail-common"]  # fmt: skip


@pytest.fixture
def post(tmp_path):
    """A sendmail, a mail, a whois and a dig that write down what they are given."""
    a_program(
        tmp_path / "bin",
        "sendmail",
        f'#!/bin/sh\nfor x; do printf "<%s>" "$x"; done >>{tmp_path}/to; echo >>{tmp_path}/to\n'
        f"{{ cat; printf '\\001'; }} >>{tmp_path}/sent\n",
    )
    contacts = '"abuse@example.net,-oQ/tmp@example.net" "second@example.net" "x;y@example.net"'
    a_program(
        tmp_path / "bin", "dig", f"#!/bin/sh\necho \"$*\" >>{tmp_path}/asked\necho '{contacts}'\n"
    )
    a_program(tmp_path / "bin", "whois", '#!/bin/sh\necho "answer for $*"\n')
    return tmp_path


def sent(post):
    text = (post / "sent").read_bytes() if (post / "sent").exists() else b""
    return [message_from_bytes(each, policy=policy.default) for each in text.split(b"\1")[:-1]]


def receivers(post):
    return (post / "to").read_text().splitlines()


def mailing(action, post, more=""):
    tools = f"whois={post}/bin/whois, dig={post}/bin/dig"
    if "mailcmd" not in more:
        options = (
            "-oi -f '<sender>' $(echo '<dest>' | tr ',' ' ')" if "sendmail" in action else "-oi"
        )
        more += f', mailcmd="{post}/bin/sendmail {options}"'
    return Enforcer("sshd", (conf(f"{action}[{tools}, sender=f2b@example.com{more}]"),))


@pytest.mark.parametrize("action", [name for name in SENDMAILS if "buffered" not in name])
def test_sendmail_tells_of_start_ban_and_stop(post, action):
    world, enforcer = World(), mailing(action, post, ', dest="me@example.com,you@example.com"')
    world.drive(enforcer.start())
    world.drive(
        enforcer.carry_out([Enforce(a_ban("2001:db8::1", failures=5, matches=("one", "two")))])
    )
    world.drive(enforcer.stop())

    host = os.uname().nodename
    mails = sent(post)
    assert [
        f"[Fail2Ban] sshd: started on {host}",
        f"[Fail2Ban] sshd: banned 2001:db8::1 on {host}",
        f"[Fail2Ban] sshd: stopped on {host}",
    ] == [mail["Subject"] for mail in mails]
    assert ["<-oi><-f><f2b@example.com><me@example.com><you@example.com>"] * 3 == receivers(post)
    assert "Fail2Ban <f2b@example.com>" == mails[1]["From"]
    assert mails[1]["Date"].datetime.timestamp() == pytest.approx(time.time(), abs=60)
    text = mails[1].get_content()
    assert "2001:db8::1 has just been banned by the jail sshd after 5 attempts." in text
    assert ("answer for 2001:db8::1" in text) == ("whois" in action)
    assert ("one\ntwo\n" in text) == (action.endswith(("lines", "matches")))
    assert [] == world.notes


@pytest.mark.parametrize("action", ["sendmail-whois-lines", "sendmail-whois-ipmatches", "complain", "xarf-login-attack"])  # fmt: skip
def test_what_an_attacker_writes_is_nothing_but_text_in_a_mail(post, action):
    enforcer = mailing(action, post)
    ban = a_ban("192.0.2.1", failures=5, matches=(EVIL, "second line"))
    World().drive(enforcer.carry_out([Enforce(ban)]))

    assert () == enforcer.problems
    *_, mail = sent(post)
    assert "Bcc" not in mail
    text = mail.as_bytes().decode()
    assert "\n ~!touch pwned\n" in text
    assert "\n.\n" not in text
    assert "\n .\n" in text
    assert "\x1b" not in text
    inside = [part.get_content() for part in mail.walk() if not part.is_multipart()][-1]
    assert "\"; touch pwned; ' $(touch pwned) `touch pwned`" in inside
    assert "second line\n" in inside
    assert "[2Jbell \\n %s ✓" in inside
    assert not (post / "pwned").exists()
    assert not (ROOT / "pwned").exists()


def test_a_subject_is_one_line(post):
    World().drive(mailing("sendmail", post).carry_out(bans("Bob\nBcc: x@example.org\n\nHi")))

    [mail] = sent(post)[-1:]
    assert "sshd: banned BobBcc: x@example.orgHi on" in mail["Subject"]
    assert "Bcc" not in mail


@pytest.mark.parametrize("action", [*SENDMAILS, "mail-buffered", "complain", "xarf-login-attack"])
def test_nobody_gets_mail_for_bans_of_an_earlier_run(post, action):
    enforcer = mailing(action, post, f", tmpfile={post}/waiting")
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1"), restored=True)]))

    assert not [mail for mail in sent(post) if "192.0.2.1" in mail.as_string()]
    assert () == enforcer.problems


@pytest.mark.parametrize("action", ["sendmail-buffered", "mail-buffered"])
def test_bans_wait_until_they_are_worth_a_mail_and_none_is_lost(post, action):
    more = f', lines=3, dest=me@example.com, tmpfile="{post}/waiting"'
    if action == "mail-buffered":
        more += f', mailcmd="{post}/bin/sendmail -s"'
    world, enforcer = World(), mailing(action, post, more)
    world.drive(enforcer.start())
    told = []
    for number in range(1, 6):
        world.drive(enforcer.carry_out(bans(f"192.0.2.{number}")))
        told.append(len(sent(post)))
    world.drive(enforcer.stop())

    assert [0, 0, 1, 1, 1] == told
    texts = [mail.as_string() for mail in sent(post)]
    assert [[1, 2, 3], [4, 5]] == [
        [n for n in range(1, 6) if f"192.0.2.{n} " in text] for text in texts
    ]
    assert "" == (post / "waiting").read_text()
    assert [] == world.notes


@pytest.mark.parametrize(
    ("action", "wanted"),
    [("complain", "<-oi><abuse@example.net><second@example.net>"),
     ("xarf-login-attack", "<-oi><abuse@example.net><second@example.net>")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("host", "asked"), [("192.0.2.1", "1.2.0.192."), ("2001:db8::1", "1.0.0.0.")]
)
def test_a_complaint_goes_to_who_answers_for_the_address_and_to_nothing_that_is_no_address(
    post, action, wanted, host, asked
):
    world, enforcer = World(), mailing(action, post)
    world.drive(enforcer.carry_out([Enforce(a_ban(host, matches=("a line",)))]))

    assert [wanted] == receivers(post)
    asked_for = (post / "asked").read_text()
    assert asked_for.startswith(asked)
    assert asked_for.endswith(".abuse-contacts.abusix.zone\n")
    assert [] == world.notes


def test_nobody_to_complain_to_is_no_error(post):
    a_program(post / "bin", "dig", "#!/bin/sh\nexit 0\n")
    for action in ("complain", "xarf-login-attack"):
        enforcer = mailing(action, post)
        World().drive(enforcer.carry_out(bans("192.0.2.1")))
        assert () == enforcer.problems

    assert [] == sent(post)


def test_an_xarf_report_can_be_read_by_a_program(post):
    enforcer = mailing("xarf-login-attack", post, ", service=sshd, port=22")
    ban = a_ban("2001:db8::1", failures=7, matches=("--Abuse-1--", "two"))
    World().drive(enforcer.carry_out([Enforce(ban)]))

    [mail] = sent(post)
    first, report, log = mail.iter_parts()
    assert "PLAIN" == mail["X-XARF"]
    assert "2001:db8::1" in first.get_content()
    facts = dict(re.findall(r"^([\w-]+): (.*)$", report.get_content(), re.M))
    assert ("login-attack", "sshd", "ipv6", "2001:db8::1", "22", "7") == tuple(
        facts[key]
        for key in ("Report-Type", "Service", "Source-Type", "Source", "Port", "Occurrences")
    )
    assert "--Abuse-1--\ntwo\n" in log.get_content()


def test_apprise_gets_title_and_text(post):
    tool = a_program(
        post / "bin", "apprise", f'#!/bin/sh\nprintf "<%s>" "$@" >>{post}/told\ncat >>{post}/told\n'
    )
    action = conf(f'apprise[apprise={tool}, config=/c, args="--tag a", more=<lines_part>]')
    enforcer = Enforcer("sshd", (action,))
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1", failures=3, matches=(EVIL,)))]))

    told = (post / "told").read_text()
    assert told.startswith("<--config></c><--title><[Fail2Ban] sshd><--tag><a>The jail sshd on ")
    assert "The host 192.0.2.1 has been banned by the jail sshd on" in told
    assert "$(touch pwned)" in told
    assert () == enforcer.problems
