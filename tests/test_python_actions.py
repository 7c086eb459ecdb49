# SPDX-License-Identifier: GPL-2.0-or-later
"""Actions in Python: how they are found, made and called, and what their mistakes may do."""

from __future__ import annotations

import contextlib
import email
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
from email import policy

import pytest

from common.errors import CommandError
from common.options import ActionConf
from server.actionbase import BanInfo
from server.actor import Actor
from server.enforcer import Enforcer
from server.plugins import Plugins, check
from server.records import Ban, Enforce, Lift, Prolong, Result
from server.steps import Call, Note, Returned
from tests.support import BOB, EVE, ROOT, eventually, unavailable
from tests.test_transmitter import Talk

DIARY = """
from fail2ban.server.action import ActionBase

class Action(ActionBase):
    limit = 3

    def __init__(self, jail, name, diary, broken="", has_flush=False):
        super().__init__(jail, name)
        self.diary, self.broken, self.has_flush, self.sound = diary, broken, has_flush, True

    def _write(self, *words):
        with open(self.diary, "a") as diary:
            diary.write(" ".join(map(str, words)) + "\\n")
        if words[0] in self.broken.split():
            raise LookupError(f"no {words[0]} today")

    def start(self):
        self._write("start", self._jail.name, self._name)
        self._logSys.info("a word of my own")

    def stop(self):
        self._write("stop")

    def ban(self, aInfo):
        self._write("ban", aInfo["ip"], aInfo["failures"] + 1)

    def reban(self, aInfo):
        self._write("reban", aInfo["ip"])

    def prolong(self, aInfo):
        self._write("prolong", aInfo["ip"], aInfo["bantime"])

    def unban(self, aInfo):
        self._write("unban", aInfo["ip"])

    def flush(self):
        self._write("flush")
        return self.has_flush

    def consistencyCheck(self):
        return self.sound

    def sum(self, a, b):
        return [a + b, {"jail": self._jail}]

    def exit(self):
        raise SystemExit(3)
"""


@pytest.fixture
def diary(tmp_path):
    return tmp_path / "diary"


@pytest.fixture
def action(tmp_path, diary):
    """Makes the configuration of an action in Python, by default of one that keeps a diary."""

    def make(code=DIARY, properties=None, **arguments):
        path = tmp_path / "diary.py"
        path.write_text(code)
        path.chmod(0o644)
        return ActionConf("log", properties or {}, str(path), {"diary": str(diary), **arguments})

    return make


class Stage:
    """An actor with actions in Python, and what they wrote."""

    def __init__(self, diary, *confs):
        self.diary = diary
        self.actor = Actor("ssh", confs, lambda command: Result(command, 0))
        self.actor.start()

    def done(self, *orders):
        """What has been written once `orders` are carried out, the start left out."""
        self.actor.carry_out(orders)
        assert self.actor.settle(10)
        return self.wrote[1:]

    def change(self, conf, *bans):
        self.actor.change((conf,), bans)
        assert self.actor.settle(10)

    @property
    def wrote(self):
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def end(self):
        self.actor.stop()
        self.actor.end()
        assert self.actor.join(60)


@pytest.fixture
def stage(diary):
    stages = []

    def make(*confs):
        stages.append(Stage(diary, *confs))
        return stages[-1]

    yield make
    for one in stages:
        one.end()


def a_ban(host=EVE, **more):
    return Ban("ssh", host, 1000.5, 600.0, ("one", "two"), failures=2, **more)


def enforced(*hosts):
    return [Enforce(a_ban(host)) for host in hosts]


# -- orders become calls ---------------------------------------------------------------------------


def test_orders_are_calls_of_methods(stage, action):
    ssh = stage(action())
    for_longer = a_ban().prolonged_to(1600.5 + 300)

    assert ssh.done(Enforce(a_ban()), Prolong(for_longer), Lift(a_ban())) == [
        f"ban {EVE} 3",
        f"prolong {EVE} 900",
        f"unban {EVE}",
    ]
    assert ssh.wrote[0] == "start ssh log"


def test_the_end_lifts_every_ban(stage, action):
    ssh = stage(action())
    ssh.done(*enforced(EVE, BOB))

    ssh.actor.stop()
    assert ssh.actor.settle(10)

    assert ssh.wrote[3:] == ["flush", f"unban {EVE}", f"unban {BOB}", "stop"]


def test_what_can_flush_is_spared_the_single_bans(stage, action):
    ssh = stage(action(has_flush=True))
    ssh.done(*enforced(EVE, BOB))

    assert ssh.done(Lift(a_ban(EVE)), Lift(a_ban(BOB)))[2:] == ["flush"]


def test_part_of_the_bans_is_never_flushed(stage, action):
    ssh = stage(action(has_flush=True))
    ssh.done(*enforced(EVE, BOB, "192.0.2.3"))

    assert ssh.done(Lift(a_ban(EVE)), Lift(a_ban(BOB)))[3:] == [f"unban {EVE}", f"unban {BOB}"]


def test_what_an_earlier_run_may_have_left_is_lifted(stage, action):
    wall = stage(action())
    wall.done(*enforced(EVE))
    before = len(wall.wrote)

    wall.actor.clear_away([Lift(a_ban(EVE)), Lift(a_ban(BOB))])
    assert wall.actor.settle(10)

    assert [f"unban {BOB}"] == wall.wrote[before:]


def test_an_exception_is_logged_with_its_traceback_and_becomes_a_problem(stage, action, caplog):
    ssh = stage(action(broken="ban"))

    ssh.done(*enforced(EVE))

    assert ssh.actor.problems == (f"action log: ban of {EVE} failed (LookupError: no ban today)",)
    assert "Traceback" in caplog.text and "no ban today" in caplog.text


def test_after_an_exception_the_next_order_is_carried_out_and_ends_the_problem(stage, action):
    ssh = stage(action(broken="ban"))

    assert ssh.done(*enforced(EVE), Lift(a_ban()))[1:] == [f"unban {EVE}"]
    assert ssh.actor.problems == ()


def test_an_action_cannot_end_the_server(stage, action):
    ssh = stage(action(DIARY.replace("raise LookupError", "raise SystemExit"), broken="ban"))

    assert ssh.done(*enforced(EVE), *enforced(BOB)) == [f"ban {EVE} 3", f"ban {BOB} 3"]
    assert "SystemExit" in ssh.actor.problems[0]


def test_a_start_that_failed_is_tried_again_with_the_next_ban(stage, action):
    ssh = stage(action(broken="start"))
    assert ssh.done() == [] and "start failed" in ssh.actor.problems[0]
    assert ssh.done(*enforced(EVE)) == ["start ssh log"]

    ssh.actor.use(action(broken="start"), lambda plugin: plugin.set("broken", "")).result(10)

    assert ssh.done(*enforced(BOB))[1:] == ["start ssh log", f"reban {EVE}", f"ban {BOB} 3"]


def test_what_is_no_longer_sound_is_started_and_filled_anew(stage, action):
    ssh = stage(action())
    ssh.done(*enforced(EVE))
    ssh.actor.use(action(), lambda plugin: plugin.set("sound", False)).result(10)

    assert ssh.done(*enforced(BOB))[1:] == ["start ssh log", f"reban {EVE}", f"ban {BOB} 3"]


def test_bans_of_an_earlier_run_are_kept_from_an_action_that_does_not_want_them(stage, action):
    ssh = stage(action(DIARY.replace("limit = 3", "norestored = True")))

    orders = [Enforce(a_ban(), restored=True), *enforced(BOB), Lift(a_ban())]
    assert ssh.done(*orders) == [f"ban {BOB} 3"]


def test_other_arguments_make_the_action_anew_with_its_bans(stage, action):
    ssh = stage(action())
    ssh.done(*enforced(EVE))

    ssh.change(action(has_flush=True), a_ban())

    assert ssh.wrote[2:] == ["flush", f"unban {EVE}", "stop", "start ssh log", f"ban {EVE} 3"]


def test_an_action_may_go_on_with_other_arguments_itself(stage, action):
    code = f"{DIARY}\n    def reload(self, **arguments):\n        self._write('reload')\n        return True\n"
    ssh = stage(action(code))
    ssh.done(*enforced(EVE))

    ssh.change(action(code, has_flush=True), a_ban())

    assert ssh.wrote[2:] == ["reload"]


def test_other_properties_are_set_without_a_new_start(stage, action):
    ssh = stage(action())
    ssh.done(*enforced(EVE))

    ssh.change(action(properties={"limit": "7"}), a_ban())

    found = ssh.actor.use(action(properties={"limit": "7"}), lambda plugin: plugin.get("limit"))
    assert (found.result(10), ssh.wrote[2:]) == (7, [])


def test_an_action_of_shell_commands_may_take_its_place(stage, action):
    ssh = stage(action())
    ssh.done(*enforced(EVE))

    ssh.change(ActionConf("log", {"actionban": "ban <ip>"}), a_ban())

    assert ssh.wrote[2:] == ["flush", f"unban {EVE}", "stop"]


def test_the_enforcer_only_asks_for_calls():
    enforcer = Enforcer("ssh", (ActionConf("log", module="/nowhere.py"),))
    starting = enforcer.start()
    call = next(starting)

    assert isinstance(call, Call) and (call.method, call.about) == ("start", None)
    note = starting.send(Returned(problem="OSError: away"))
    assert note == Note(logging.ERROR, "action log: start failed (OSError: away)")
    assert enforcer.problems == ("action log: start failed (OSError: away)",)


# -- what a method is told -------------------------------------------------------------------------


def test_a_ban_is_told_by_name_with_numbers_as_numbers(stage, action):
    telling = (
        "self._write(sorted(aInfo), repr(dict(aInfo)), '%(ip)s %(F-USER)s' % aInfo, 'no' in aInfo)"
    )
    code = DIARY.replace('self._write("ban", aInfo["ip"], aInfo["failures"] + 1)', telling)
    ssh = stage(action(code))

    (told,) = ssh.done(Enforce(a_ban(fields={"user": "root"})))

    for text in ("'failures': 2", "'time': 1000.0", "'bantime': 600", "'bancount': 1", "'fid': '192",
                 "'restored': False", r"'matches': 'one\ntwo'", "'family': 'inet4'", "ip-rev"):  # fmt: skip
        assert text in told
    assert told.endswith(f"{EVE} root False")


def test_a_value_is_worked_out_once_and_only_when_asked_for():
    asked = []

    class Values(dict):
        def __getitem__(self, name):
            asked.append(name)
            return super().__getitem__(name)

    about = BanInfo(Values(ip=EVE, failures="3"))

    assert asked == []
    assert (about["failures"], about["failures"], asked) == (3, 3, ["failures"])


def test_an_action_may_note_things_in_what_it_is_told():
    about = BanInfo({"ip": EVE, "fid": EVE})
    about["score"] = 9
    del about["fid"]

    assert about.copy() == {"ip": EVE, "score": 9}
    assert "fid" not in about and about.get("fid") is None
    with pytest.raises(KeyError):
        about["fid"]


# -- files that are not run ------------------------------------------------------------------------


def test_the_base_class_is_the_same_under_both_names():
    from fail2ban.server.action import ActionBase as theirs
    from server.action import ActionBase as ours

    assert theirs is ours


def test_actions_of_earlier_releases_find_what_they_import():
    from fail2ban.server.actions import ActionBase, CallingMap
    from server.action import ActionBase as ours

    assert ActionBase is ours
    values = CallingMap(jailname="ssh", hostname=lambda: "here")
    values.update(ip=EVE)
    text = "%(ip)s %(hostname)s %(jailname)s"
    assert text % values == f"{EVE} here ssh"


BAD_CODE = [
    ("import nosuchmodule", "nosuchmodule"),
    ("class Action(:", "SyntaxError"),
    ("1 / 0", "ZeroDivisionError"),
    ("raise SystemExit(1)", "SystemExit"),
    ("x = 1", "no class Action"),
    ("class Action: pass", "no class Action(ActionBase)"),
    ("Action = 3", "no class Action"),
]


@pytest.mark.parametrize(("code", "told"), BAD_CODE, ids=[told for _, told in BAD_CODE])
def test_code_that_is_no_action_is_refused(action, code, told):
    conf = action(code)

    with pytest.raises(CommandError, match="diary.py") as refused:
        check(conf)

    assert told in str(refused.value)


def test_arguments_that_do_not_fit_are_refused(action):
    with pytest.raises(CommandError, match="unexpected keyword argument 'colour'"):
        check(action(colour="red"))


@pytest.mark.parametrize("mode", [0o646, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_run(action, mode):
    conf = action("1 / 0")
    os.chmod(conf.module, mode)

    with pytest.raises(CommandError, match="may be written by others.*chmod go-w"):
        check(conf)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_not_run(action):
    conf = action("1 / 0")
    os.chown(conf.module, 65534, -1)

    with pytest.raises(CommandError, match="belongs to the user 65534.*chown root"):
        check(conf)


def test_a_file_in_a_directory_that_others_may_write_is_not_run(action, tmp_path):
    conf = action("1 / 0")
    tmp_path.chmod(0o777)

    with pytest.raises(CommandError, match="may be written by others"):
        check(conf)


@pytest.mark.parametrize("path", ["/nowhere/x.py", "/dev/null", "/tmp", "a\0b"])
def test_what_is_no_file_is_refused(path):
    with pytest.raises(CommandError):
        check(ActionConf("x", module=path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.py")

    with pytest.raises(CommandError, match="no file of Python code"):
        check(ActionConf("x", module=str(tmp_path / "x.py")))


def test_an_action_that_cannot_be_made_is_a_problem_and_no_more(stage, action):
    ssh = stage(action("1 / 0"))

    ssh.done(*enforced(EVE))

    assert "ZeroDivisionError" in ssh.actor.problems[0]


def test_two_jails_have_each_an_action_of_its_own(action):
    one, other = Plugins("one"), Plugins("other")
    first, second = (plugins.find(action()) for plugins in (one, other))

    assert first is not second and type(first) is type(second)
    assert one.find(action()) is first


# -- commands --------------------------------------------------------------------------------------


@pytest.fixture
def talk():
    talk = Talk()
    yield talk
    talk.server.close()


@pytest.fixture
def ssh(talk, action, diary):
    """A talk with a started jail ssh, whose action keeps a diary."""
    talk.ask("add", "ssh", "polling")
    arguments = json.dumps({"diary": str(diary)})
    assert talk.ask("set", "ssh", "addaction", "log", action().module, arguments) == "log"
    talk.ask("start", "ssh")
    return talk


def test_a_ban_by_hand_is_a_call(ssh, diary):
    ssh.ask("set", "ssh", "banip", EVE)

    eventually(lambda: diary.exists() and f"ban {EVE} 1\n" in diary.read_text())


def test_properties_and_methods_are_named(ssh):
    properties = ssh.ask("get", "ssh", "actionproperties", "log")
    methods = ssh.ask("get", "ssh", "actionmethods", "log")

    assert properties == ["broken", "diary", "has_flush", "limit", "norestored", "sound"]
    assert {"ban", "unban", "start", "stop", "flush", "reban", "prolong", "reload", "sum"} <= set(
        methods
    )


def test_a_property_is_shown_and_set_in_its_own_kind(ssh):
    assert ssh.ask("get", "ssh", "action", "log", "limit") == 3
    assert ssh.ask("set", "ssh", "action", "log", "limit", "5") == 5
    assert ssh.ask("get", "ssh", "action", "log", "limit") == 5
    assert ssh.ask("set", "ssh", "action", "log", "has_flush", "yes") is True
    assert "no number" in str(ssh.refused("set", "ssh", "action", "log", "limit", "many"))


def test_a_property_set_by_hand_starts_nothing_anew(ssh, diary):
    eventually(diary.exists)
    ssh.ask("set", "ssh", "action", "log", "limit", "5")
    ssh.ask("get", "ssh", "action", "log", "limit")

    assert diary.read_text() == "start ssh log\n"


@pytest.mark.parametrize("name", ["_jail", "_write", "__class__", "nosuch", "ban"])
def test_what_is_no_property_is_not_shown(ssh, name):
    assert isinstance(ssh.refused("get", "ssh", "action", "log", name), AttributeError)


@pytest.mark.parametrize("name", ["_jail", "__class__", "a b"])
def test_what_is_private_is_not_set(ssh, name):
    assert isinstance(ssh.refused("set", "ssh", "action", "log", name, "x"), AttributeError)


def test_a_method_is_called_with_its_arguments_and_answers(ssh):
    answer = ssh.ask("set", "ssh", "action", "log", "sum", '{"a": 1, "b": 2}')

    assert answer[0] == 3
    assert ssh.ask("set", "ssh", "action", "log", "flush") is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], "no method nosuch"),
        (["_write"], "no method _write"),
        (["sum", "[1, 2]"], "arguments are written as"),
        (["sum", "{"], "Expecting"),
        (["sum", '{"a": 1}'], "missing 1 required"),
        (["exit"], "SystemExit: 3"),
    ],
)
def test_a_call_that_goes_wrong_says_how(ssh, words, told):
    assert told in str(ssh.refused("set", "ssh", "action", "log", *words))
    assert ssh.ask("set", "ssh", "action", "log", "flush") is False


def test_an_action_that_cannot_be_made_is_not_added(ssh, action, diary):
    conf = action("1 / 0")

    told = ssh.refused("set", "ssh", "addaction", "more", conf.module, "{}")

    assert "ZeroDivisionError" in str(told)
    assert ssh.ask("get", "ssh", "actions") == ["log"]


def test_a_reload_with_an_action_that_cannot_be_made_changes_nothing(ssh, action):
    stream = [
        ["add", "ssh", "polling"],
        ["set", "ssh", "maxretry", 9],
        ["set", "ssh", "addaction", "more", "/nowhere/x.py", "{}"],
        ["start", "ssh"],
    ]

    assert "/nowhere/x.py" in str(ssh.refused("reload", "--all", [], stream))
    assert ssh.ask("get", "ssh", "maxretry") == 3


def test_a_start_goes_on_without_an_action_that_cannot_be_made(talk, action, diary):
    stream = [
        ["add", "ssh", "polling"],
        ["set", "ssh", "addaction", "bad", "/nowhere/x.py", "{}"],
        ["set", "ssh", "addaction", "log", action().module, json.dumps({"diary": str(diary)})],
        ["start", "ssh"],
    ]

    talk.ask("server-stream", stream)

    eventually(diary.exists)
    eventually(lambda: "/nowhere/x.py" in str(talk.ask("status")))


def test_a_property_may_be_set_before_the_start(talk, action, diary):
    talk.ask("add", "ssh", "polling")
    arguments = json.dumps({"diary": str(diary)})
    talk.ask("set", "ssh", "addaction", "log", action().module, arguments)

    assert talk.ask("set", "ssh", "action", "log", "limit", "4") == "4"
    talk.ask("start", "ssh")

    assert talk.ask("get", "ssh", "action", "log", "limit") == 4


def test_an_action_of_a_jail_that_is_not_started_is_not_there(talk, action, diary):
    talk.ask("add", "ssh", "polling")
    arguments = json.dumps({"diary": str(diary)})
    talk.ask("set", "ssh", "addaction", "log", action().module, arguments)

    assert "until its jail is started" in str(talk.refused("get", "ssh", "actionmethods", "log"))


# -- mail ------------------------------------------------------------------------------------------

SMTP = (ROOT / "config/action.d/smtp.py").read_text("utf-8")


@pytest.fixture
def smtp(tmp_path):
    """The stock action in a file of ours: that of a checkout may be anybody's."""
    path = tmp_path / "smtp.py"
    path.write_text(SMTP, "utf-8")
    path.chmod(0o644)
    return str(path)


class Post:
    """An SMTP server (RFC 5321, as much as is needed) that keeps the mail it gets."""

    def __init__(self, refuses="", tls=None, is_tls_at_once=False):
        self.mails = []
        self.lines = []
        self.was_secret = []
        self._refuses = refuses
        self._tls = tls
        self._is_tls_at_once = is_tls_at_once
        self._is_ending = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            link, _ = self._socket.accept()
            with link:
                if self._is_ending:
                    return
                link.settimeout(10)
                with contextlib.suppress(OSError):  # the other side does not trust us
                    self._talk(link, "220 post", self._is_tls_at_once)

    def _talk(self, link, greeting, is_secret):
        if is_secret:
            link = self._tls.wrap_socket(link, server_side=True)
        lines = link.makefile("rwb")

        def say(text):
            lines.write(f"{text}\r\n".encode())
            lines.flush()

        if greeting:
            say(greeting)
        while line := lines.readline():
            self.lines.append(line)
            word = line.split()[0].upper().decode()
            if word == self._refuses:
                say("550 no")
            elif word == "EHLO":
                say("250-post\r\n250-STARTTLS\r\n250 AUTH PLAIN")
            elif word == "STARTTLS":
                say("220 go on")
                self._talk(link, "", True)
                return
            elif word == "AUTH":
                say("235 yes")
            elif word == "DATA":
                say("354 go on")
                text = b""
                while (part := lines.readline()) != b".\r\n":
                    text += part.removeprefix(b".")
                self.mails.append(email.message_from_bytes(text, policy=policy.default))
                self.was_secret.append(is_secret)
                say("250 kept")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("250 yes")
        lines.close()
        link.close()

    def end(self):
        self._is_ending = True
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join(60)
        self._socket.close()


@pytest.fixture
def post():
    made = []

    def make(**more):
        made.append(Post(**more))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def mailing(stage, smtp):
    def make(post, **arguments):
        given = {"host": post.address, "dest": "admin@example.org", **arguments}
        return stage(ActionConf("smtp", {}, smtp, given))

    return make


def test_start_ban_and_stop_are_mailed(post, mailing):
    box = post()
    ssh = mailing(box, sender="f2b@example.org", sendername="Wächter")
    ssh.done(Enforce(a_ban()), Lift(a_ban()))
    ssh.actor.stop()
    assert ssh.actor.settle(10)

    assert ssh.actor.problems == ()
    subjects = [mail["Subject"].split(" on ")[0].split(" from ")[0] for mail in box.mails]
    assert subjects == [
        "[Fail2Ban] ssh: started",
        f"[Fail2Ban] ssh: banned {EVE}",
        "[Fail2Ban] ssh: stopped",
    ]
    mail = box.mails[1]
    assert (mail["From"], mail["To"]) == ("Wächter <f2b@example.org>", "admin@example.org")
    text = mail.get_content().replace("\r\n", "\n")
    assert EVE in text and "after 2 failures" in text and "one\ntwo" in text


def test_what_an_attacker_wrote_steers_neither_mail_nor_terminal(post, mailing):
    box = post()
    ssh = mailing(box, subject_start="", subject_stop="")
    evil = "evil\r\nBcc: eve@example.org\x1b]0;x\x07\0\r\n.\r\nQUIT \udcff"

    ssh.done(Enforce(Ban("ssh", evil, 0, 600, (evil, "ünder"))))

    assert ssh.actor.problems == ()
    (mail,) = box.mails
    assert mail["Bcc"] is None and "Bcc: eve@example.org" in mail["Subject"]
    text = mail.get_content().replace("\r\n", "\n")
    assert "\n.\nQUIT" in text and "ünder" in text
    assert not [one for one in text if not (one.isprintable() or one == "\n")]


def test_a_login_is_made_where_a_user_is_named(post, mailing):
    box = post()
    mailing(box, user="me", password="secret", subject_stop="")

    eventually(lambda: box.mails)
    assert [line for line in box.lines if line.startswith(b"AUTH PLAIN")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate and key for 127.0.0.1, in one file."""
    if not shutil.which("openssl"):
        unavailable("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "post.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=post", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return str(path)


@pytest.fixture
def secret_post(post, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return lambda **more: post(tls=tls, **more)


@pytest.mark.parametrize("way", ["starttls", "yes", "smtps"])
def test_a_mail_may_travel_in_secret(secret_post, mailing, certificate, way):
    box = secret_post(is_tls_at_once=way == "smtps")

    mailing(box, ssl=way, cafile=certificate, user="me", password="x", subject_stop="")

    eventually(lambda: box.mails)
    assert box.was_secret == [True]


@pytest.mark.parametrize("way", ["starttls", "smtps"])
def test_nothing_is_told_to_whom_nobody_vouches_for(secret_post, mailing, way):
    box = secret_post(is_tls_at_once=way == "smtps")
    ssh = mailing(box, ssl=way, user="me", password="x", subject_start="", subject_stop="")

    ssh.done(*enforced(EVE))

    assert "CERTIFICATE_VERIFY_FAILED" in ssh.actor.problems[0]
    assert box.mails == [] and not [line for line in box.lines if line.startswith(b"AUTH")]


def test_several_addressees_get_one_mail(post, mailing):
    box = post()
    mailing(box, dest="a@example.org, b@example.org", subject_stop="")

    eventually(lambda: box.mails)
    assert len([line for line in box.lines if line.upper().startswith(b"RCPT")]) == 2


def test_a_mail_that_is_refused_is_a_problem_of_the_jail(post, mailing):
    ssh = mailing(post(refuses="RCPT"), subject_stop="", subject_start="")

    ssh.done(*enforced(EVE))

    assert "SMTPRecipientsRefused" in ssh.actor.problems[0]


def test_the_password_cannot_be_asked_for(post, mailing, smtp):
    box = post()
    ssh = mailing(box, user="me", password="secret", subject_stop="", subject_start="")
    conf = ActionConf(
        "smtp", {}, smtp,
        {"host": box.address, "dest": "admin@example.org", "user": "me", "password": "secret",
         "subject_stop": "", "subject_start": ""},
    )  # fmt: skip

    shown = ssh.actor.use(
        conf, lambda plugin: [plugin.get(name) for name in plugin.properties]
    ).result(10)

    assert "me" in shown and "secret" not in shown


@pytest.mark.parametrize(
    ("host", "ssl", "wanted"),
    [
        ("mail.example.org", "no", ("mail.example.org", 25)),
        ("mail.example.org:26", "no", ("mail.example.org", 26)),
        ("2001:db8::25", "yes", ("2001:db8::25", 587)),
        ("[2001:db8::25]:26", "smtps", ("2001:db8::25", 26)),
        ("[2001:db8::25]", "smtps", ("2001:db8::25", 465)),
    ],
)
def test_the_port_follows_the_way_of_keeping_it_secret(host, ssl, wanted, smtp, monkeypatch):
    asked = []

    def refuse(address, *more, **others):
        asked.append(address)
        raise OSError("not here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    conf = ActionConf("smtp", {}, smtp, {"host": host, "ssl": ssl})

    ended = Plugins("ssh").call(Call(conf, "start"))

    assert (asked, ended.problem) == ([wanted], "OSError: not here")


# -- the whole program -----------------------------------------------------------------------------


def test_a_running_server_mails_a_ban(tmp_path, post):
    from tests.ours import Ours, fail

    box, log = post(), tmp_path / "door.log"
    log.touch()
    ours = Ours(tmp_path).configured(
        f"[door]\nenabled = true\nlogpath = {log}\n"
        f'action = smtp.py[host="{box.address}", dest=me@example.org, subject_stop=""]\n'
    )
    ours.write("action.d/smtp.py", SMTP)
    ours.start()
    try:
        fail(log, EVE, times=3)

        eventually(lambda: [mail for mail in box.mails if EVE in mail["Subject"]])
        assert "smtp" in ours.says("get", "door", "actions")
        assert ours.says("get", "door", "action", "smtp", "dest").strip() == "me@example.org"
    finally:
        ours.finish()
