# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of the tests that run the whole program: a server of ours, and a small world around it.

The world is three network namespaces on one bridge: a server with OpenSSH and rsyslog, an attacker
with several addresses, and a user with a key.  Nothing in it is seen from outside, nothing outside
is changed: the namespaces carry the process id of the test run in their names, and what sshd and
rsyslog need of /dev, /run, /var/log and /etc they see in a mount namespace of their own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import ROOT, eventually, unavailable

SERVER = ("192.0.2.1", "2001:db8::1")
USER = ("192.0.2.10", "2001:db8::10")
ATTACKER = ("192.0.2.66", "192.0.2.67", "2001:db8::66", "2001:db8::67")

KEY = "publickey"
TOOLS = "ip unshare mount ssh ssh-keygen sshd rsyslogd".split()
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])


def run(*command, check=True, seconds=40, **more):
    """Run `command` to its end; what it printed is in `stdout` and `stderr`, as text."""
    more = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | more
    done = subprocess.run([str(word) for word in command], timeout=seconds, **more)
    assert not check or done.returncode == 0, f"{command} gave {done.returncode}: {done.stderr}"
    return done


def ended(process, how=signal.SIGTERM, seconds=15):
    """End `process`, softly if it listens; its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


# -- a server of ours ------------------------------------------------------------------------------

DOOR = r"""
[Definition]
failregex = ^\s*door: wrong key by <HOST>\s*$
"""

# What an action does to a firewall, this one writes down.
NOTE = """
[Definition]
actionstart = echo "start <name>" >>"<notes>"
actionstop = echo "stop <name>" >>"<notes>"
actionban = echo "ban <ip>" >>"<notes>"
actionunban = echo "unban <ip>" >>"<notes>"
[Init]
notes = /dev/null
"""

FAIL2BAN_CONF = """
[Definition]
loglevel = INFO
logtarget = {folder}/fail2ban.log
socket = {folder}/f2b.sock
pidfile = {folder}/f2b.pid
dbfile = {folder}/f2b.sqlite3
"""


class Ours:
    """A server of ours with everything of its own in `folder`: configuration, log, socket, database.

    `prefix` is what the server runs under, such as `ip netns exec NAME`.
    """

    def __init__(self, folder, prefix=()):
        self.folder = Path(folder)
        self.prefix = tuple(prefix)
        self.conf = self.folder / "etc"
        self.socket = self.folder / "f2b.sock"
        self.pidfile = self.folder / "f2b.pid"
        self.log = self.folder / "fail2ban.log"
        self.notes = self.folder / "notes"
        self.process = None
        self._printed = []

    def write(self, name, text):
        """Make `name` a file of the configuration."""
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def configured(self, jails, stock=None):
        """With `jails` in its jail.local, upon a configuration of its own or the one in `stock`."""
        if stock:
            shutil.copytree(stock, self.conf)
        else:
            self.write("filter.d/door.conf", DOOR)
            self.write("action.d/note.conf", NOTE)
        self.write("fail2ban.local", FAIL2BAN_CONF.format(folder=self.folder))
        if not stock:
            self.write("fail2ban.conf", "[Definition]\n")
            self.write(
                "jail.conf",
                "[DEFAULT]\nfilter = door\nbackend = auto\nmaxretry = 3\n"
                f'action = note[name=%(__name__)s, notes="{self.notes}"]\n',
            )
        self.write("jail.local", jails)
        return self

    def command(self, program, *words):
        """What has to be typed for `words` to be a command of `program` here."""
        here = ("-c", self.conf, "-s", self.socket, "-p", self.pidfile)
        return [str(word) for word in (sys.executable, ROOT / program, *here, *words)]

    def begin(self, *words, **more):
        """Start the server in the foreground, and do not wait."""
        out = self.folder / f"printed-{len(self._printed)}"
        self._printed.append(out)
        with out.open("wb") as printed:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command("fail2ban-server", "-f", *words)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**os.environ, "PATH": _PATH},
                **more,
            )
        return self

    def start(self, *words):
        """Start the server in the foreground, and wait until it is ready."""
        self.begin(*(words or ("start",)))
        eventually(self.is_ready, 20, "a server that is ready")
        return self

    def is_ready(self):
        assert self.process.poll() is None, f"it ended: {self.printed}{self.logged}"
        return self.socket.exists() and self.client("ping", check=False).returncode == 0

    def client(self, *words, check=True, **more):
        """Have the client do `words`; what it printed, which is never a traceback."""
        done = run(*self.command("fail2ban-client", *words), check=False, **more)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def says(self, *words):
        """What the client prints on `words`."""
        return self.client(*words).stdout.removesuffix("\n")

    def banned(self, jail):
        return set(self.says("get", jail, "banip").split())

    def status(self, jail):
        """The status of `jail`, what stands before each colon to what stands after it."""
        lines = [line.split(":\t") for line in self.says("status", jail).splitlines()]
        return {line[0].strip(" |`-"): line[1] for line in lines if len(line) == 2}

    @property
    def printed(self):
        return "".join(path.read_text("utf-8", "replace") for path in self._printed)

    @property
    def logged(self):
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    @property
    def noted(self):
        return self.notes.read_text("utf-8").splitlines() if self.notes.exists() else []

    def end(self, how=signal.SIGTERM):
        """End the server, and have its exit status."""
        return ended(self.process, how)

    @property
    def pid(self):
        """The process id that stands in the pid file, None where there is no such file."""
        return int(self.pidfile.read_text()) if self.pidfile.exists() else None

    def finish(self):
        """End whatever runs; complain of tracebacks."""
        try:
            if self.process:
                self.end()
            if pid := self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                eventually(lambda: not is_alive(pid), 15, "the end of the server")
        finally:
            for process in (self.process.pid if self.process else None, self.pid):
                if process and is_alive(process) and self._is_ours(process):
                    os.kill(process, signal.SIGKILL)
        assert "Traceback" not in self.printed + self.logged, self.printed + self.logged

    def _is_ours(self, pid):
        return str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def is_alive(pid):
    """Whether a process of that id runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def fail(log, host, times=1):
    """Have `host` fail at the door that logs into `log`, that many times from now on."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with Path(log).open("a", encoding="utf-8") as lines:
        lines.write(f"{now} door: wrong key by {host}\n" * times)


# -- the world around it ---------------------------------------------------------------------------

RSYSLOG = """
module(load="imuxsock" SysSock.Name="/dev/log" SysSock.RateLimit.Interval="0")
auth,authpriv.* action(type="omfile" file="/var/log/auth.log"
                       template="RSYSLOG_TraditionalFileFormat")
auth,authpriv.* action(type="omfile" file="/var/log/auth-iso.log" template="RSYSLOG_FileFormat")
"""

SSHD = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM yes
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication yes
KbdInteractiveAuthentication no
MaxStartups 100
LogLevel VERBOSE
"""

PAM = """
auth     required pam_unix.so nodelay
account  required pam_unix.so
session  required pam_permit.so
"""

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:102:65534::/run/sshd:/usr/sbin/nologin
alice:x:1001:1001::/tmp:/bin/sh
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
"""

# A /dev with little in it but room for /dev/log, an empty /run, and our own files in /etc.
ALONE = """
set -e
cd "$1"; shift
mkdir -p dev/pts dev/shm log
for device in null zero full random urandom tty ptmx; do
    touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"
done
mount --rbind dev /dev
mount -t tmpfs run /run; mkdir -m 755 /run/sshd
mount --bind log /var/log
for name in passwd shadow group pam.d/sshd; do mount --bind "etc/$name" "/etc/$name"; done
cd /
rsyslogd -n -iNONE -f "$1/rsyslog.conf" & echo $! >"$1/rsyslogd.pid"
i=0; until [ -S /dev/log ] || [ $i -gt 500 ]; do i=$((i + 1)); sleep 0.02; done
exec "$2" -D -f "$1/sshd_config"
"""

CONNECT = """
import socket, sys
source, host, port, seconds = sys.argv[1:]
try:
    socket.create_connection((host, int(port)), float(seconds), (source, 0)).close()
except OSError as error:
    sys.exit(str(error))
"""


def need_root_and(*tools):
    """Skip the running test unless this is root and `tools` are installed."""
    if os.geteuid() != 0:
        unavailable("this needs root")
    for tool in tools:
        if not shutil.which(tool, path=_PATH):
            unavailable(f"{tool} is not installed")


class Host:
    """One network namespace."""

    def __init__(self, role):
        self.name = f"f2b{os.getpid()}-{role}"
        self.prefix = ("ip", "netns", "exec", self.name)

    def run(self, *command, **more):
        return run(*self.prefix, *command, env={**os.environ, "PATH": _PATH}, **more)

    def reaches(self, address, source, port=22, seconds=0.5):
        """Whether a TCP connection from `source` to `address` comes about."""
        words = (sys.executable, "-c", CONNECT, source, address, port, seconds)
        return self.run(*words, check=False).returncode == 0


class World:
    """Server, attacker and user, with sshd and rsyslog running on the server."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.server, self.attacker, self.user = Host("server"), Host("attacker"), Host("user")
        self.auth_log = self.folder / "log/auth.log"
        self.iso_log = self.folder / "log/auth-iso.log"
        self._sshd = None

    def begin(self):
        sweep()
        self._connect()
        self._serve()
        return self

    def _connect(self):
        """Three namespaces on a bridge that is the server's."""
        for host in (self.server, self.attacker, self.user):
            run("ip", "netns", "add", host.name)
            run("ip", "-n", host.name, "link", "set", "lo", "up")
        inside = ("ip", "-n", self.server.name)
        run(*inside, "link", "add", "lan", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        _address(self.server, "lan", SERVER)
        for host, addresses in ((self.attacker, ATTACKER), (self.user, USER)):
            port = host.name.rpartition("-")[2]
            wire = ("link", "add", port, "type", "veth", "peer", "eth0", "netns", host.name)
            run(*inside, *wire)
            run(*inside, "link", "set", port, "master", "lan", "up")
            _address(host, "eth0", addresses)
        for limit in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):  # else few are told "rejected"
            self.server.run("sh", "-c", f"echo 0 >/proc/sys/net/{limit}")

    def _serve(self):
        """rsyslogd and sshd, which see files of ours where the system's are."""
        folder = self.folder
        (folder / "etc/pam.d").mkdir(parents=True)
        (folder / "log").mkdir(mode=0o755)
        folder.chmod(0o755)
        (folder / "etc/passwd").write_text(PASSWD)
        (folder / "etc/shadow").write_text("root:*:::::::\nsshd:*:::::::\nalice:*:::::::\n")
        (folder / "etc/group").write_text("root:x:0:\nalice:x:1001:\nnogroup:x:65534:\n")
        (folder / "etc/pam.d/sshd").write_text(PAM)
        (folder / "rsyslog.conf").write_text(RSYSLOG)
        sshd = shutil.which("sshd", path=_PATH)
        (folder / "sshd_config").write_text(SSHD.format(folder=folder))
        for key in ("host_key", "user_key", "wrong_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        askpass = folder / "askpass"
        askpass.write_text('#!/bin/sh\necho "wrong"\n')
        askpass.chmod(0o755)
        with (folder / "sshd.out").open("wb") as out:
            self._sshd = subprocess.Popen(
                [*self.server.prefix, "unshare", "-m", "--propagation", "private"]
                + ["sh", "-c", ALONE, "alone", str(folder), str(folder), sshd],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={"PATH": _PATH},
            )
        eventually(self._is_serving, 20, "an sshd that listens")

    def _is_serving(self):
        said = (self.folder / "sshd.out").read_text()
        assert self._sshd.poll() is None, said
        return self.user.reaches(SERVER[0], USER[0]) and self.user.reaches(SERVER[1], USER[1])

    def clear_logs(self):
        """Make the logs as if nothing had happened yet."""
        for log in (self.auth_log, self.iso_log):
            if log.exists():
                os.truncate(log, 0)

    def rotate(self):
        """Do with the logs what logrotate does."""
        for log in (self.auth_log, self.iso_log):
            log.rename(f"{log}.1")
        os.kill(int((self.folder / "rsyslogd.pid").read_text()), signal.SIGHUP)

    def end(self):
        for host in (self.server, self.attacker, self.user):
            _clear(host.name)
        if self._sshd:
            self._sshd.wait(10)

    def _guess(self, host, source, user="root", method="password", keys=("user_key",)):
        """A process that tries to log in from `source` on `host`."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "PreferredAuthentications": method,
            "IdentitiesOnly": "yes",
            "NumberOfPasswordPrompts": 1,
            "ConnectTimeout": 5,
            "LogLevel": "ERROR",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        words += [word for key in keys for word in ("-i", str(self.folder / key))]
        target = SERVER[1] if ":" in source else SERVER[0]
        asks = {"SSH_ASKPASS": str(self.folder / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
        return subprocess.Popen(
            [*host.prefix, "ssh", "-F", "none", *words, "-b", source, f"{user}@{target}", "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": _PATH, "HOME": str(self.folder), **asks},
        )

    def login(self, host, source, user="root", method="password", keys=("user_key",)):
        """Try to log in from `source` on `host`; whether it worked."""
        with self.guessing(self._guess(host, source, user, method, keys)) as (guess,):
            return guess.wait(30) == 0

    @contextlib.contextmanager
    def guessing(self, *guesses):
        """While `guesses` go on.  One whose connection is cut would wait for ever."""
        try:
            yield guesses
        finally:
            for guess in guesses:
                guess.kill()
                guess.wait()

    def attack(self, source, times, users=("root", "alice")):
        """That many wrong passwords from `source`."""
        for number in range(times):
            assert not self.login(self.attacker, source, users[number % len(users)])

    def attack_until(self, is_over, source, times, users=("root", "alice")):
        """That many wrong passwords from `source`, the last of which may never be answered."""
        names = [users[number % len(users)] for number in range(times)]
        with self.guessing(*(self._guess(self.attacker, source, name) for name in names)):
            eventually(is_over, 10, f"what {times} wrong passwords from {source} lead to")

    def may_attack(self, source):
        """Whether the attacker can still connect from `source`."""
        return self.attacker.reaches(SERVER[1] if ":" in source else SERVER[0], source)

    def may_work(self):
        """Whether the honest user can log in, by IPv4 and by IPv6."""
        with ThreadPoolExecutor(len(USER)) as logins:
            works = logins.map(lambda source: self.login(self.user, source, method=KEY), USER)
            return all(works)


def _address(host, device, addresses):
    for address in addresses:
        length, *more = (64, "nodad") if ":" in address else (24,)
        words = ("addr", "add", f"{address}/{length}", "dev", device, *more)
        run("ip", "-n", host.name, *words)
    run("ip", "-n", host.name, "link", "set", device, "up")


def _clear(name):
    """End what runs in the namespace `name`, and delete it, if there is one."""
    for _ in range(200):
        pids = run("ip", "netns", "pids", name, check=False).stdout.split()
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


def sweep():
    """Clear away what test runs left behind that were ended themselves."""
    for line in run("ip", "netns", "list", check=False).stdout.splitlines():
        name = line.split()[0]
        owner, dash, _ = name.removeprefix("f2b").partition("-")
        if name.startswith("f2b") and dash and owner.isdigit() and not is_alive(owner):
            _clear(name)
