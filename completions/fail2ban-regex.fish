# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion; all of it stands in one file.
source (status dirname)/fail2ban-client.fish
