# SPDX-License-Identifier: GPL-2.0-or-later
"""Internet addresses and networks as text.  Pure; looks no name up and knows no option.

An address has one text only, its shortest: `2001:DB8:0::1` is `2001:db8::1`, and an IPv4 address
in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address, since that is what a firewall sees.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

# One attacker's address is read for each of its lines, so the last ones are kept.  An entry
# takes about 300 bytes.
_REMEMBERED = 8192
_ASKED = 1024  # of numbers: who decides about a host asks several times, one after the other

_BITS = {4: 32, 6: 128}
_MAY_HOLD_IP4 = bytes(
    10
)  # how an IPv6 address begins that may be written as an IPv4 address in part
_LENGTHS = frozenset(map(str, range(129)))

# 4 or 6, prefix length, its first address as a number.
Network = tuple[int, int, int]


@lru_cache(_REMEMBERED)
def shortest(text: str) -> str | None:
    """The address `text` in its shortest form; None where it is none.

    Brackets around an IPv6 address and its zone (`fe80::1%eth0`) are dropped: no firewall rule
    has them.  A part with a leading zero makes it no address, as some read that as octal.
    """
    packed = _packed(text)
    if packed is not None:
        return text if len(packed) == 4 else inet_ntop(AF_INET6, packed)
    address = _parsed(text)
    return None if address is None else str(address)


@lru_cache(_ASKED)
def number(text: str) -> tuple[int, int] | None:
    """The address `text` as (4 or 6, its bits as a number); None where it is none."""
    packed = _packed(text)
    if packed is not None:
        return 4 if len(packed) == 4 else 6, int.from_bytes(packed, "big")
    address = _parsed(text)
    return None if address is None else (address.version, int(address))


def _packed(text: str) -> bytes | None:
    """The bytes of an address as most are written; None where closer reading is needed.

    The C library takes a twentieth of the time of `ipaddress`.
    """
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):  # no address, or one with something around it
        return None
    return None if packed.startswith(_MAY_HOLD_IP4) else packed


def network(text: str) -> Network | None:
    """The network `text` as (4 or 6, prefix length, its first address as a number), else None.

    The length may be written as `/24` or as a netmask, `/255.255.255.0`; a plain address is a
    network of one.  Bits beyond the length are dropped.
    """
    bare, _, size = text.partition("/")
    packed = _packed(bare)
    if packed is not None and size in _LENGTHS:
        version, length = 4 if len(packed) == 4 else 6, int(size)
        if length <= _BITS[version]:
            return version, length, first_of(version, length, int.from_bytes(packed, "big"))
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        whole = number(text)
        return None if whole is None else (whole[0], _BITS[whole[0]], whole[1])
    version, length, first = found.version, found.prefixlen, found.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped and length >= 96:
        return 4, length - 96, int(first.ipv4_mapped)
    return version, length, int(first)


def shortest_network(text: str) -> str | None:
    """The network `text` in its shortest form, without a length if it is a single address."""
    found = network(text)
    return None if found is None else text_of(found)


def text_of(network: Network) -> str:
    """The shortest text of `network`, without a length if it is a single address."""
    version, length, first = network
    packed = first.to_bytes(_BITS[version] // 8, "big")
    if version == 4:
        address = inet_ntop(AF_INET, packed)
    elif packed.startswith(_MAY_HOLD_IP4):
        address = str(ipaddress.IPv6Address(first))
    else:
        address = inet_ntop(AF_INET6, packed)
    return address if length == _BITS[version] else f"{address}/{length}"


def place_of(host: str) -> Network | None:
    """Where `host`, an address or a network, stands among all addresses; None for another id."""
    whole = number(host)
    if whole is not None:
        return whole[0], _BITS[whole[0]], whole[1]
    return network(host) if "/" in host else None


def is_single(network: Network) -> bool:
    """Whether `network` is a single address."""
    return network[1] == _BITS[network[0]]


def first_of(version: int, length: int, bits: int) -> int:
    """`bits` with all beyond the first `length` set to nought."""
    rest = _BITS[version] - length
    return bits >> rest << rest


def last_of(network: Network) -> int:
    """The last address of `network` as a number."""
    version, length, first = network
    return first | ((1 << (_BITS[version] - length)) - 1)


def around(network: Network, length: int) -> Network:
    """The network of that `length` in which `network`, which is not wider, lies."""
    version, _, first = network
    return version, length, first_of(version, length, first)


def holds(outer: Network, inner: Network) -> bool:
    """Whether all of `inner` lies in `outer`."""
    version, length, first = outer
    return (
        version == inner[0] and length <= inner[1] and first_of(version, length, inner[2]) == first
    )


def without(network: Network, hole: Network) -> list[Network]:
    """The fewest networks that cover all of `network` but `hole`, and nothing else."""
    if holds(hole, network):
        return []
    if not holds(network, hole):
        return [network]
    version, length, _ = network
    # On the way down to the hole, each step leaves the other half.
    return [
        (version, deep, first_of(version, deep, hole[2]) ^ (1 << (_BITS[version] - deep)))
        for deep in range(length + 1, hole[1] + 1)
    ]


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
