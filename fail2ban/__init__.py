# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the packages are: `import fail2ban` puts `common`, `server` and `client` within reach.

In a checkout they stand beside this directory, in an installation inside of it, where no other
program meets their very general names.  Actions written in Python for earlier releases import
`fail2ban.server.action`: here that is another name for the one module `server.action`.

Every call of fail2ban-client begins here, so only what the interpreter has loaded anyway is used.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("common", "server", "client", "tryout")
HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = HERE if os.path.isdir(os.path.join(HERE, "server")) else os.path.dirname(HERE)


class _OtherName:
    """Imports `fail2ban.server.jail` by giving out `server.jail`, so that nothing is loaded twice."""

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top != __name__ or rest.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        import importlib

        module = importlib.import_module(spec.name.partition(".")[2])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # it has run under its own name, and goes by that
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def find_libraries(*names: str) -> None:
    """Go on with the Python of the checkout's `.venv` (`make env`), if this one lacks a library."""
    home = os.path.join(ROOT, ".venv")
    python = os.path.join(home, "bin", "python")
    if sys.prefix == home or not os.path.exists(python):
        return
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in names):
        os.execv(python, [python, *sys.argv])


if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
if not any(type(finder).__name__ == _OtherName.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _OtherName())
