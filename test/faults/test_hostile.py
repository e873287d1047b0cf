"""Rows 79 to 83 of the fault matrix: data, clients and frames that mean harm. Others are served meanwhile."""

import json
import socket
import threading

import pytest

from fault_table import recovers
from harness import Closed, Web, World, wait_for

ALIAS = "a@example.com"
ORDER = "rcptgate:changes:{rcptgate:blocks}"
LIMITS = [{"name": "many", "per": "recipient", "max": 100000, "window": "1h"}]


def served(world):
    with world.milter() as m:
        m.connect("198.51.100.1")
        m.mail()
        return m.rcpt(f"<{ALIAS}>").status == "continue"


def test_row83_macro_frames_with_an_odd_number_of_strings():
    with World("memory", LIMITS, mta=False) as w:
        w.database.alias(ALIAS)
        w.settled()
        other = w.milter()
        other.connect()
        other.mail()
        for data in (b"Ri\0", b"R{rcpt_addr}\0a@example.com\0i\0", b"Mi\0x\0{auth_authen}\0", b"Ei\0"):
            m = w.milter()
            m.connect()
            m.mail()
            try:
                m.send(b"D", data)
                m.rcpt(f"<{ALIAS}>", with_macros=False)
                pytest.fail("was answered")
            except (Closed, OSError):
                pass
            assert served(w)
        assert other.rcpt(f"<{ALIAS}>").status == "continue"
        recovers(lambda: served(w), "others are served")


class OddServer:
    """Answers everything that a Redis client says with an error that is not UTF-8 and quotes an address."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    @staticmethod
    def _serve(peer):
        try:
            while peer.recv(65536):
                peer.sendall(b"-OOM \xff\xfe \x1b[31m odd rcptgate:recipient:{a@example.com} \xc3\r\n")
        except OSError:
            pass

    def close(self):
        self.socket.close()


@pytest.mark.parametrize("subjects", [False, True])
def test_row79_errors_of_redis_that_are_not_utf8(subjects):
    with World("memory", LIMITS, mta=False, http={"listen": ""}) as w:
        w.database.alias(ALIAS)
        w.gate.stop()
        server = OddServer(w.scratch / "odd.sock")
        web = Web(w.scratch)
        w.gate.write_policy(counters={"url": f"unix://{w.scratch / 'odd.sock'}", "timeout": "200ms"},
                            http={"listen": web.listen, "subjects": subjects})
        w.gate.start()
        wait_for(web.up, "the page")
        wait_for(lambda: web.ask("/healthz")[0].status == 503, "it notices")
        report = json.loads(web.ask("/healthz")[1])
        assert report["status"] == "degraded" and "odd" in report["reasons"][0]["text"]
        answer, body = web.ask("/status.json")
        assert answer.status == 200 and json.loads(body)["status"] == "degraded"
        assert ("a@example.com" in body) == subjects
        answer, page = web.ask("/")
        assert answer.status == 200 and "odd" in page and ("a@example.com" in page) == subjects
        assert "odd" in w.gate.command("status", check=1)
        assert served(w)
        server.close()


def test_row79_rows_and_keys_that_are_not_utf8():
    with World("redis", LIMITS, mta=False) as w:
        w.database.run("INSERT INTO aliases (address, mailbox, owner, class, reply) VALUES ('odd@example.com',"
                       " 'box@mailbox.example', CAST(x'ff1b5b' AS TEXT), CAST(x'c3' AS TEXT), NULL)")
        w.redis.call("HSET", b"rcptgate:recipient:{\xff@example.com}", b"many", b"5/10")
        w.redis.call("HSET", b"rcptgate:recipient:{x}", b"\xfe", b"5/10")
        w.redis.call("HSET", "rcptgate:blocks", "192.0.2.0/24",
                     b"action=reject until=never at=2026-11-23T03:00:00.123Z by=\xff reason=\xfe\x1b[1m")
        w.redis.call("ZADD", ORDER, "-1", "epoch", "1", "192.0.2.0/24")
        w.database.alias(ALIAS)
        wait_for(lambda: served(w), "served")
        w.gate.command("status", check=None)
        assert "odd@example.com" in w.gate.command("explain", "--to", "odd@example.com")
        json.loads(w.gate.command("explain", "--to", "odd@example.com", "--json"))
        json.loads(w.gate.command("top", "--json"))
        json.loads(w.gate.command("show", "x", "--json"))
        wait_for(lambda: "192.0.2.0/24" in w.gate.command("blocks"), "the block")
        assert "\x1b" not in w.gate.command("blocks")
        json.loads(w.gate.command("status", "--json", check=None))
        recovers(lambda: served(w), "others are served")
