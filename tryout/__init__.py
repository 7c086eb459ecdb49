# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-regex: tries a filter on a log.  Stands on the client's readers and the server's filter."""
