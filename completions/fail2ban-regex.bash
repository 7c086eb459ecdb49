# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion; all of it stands in one file.
. "${BASH_SOURCE[0]%/*}/fail2ban-client.bash"
