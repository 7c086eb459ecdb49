# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon: a line is logged, a host is shut out.  `server.jail` is where to start reading."""
