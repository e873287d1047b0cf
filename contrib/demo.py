"""What contrib/demo shows. Postfix, Redis and the gate are started by the harness of the end-to-end tests."""

import json
import os
import signal
import smtplib
import subprocess
import sys
import textwrap
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "test/e2e"))
import harness  # noqa: E402

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
NAMES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34}


def paint(text, colour):
    return f"\033[{NAMES[colour]}m{text}\033[0m" if COLOUR else text


def title(text):
    print("\n" + paint(text, "bold"), flush=True)


def line(text, colour=None):
    print("  " + (paint(text, colour) if colour else text), flush=True)


def paragraph(text):
    for row in textwrap.wrap(" ".join(text.split()), 96):
        line(row)


class Client(smtplib.SMTP):
    """Python's own SMTP client, which shows its dialogue as it goes."""

    quiet = False

    def putcmd(self, cmd, args=""):
        if not self.quiet:
            line(paint("C: ", "dim") + f"{cmd.upper()} {args}".strip())
        super().putcmd(cmd.upper(), args)

    def getreply(self):
        code, text = super().getreply()
        if not self.quiet:
            colour = {2: "green", 3: "green", 4: "yellow"}.get(code // 100, "red")
            line(paint("S: ", "dim") + paint(f"{code} {text.decode(errors='replace').splitlines()[-1]}", colour))
        return code, text

    def message(self, sender, recipients, token, quiet=False):
        """One message; the codes that the recipients got."""
        self.quiet = quiet
        self.mail(sender)
        codes = [self.rcpt(recipient)[0] for recipient in recipients]
        if 250 in codes:
            end, text = self.data(f"From: <{sender}>\r\nSubject: demo\r\nX-Token: {token}\r\n\r\nHello.\r\n")
            if end != 250:
                raise harness.Failure(f"Postfix did not take the message: {end} {text.decode(errors='replace')}")
        else:
            self.rset()
        return codes


def policy_of(scratch, redis):
    return {
        "aliases": {"database": str(scratch / "aliases/aliases.db")},
        "counters": {"url": redis.url if redis else "memory:"},
        "exempt": {"clients": []},
        "limits": [
            {"name": "alias-minute", "per": "recipient", "max": 10, "window": "1m", "over": "defer"},
            {"name": "alias-day", "per": "recipient", "max": 500, "window": "1d", "over": "reject"},
        ],
    }


def run(gate, *words):
    """A command of rcptgate as the reader would type it, and what it says."""
    print("  " + paint("$ ", "dim") + paint("rcptgate " + " ".join(words), "blue"), flush=True)
    for row in gate.command(*words).splitlines():
        line("  " + row)


def show_rules(gate):
    title("1. Alias rules, in SQLite")
    run(gate, "alias", "init")
    run(gate, "domain", "add", "example.com")
    run(gate, "alias", "add", "shop@example.com", "anna@mailbox.example")
    run(gate, "alias", "add", "news@example.com", "anna@mailbox.example")
    run(gate, "alias", "add", "old@example.com", "anna@mailbox.example", "--action", "reject")
    run(gate, "alias", "add", "trap@example.com", "anna@mailbox.example", "--action", "discard")
    title("   and the policy: at most 10 messages a minute to one alias, 500 a day")
    for limit in gate.policy["limits"]:
        line(json.dumps(limit))


def show_mail(postfix, sink):
    title("2. One message, four recipients")
    with Client(postfix.address, postfix.port, timeout=60) as client:
        client.quiet = True
        client.ehlo("demo.example.net")
        client.message("bob@sender.example", ["shop@example.com", "nobody@example.com", "old@example.com",
                                              "trap@example.com"], "one")
        postfix.idle()
        show_delivered(sink, "one", "old@ and nobody@ were refused; trap@ was told 250 and dropped")

        title("3. A flood to one alias: nine more messages pass, the eleventh is told to come back")
        for i in range(9):
            client.message("flood@sender.example", ["shop@example.com"], f"flood-{i}", quiet=True)
        client.message("flood@sender.example", ["shop@example.com", "news@example.com"], "eleventh")
        client.quiet = True
        postfix.idle()
        show_delivered(sink, "eleventh", "the other recipient of the message is not delayed")
        flood = sum(bool(sink.of(f"flood-{i}")) for i in range(9))
        line(f"delivered to shop@example.com in all: {flood + len([1 for r in sink.of('one') if r.startswith('shop')])}"
             " messages; nothing waits in the queue")


def show_delivered(sink, token, why):
    for delivery in sink.deliveries:
        if delivery.token == token:
            line(paint(f"delivered to {delivery.recipient}, sent to {delivery.original}", "bold"))
    line(f"({why})", "dim")


def show_log(gate):
    title("4. What the gate wrote: one line a decision")
    for row in [row for row in gate.log().splitlines() if "verdict=" in row][:4]:
        line(row)
    line("...", "dim")
    for row in [row for row in gate.log().splitlines() if "verdict=defer" in row][-1:]:
        line(row)


def show_counts(gate, redis):
    title("5. What was counted: used/max, then what the sliding count needs")
    if redis:
        key = "rcptgate:recipient:{shop@example.com}"
        print("  " + paint("$ ", "dim") + paint(f"redis-cli HGETALL '{key}'", "blue"), flush=True)
        done = subprocess.run(["redis-cli", "-s", str(redis.socket), "HGETALL", key], capture_output=True, text=True)
        for row in done.stdout.splitlines():
            line("  " + row)
    run(gate, "show", "shop@example.com")
    title("6. Why? Ask before anybody sends; nothing is charged")
    run(gate, "explain", "--to", "shop@example.com", "--from", "bob@sender.example", "--client", "192.0.2.7")
    title("7. Is the gate well? It decides a test recipient through the real Redis and SQLite, and says")
    run(gate, "status")


GO_ON = """
{b}With your own Postfix{e}

  1. contrib/build-deb && apt-get install ./build/rcptgate_*.deb
     The gate runs, refuses nothing yet, and Postfix does not know it. (It is here without a configuration of its
     own, as this demo needs none: dpkg-reconfigure postfix.)

  2. rcptgate domain add DOMAIN && rcptgate alias add ALIAS MAILBOX

  3. rcptgate postfix-lines | sh && postfix reload

  README.md, "Install", goes on from there to a flood that stops.

  Everything of this demo has been removed again. Tests: ./test/run
"""


def demo(use_redis):
    scratch = harness.Scratch()
    started = []
    try:
        print("demo: starting Postfix, " + ("Redis " if use_redis else "") + "and the gate", flush=True)
        redis = harness.Redis(scratch) if use_redis else None
        started += [redis] if redis else []
        sink = harness.Sink(scratch)
        started.append(sink)
        gate = harness.Gate(scratch, policy_of(scratch, redis), start=False)
        show_rules(gate)
        gate.start()
        started.append(gate)
        postfix = harness.Postfix(scratch, gate.milter, sink, maps=gate.maps,
                                  settings={"smtpd_authorized_xclient_hosts": ""})
        started.append(postfix)
        try:
            show_mail(postfix, sink)
        except (harness.Failure, smtplib.SMTPException) as trouble:
            raise harness.Failure(f"{trouble}\n{postfix.log()[-2000:]}") from None
        show_log(gate)
        show_counts(gate, redis)
    finally:
        for thing in reversed(started):
            thing.stop()
        scratch.remove()
    print(GO_ON.format(b="\033[1m" if COLOUR else "", e="\033[0m" if COLOUR else ""), end="", flush=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        demo("--no-redis" not in sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except harness.Failure as trouble:
        sys.exit(f"demo: {trouble}")


main()
