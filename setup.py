# SPDX-License-Identifier: GPL-2.0-or-later
"""How fail2ban is installed: `pip install .` as root, or into an environment.

The packages have very general names; an installation keeps them inside the package `fail2ban`,
with the stock configuration as `fail2ban/etc` beside them.
"""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from fail2ban import PACKAGES  # noqa: E402, I001  (it has to come before what it makes findable)
from common.version import VERSION  # noqa: E402


def requirements(name):
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def files(pattern):
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))


setup(
    name="fail2ban",
    version=VERSION,
    description="Shuts out hosts that fail to log in too often",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    install_requires=requirements("requirements.txt"),
    extras_require={
        "systemd": ["systemd-python>=235"],
        "cymru": ["dnspython>=2.4"],  # `status JAIL cymru`
        "regex": ["rich>=13", "zstandard>=0.22"],  # a progress bar, and .zst logs
    },
    packages=["fail2ban", "fail2ban.etc", *(f"fail2ban.{name}" for name in PACKAGES)],
    package_dir={
        "fail2ban": "fail2ban",
        "fail2ban.etc": "config",
        **{f"fail2ban.{name}": name for name in PACKAGES},
    },
    package_data={"fail2ban.etc": ["*", "*/*"]},
    exclude_package_data={"fail2ban.etc": ["*/__pycache__", "*.pyc", "*.local", "*/*.local"]},
    scripts=files("fail2ban-*"),
    data_files=[
        ("share/man/man1", files("man/*.1")),
        ("share/man/man5", files("man/*.5")),
        ("share/bash-completion/completions", files("completions/*.bash")),
        ("share/zsh/site-functions", files("completions/_*")),
        ("share/fish/vendor_completions.d", files("completions/*.fish")),
        ("share/fail2ban", files("files/*")),
    ],
)
