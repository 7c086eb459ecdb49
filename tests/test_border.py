# SPDX-License-Identifier: GPL-2.0-or-later
import time

import pytest

from common.options import JailConf
from server.border import border_of

NOW = 1_800_000_000.0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("pattern", [None, "{NONE}", "^%Y-%m-%d %H:%M:%S"])
def test_a_search_by_date_is_made_where_dates_can_be_read(encoding, pattern):
    conf = JailConf("ssh", log_encoding=encoding, date_pattern=pattern)
    border = border_of(conf, lambda: NOW)

    if encoding == "utf-16" or pattern == "{NONE}":
        assert border is None
        return
    old, new = (
        time.strftime(f"%Y-%m-%d %H:%M:%S {'x' * 1000}\n", time.localtime(NOW - ago)).encode()
        for ago in (10**6, 60)
    )
    log = old * 6000 + new * 100
    found = border(lambda at, length: log[at : at + length], 0, len(log))
    assert len(old) * 5800 < found < len(old) * 6000
