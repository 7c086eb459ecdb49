# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast, how much: measured by hand (`make bench`), never asserted by a test.

`python -m bench` measures, `python -m bench.page` makes doc/performance.md of what was measured.
Everything goes through the command line, logs and the socket, as for any implementation of
fail2ban; only `inside` looks into ours.
"""
