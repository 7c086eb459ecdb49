# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files make up a configuration, in which order, and what they say together."""

import errno

import pytest

from client.include import Disk, Library
from common.errors import ConfigError
from common.version import VERSION
from tests.shelf import HERE, Shelf


def library(**files):
    return Library(HERE, Shelf(files))


def loaded(name="jail", **files):
    conf = library(**files).load(name)
    return {
        section: {key: value.text for key, value in options.items()}
        for section, options in conf.sections.items()
    }


def order(name="jail", **files):
    return [path.removeprefix("/etc/f/") for path in library(**files).load(name).paths]


SAYS = "[a]\nx = 1\n"


def test_files_come_as_conf_drop_ins_local_and_its_drop_ins():
    files = ["jail.d/a.local", "jail.local", "jail.d/9.conf", "jail.d/10.conf", "jail.d/B.conf"]
    files += ["jail.d/a.conf", "jail.conf", "jail.d/notes.txt", "jailor.conf"]

    assert [
        "jail.conf", "jail.d/10.conf", "jail.d/9.conf", "jail.d/B.conf", "jail.d/a.conf",
        "jail.local", "jail.d/a.local",
    ] == order(**dict.fromkeys(files, SAYS))  # fmt: skip


def test_a_local_file_alone_is_enough():
    assert ["filter.d/x.local"] == order("filter.d/x", **{"filter.d/x.local": SAYS})


def test_nothing_at_all_is_none():
    assert library(**{"jail.conf": SAYS}).load("fail2ban") is None


def test_a_later_file_replaces_option_by_option():
    files = {"jail.conf": "[a]\nx = 1\ny = 1\n[b]\nz = 1\n", "jail.local": "[a]\ny = 2\n[c]\n"}

    assert {"a": {"x": "1", "y": "2"}, "b": {"z": "1"}, "c": {}} == loaded(**files)


def test_the_value_before_is_known_for_one_step():
    conf = library(
        **{
            "jail.conf": "[a]\nx = 1\n",
            "jail.d/m.conf": "[a]\nx = 2\n",
            "jail.local": "[a]\ny = 1\n",
        }
    ).load("jail")

    assert {("a", "x"): "1"} == {key: value.text for key, value in conf.known.items()}


def test_included_files_stand_around_the_file_with_their_local_ones():
    files = {
        "filter.d/x.conf": "[INCLUDES]\nbefore = base.conf\n  absent.conf\nafter = last.conf\n"
        + SAYS,
        "filter.d/base.conf": "[INCLUDES]\nbefore = sub/root.conf\n",
        "filter.d/base.local": SAYS,
        "filter.d/sub/root.conf": SAYS,
        "filter.d/last.conf": SAYS,
        "filter.d/x.local": SAYS,
    }

    assert [
        "filter.d/sub/root.conf", "filter.d/base.conf", "filter.d/base.local", "filter.d/x.conf",
        "filter.d/last.conf", "filter.d/x.local",
    ] == order("filter.d/x", **files)  # fmt: skip


def test_an_include_may_name_the_configuration_directory():
    files = {
        "filter.d/x.conf": "[INCLUDES]\nbefore = %(fail2ban_confpath)s/own.conf\n",
        "own.conf": SAYS,
    }

    assert ["own.conf", "filter.d/x.conf"] == order("filter.d/x", **files)


def test_files_that_include_one_another_are_read_once_each():
    files = {
        "jail.conf": "[INCLUDES]\nbefore = other.conf\n" + SAYS,
        "other.conf": "[INCLUDES]\nbefore = jail.conf\nafter = other.conf\n",
    }

    assert ["other.conf", "jail.conf"] == order(**files)


def test_including_without_end_is_refused():
    files = {
        f"{name}.conf": "[INCLUDES]\nbefore = "
        + "\n  ".join(f"{other}.conf" for other in "abcdefghij" if other != name)
        for name in "abcdefghij"
    }

    with pytest.raises(ConfigError, match="more than"):
        library(**files).load("a")


def test_each_file_is_read_once_however_many_include_it():
    files = {f"filter.d/{name}.conf": "[INCLUDES]\nbefore = common.conf\n" for name in "abc"}
    shelf = Shelf(files | {"filter.d/common.conf": SAYS})
    books = Library(HERE, shelf)

    for name in "aabc":
        books.load(f"filter.d/{name}")

    assert 1 == shelf.reads.count("/etc/f/filter.d/common.conf")
    assert 1 == shelf.reads.count("/etc/f/filter.d/a.conf")


def test_one_bad_byte_is_refused_with_its_line():
    with pytest.raises(ConfigError, match="0xff") as refused:
        library(**{"jail.conf": b"[a]\nb = \xff\n"}).load("jail")

    assert refused.value.where.line == 2


def test_a_file_that_may_not_be_read_is_refused():
    with pytest.raises(ConfigError, match="Permission denied"):
        library(**{"jail.conf": PermissionError(errno.EACCES, "Permission denied")}).load("jail")


def test_a_mistake_is_told_every_time_it_is_met():
    books = library(**{"jail.conf": "x"})

    for _ in range(2):
        with pytest.raises(ConfigError):
            books.load("jail")


def test_the_directory_and_the_version_are_always_there():
    constants = library(**{"jail.conf": SAYS}).load("jail").constants

    assert {"fail2ban_confpath": "/etc/f", "fail2ban_version": VERSION} == {
        key: value.text for key, value in constants.items()
    }


def test_on_the_disk_what_is_missing_or_impossible_is_not_there(tmp_path):
    (tmp_path / "a.conf").write_bytes(b"x")

    disk = Disk()

    assert b"x" == disk.read(f"{tmp_path}/a.conf")
    for path in ["absent", "a.conf/b", "", "nul\0", "long" * 200]:
        assert disk.read(f"{tmp_path}/{path}") is None
        assert [] == disk.names(f"{tmp_path}/{path}/x")
        assert [] == disk.glob(f"{tmp_path}/{path}x")
    assert [f"{tmp_path}/a.conf"] == disk.glob(f"{tmp_path}/*.conf")
    assert ["a.conf"] == disk.names(str(tmp_path))
