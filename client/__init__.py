# SPDX-License-Identifier: GPL-2.0-or-later
"""The client: configuration files become commands, commands become answers on a terminal."""
