"""The page: plots, who floods, words for events, the box that explains; strict, escaped, the same without a script; looked at by Chromium."""

import html
import html.parser
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harness import PATIENCE, Web, World, wait_for

LIMITS = [
    {"name": "alias-minute", "per": "recipient", "max": 2, "window": "1h", "over": "defer", "hold": "10m",
     "share": {"of": "client", "max": "100%", "above": "50%"}},
    {"name": "flood", "per": "client", "count": "attempts", "max": 60, "window": "1m", "hold": "10m",
     "when": {"authenticated": False, "client": ["192.0.2.0/24"]}},
    {"name": "trial", "per": ["recipient", "sender"], "max": "1MB", "count": "bytes", "window": "1d", "over": "reject", "shadow": True},
    {"name": "waiting", "per": "host", "count": "backlog", "max": 100000},
]
QUEUE = ('{"queue_name": "deferred", "queue_id": "4cXy9", "arrival_time": 1, "sender": "b<b>@x.example", "recipients": '
         '[{"address": "c&c@y.example", "delay_reason": "connect to y.example: <timed out>"}]}')
HOSTILE = ["<script>alert(1)</script>@evil.example", '"><img src=x onerror=alert(1)>@evil.example', "a'onmouseover='b@evil.example",
           "&lt;b&gt;@evil.example", "javascript:alert(1)@evil.example", "x\u202eb@evil.example", "]]>--><svg/onload=alert(1)>@evil.example"]


@contextmanager
def running(store="memory", subjects=True, queue=QUEUE, **policy):
    with World(store, LIMITS, mta=False, **policy) as world:
        world.gate.stop()
        web = Web(world.scratch)
        shown = world.scratch / "queue"
        shown.write_text(queue + "\n")
        world.gate.write_policy(http={"listen": web.listen, "subjects": subjects, **policy.get("http", {})},
                                queue={"every": "1s", "command": ["/bin/cat", str(shown)]})
        world.gate.start()
        wait_for(web.up, "the HTTP server does not answer")
        world.database.alias("a@example.com", mailbox="box<i>@mailbox.example")
        world.settled()
        yield world, web


def flood(world, senders=("bob@sender.example",), client="192.0.2.7", recipients=("a@example.com",)):
    with world.milter() as m:
        m.connect(client)
        for sender in senders:
            m.mail(f"<{sender}>")
            for recipient in recipients:
                m.rcpt(f"<{recipient}>")
            m.data()
            m.eom()


class Reader(html.parser.HTMLParser):
    """Fails on what a page of ours may not have, and on tags that do not fit."""

    void = {"meta", "link", "input", "br"}
    allowed = {"tbody", "html", "head", "meta", "title", "link", "body", "header", "main", "footer", "section", "article", "h1", "h2", "h3",
               "p", "b", "small", "strong", "span", "code", "time", "dl", "dt", "dd", "div", "table", "caption", "tr", "th", "td", "a",
               "figure", "figcaption", "svg", "path", "rect", "ul", "li", "form", "label", "input", "button", "br"}
    attributes = {"lang", "charset", "name", "content", "rel", "href", "class", "role", "datetime", "http-equiv", "id", "title",
                  "viewbox", "preserveaspectratio", "aria-label", "d", "x", "y", "width", "height", "method", "action", "maxlength",
                  "placeholder", "autocomplete", "value"}

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.ids = [], [], set()
        self.feed(page)
        self.close()
        assert not self.open, self.open
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        assert tag in self.allowed, tag
        assert {name for name, _ in attributes} <= self.attributes, attributes
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in ("path", "rect") or tag in self.void, tag
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def read(web, path="/"):
    answer, page = web.ask(path)
    assert answer.status == 200, page
    assert answer.getheader("Content-Security-Policy") == ("default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
                                                          "frame-ancestors 'none'")
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page)) <= {"/style.css", "/healthz", "/status.json", "/metrics"}
    return page, Reader(page).words


@pytest.fixture(scope="module")
def busy():
    with running() as (world, web):
        flood(world, ["bob@sender.example"] * 80)
        flood(world, ["eve@sender.example"] * 5, "198.51.100.9", [f"no{i}@example.com" for i in range(3)])
        world.gate.command("block", "203.0.113.0/24", "--reason", "spam <wave>", "--for", "1h")
        wait_for(lambda: {"4cXy9", "by limits 78", "unknown 15"} <= set(re.findall("4cXy9|by limits 78|unknown 15", read(web)[1])), "all is seen")
        yield world, web


def test_plots(busy):
    _, web = busy
    page, words = read(web)
    assert page.count("<svg ") == page.count("<figure>") == 4
    for title in ("What was answered", "What was refused or dropped, and why", "How long decisions took", "What waited in Postfix's queue"):
        assert title in words
    assert re.search(r"\d\d:\d\d UTC: (\d+ accepted, )?\d+ deferred", words)
    assert re.search(r"by limits \d+", words) and re.search(r"by alias rules, or unknown 15\b", words)
    assert len(page) < 100000


def test_who_floods(busy):
    _, web = busy
    _, words = read(web)
    assert re.search(r"Clients 78 192\.0\.2\.7 limit alias-minute; by sender bob@sender\.example, to a@example\.com", words)
    assert "15 198.51.100.9 no such address at example.com; by sender eve@sender.example, to many recipients" in words
    assert "15 eve@sender.example no such address at example.com; from client 198.51.100.9, to many recipients" in words
    assert re.search(r"What refused them \d+ limit", words)
    assert re.search(r"Held, for so long yet \d+[ms] \S+ \S+ limit", words)
    assert "recipient a@example.com limit alias-minute" in words
    assert "203.0.113.0/24 rejected until" in words and "spam <wave>" in words


def test_limits_are_whole(busy):
    _, words = read(busy[1])
    assert ("alias-minute at most 2 recipients in 1h for each recipient; what is over it is deferred, and held for 10m; once 1 is used, "
            "one client may have at most 2") in words
    assert "flood at most 60 attempts in 1m for each client; what is over it is deferred, and held for 10m; only when: client 192.0.2.0/24, not logged in" in words
    assert "trial at most 1000000 bytes in 1d for each recipient and sender; what is over it is rejected; in shadow: refuses nothing" in words
    assert "waiting at most 100000 messages waiting in Postfix's queue for this host; what is over it is deferred" in words


def test_the_oldest_in_the_queue(busy):
    _, words = read(busy[1])
    assert re.search(r"the oldest for \d+d; read \d+s ago, which took \d+ ms the oldest is 4cXy9, from b<b>@x\.example, to c&c@y\.example: connect to y\.example: <timed out>", words)


def test_events_in_words_and_once(busy):
    world, web = busy
    _, words = read(web)
    lately = words.split("Lately")[1]
    assert "Limit alias-minute is full for recipient a@example.com (2 of 2): what comes now is deferred. Mostly from client 192.0.2.7, sender bob@sender.example" in lately
    assert "203.0.113.0/24 is blocked by" in lately
    assert "limit-tripped" not in words
    for network in ("198.51.100.1", "198.51.100.2", "198.51.100.1", "198.51.100.1"):
        world.gate.command("block", network)
        world.gate.command("unblock", network)
    lately = read(web)[1].split("Lately")[1]
    assert lately.count("198.51.100.1 is blocked") == 1 and "(3 times, this was the last)" in lately


def test_trouble_is_told_once():
    with running("redis") as (world, web):
        world.redis.stop()
        wait_for(lambda: "Degraded" in read(web)[1], "it is seen")
        _, words = read(web)
        assert words.count("Counter store") == 1
        world.redis.start()
        wait_for(lambda: "Healthy" in read(web)[1], "it is well again")
        _, words = read(web)
        assert words.count("Counter store") == 1 and "Counter store , after" in words.split("Well again")[1]


def explain(web, **asked):
    page, words = read(web, "/?" + urlencode(asked))
    return page, words.split("Explain a recipient")[1].split("Lately")[0]


def test_the_box_explains(busy):
    world, web = busy
    page, words = explain(web, to="nobody@example.com", **{"from": "x@y.example"}, client="192.0.2.50")
    assert "Rejected : 550 5.1.1 <nobody@example.com>: no such address" in words
    assert "Alias unknown" in words and "Client 192.0.2.50" in words
    assert 'value="nobody@example.com"' in page and "http-equiv" not in page
    before = world.gate.command("show", "a@example.com")
    _, words = explain(web, to="a@example.com", client="192.0.2.7")
    assert "Deferred : 450 4.2.1" in words and "alias-minute: 2 of 2, held" in words and "to box<i>@mailbox.example" in words
    assert world.gate.command("show", "a@example.com").split("held")[0] == before.split("held")[0], "nothing is charged"
    assert "no recipient is named" in explain(web, to="", client="")[1]
    assert "longer than any address" in explain(web, to="x" * 2000 + "@example.com")[1]
    assert "192.0.2.x" in explain(web, to="a@example.com", client="192.0.2.x")[1]
    assert "\ufffd" not in explain(web, to="\xff\x01@example.com")[0]


def test_without_subjects():
    with running(subjects=False) as (world, web):
        flood(world, ["bob@sender.example"] * 80)
        world.gate.command("block", "203.0.113.0/24")
        wait_for(lambda: "4cXy9" in read(web)[1] and read(web)[0].count("<svg ") == 4, "the queue is read")
        page, words = read(web, "/?" + urlencode({"to": "a@example.com", "from": "bob@sender.example"}))
        for secret in ("a@example", "bob@", "192.0.2.7", "203.0.113", "b&lt;b", "c&amp;c", "box"):
            assert secret not in page, secret
        assert "http.subjects" in words and "<input" not in page
        assert "Blocked 1 network" in words and page.count("<svg ") == 4
        assert "Limit alias-minute is full (2 of 2)" in words


def test_hostile_addresses():
    """Whatever strangers call themselves is text on the page, and stays in its place."""
    with running() as (world, web):
        world.database.sender("*", "@evil.example", "reject")
        world.settled()
        flood(world, [sender for sender in HOSTILE for _ in range(3)], recipients=["a@example.com", "<b>@example.com"])
        world.gate.command("block", "203.0.113.0/24", "--reason", HOSTILE[0] + HOSTILE[1])
        page, words = read(web)
        assert "alert(1)" in words
        for path in ("/?" + urlencode({"to": word, "from": word, "client": word}) for word in HOSTILE):
            page, words = read(web, path)
            assert not re.search(r"<(?:script|img|svg/)", page)
        if chromium():
            dom = browse(world, web, "--dump-dom", "/?" + urlencode({"to": HOSTILE[1], "from": HOSTILE[0]}))
            assert "Explain a recipient" in dom
            Reader(dom)


def test_hosts():
    """http.hosts names what else a browser may call us; at once after a change of the policy."""
    with running(http={"hosts": ["gate.example.com", "2001:DB8::7"]}) as (world, web):
        for host in ("gate.example.com", "GATE.example.com.:8443", "[2001:db8::7]:443", web.address):
            assert web.ask("/healthz", host=host)[0].status == 200, host
        for host in ("example.com", "gate.example.com.evil.example", "xgate.example.com", "2001:db8::7", "gate.example.com:x"):
            answer, body = web.ask("/healthz", host=host)
            assert answer.status in (400, 421) and "status" not in body, host
        world.gate.write_policy(http={"listen": web.listen, "hosts": ["other.example.com"]})
        wait_for(lambda: web.ask("/healthz", host="other.example.com")[0].status == 200, "the new name is known")
        assert web.ask("/healthz", host="gate.example.com")[0].status == 421


# ---------------------------------------------------------------------------------------------------------- Chromium

def chromium():
    return shutil.which("chromium")


def browse(world, web, *words):
    profile = world.scratch / "chromium"
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               f"--user-data-dir={profile}", "--virtual-time-budget=2000", *words[:-1], f"http://{web.listen}{words[-1]}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(not chromium(), reason="chromium is not installed")
def test_a_browser_shows_it(busy):
    """Chromium takes the page as it is: its style comes through the policy, nothing else is asked for."""
    world, web = busy
    picture = Path(str(world.scratch / "page.png"))
    browse(world, web, "--window-size=1280,2400", f"--screenshot={picture}", "/?still")
    assert picture.stat().st_size > 20000
    dom = browse(world, web, "--dump-dom", "/?still")
    assert dom.count("<svg") == 4 and "Healthy" in dom
