# SPDX-License-Identifier: GPL-2.0-or-later
"""What the server and the client share: errors, units, addresses, tags, tables and the wire."""
