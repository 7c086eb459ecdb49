# SPDX-License-Identifier: GPL-2.0-or-later
"""Services of the web are told what they ask for, and nobody learns a key."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from server.action import Action
from server.enforcer import Enforcer
from server.records import Enforce
from tests.network import EVIL, World, a_ban, a_program, bans, conf, lifts, real


class Service:
    """A web service that notes what it is asked, and answers with what `answer` gives."""

    def __init__(self):
        self.requests = []
        self.answer = lambda request: (200, "{}")
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                request = (self.command, self.path, self.headers, self.rfile.read(length).decode())
                service.requests.append(request)
                status, text = service.answer(request)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def forms(self):
        return [{key: value[0] for key, value in parse_qs(r[3]).items()} for r in self.requests]


@pytest.fixture
def service():
    real("curl")
    made = Service()
    yield made
    made.close()


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text('t0p-s3cret"\\\n')
    return file


WEB = {
    "webhook": 'webhook[url="{url}/hook", token=@{secret}]',
    "abuseipdb": 'abuseipdb[abuseipdb_url="{url}/report", abuseipdb_apikey=@{secret}, abuseipdb_category="18,22"]',
    "blocklist_de": 'blocklist_de[blocklist_url="{url}/r", apikey=@{secret}, email=me@example.com, service=ssh]',
    "cloudflare": 'cloudflare[cfapi="{url}/v4", cfuser=me@example.com, cftoken=@{secret}]',
    "cloudflare-token": 'cloudflare-token[cfapi="{url}/v4", cfzone=z1, cftoken=@{secret}]',
}


def web(action, service, secret):
    return conf(WEB[action].format(url=service.url, secret=secret))


def test_a_webhook_gets_what_happened_as_json(service, secret):
    world, enforcer = World(), Enforcer("sshd", (web("webhook", service, secret),))
    world.drive(enforcer.start())
    world.drive(
        enforcer.carry_out([Enforce(a_ban("192.0.2.1", failures=5, matches=(EVIL, "two")))])
    )
    world.drive(enforcer.carry_out(bans('Bob "x" \\ $(id)')))
    world.drive(enforcer.carry_out(lifts("192.0.2.1")))

    assert [] == world.notes
    told = [json.loads(request[3]) for request in service.requests]
    assert ["ban", "ban", "unban"] == [each["event"] for each in told]
    assert ("sshd", "192.0.2.1", 5, 1700000000, 600) == tuple(
        told[0][key] for key in ("jail", "ip", "failures", "time", "bantime")
    )
    clean = EVIL.replace("\x1b", "").replace("\x07", "")
    assert clean + "\ntwo" == told[0]["matches"]
    assert 'Bob "x" \\ $(id)' == told[1]["id"]
    assert 'Bearer t0p-s3cret"\\' == service.requests[0][2]["Authorization"]
    assert "application/json" == service.requests[0][2]["Content-Type"]


def test_a_webhook_stays_valid_json_when_much_is_to_be_told(service, secret):
    enforcer = Enforcer("sshd", (web("webhook", service, secret),))
    lines = tuple('"\\✓é' * 200 for _ in range(40))
    for number in range(4):  # wherever the text is cut off
        World().drive(
            enforcer.carry_out([Enforce(a_ban("192.0.2.1", matches=("x" * number, *lines)))])
        )

    assert () == enforcer.problems
    assert all(6000 < len(json.loads(r[3])["matches"].encode()) <= 8000 for r in service.requests)


def test_a_webhook_tells_of_start_and_stop_if_asked(service, secret):
    action = conf(f'webhook[url="{service.url}", tell_start=1, header="X-Kind: {{a}}"]')
    world, enforcer = World(), Enforcer("sshd", (action,))
    world.drive(enforcer.start())
    world.drive(enforcer.stop())

    assert ["start", "stop"] == [json.loads(request[3])["event"] for request in service.requests]
    assert "{a}" == service.requests[0][2]["X-Kind"]


@pytest.mark.parametrize("action", sorted(WEB))
@pytest.mark.parametrize("failure", ["refused", "no service", "no key"])
def test_a_service_that_fails_is_told_and_nobody_learns_the_key(service, secret, action, failure):
    enforcer = Enforcer("sshd", (web(action, service, secret),))
    service.answer = lambda request: (403, "Go away")
    if failure == "no service":
        service.close()
    if failure == "no key":
        secret.unlink()
    world = World()
    world.drive(enforcer.carry_out(bans("192.0.2.1")))

    [problem] = enforcer.problems
    assert {
        "refused": "answered 403: Go away",
        "no service": "curl: (7)",
        "no key": "No such file",
    }[failure] in problem
    assert "s3cret" not in "".join(world.notes) + "".join(world.scripts)


@pytest.mark.parametrize("action", sorted(WEB))
def test_no_secret_stands_among_the_arguments_of_a_program(service, secret, tmp_path, action):
    curl = a_program(
        tmp_path / "bin",
        "curl",
        f'#!/bin/sh\nps ax -ww -o args >>{tmp_path}/ps\nexec {shutil.which("curl")} "$@"\n',
    )
    text = WEB[action].format(url=service.url, secret=secret)[:-1] + f', curl="{curl} -sS"]'
    enforcer = Enforcer("sshd", (conf(text),))
    World().drive(enforcer.carry_out(bans("192.0.2.1")))

    assert () == enforcer.problems
    assert "curl" in (tmp_path / "ps").read_text()
    assert "s3cret" not in (tmp_path / "ps").read_text()
    [_, _, headers, body] = service.requests[0]
    assert "s3cret" in str(headers) + body


def test_abuseipdb_gets_a_report_that_it_takes(service, secret):
    enforcer = Enforcer("sshd", (web("abuseipdb", service, secret),))
    long = Enforce(a_ban("2001:db8::1", matches=("é" * 900,)))
    World().drive(enforcer.carry_out([Enforce(a_ban("192.0.2.1", matches=(EVIL,))), long]))

    assert () == enforcer.problems
    first, second = service.forms()
    assert ("192.0.2.1", "18,22") == (first["ip"], first["categories"])
    assert EVIL.replace("\x1b", "").replace("\x07", "") == first["comment"]
    assert "key" not in first and 't0p-s3cret"\\' == service.requests[0][2]["Key"]
    assert ("2001:db8::1", "é" * 499) == (second["ip"], second["comment"].rstrip("�")[:499])
    assert 1000 >= len(second["comment"].encode())


def test_who_was_reported_to_abuseipdb_a_moment_ago_is_no_problem(service, secret):
    service.answer = lambda request: (429, '{"errors": []}')
    enforcer = Enforcer("sshd", (web("abuseipdb", service, secret),))
    World().drive(enforcer.carry_out(bans("192.0.2.1")))

    assert () == enforcer.problems


def test_a_comment_of_ones_own_keeps_the_log_at_home(service, secret):
    action = conf(
        f'abuseipdb[abuseipdb_url="{service.url}", abuseipdb_apikey=k, abuseipdb_comment="too many"]'
    )
    World().drive(
        Enforcer("sshd", (action,)).carry_out([Enforce(a_ban("192.0.2.1", matches=(EVIL,)))])
    )

    assert "too many" == service.forms()[0]["comment"]


def test_blocklist_de_gets_address_service_and_log(service, secret):
    enforcer = Enforcer("sshd", (web("blocklist_de", service, secret),))
    World().drive(enforcer.carry_out([Enforce(a_ban("2001:db8::1", matches=(EVIL,)))]))

    [form] = service.forms()
    clean = EVIL.replace("\x1b", "").replace("\x07", "")
    wanted = {"server": "me@example.com", "apikey": 't0p-s3cret"\\', "service": "ssh",
              "ip": "2001:db8::1", "logs": clean, "format": "text"}  # fmt: skip
    assert wanted == form


class Cloudflare:
    """What a service answers that keeps access rules as Cloudflare does."""

    def __init__(self, root):
        self.rules, self._root = {}, root

    def __call__(self, request):
        verb, path, _, body = request
        url = urlsplit(path)
        if verb == "DELETE":
            found = self.rules.pop(url.path.removeprefix(f"{self._root}/"), None)
            return (404, "{}") if found is None else (200, '{"success": true}')
        assert self._root == url.path
        if verb == "GET":
            asked = {key: value[0] for key, value in parse_qs(url.query).items()}
            found = [
                {"id": id, **rule}
                for id, rule in self.rules.items()
                if rule["mode"] == asked["mode"] and rule["notes"] == asked["notes"]
                and rule["configuration"] == {"target": asked["configuration.target"], "value": asked["configuration.value"]}
            ]  # fmt: skip
            return 200, json.dumps({"result": found, "success": True}, indent=1)
        rule = json.loads(body)
        if any(rule["configuration"] == other["configuration"] for other in self.rules.values()):
            error = {"code": 10009, "message": "firewallaccessrules.api.duplicate_of_existing"}
            return 400, json.dumps({"success": False, "errors": [error]})
        self.rules[f"{len(self.rules) + 1:032x}"] = rule
        return 200, '{"success": true}'


@pytest.mark.parametrize("action", ["cloudflare", "cloudflare-token"])
def test_cloudflare_has_one_rule_for_each_host_and_none_after(service, secret, action):
    root = "/v4/user" if action == "cloudflare" else "/v4/zones/z1"
    service.answer = rules = Cloudflare(f"{root}/firewall/access_rules/rules")
    world, enforcer = World(), Enforcer("sshd", (web(action, service, secret),))
    hosts = ["192.0.2.1", "2001:db8::1", "192.0.2.0/24"]
    for _ in range(2):
        world.drive(enforcer.carry_out(bans(*hosts)))
    assert [("ip", hosts[0]), ("ip6", hosts[1]), ("ip_range", hosts[2])] == [
        (rule["configuration"]["target"], rule["configuration"]["value"])
        for rule in rules.rules.values()
    ]
    alone = Action("sshd", web(action, service, secret))
    for _ in range(2):
        assert world.run(alone.unban(a_ban("2001:db8::1"))).is_success
    assert 2 == len(rules.rules)
    world.drive(enforcer.stop())

    assert {} == rules.rules
    assert [] == world.notes
    headers = service.requests[0][2]
    if action == "cloudflare":
        assert ("me@example.com", 't0p-s3cret"\\') == (
            headers["X-Auth-Email"],
            headers["X-Auth-Key"],
        )
    else:
        assert 'Bearer t0p-s3cret"\\' == headers["Authorization"]
