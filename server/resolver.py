# SPDX-License-Identifier: GPL-2.0-or-later
"""Host names and this machine's own addresses.  Asks the resolver and the kernel, never in a line's path."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import Fail2banError

log = logging.getLogger("fail2ban.resolver")

_KEPT = 300.0  # seconds an answer is kept
_KEPT_OWN = 60.0
_MOST_WAITING = 1000  # names an attacker may have us look up at a time
_MOST_KEPT = 10_000


class Resolver:
    """Looks names up in a few threads of its own; answers come by call-back."""

    def __init__(self, lookup: Callable[[str], tuple[str, ...]] | None = None) -> None:
        self._lookup = lookup or addresses_of
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._known: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._own: tuple[float, frozenset[str]] = (0.0, frozenset())

    def resolve(self, name: str, answer: Callable[[tuple[str, ...]], None]) -> bool:
        """Call `answer` with the addresses of `name` by and by; False if too many names wait."""
        kept = self._known.get(name)
        if kept and kept[0] > time.monotonic():
            answer(kept[1])
            return True
        if not self._waiting.acquire(blocking=False):
            return False
        if self._pool is None:
            self._pool = ThreadPoolExecutor(4, thread_name_prefix="resolve")
        self._pool.submit(self._answer, name, answer)
        return True

    def _answer(self, name: str, answer: Callable[[tuple[str, ...]], None]) -> None:
        found: tuple[str, ...] = ()
        try:
            found = self._lookup(name)
            self._known[name] = (time.monotonic() + _KEPT, found)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        except Exception:
            log.exception("looking up %r failed in an unforeseen way", name)
        finally:
            self._waiting.release()
            answer(found)  # whoever waits must not wait for ever

    def own_addresses(self) -> frozenset[str]:
        """The addresses of this machine's interfaces."""
        until, own = self._own
        if until <= time.monotonic():
            own = frozenset((*own_ipv4(), *own_ipv6()))
            self._own = (time.monotonic() + _KEPT_OWN, own)
        return own

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def addresses_of(name: str) -> tuple[str, ...]:
    """The addresses of a host name, each once; none if it has none or nobody knows.

    A name that ends in a number is none (RFC 3696, 2): the resolver would read `192.030.0.6` as an
    address, and with a nought in front as an octal one.
    """
    if name.rstrip(".").rpartition(".")[2].isdecimal():
        return ()
    try:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


def name_of(address: str) -> str:
    """The host name of an address, or the address where nobody knows one."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NUMERICSERV)[0]
    except OSError:
        return address


def origin_of(address: str, ask: Callable[[str], str] | None = None) -> tuple[str, str, str]:
    """Number of the network's operator (ASN), country and registry of an address, as Team Cymru knows.

    `ask` gives the TXT record of a name: `ASN | prefix | country | registry | date`.  What nobody
    knows is "unknown"; Fail2banError where nobody can be asked.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ("unknown",) * 3
    place = "origin" if found.version == 4 else "origin6"
    labels = found.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    parts = (ask or _text_record)(f"{labels}.{place}.asn.cymru.com").strip('"').split("|")
    if len(parts) < 4:
        return ("unknown",) * 3
    return parts[0].strip(), parts[2].strip(), parts[3].strip()


def _text_record(name: str) -> str:
    try:
        import dns.exception
        import dns.resolver
    except ImportError:
        raise Fail2banError(
            "who owns an address is asked by DNS, with the Python package dnspython"
        ) from None
    try:
        return str(next(iter(dns.resolver.resolve(name, "TXT", lifetime=5.0))))
    except dns.exception.DNSException:
        return ""


def own_ipv4(table: str = "/proc/net/fib_trie") -> list[str]:
    """This machine's IPv4 addresses, from the kernel's routing table (proc(5))."""
    found, last = [], ""
    for line in _lines(table):
        words = line.split()
        if words and words[0] in ("|--", "+--"):
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.append(last)
    return list(dict.fromkeys(found))


def own_ipv6(table: str = "/proc/net/if_inet6") -> list[str]:
    """This machine's IPv6 addresses, from the kernel's list of interfaces (proc(5))."""
    return [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in _lines(table)]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
