# SPDX-License-Identifier: GPL-2.0-or-later
"""A small world around a server of ours.

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.ours import PATH, is_alive, run
from tests.support import eventually, unavailable

SERVER = ("192.0.2.1", "2001:db8::1")
USER = ("192.0.2.10", "2001:db8::10")
ATTACKER = ("192.0.2.66", "192.0.2.67", "2001:db8::66", "2001:db8::67")

KEY = "publickey"
TOOLS = "ip unshare mount ssh ssh-keygen sshd rsyslogd".split()

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
        if not shutil.which(tool, path=PATH):
            unavailable(f"{tool} is not installed")


class Host:
    """One network namespace."""

    def __init__(self, role):
        self.name = f"f2b{os.getpid()}-{role}"
        self.prefix = ("ip", "netns", "exec", self.name)

    def run(self, *command, **more):
        return run(*self.prefix, *command, env={**os.environ, "PATH": PATH}, **more)

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
        sshd = shutil.which("sshd", path=PATH)
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
                env={"PATH": PATH},
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
            self._sshd.wait(60)

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
            env={"PATH": PATH, "HOME": str(self.folder), **asks},
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
