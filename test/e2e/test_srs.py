"""Forwarding with the real postsrsd, as rcptgate(8) sets it up: out with a signed return path, and the bounce comes back."""

import json
import os
import shutil
import socket
import subprocess

import pytest

from harness import PATIENCE, RCPTGATE, SANITIZERS, Postfix, Process, World, wait_for

POSTSRSD = os.environ.get("POSTSRSD") or shutil.which("postsrsd", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(not POSTSRSD, reason="postsrsd is not installed")


class Srs:
    """postsrsd 1.x on two ports of its own."""

    def __init__(self, scratch, separator):
        self.forward, self.reverse = scratch.port(), scratch.port()
        secret = scratch / "srs.secret"
        secret.write_text("a secret that nobody knows\n")
        self.process = Process([POSTSRSD, "-4", f"-l{scratch.address}", f"-f{self.forward}", f"-r{self.reverse}", f"-s{secret}",
                                "-dexample.com", f"-a{separator}"], scratch / "postsrsd.log")
        for port in (self.forward, self.reverse):
            wait_for(lambda port=port: self._answers(scratch.address, port), "postsrsd does not answer", PATIENCE)

    @staticmethod
    def _answers(address, port):
        with socket.socket() as s:
            return s.connect_ex((address, port)) == 0


@pytest.fixture(scope="module", params="=+-")
def world(request):
    with World("memory", [{"name": "few", "per": "recipient", "max": 1000, "window": "1h"}], mta=False, maps=True) as w:
        srs = Srs(w.scratch, request.param)
        where = f"tcp:{w.scratch.address}"
        settings = {"sender_canonical_maps": f"{where}:{srs.forward}", "sender_canonical_classes": "envelope_sender",
                    "recipient_canonical_maps": f"{where}:{srs.reverse}",
                    "recipient_canonical_classes": "envelope_recipient,header_recipient"}
        w.postfixes.append(Postfix(w.scratch, w.gate.milter, w.sink, w.gate.maps, settings))
        w.separator = request.param
        w.database.alias("shop@example.com", "me@mailbox.example")
        for words in (["alias", "add", "srs0*@example.com", "--owner", "srs"], ["alias", "add", "srs1*@example.com", "--owner", "srs"],
                      ["sender", "add", "owner:srs", "*", "reject"], ["sender", "add", "owner:srs", "<>", "accept"]):
            w.gate.command(*words)
        w.database.share()
        w.settled()
        yield w
        srs.process.stop()


def forwarded(w, sender, token):
    """The sender as the mailbox sees it."""
    with w.smtp() as smtp:
        assert smtp.send(["shop@example.com"], sender=sender, token=token)[1].code == 250
    w.idle()
    (delivery,) = [d for d in w.sink.deliveries if d.token == token]
    return delivery.sender


@pytest.mark.parametrize("sender", ["joe@sender.example", "joe+tag@sender.example", "SRS0=Ab1c=TT=far.example=joe@sender.example"])
def test_round_trip(world, sender):
    token = f"out-{ord(world.separator)}-{sender.replace('@', '.')}"
    path = forwarded(world, sender, token)
    kind = "SRS1" if sender.startswith("SRS0") else "SRS0"
    assert path.startswith(kind + world.separator) and path.endswith("@example.com"), path
    with world.smtp() as smtp:
        answers, end = smtp.send([path], sender="", token="back-" + token)
        assert answers[0].code == 250 and end.code == 250
        assert smtp.send([path], sender="spam@strange.example")[0][0].status == "550 5.7.1", "only bounces come back"
    world.idle()
    assert world.sink.mailboxes("back-" + token) == [sender]


def test_forged(world):
    """Signed by nobody: it ends with Postfix, and no bounce goes out."""
    with world.smtp() as smtp:
        smtp.send([f"SRS0{world.separator}XXXX=TT=victim.example=joe@example.com"], sender="", token="forged")
    world.idle()
    assert world.sink.mailboxes("forged") == []
    assert not [d for d in world.sink.deliveries if "victim" in d.recipient]


def test_replay_undoes_it(world):
    """The log shows whom postsrsd made of the sender, and replay counts who it was, as the gate did."""
    log, path = world.scratch / "mail.log", world.scratch / "replayed.json"
    before = world.postfix.log()
    forwarded(world, "ann+tag@sender.example", f"replayed-{ord(world.separator)}")
    forwarded(world, "SRS0=Ab1c=TT=far.example=ann@forwarder.example", f"again-{ord(world.separator)}")
    wait_for(lambda: world.postfix.log()[len(before):].count("status=sent") >= 2, "Postfix does not log all")
    log.write_text(world.postfix.log()[len(before):])
    path.write_text(json.dumps({"aliases": {"database": str(world.database.path)},
                                "limits": [{"name": "none", "per": "sender", "max": 0, "window": "1h", "over": "reject"}]}))
    done = subprocess.run([RCPTGATE, "replay", "--json", "-c", str(path), str(log)], capture_output=True, timeout=5 * PATIENCE,
                          env=dict(os.environ, **SANITIZERS))
    assert done.returncode == 0, done.stderr
    subjects = {row["subject"]: row["count"] for row in json.loads(done.stdout)["policy"]["subjects"]}
    assert subjects == {"sender:{ann@sender.example}": 1, "sender:{srs0=ab1c=tt=far.example=ann@forwarder.example}": 1}


def test_nothing_is_warned_of(world):
    assert "no mailbox" not in world.gate.command("check", world.gate.policy_path, check=None)
