"""replay of the logs that a real Postfix writes with content filters behind the queue and proxies before it: each RCPT once, from its client."""

import json
import os
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZED, SANITIZERS, Postfix, World, wait_for


class Filtered(Postfix):
    """Postfix that hands its mail to a second smtpd of its own, as a filter that changes nothing would. how: where, and whether the filter
    tells whom it speaks for (XFORWARD)."""

    def __init__(self, scratch, milter, sink, maps, how):
        self.how, self.back = how, scratch.port()
        where = f"{scratch.address}:{self.back}"
        settings = {"smtpd_proxy_filter": where} if how.startswith("before") else {"content_filter": f"smtp:[{scratch.address}]:{self.back}"}
        super().__init__(scratch, milter, sink, maps, settings)

    def _write_configuration(self, milter, sink, maps, settings):
        super()._write_configuration(milter, sink, maps, settings)
        told = self.how.endswith("xforward")
        with open(self.etc / "master.cf", "a", encoding="utf-8") as out:
            out.write(f"smtp unix - - n - - smtp -o smtp_send_xforward_command={'yes' if told else 'no'}\n"
                      f"{self.address}:{self.back} inet n - n - - smtpd -o content_filter= -o smtpd_proxy_filter= -o smtpd_milters=\n"
                      + ("" if self.how.startswith("before") else "  -o receive_override_options=no_address_mappings\n") +
                      f"  -o smtpd_authorized_xforward_hosts={'127.0.0.0/8' if told else ''}\n")


@pytest.fixture(scope="module", params=["behind", "behind-xforward", "before", "before-xforward"])
def world(request):
    # Before the queue Postfix's own lines are all there is: a milter on such an smtpd gets no end of message.
    before = request.param.startswith("before")
    limits = [{"name": "few", "per": "recipient", "max": 2, "window": "1h"}]
    with World("memory", limits, mta=False, maps=True) as w:
        w.database.alias("one@example.com", "joe@mailbox.example")
        w.database.alias("two@example.com", "ann@mailbox.example,joe@mailbox.example")
        w.database.share()
        w.settled()
        w.postfixes.append(Filtered(w.scratch, None if before else w.gate.milter, w.sink, w.gate.maps, request.param))
        w.before = before
        yield w


def replay(world, limits, *more):
    path = world.scratch / "replayed.json"
    path.write_text(json.dumps({"limits": limits}))
    log = world.scratch / "mail.log"
    log.write_text(world.postfix.log())
    done = subprocess.run([RCPTGATE, "replay", "--json", "-n", "0", "-c", str(path), *more, str(log)], capture_output=True,
                          timeout=5 * PATIENCE, env=dict(os.environ, **SANITIZERS))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_once_from_its_client(world):
    count = 4
    for i in range(count):
        with world.smtp(f"192.0.2.{10 + i}") as smtp:
            smtp.send(["one@example.com", "two@example.com"], sender=f"s{i}@sender.example", token=f"t{i}")
    taken = count if world.before else 2  # and then the gate refuses
    wait_for(lambda: len(world.sink.deliveries) == 3 * taken, "the mail does not come through the filter")
    wait_for(lambda: world.postfix.log().count(": removed") == (1 if world.before else 2) * taken, "Postfix does not log all")
    told = replay(world, [{"name": "none", "per": "client", "max": 0, "window": "1h", "over": "reject"}])
    log = told["log"]
    assert (log["rcpts"], log["from_deliveries"]) == (2 * count, 2 * taken)
    assert log["identity"]["given_back"] == (0 if world.before else taken)
    assert log["identity"]["from_this_host"] == 0
    subjects = {row["subject"]: row["count"] for row in told["policy"]["subjects"]}
    assert subjects == {f"client:{{192.0.2.{10 + i}}}": 2 for i in range(count)}
    if not world.before:  # and as the gate decided
        told = replay(world, [{"name": "few", "per": "recipient", "max": 2, "window": "1h", "over": "defer"}])
        assert (told["policy"]["accept"], told["policy"]["defer"]) == (2 * taken, 2 * (count - taken))


@pytest.mark.skipif(SANITIZED, reason="its memory is not the program's")
def test_a_long_log_in_little_memory(tmp_path):
    """Every client, sender and alias another one: what is remembered has its bounds, and says what it dropped."""
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"limits": [{"name": "a", "per": "recipient", "max": 1, "window": "1d"},
                                           {"name": "c", "per": "client", "max": 1, "window": "1d"},
                                           {"name": "s", "per": "sender", "max": 1, "window": "1d"}]}))
    log = tmp_path / "mail.log"
    with open(log, "w", encoding="ascii") as out:
        for i in range(150000):
            head = f"2026-11-{1 + i // 10000:02}T{i // 420 % 24:02}:{i // 7 % 60:02}:{i % 60:02}Z mx postfix/"
            out.write(f"{head}smtpd[1]: {i:012X}: client=unknown[2001:db8:{i // 60000:x}:{i % 60000:x}::1]\n"
                      f"{head}qmgr[1]: {i:012X}: from=<sender-{i}@s{i}.example>, size=100, nrcpt=1 (queue active)\n"
                      f"{head}smtp[1]: {i:012X}: to=<box@m.example>, orig_to=<alias-{i}@example.com>, relay=x, status=sent (ok)\n"
                      f"{head}qmgr[1]: {i:012X}: removed\n")
    script = ("import resource, subprocess, sys; rc = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode; "
              "print(rc, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    done = subprocess.run(["/usr/bin/python3", "-c", script, RCPTGATE, "replay", "--json", "-c", str(path), str(log)],
                          capture_output=True, timeout=10 * PATIENCE)
    status, kilobytes = map(int, done.stdout.split())
    assert status == 0 and kilobytes < 300 * 1024, (status, kilobytes)
    assert json.loads(done.stderr)["log"]["rcpts"] == 150000
