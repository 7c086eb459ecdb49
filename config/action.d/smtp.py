# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells somebody by mail when a jail starts and stops, and whom it bans.

Needs no mail program: it speaks to an SMTP server itself.  In jail.local:

    action = %(action_)s
             smtp.py[host="mail.example.org:587", ssl=yes, user="me", password="…", dest="me@example.org"]

It is also the example of an action in Python: a class Action with the methods that it needs, called
one after the other by the one thread that carries out the actions of its jail.
"""

from __future__ import annotations

import smtplib
import socket
import ssl as tls
import time
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from fail2ban.common.units import is_on
from fail2ban.server.action import ActionBase

TIMEOUT = 30.0  # seconds that one step of the conversation may take
_PORTS = {"no": 25, "starttls": 587, "smtps": 465}
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class Action(ActionBase):
    """Mails of one jail.

    `host` is where mail is given away, with `:port` if need be; `ssl` how that is kept secret: no, yes
    (STARTTLS) or smtps (from the first byte).  Certificates are checked against `cafile` or the
    system's.  `matches` names the lines that a mail holds: matches, ipmatches, or nothing.  An event
    whose subject is empty is not told.
    """

    norestored = True  # what was told once is not told again after a restart

    def __init__(
        self,
        jail: Any,
        name: str,
        host: str = "localhost",
        user: str = "",
        password: str = "",
        ssl: str = "no",
        cafile: str = "",
        sender: str = "fail2ban",
        sendername: str = "Fail2Ban",
        dest: str = "root",
        matches: str = "matches",
        subject_start: str = "[Fail2Ban] {jail}: started on {machine}",
        subject_stop: str = "[Fail2Ban] {jail}: stopped on {machine}",
        subject_ban: str = "[Fail2Ban] {jail}: banned {ip} from {machine}",
    ) -> None:
        super().__init__(jail, name)
        self.host = host
        self.user = user
        self._password = password  # what begins with _ cannot be asked for over the socket
        self.ssl = _security(ssl)
        self.cafile = cafile
        self.sender = sender
        self.sendername = sendername
        self.dest = dest
        self.matches = matches
        self.subject_start = subject_start
        self.subject_stop = subject_stop
        self.subject_ban = subject_ban

    def start(self) -> None:
        self._tell(self.subject_start, f"The jail {self._jail.name} has been started.")

    def stop(self) -> None:
        self._tell(self.subject_stop, f"The jail {self._jail.name} has been stopped.")

    def ban(self, aInfo: Mapping[str, Any]) -> None:
        length = "for ever" if aInfo["bantime"] < 0 else f"for {aInfo['bantime']} seconds"
        lines = [
            f"{aInfo['ip']} has been banned by the jail {self._jail.name} {length},",
            f"after {aInfo['failures']} failures. It is ban number {aInfo['bancount']} of this host,",
            f"and began at {time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(aInfo['time']))}.",
        ]
        if self.matches and aInfo.get(self.matches):
            lines += ["", f"What the log says of {aInfo['ip']}:", "", aInfo[self.matches]]
        self._tell(self.subject_ban, "\n".join(lines), ip=aInfo["ip"])

    def reban(self, aInfo: Mapping[str, Any]) -> None:
        """It has been told already."""

    def _tell(self, subject: str, text: str, **known: Any) -> None:
        if not subject:
            return
        known |= {"jail": self._jail.name, "machine": socket.gethostname()}
        for name, value in known.items():
            subject = subject.replace(f"{{{name}}}", str(value))
        mail = EmailMessage()
        mail["Subject"] = _one_line(subject)
        mail["From"] = _address(self.sender, self.sendername)
        mail["To"] = [_address(one) for one in self.dest.replace(",", " ").split()]
        mail["Date"] = formatdate(localtime=True)
        mail["Message-ID"] = make_msgid(domain=socket.gethostname() or None)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's autoresponder answers
        mail.set_content(f"{_clean(text)}\n\n-- \nFail2Ban on {socket.gethostname()}\n")
        self._send(mail)

    def _send(self, mail: EmailMessage) -> None:
        host, port = _host_and_port(self.host, _PORTS[self.ssl])
        secure = tls.create_default_context(cafile=self.cafile or None)
        if self.ssl == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=secure)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT)
        with server:
            if self.ssl == "starttls":
                server.starttls(context=secure)
            if self.user:
                server.login(self.user, self._password)
            refused = server.send_message(mail)
        for address, (code, why) in refused.items():  # others have got it
            self._logSys.warning("mail to %s was refused: %s %s", address, code, why)


def _security(word: str) -> str:
    text = str(word).strip().lower()
    if text in _PORTS:
        return text
    return "starttls" if is_on(text) else "no"


def _host_and_port(text: str, usual: int) -> tuple[str, int]:
    """`mail.example.org:25`, `[2001:db8::25]:25`, or either without a port."""
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(port)
    return text.strip("[]"), usual


def _address(text: str, name: str = "") -> Address:
    user, _, domain = _one_line(text).rpartition("@")
    if not user:
        user, domain = domain, ""
    return Address(_one_line(name), user, domain)


def _clean(text: str) -> str:
    """`text`, which an attacker may have written, without what steers a terminal or a mail."""
    return text.replace("\r", "").translate(_CONTROLS).encode("utf-8", "replace").decode()


def _one_line(text: str) -> str:
    return " ".join(_clean(text).split())
