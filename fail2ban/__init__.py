# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the packages are: `import fail2ban` puts `common`, `server`, `client`, `tryout` within reach.

In a checkout they stand beside this directory, in an installation inside of it, where no other
program meets their very general names.  Actions written in Python for earlier releases import
`fail2ban.server.action`: here that is another name for the one module `server.action`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGES = ("common", "server", "client", "tryout")
HERE = Path(__file__).resolve().parent
ROOT = str(HERE if (HERE / "server").is_dir() else HERE.parent)


class _OtherName(MetaPathFinder, Loader):
    """Imports `fail2ban.server.jail` by giving out `server.jail`, so that nothing is loaded twice."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top != __name__ or rest.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.name.partition(".")[2])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # it has run under its own name, and goes by that
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
if not any(type(finder).__name__ == _OtherName.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _OtherName())
