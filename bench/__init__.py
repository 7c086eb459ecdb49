# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast, how much: measured by hand (`make bench`), never asserted by a test."""
