# SPDX-License-Identifier: GPL-2.0-or-later
"""Where actions in Python that were written for earlier releases look for these names.  Nothing else."""

from __future__ import annotations

from server.actionbase import ActionBase, CallingMap

__all__ = ["ActionBase", "CallingMap"]
