# SPDX-License-Identifier: GPL-2.0-or-later
"""nginx blocks who stands in its map, and its map never holds more than ids."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from server.enforcer import Enforcer
from server.records import Enforce, Lift
from tests.network import World, a_ban, bans, conf, lifts, real
from tests.support import eventually

NGINX = """
daemon off; pid {0}/pid; error_log {0}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
    uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
    map $http_x_who $is_blocked {{ include {0}/blocked.map; }}
    server {{ listen 127.0.0.1:{1}; if ($is_blocked) {{ return 403; }} return 200 welcome; }}
}}
"""
IDS = [
    "Bob",
    "192.0.2.1",
    "~.*",
    "default",
    "hostnames",
    'a"b',
    "a\\",
    "$host",
    "a;b}",
    "#x",
    "include",
]


@pytest.fixture
def nginx(tmp_path):
    """nginx at work: its directory, its port, and the action."""
    real("nginx")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(NGINX.format(tmp_path, port))
    (tmp_path / "blocked.map").touch()
    command = f"nginx -p {tmp_path} -c {tmp_path}/nginx.conf"
    server = subprocess.Popen(command.split(), stderr=subprocess.DEVNULL)
    action = f'nginx-block-map[blck_lst_file={tmp_path}/blocked.map, srv_cmd="{command}", srv_pid={tmp_path}/pid]'
    try:
        eventually(lambda: answers(port, "nobody") == 200, what="the start of nginx")
        yield port, Enforcer("sshd", (conf(action),)), tmp_path / "blocked.map"
    finally:
        server.terminate()
        server.wait(60)


def answers(port, who):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"X-Who": who})
    try:
        with urllib.request.urlopen(request, timeout=5) as page:
            return page.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_the_hosts_of_a_network_stay_in_the_map_when_that_is_banned(nginx):
    port, enforcer, _ = nginx
    world, hosts = World(), [a_ban("192.0.2.1"), a_ban("192.0.2.2")]
    network = a_ban("192.0.2.0/24", parts=tuple(hosts), is_merged=True)
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out([Enforce(host) for host in hosts]))

    into = [Lift(host, into=network.host) for host in hosts]
    world.drive(enforcer.carry_out([Enforce(network), *into]))

    eventually(lambda: answers(port, "192.0.2.1") == 403)
    world.drive(enforcer.carry_out([Lift(network)]))
    eventually(lambda: answers(port, "192.0.2.1") == 200)
    world.drive(enforcer.stop())


def test_nginx_blocks_who_is_in_its_map_and_nobody_else(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans("Bob", "192.0.2.1")))

    # While nginx reloads, the old process answers, too.
    eventually(lambda: answers(port, "Bob") == 403)
    eventually(lambda: answers(port, "192.0.2.1") == 403)
    assert 200 == answers(port, "192.0.2.2")
    world.drive(enforcer.carry_out(lifts("Bob")))
    eventually(lambda: answers(port, "Bob") == 200)
    world.drive(enforcer.stop())
    eventually(lambda: answers(port, "192.0.2.1") == 200)
    assert "" == file.read_text()
    assert [] == world.notes


def test_no_id_means_more_to_nginx_than_itself(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.start())
    world.drive(enforcer.carry_out(bans(*IDS, "a\nb", "`id`", "$(touch pwned)")))
    assert [] == world.notes
    assert len(IDS) + 3 == len(file.read_text().splitlines())

    for who in (*IDS, "ab", "`id`", "$(touch pwned)"):
        eventually(lambda who=who: answers(port, who) == 403, what=f"the block of {who}")
    assert 200 == answers(port, "anybody")
    world.drive(enforcer.carry_out(lifts(*IDS, "a\nb", "`id`", "$(touch pwned)")))
    assert "" == file.read_text()


def test_nginx_never_keeps_a_map_that_it_does_not_take(nginx):
    port, enforcer, file = nginx
    world = World()
    world.drive(enforcer.carry_out(bans("Bob")))
    before = file.read_text()
    world.drive(enforcer.carry_out(bans("x" * 4000)))

    assert before == file.read_text()
    assert "nginx does not take it" in enforcer.problems[0]
    assert "f2b" not in " ".join(path.name for path in file.parent.iterdir())
