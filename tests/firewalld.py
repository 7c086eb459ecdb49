# SPDX-License-Identifier: GPL-2.0-or-later
"""firewalld in a network and on a bus of its own, and a firewall-cmd that need not be started each time.

firewall-cmd takes five times as long to begin as to do what it is told, and a test calls it fifty
times.  So it is loaded once (firewall_cmd.py), and `CALL` has a fork of that process do what is to be done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.network import World, a_network, a_program, real
from tests.support import ROOT, eventually

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>
"""

CALL = r"""#!{python} -IS
import _socket, array, os, sys
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
link.connect({place!r})
link.sendmsg([b"x"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
link.sendall(b"".join(os.fsencode(word) + b"\0" for word in sys.argv[1:]))
link.shutdown(_socket.SHUT_WR)
sys.exit((link.recv(1) or b"\xff")[0])
"""


class Firewalld:
    """A firewalld at work, and how it is called: `command` is the real firewall-cmd, `quick` a fork of it."""

    def __init__(self, network, command, quick):
        self._network = network
        self.command = command
        self.quick = quick

    def cleared(self):
        """Its world, in which it has forgotten whatever it was told since it started."""
        world = World(self._network)
        told = world.tell(
            f"{self.quick} --reload; ipset destroy; iptables -S; ip6tables -S; ipset save"
        )
        assert told.startswith("success")
        assert "f2b" not in told
        world.scripts.clear()
        return world


@contextmanager
def a_firewalld(folder):
    """firewalld in a network of its own."""
    for program in ("firewalld", "firewall-cmd", "dbus-daemon"):
        real(program)
    bus, settings, program = folder / "bus", folder / "firewalld", shutil.which("firewall-cmd")
    (folder / "bus.conf").write_text(BUS.format(path=bus))
    shutil.copytree("/etc/firewalld", settings)
    here = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": here}
    with ExitStack() as stack:
        network = stack.enter_context(a_network("firewalld"))
        words = ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork"]
        stack.callback(_end, subprocess.Popen(words))
        eventually(bus.exists, what="the bus")
        words = ["ip", "netns", "exec", network, "firewalld", "--nofork", "--nopid"]
        words += [f"--system-config={settings}", f"--log-file={folder}/firewalld.log"]
        stack.callback(_end, subprocess.Popen(words, **quiet))
        world = World(network)
        command = f"env DBUS_SYSTEM_BUS_ADDRESS=unix:path={bus} firewall-cmd"
        state = f"{command} --state"
        eventually(lambda: "running" in world.tell(state), 20, "the start of firewalld")
        python = Path(program).read_text().partition("\n")[0].removeprefix("#!").split()
        words = [*python, ROOT / "tests/firewall_cmd.py", folder / "call", program]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": here}
        loaded = stack.enter_context(subprocess.Popen(words, **pipes))
        assert b"ready" == loaded.stdout.read(5)
        call = CALL.format(python=sys.executable, place=f"{folder}/call")
        quick = str(a_program(folder / "bin", "firewall-cmd", call))
        yield Firewalld(network, command, quick)


def _end(process):
    process.terminate()
    process.wait(60)
