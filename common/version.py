# SPDX-License-Identifier: GPL-2.0-or-later
"""The version, said once: setup.py, `version`, `--version` and `%(fail2ban_version)s` read it here."""

VERSION = "2.0.0"
