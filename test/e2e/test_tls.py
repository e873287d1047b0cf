"""Redis over TLS: certificates that are right and wrong, a peer that speaks none, and what passes on the wire."""

import datetime
import re
import subprocess

import pytest

from certificates import Authority
from harness import World, run_threads, serve, wait_for
from relay import Relay

ALIAS = "a@example.com"
LIMITS = [{"name": "soft", "per": "recipient", "max": 3, "window": "1h", "over": "defer"}]
TIMEOUT_MS = 1000  # where somebody waits for it: a busy machine may take as long again, and nobody waits twice
SECRET = "very-secret-password"
PLAIN = [b"rcptgate", b"EVALSHA", b"a@example", b"AUTH", b"CLIENT", b"INFO", SECRET.encode()]


class Secured:
    """A world whose Redis has a tls-port beside its unix socket, and a gate that goes there through a relay."""

    def __init__(self, world):
        self.world, self.redis, self.gate, self.scratch = world, world.redis, world.gate, world.scratch
        self.authority = Authority(self.scratch)
        self.port = self.scratch.port()
        self.redis.call("CONFIG", "SET", "bind", self.scratch.address)
        self.present(self.authority.issue("good", "DNS:redis.example.com", f"IP:{self.scratch.address}"))
        self.redis.call("CONFIG", "SET", "requirepass", SECRET)
        self.redis.auth = SECRET
        self.relay = None

    def present(self, pair, ca=None):
        """From now on new connections see this certificate."""
        self.redis.call("CONFIG", "SET", "tls-auth-clients", "no", "tls-cert-file", pair[0], "tls-key-file", pair[1],
                        "tls-ca-cert-file", ca or self.authority.ca, "tls-port", self.port)

    def connect(self, target=None, timeout="10s", host=None, scheme="rediss", **tls):
        """Starts the gate anew, towards the target (its tls-port)."""
        self.gate.stop()
        if self.relay:
            self.relay.stop()
        self.relay = Relay(self.scratch.address, target if target is not None else (self.scratch.address, self.port))
        tls.setdefault("ca", str(self.authority.ca))
        url = f"{scheme}://:{SECRET}@{host or self.scratch.address}:{self.relay.port}/0"
        self.gate.write_policy(counters={"url": url, "timeout": timeout, "tls": {k: str(v) for k, v in tls.items() if v}})
        self.gate.start()

    def trouble(self):
        report = self.gate.status()
        return next((r["text"] for r in report["reasons"] + report["notes"] if r["what"] in ("counters", "counters-evict")), "")

    def counts_in_redis(self):
        return self.gate.status(do="explain", to=ALIAS)["counts"] == ""

    def refused(self, *words):
        """The gate does not use Redis, says why, goes on by itself, and has told the other side nothing."""
        wait_for(lambda: all(word in self.trouble() for word in words), f"{words} in status: {self.trouble()}")
        assert [self.world.take(ALIAS) for _ in range(4)] == ["continue"] * 3 + ["450 4.2.1"]
        assert self.redis.keys() == []
        self.nothing_is_plain()

    def nothing_is_plain(self):
        heard = self.relay.heard()
        assert not [word for word in PLAIN if word in heard]


@pytest.fixture()
def secured():
    with World("redis", LIMITS, mta=False) as world:
        world.database.alias(ALIAS)
        secured = Secured(world)
        yield secured
        if secured.relay:
            secured.relay.stop()


def test_counts_over_tls_and_nothing_is_plain(secured):
    secured.connect()
    wait_for(secured.counts_in_redis, "Redis is not used")
    assert [secured.world.take(ALIAS) for _ in range(4)] == ["continue"] * 3 + ["450 4.2.1"]
    assert secured.world.used(ALIAS, "soft") == 3
    secured.nothing_is_plain()
    assert len(secured.relay.heard()) > 3000


def test_many_sessions_share_it_while_connections_are_cut(secured):
    secured.connect()
    wait_for(secured.counts_in_redis, "Redis is not used")
    answers = run_threads(8, lambda i: [secured.world.take(f"a{i}@elsewhere.example") for _ in range(6)])
    assert answers == [["continue"] * 3 + ["450 4.2.1"] * 3] * 8
    secured.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_for(secured.counts_in_redis, "Redis is not used again")
    assert set(run_threads(8, lambda i: secured.world.take(f"a{i}@elsewhere.example"))) == {"450 4.2.1"}
    secured.nothing_is_plain()


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_an_idle_connection_stays_one_and_a_new_one_resumes(secured, version):
    secured.redis.call("CONFIG", "SET", "tls-protocols", version)
    secured.connect()
    wait_for(secured.counts_in_redis, "Redis is not used")
    secured.world.take(ALIAS)

    def commands():
        return int(info(secured.redis, "stats")["total_commands_processed"])

    before, relayed = commands(), len(secured.relay.connections)
    wait_for(lambda: commands() > before + 40, "Redis is not probed")  # several probes
    assert len(secured.relay.connections) == relayed
    full = len(secured.relay.connections[0][1])
    secured.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_for(lambda: len(secured.relay.connections) > relayed and secured.counts_in_redis(), "the gate does not come back")
    assert secured.world.take(ALIAS) == "continue"
    certificate = (secured.scratch / "good.pem").stat().st_size // 2
    handshake = wait_for(lambda: first_flight(secured.relay.connections[relayed][1]), "no handshake")
    first = first_flight(secured.relay.connections[0][1])
    assert handshake < first - certificate, (handshake, first, full)
    assert secured.trouble() == ""


def first_flight(heard):
    """Bytes of the records of the handshake, up to the first of application data that is short (TLS 1.3 hides its handshake
    in such records, which are long)."""
    at, flight = 0, 0
    while at + 5 <= len(heard):
        kind, length = heard[at], int.from_bytes(heard[at + 3:at + 5], "big")
        flight += length
        at += 5 + length
        if kind == 20:  # ChangeCipherSpec: TLS 1.2 has shown its certificate before it, TLS 1.3 does so after it
            break
    for _ in range(4):
        if at + 5 > len(heard):
            break
        length = int.from_bytes(heard[at + 3:at + 5], "big")
        flight += length
        at += 5 + length
    return flight


def info(redis, section):
    return dict(line.split(":", 1) for line in redis.call("INFO", section).splitlines() if ":" in line)


def test_another_authority(secured):
    other = Authority(secured.scratch, "other")
    secured.connect(ca=other.ca)
    secured.refused("not signed by whom", str(other.ca), "counters.tls.ca")


def test_an_authority_that_the_system_does_not_trust(secured):
    secured.connect(ca="")
    secured.refused("not signed by whom", "this system")


def test_expired(secured):
    secured.present(secured.authority.issue("old", f"IP:{secured.scratch.address}", days=-1))
    secured.connect()
    secured.refused("expired on 20", "renew it")


def test_another_name_unless_the_policy_says_it(secured):
    secured.present(secured.authority.issue("elsewhere", "DNS:redis.example.com"))
    secured.connect()
    secured.refused(f"does not name {secured.scratch.address}", "counters.tls.name")
    secured.connect(name="redis.example.com")
    wait_for(secured.counts_in_redis, "Redis is not used")
    secured.nothing_is_plain()


def test_a_port_that_speaks_no_tls(secured):
    plain = secured.scratch.port()
    secured.redis.call("CONFIG", "SET", "port", plain)
    secured.connect(target=(secured.scratch.address, plain), timeout=f"{TIMEOUT_MS}ms")
    secured.refused("did not answer TLS in time", "tls-port")


def test_a_peer_that_is_silent(secured):
    secured.connect(target=False, timeout=f"{TIMEOUT_MS}ms")
    secured.refused("did not answer TLS in time")
    assert secured.gate.status()["traffic"]["decision_max_ms"] < 2 * TIMEOUT_MS


def test_a_peer_that_goes_silent_holds_nobody_up_for_longer_than_the_timeout(secured):
    secured.connect(timeout=f"{TIMEOUT_MS}ms")
    wait_for(secured.counts_in_redis, "Redis is not used")
    secured.gate.status(forget_longest=True)
    secured.redis.process.popen.send_signal(19)
    try:
        assert {secured.world.take(ALIAS) for _ in range(2)} == {"continue"}
        wait_for(lambda: "in time" in secured.trouble(), "status says nothing")
    finally:
        secured.redis.process.popen.send_signal(18)
    assert secured.gate.status()["traffic"]["decision_max_ms"] < 2 * TIMEOUT_MS
    wait_for(secured.counts_in_redis, "Redis is not used again")


@pytest.mark.parametrize("harm", [
    lambda data: [data[i:i + 1] for i in range(len(data))],
    lambda data: [data[:len(data) // 2], None],
    lambda data: [data[:-1] + bytes([data[-1] ^ 1])],
    lambda data: [data, data],
    lambda data: [b"-ERR this is not TLS\r\n"],
    lambda data: [b"\x15\x03\x03\x00\x02\x02\x28"],
], ids=["dripped", "cut", "flipped", "repeated", "plain", "alert"])
def test_what_comes_back_is_harmed(secured, harm):
    """Under way and from the first byte on: nobody waits, nobody is refused for it, and it ends with the harm."""
    secured.connect(timeout=f"{TIMEOUT_MS}ms")
    wait_for(secured.counts_in_redis, "Redis is not used")
    secured.gate.status(forget_longest=True)
    secured.relay.harm = harm
    assert {secured.world.take(ALIAS) for _ in range(3)} == {"continue"}
    wait_for(lambda: not secured.counts_in_redis() and "Redis at" in secured.trouble(), "status says nothing")
    assert secured.world.take(ALIAS) == "450 4.2.1"
    assert secured.gate.status()["traffic"]["decision_max_ms"] < 2 * TIMEOUT_MS
    secured.nothing_is_plain()
    secured.relay.harm = None
    wait_for(secured.counts_in_redis, f"Redis is not used again: {secured.trouble()}")


def test_plain_text_to_a_tls_port(secured):
    secured.connect(scheme="redis", ca="")
    wait_for(lambda: "rediss://" in secured.trouble(), f"a hint: {secured.trouble()}")


def test_a_redis_that_wants_a_certificate_of_ours(secured):
    secured.redis.call("CONFIG", "SET", "tls-auth-clients", "yes")
    secured.connect()
    secured.refused("wants a certificate of ours", "counters.tls.cert")
    cert, key = Authority(secured.scratch, "stranger").issue("gate-of-a-stranger")
    secured.connect(cert=cert, key=key)
    wait_for(lambda: "does not take our certificate" in secured.trouble(), f"another reason: {secured.trouble()}")
    cert, key = secured.authority.issue("gate")
    both = secured.scratch / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    secured.connect(cert=both)
    wait_for(secured.counts_in_redis, f"Redis is not used: {secured.trouble()}")
    secured.connect(cert=cert)
    wait_for(lambda: "cannot use counters.tls.key" in secured.trouble(), f"another reason: {secured.trouble()}")


def test_files_that_change_need_no_restart(secured):
    """Its authority and its certificate are renewed, and so is ours; meanwhile a file is half written."""
    ours = secured.scratch / "trusted.pem"
    ours.write_text(secured.authority.ca.read_text())
    secured.connect(ca=ours)
    wait_for(secured.counts_in_redis, "Redis is not used")
    ours.write_text("half")
    wait_for(lambda: "cannot use counters.tls.ca" in secured.trouble(), "the file is not noticed")
    assert secured.counts_in_redis()
    new = Authority(secured.scratch, "new")
    ours.write_text(secured.authority.ca.read_text() + new.ca.read_text())
    wait_for(lambda: secured.trouble() == "", "the good file is not taken")
    downs = secured.gate.log().count("event=counters-trouble")
    secured.present(new.issue("renewed", f"IP:{secured.scratch.address}"), ca=new.ca)
    secured.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_for(lambda: secured.world.take(ALIAS) == "450 4.2.1" and secured.counts_in_redis(), "Redis is not used")
    assert secured.world.used(ALIAS, "soft") in (2, 3)  # one that was sent into a connection that ends counts as made
    assert secured.gate.log().count("event=counters-trouble") <= downs + 1
    secured.nothing_is_plain()


def test_a_certificate_that_ends_soon(secured):
    """It is shown by whoever asks the gate, until the renewed one is seen: on a connection of its own, since the others last."""
    secured.present(secured.authority.issue("short", f"IP:{secured.scratch.address}", days=3))
    secured.connect()
    wait_for(secured.counts_in_redis, "Redis is not used")
    web = serve(secured.gate)

    def shown():
        shard, = secured.gate.status()["counters"].get("shards", [{}])
        return shard.get("certificate_expires", 0), shard.get("certificate_ends_soon")

    def end_of(name):
        said = subprocess.run(["openssl", "x509", "-enddate", "-noout", "-dateopt", "iso_8601", "-in", secured.scratch / f"{name}.pem"],
                              check=True, capture_output=True, text=True).stdout
        return int(datetime.datetime.fromisoformat(said.split("=")[1].strip().replace("Z", "+00:00")).timestamp())

    wait_for(lambda: shown() == (end_of("short"), True), f"the certificate is not shown: {shown()}")
    assert "valid until" in secured.gate.command("status", check=None) and ": renew it" in secured.gate.command("status", check=None)
    used = len(secured.redis.call("CLIENT", "LIST").splitlines())
    secured.present(secured.authority.issue("longer", f"IP:{secured.scratch.address}", days=25))
    wait_for(lambda: shown() == (end_of("longer"), False), f"the new certificate is not seen: {shown()}")
    wait_for(lambda: len(secured.redis.call("CLIENT", "LIST").splitlines()) <= used and secured.counts_in_redis(), "that connection stays")
    name = "rcptgate_counters_shard_certificate_expires_timestamp_seconds"
    figure = re.search(rf"^{name}{{master=\"[^\"]+\"}} (\d+)$", web.get("/metrics"), re.M)
    assert figure and int(figure.group(1)) == end_of("longer")
    assert ": renew it" not in secured.gate.command("status", check=None)


def test_a_file_that_is_missing(secured):
    secured.connect(ca=secured.scratch / "nowhere.pem")
    secured.refused("cannot use counters.tls.ca", "nowhere.pem", "No such file")
