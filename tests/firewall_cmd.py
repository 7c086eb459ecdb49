# SPDX-License-Identifier: GPL-2.0-or-later
"""firewall-cmd, loaded once: each call is a fork, with the words, the input and the output of the caller.

Run by the Python of firewall-cmd itself, with the socket to listen at and the program.  Says "ready",
and ends with its standard input.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import traceback

import dbus.connection
import dbus.proxies

place, program = sys.argv[1:]
with open(program) as source:  # noqa: PTH123
    code = compile(source.read(), program, "exec")


def play(words):
    """Be the program with `words`; its exit status."""
    sys.argv = [program, *words]
    try:
        exec(code, {"__name__": "__main__", "__file__": program})
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def serve(link):
    data, descriptors, *_ = socket.recv_fds(link, 1 << 16, 3)
    while more := link.recv(1 << 16):
        data += more
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    link.send(bytes([play(os.fsdecode(data[1:]).split("\0")[:-1])]))


class Known(dbus.proxies.ProxyObject):
    """An object whose methods are known: to list them is more work for firewalld than most calls."""

    methods = {}

    def _Introspect(self):
        if self.object_path not in self.methods:
            return super()._Introspect()
        self._introspect_reply_handler(self.methods[self.object_path])
        return None


bus = dbus.SystemBus(private=True)
for path in ("/org/fedoraproject/FirewallD1", "/org/fedoraproject/FirewallD1/config"):
    method = (path, dbus.INTROSPECTABLE_IFACE, "Introspect")
    Known.methods[path] = bus.call_blocking("org.fedoraproject.FirewallD1", *method, "", ())
bus.close()
dbus.connection.Connection.ProxyObjectClass = Known

told = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
assert play(["--help"]) == 0  # whatever it imports is there from now on
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(place)
listener.listen(100)
os.write(told, b"ready")
with selectors.DefaultSelector() as events:
    events.register(listener, selectors.EVENT_READ)
    events.register(0, selectors.EVENT_READ)
    while all(key.fileobj != 0 for key, _ in events.select()):
        link, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(link)
            os._exit(0)
        link.close()
