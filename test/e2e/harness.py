"""The world of an end-to-end test: a private Postfix, a private Redis, the gate, and clients of our own.

Everything lives in a scratch directory and on loopback addresses that are drawn at random, so any number of
tests run side by side. Whatever is started is ended by its process id; a janitor process outlives us, so that
nothing stays behind when a test is killed.
"""

import http.client
import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import socketserver
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
RCPTGATE = os.environ.get("RCPTGATE") or str(SOURCE / "build/test-release/rcptgate")
PATIENCE = 30.0  # seconds until something that must happen has to have happened, on a busy machine


class Failure(AssertionError):
    """The world is not as it should be: says what, with the end of the log."""


def wait_for(question, what, seconds=PATIENCE):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------- janitor

class Janitor:
    """A process that ends and removes what we could not, when we died: it sleeps until our end of the pipe closes."""

    def __init__(self):
        reader, self.pipe = os.pipe()
        child = os.fork()
        if child == 0:
            if os.fork() == 0:  # an orphan in a session of its own: who kills our tree does not find it
                os.setsid()
                os.close(self.pipe)
                self._serve(reader)
            os._exit(0)
        os.close(reader)
        os.waitpid(child, 0)

    def tell(self, word, thing):
        os.write(self.pipe, f"{word} {thing}\n".encode())

    @staticmethod
    def _serve(reader):
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        pids, dirs = [], []
        lists = {"pid": pids, "dir": dirs}
        with os.fdopen(reader) as lines:
            for line in lines:
                word, _, thing = line.rstrip("\n").partition(" ")
                if word.startswith("-"):
                    lists[word[1:]].remove(thing)
                else:
                    lists[word].append(thing)
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGTERM)
            except OSError:
                pass
        time.sleep(1.0 if pids else 0)
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
        for path in dirs:
            shutil.rmtree(path, ignore_errors=True)
        os._exit(0)


_janitor = None


def janitor():
    global _janitor
    if _janitor is None:
        _janitor = Janitor()
    return _janitor


class Scratch:
    """A temporary directory that everybody may enter, and a loopback address that nobody else has."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="rcptgate-"))
        janitor().tell("dir", self.path)
        self.path.chmod(0o755)
        self.address = "127.{}.{}.{}".format(*(random.randint(1, 250) for _ in range(3)))

    def __truediv__(self, name):
        return self.path / name

    def port(self):
        with socket.socket() as s:
            s.bind((self.address, 0))
            return s.getsockname()[1]

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
        janitor().tell("-dir", self.path)


class Process:
    """A child that is ended by its pid, and whose output goes to a file."""

    def __init__(self, argv, log, **options):
        self.argv = [str(word) for word in argv]
        self.log_path = Path(log)
        with open(self.log_path, "ab") as out:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
        janitor().tell("pid", self.popen.pid)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait(self, seconds=PATIENCE):
        """The exit status; the process must end by itself."""
        try:
            status = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.argv[0]} does not end:\n{self.log()[-2000:]}") from None
        self._forget()
        return status

    def _forget(self):
        if self.popen is not None and getattr(self, "_told", False) is False:
            self._told = True
            janitor().tell("-pid", self.popen.pid)

    def stop(self, number=signal.SIGTERM):
        """Ends it and returns its status; harmless when it has ended."""
        if self.alive():
            self.popen.send_signal(number)
            try:
                self.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._forget()
        return self.popen.returncode


# ------------------------------------------------------------------------------------------------------ redis

class Redis:
    """redis-server on a unix socket, nothing on disk. call() speaks the protocol itself."""

    def __init__(self, scratch, name="redis"):
        self.scratch, self.name = scratch, name
        self.socket = scratch / f"{name}.sock"
        self.process = None
        self.start()

    @property
    def url(self):
        return f"unix://{self.socket}?db=0"

    def start(self):
        self.process = Process(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "777", "--save", "",
             "--appendonly", "no", "--dir", self.scratch.path, "--daemonize", "no", "--databases", "2"],
            self.scratch / f"{self.name}.log")
        wait_for(self._answers, f"redis does not answer:\n{self.process.log()}")

    def _answers(self):
        try:
            return self.call("PING") == "PONG"
        except OSError:
            return False

    def stop(self):
        self.process.stop()

    def call(self, *words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.socket))
            out = b"*%d\r\n" % len(words)
            for word in words:
                data = word if isinstance(word, bytes) else str(word).encode()
                out += b"$%d\r\n%s\r\n" % (len(data), data)
            s.sendall(out)
            with s.makefile("rb") as reader:
                return self._read(reader)

    def _read(self, reader):
        line = reader.readline()
        if not line:
            raise OSError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Failure("redis: " + rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            return reader.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
        if kind == b"*":
            return [self._read(reader) for _ in range(max(0, int(rest)))]
        raise Failure(f"redis: {line!r}")

    def keys(self, pattern="rcptgate:*"):
        return sorted(self.call("KEYS", pattern))

    def fields(self, key):
        words = self.call("HGETALL", key)
        return dict(zip(words[::2], words[1::2]))

    def used(self, key, limit):
        """The number before the '/' of the field, 0 where there is none."""
        text = self.fields(key).get(limit, "0/0")
        return int(text.split("/")[0])


# ------------------------------------------------------------------------------------------------- alias rules

class Database:
    """The alias database as a service's own application writes it: from policy/aliases.sql, with plain SQL."""

    def __init__(self, scratch, name="aliases.db"):
        self.directory = scratch / "aliases"
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o777)
        self.path = self.directory / name
        self.script((SOURCE / "policy/aliases.sql").read_text())
        for path in self.directory.iterdir():
            path.chmod(0o666)

    @contextmanager
    def _open(self):
        db = sqlite3.connect(str(self.path), timeout=PATIENCE, isolation_level=None)
        try:
            yield db
        finally:
            db.close()
            for path in self.directory.iterdir():
                path.chmod(0o666)

    def script(self, sql):
        with self._open() as db:
            db.executescript(sql)

    def run(self, sql, *values):
        with self._open() as db:
            return db.execute(sql, values).fetchall()

    def insert(self, table, **columns):
        names = ", ".join(columns)
        marks = ", ".join("?" for _ in columns)
        self.run(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", *columns.values())

    def domain(self, domain, **columns):
        self.insert("domains", domain=domain, **columns)

    def alias(self, address, mailbox="box@mailbox.example", **columns):
        self.insert("aliases", address=address, mailbox=mailbox, **columns)

    def aliases(self, addresses, mailbox="box@mailbox.example"):
        with self._open() as db:
            db.execute("BEGIN")
            db.executemany("INSERT OR REPLACE INTO aliases (address, mailbox) VALUES (?, ?)",
                           [(address, mailbox) for address in addresses])
            db.execute("COMMIT")

    def glob(self, domain, glob, mailbox="box@mailbox.example", **columns):
        self.insert("alias_globs", domain=domain, glob=glob, mailbox=mailbox, **columns)

    def sender(self, scope, pattern, action, **columns):
        self.insert("sender_rules", scope=scope, pattern=pattern, action=action, **columns)

    def client(self, network, action, **columns):
        self.insert("client_rules", network=network, action=action, **columns)


# -------------------------------------------------------------------------------------------------------- sink

Delivery = namedtuple("Delivery", "recipient original sender token data at")  # at: time.monotonic()


class SinkHandler(socketserver.StreamRequestHandler):
    """LMTP (RFC 2033) with DSN, enough for Postfix: takes all, and keeps who it was for."""

    def handle(self):
        try:
            self.talk()
        except ConnectionError:
            pass  # Postfix hung up

    def talk(self):
        self.reply("220 sink LMTP")
        sender, recipients = None, []
        while True:
            line = self.rfile.readline()
            if not line:
                return
            verb = line[:4].upper()
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if verb == b"LHLO":
                self.reply("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
            elif verb == b"MAIL":
                sender, recipients = path_of(text), []
                self.reply("250 2.1.0 ok")
            elif verb == b"RCPT":
                self.recipient(text, recipients)
            elif verb == b"DATA" and not recipients:
                self.reply("503 5.5.1 no recipients")  # they were refused, and DATA was on its way already
            elif verb == b"DATA":
                self.reply("354 go on")
                self.take(sender, recipients)
            elif verb == b"QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 ok")

    def recipient(self, text, recipients):
        found = re.search(r"ORCPT=[^;]*;(\S+)", text)
        recipients.append((path_of(text), xtext(found.group(1)) if found else None))
        self.reply("250 2.1.5 ok")

    def take(self, sender, recipients):
        data = b""
        for line in iter(self.rfile.readline, b".\r\n"):
            if not line:
                return
            data += line[1:] if line.startswith(b"..") else line
        found = re.search(rb"^X-Token: (\S+)", data, re.M | re.I)
        token = found.group(1).decode() if found else None
        at = time.monotonic()
        with self.server.lock:
            for recipient, original in recipients:
                self.server.deliveries.append(Delivery(recipient, original, sender, token, data, at))
        for _ in recipients:
            self.reply("250 2.0.0 delivered")

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")


def path_of(text):
    """What stands between < and the last > before the parameters."""
    found = re.search(r"<(.*?)>(?:\s|$)", text)
    return found.group(1) if found else text.partition(":")[2].strip()


def xtext(text):
    """RFC 3461 xtext, and the hexadecimal escapes of RFC 6533."""
    text = re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda m: chr(int(m.group(1), 16)), text)
    data = re.sub(rb"\+([0-9A-F]{2})", lambda m: bytes([int(m.group(1), 16)]), text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


class Sink:
    """Where Postfix delivers: remembers every recipient of every message. A subclass may have another handler."""

    handler = SinkHandler

    class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    def __init__(self, scratch, name="sink.sock"):
        self.path = scratch / name
        self.server = self._Server(str(self.path), self.handler)
        self.path.chmod(0o777)
        self.server.lock = threading.Lock()
        self.server.deliveries = []
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def deliveries(self):
        with self.server.lock:
            return list(self.server.deliveries)

    def of(self, token):
        """The original recipients of the message with that token, sorted."""
        return sorted((d.original or d.recipient).lower() for d in self.deliveries if d.token == token)

    def mailboxes(self, token):
        return sorted(d.recipient for d in self.deliveries if d.token == token)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


# ----------------------------------------------------------------------------------------------------- postfix

class Postfix:
    """Postfix from a configuration of our own. settings are lines of main.cf; {key: value}."""

    queues = ("incoming", "active", "deferred", "maildrop", "hold", "corrupt")

    def __init__(self, scratch, milter, sink, database_path=None, alias_maps="plain", settings=None,
                 name="postfix"):
        self.scratch = scratch
        self.root = scratch / name
        self.database_path = database_path
        self.etc = self.root / "etc"
        self.spool = self.root / "spool"
        self.log_path = self.root / "mail.log"
        self.address, self.port = scratch.address, scratch.port()
        self._make_directories()
        self._write_configuration(milter, sink, alias_maps, settings or {})
        daemons = subprocess.run(["postconf", "-dh", "daemon_directory"], check=True, capture_output=True,
                                 text=True).stdout.strip()
        self.process = Process([f"{daemons}/master", "-s", "-c", self.etc], self.root / "master.out")
        wait_for(self._answers, "Postfix does not answer", PATIENCE)

    def _make_directories(self):
        for path in (self.root, self.etc, self.spool):
            path.mkdir()
            path.chmod(0o755)
        data = self.root / "data"
        data.mkdir()
        shutil.chown(data, "postfix")
        data.chmod(0o700)
        for name in ("incoming", "active", "bounce", "defer", "deferred", "flush", "hold", "saved", "trace",
                     "corrupt", "private", "public", "maildrop", "pid"):
            path = self.spool / name
            path.mkdir()
            if name != "pid":
                shutil.chown(path, "postfix")
            path.chmod(0o700)
        shutil.chown(self.spool / "maildrop", group="postdrop")
        (self.spool / "maildrop").chmod(0o1730)
        shutil.chown(self.spool / "public", group="postdrop")
        (self.spool / "public").chmod(0o710)

    def _write_configuration(self, milter, sink, alias_maps, settings):
        main = {
            "compatibility_level": "3.6",
            "queue_directory": self.spool,
            "data_directory": self.root / "data",
            "maillog_file": self.log_path,
            "maillog_file_prefixes": f"{self.scratch.path}, /var",
            "mail_owner": "postfix", "setgid_group": "postdrop", "default_privs": "nobody",
            "myhostname": "mx.rcptgate.test", "mydestination": "", "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "all",
            "smtp_dns_support_level": "disabled", "alias_maps": "", "local_recipient_maps": "",
            "smtpd_peername_lookup": "no",
            "recipient_delimiter": "+",
            "virtual_mailbox_domains": "static:ours", "virtual_transport": f"lmtp:unix:{sink.path}",
            "virtual_alias_domains": "", "local_transport": "error:local delivery is off",
            "default_transport": "error:there is no outside", "relay_transport": "error:there is no outside",
            "smtpd_reject_unlisted_recipient": "no",
            "smtpd_relay_restrictions": "check_client_access static:permit, reject", "allow_untrusted_routing": "yes",
            "smtpd_milters": f"{{ {milter}, command_timeout=30s, default_action=tempfail }}" if milter else "",
            "milter_default_action": "tempfail",
            "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
            "smtpd_soft_error_limit": "100000", "smtpd_hard_error_limit": "1000000",
            "smtpd_error_sleep_time": "0s", "smtpd_junk_command_limit": "100000",
            "smtpd_client_connection_count_limit": "0", "smtpd_recipient_limit": "100000",
            "smtpd_recipient_overshoot_limit": "100000",
            "in_flow_delay": "0", "smtputf8_enable": "yes", "message_size_limit": "20000000",
            "queue_run_delay": "5s", "minimal_backoff_time": "5s", "bounce_queue_lifetime": "0",
            "lmtp_destination_concurrency_limit": "20", "initial_destination_concurrency": "20",
            "lmtp_destination_recipient_limit": "1000", "line_length_limit": "20480",
        }
        main.update(self._alias_maps(alias_maps))
        main.update(settings)
        lines = [f"{key} = {value}\n" for key, value in main.items()]
        (self.etc / "main.cf").write_text("".join(lines))
        services = [
            (f"{self.address}:{self.port}", "inet", "n", "-", "smtpd"),
            ("pickup", "unix", "n", "1", "pickup"), ("cleanup", "unix", "n", "0", "cleanup"),
            ("qmgr", "unix", "n", "1", "qmgr"), ("rewrite", "unix", "-", "-", "trivial-rewrite"),
            ("bounce", "unix", "-", "0", "bounce"), ("defer", "unix", "-", "0", "bounce"),
            ("trace", "unix", "-", "0", "bounce"), ("error", "unix", "-", "-", "error"),
            ("lmtp", "unix", "-", "-", "lmtp"), ("anvil", "unix", "-", "1", "anvil"),
            ("proxymap", "unix", "-", "-", "proxymap"), ("scache", "unix", "-", "1", "scache"),
            ("tlsmgr", "unix", "-", "1", "tlsmgr"), ("flush", "unix", "n", "0", "flush"),
            ("showq", "unix", "n", "-", "showq"), ("postlog", "unix-dgram", "n", "1", "postlogd"),
            ("verify", "unix", "-", "1", "verify"), ("retry", "unix", "-", "-", "error"),
        ]
        text = ""
        for service, kind, private, limit, command in services:
            wakeup = {"pickup": "60", "qmgr": "300", "tlsmgr": "1000?", "flush": "1000?"}.get(service, "-")
            text += f"{service} {kind} {private} - n {wakeup} {limit} {command}\n"
        (self.etc / "master.cf").write_text(text)

    def _alias_maps(self, kind):
        """plain: no expansion, the sink sees the alias; sqlite: as in production, by the map that we ship."""
        if kind == "plain":
            return {}
        text = (SOURCE / "contrib/postfix/rcptgate-aliases.cf").read_text()
        (self.etc / "aliases.cf").write_text(re.sub(r"(?m)^dbpath = .*", f"dbpath = {self.database_path}", text))
        return {"virtual_alias_maps": f"sqlite:{self.etc}/aliases.cf"}

    def _answers(self):
        if not self.process.alive():
            raise Failure(f"Postfix has ended:\n{self.process.log()}\n{self.log()[-3000:]}")
        try:
            with socket.create_connection((self.address, self.port), 1) as s:
                return s.recv(4).startswith(b"220")
        except OSError:
            return False

    def log(self):
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def queued(self):
        """Files in the queue, whoever waits for them."""
        return [path for name in self.queues for path in (self.spool / name).rglob("*") if path.is_file()]

    def idle(self):
        """Waits until the queue is empty: all that was accepted has been delivered."""
        try:
            wait_for(lambda: not self.queued(), "the queue does not get empty", 60)
        except Failure as failure:
            raise Failure(f"{failure}\n{self.log()[-3000:]}") from None

    def stop(self):
        self.process.stop()


# -------------------------------------------------------------------------------------------------------- gate

class Gate:
    """rcptgate run. Its log goes to stderr, which is kept; a sanitizer's report is a failure of the test."""

    def __init__(self, scratch, policy, name="gate", start=True):
        self.scratch, self.name = scratch, name
        self.state = scratch / f"{name}-state"
        self.socket = scratch / f"{name}.sock"
        self.policy_path = scratch / f"{name}.json"
        self.policy = {
            "milter": {"socket": f"unix:{self.socket}", "group": "postfix", "mode": "0660"},
            "state": str(self.state),
            "log": {"to": "stderr", "level": "info"},
            "http": {"listen": ""},  # a fixed port is nothing for tests that run side by side
        }
        self.policy.update(policy)
        self.state.mkdir(exist_ok=True)
        self.write_policy()
        self.process = None
        if start:
            self.start()

    @property
    def milter(self):
        return f"unix:{self.socket}"

    def write_policy(self, **changes):
        self.policy.update(changes)
        self.policy_path.write_text(json.dumps(self.policy, indent=2))

    def start(self, wait=True):
        self.process = Process([RCPTGATE, "run", "-c", self.policy_path], self.scratch / f"{self.name}.log",
                               env=dict(os.environ, **SANITIZERS))
        if wait:
            wait_for(self.accepts, "the gate does not open its socket")

    def accepts(self):
        if not self.process.alive():
            raise Failure(f"the gate has ended ({self.process.popen.returncode}):\n{self.log()[-3000:]}")
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.socket))
                return True
            except OSError:
                return False

    def log(self):
        return self.process.log() if self.process else ""

    def decisions(self, **match):
        """The decision lines as dictionaries; those whose fields are as given."""
        found = []
        for line in self.log().splitlines():
            fields = parse_log(line)
            if "verdict" in fields and all(fields.get(key) == value for key, value in match.items()):
                found.append(fields)
        return found

    def status(self, **request):
        """What the control socket answers. forget_longest=True begins the longest times anew after this answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.state / "control.sock"))
            s.sendall(json.dumps({"do": "status", **request}).encode() + b"\n")
            with s.makefile() as reader:
                return json.loads(reader.readline())

    def reload(self):
        self.process.popen.send_signal(signal.SIGUSR1)

    def stop(self, number=signal.SIGTERM):
        """Ends it; a sanitizer's complaint or an unclean end of an ordered stop is a failure."""
        if self.process is None:
            return None
        status = self.process.stop(number)
        complaint = re.search(r"^.*(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion).*(?:\n.*){0,30}",
                              self.log(), re.M)
        if complaint:
            raise Failure("the gate complained:\n" + complaint.group(0))
        if number == signal.SIGTERM and status != 0:
            raise Failure(f"the gate ended with {status}:\n{self.log()[-3000:]}")
        return status

    def command(self, *words, check=0):
        """Runs `rcptgate WORDS -c policy`; returns what it printed. check: the expected exit status, None for any."""
        done = subprocess.run([RCPTGATE, *map(str, words), "-c", str(self.policy_path)], capture_output=True,
                              text=True, errors="replace", timeout=60, env=dict(os.environ, **SANITIZERS))
        if check is not None and done.returncode != check:
            raise Failure(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if check == 0 else done.stdout + done.stderr


class Web:
    """A reader of a gate's pages (http.listen as `listen` says), with whatever headers it likes."""

    def __init__(self, scratch):
        self.address, self.port = scratch.address, scratch.port()

    @property
    def listen(self):
        return f"{self.address}:{self.port}"

    def ask(self, path, method="GET", host=None):
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True)
            if host is not False:
                connection.putheader("Host", host or f"{self.address}:{self.port}")
            connection.endheaders()
            answer = connection.getresponse()
            return answer, answer.read().decode()
        finally:
            connection.close()

    def get(self, path):
        return self.ask(path)[1]

    def up(self):
        try:
            return self.ask("/style.css")[0].status == 200
        except OSError:
            return False

    def health(self):
        """The HTTP status, and the reasons by what is wrong; fails where the two do not fit."""
        answer, body = self.ask("/healthz")
        report = json.loads(body)
        if answer.status != (200 if report["status"] == "healthy" else 503):
            raise Failure(f"/healthz: {answer.status}\n{body}")
        return answer.status, {reason["what"]: reason for reason in report["reasons"]}


SANITIZERS = {
    "TSAN_OPTIONS": f"suppressions={SOURCE}/test/tsan.supp:" + os.environ.get("TSAN_OPTIONS", ""),
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1:" + os.environ.get("ASAN_OPTIONS", ""),
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:" + os.environ.get("UBSAN_OPTIONS", ""),
}


def parse_log(line):
    """key=value pairs of a log line; values in quotes may hold spaces and \\-escapes."""
    return {key: bare or re.sub(r"\\(.)", r"\1", quoted)
            for key, quoted, bare in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))', line)}


# -------------------------------------------------------------------------------------------------------- smtp

class Reply:
    """A whole SMTP reply: code, enhanced code ("" where there is none), text lines."""

    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        found = re.match(r"\d{3}[ -](\d\.\d{1,3}\.\d{1,3})(?: |$)", lines[-1])
        self.dsn = found.group(1) if found else ""

    @property
    def text(self):
        return " ".join(line[4:] for line in self.lines)

    @property
    def status(self):
        """ "550 5.1.1", what most tests compare."""
        return f"{self.code} {self.dsn}".strip()

    def __repr__(self):
        return "\n".join(self.lines)


class Closed(ConnectionError):
    pass


class Smtp:
    """An SMTP client that hides nothing. client: the address to pose as (XCLIENT). patience: seconds for an answer."""

    def __init__(self, postfix, client="192.0.2.1", login=None, helo="client.example.net", patience=90):
        self.socket = socket.create_connection((postfix.address, postfix.port), min(PATIENCE, patience))
        self.socket.settimeout(patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        self.banner = self.read()
        self.helo_name = helo
        if self.banner.code == 220:
            self.helo = self.command(f"EHLO {helo}")
            if client is not None or login is not None:
                address = f"IPV6:{client}" if client and ":" in client else client
                words = [f"ADDR={address}", "NAME=[UNAVAILABLE]"] if client else []
                words += [f"LOGIN={login}"] if login else []
                self.banner = self.command("XCLIENT " + " ".join(words))
                if self.banner.code == 220:
                    self.helo = self.command(f"EHLO {helo}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self):
        lines = []
        while True:
            line = self.reader.readline()
            if not line:
                raise Closed("Postfix closed the connection")
            lines.append(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
            if len(lines[-1]) < 4 or lines[-1][3] != "-":
                return Reply(lines)

    def write(self, line):
        data = line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape")
        self.socket.sendall(data + b"\r\n")

    def command(self, line):
        self.write(line)
        return self.read()

    def mail(self, sender="bob@sender.example", options=""):
        return self.command(f"MAIL FROM:<{sender}>{options}")

    def rcpt(self, address, options=""):
        """address: without <>, or bytes that are sent as they are."""
        if isinstance(address, bytes):
            return self.command(b"RCPT TO:" + address)
        return self.command(f"RCPT TO:<{address}>{options}")

    def data(self, token="none", body="hello"):
        """DATA with a message that carries token; returns the last answer."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        return self.command(f"From: b@sender.example\r\nSubject: test\r\nX-Token: {token}\r\n\r\n{body}\r\n.")

    def rset(self):
        return self.command("RSET")

    def send(self, recipients, sender="bob@sender.example", token="none", body="hello"):
        """One whole message: the answers to each RCPT, and to DATA (None where no recipient was left)."""
        first = self.mail(sender)
        if first.code != 250:
            return [first for _ in recipients], None
        answers = [self.rcpt(address) for address in recipients]
        if any(answer.code == 250 for answer in answers):
            return answers, self.data(token, body)
        self.rset()
        return answers, None

    def close(self):
        try:
            self.write("QUIT")
            self.socket.settimeout(1)
            self.reader.readline()
        except OSError:
            pass
        self.abandon()

    def abandon(self):
        """Hangs up without a word."""
        self.reader.close()
        self.socket.close()


# ----------------------------------------------------------------------------------------------- milter client

class Answer:
    """What the milter said to one command: its kind ('continue', 'tempfail', 'reply' …) and data."""

    kinds = {b"c": "continue", b"t": "tempfail", b"r": "reject", b"y": "reply", b"d": "discard", b"a": "accept",
             b"s": "skip", b"f": "connection failure", b"4": "shutdown"}

    def __init__(self, kind, data, changes):
        self.kind, self.data, self.changes = kind, data, changes

    @property
    def text(self):
        return self.data.rstrip(b"\0").decode("utf-8", "surrogateescape")

    @property
    def status(self):
        """ "450 4.2.1" for a reply, else the kind."""
        return " ".join(self.text.split(" ")[:2]) if self.kind == "reply" else self.kind

    def __repr__(self):
        return f"<{self.kind} {self.data!r} {self.changes!r}>"


class MilterClient:
    """The milter protocol, version 6, byte by byte: what an MTA would send, and what none would."""

    NO_REPLY = {b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"U": 0x20000,
                b"N": 0x40000, b"B": 0x80000, b"L": 0x80}
    DO_NOT_SEND = {b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"U": 0x100,
                   b"T": 0x200}

    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.buffer = b""
        self.protocol, self.actions, self.macros_wanted = 0, 0, {}
        if negotiate:
            self.negotiate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hang_up()

    def send(self, command, data=b""):
        self.socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        """One packet (command, data); Closed when the milter hung up."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack("!I", self.buffer[:4])[0]:
            more = self.socket.recv(65536)
            if not more:
                raise Closed("the milter closed the connection")
            self.buffer += more
        size = struct.unpack("!I", self.buffer[:4])[0]
        packet, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
        return packet[:1], packet[1:]

    def closed(self):
        """True when the milter hangs up without saying anything more."""
        try:
            while True:
                self.receive()
        except (Closed, ConnectionResetError):
            return True
        except socket.timeout:
            return False

    def negotiate(self, version=6, actions=0x1FF, protocol=0x1FFFFF):
        self.send(b"O", struct.pack("!III", version, actions, protocol))
        command, data = self.receive()
        if command != b"O":
            raise Failure(f"negotiation was answered {command!r}")
        _, self.actions, self.protocol = struct.unpack("!III", data[:12])
        rest = data[12:]
        while len(rest) > 4:
            stage = struct.unpack("!I", rest[:4])[0]
            names, _, rest = rest[4:].partition(b"\0")
            self.macros_wanted[stage] = names.decode()

    def macros(self, command, **values):
        """Macros for the next command; a name of several letters gets its braces."""
        text = b""
        for name, value in values.items():
            value = value if isinstance(value, bytes) else str(value).encode()
            text += (name if len(name) == 1 else "{%s}" % name).encode() + b"\0" + value + b"\0"
        self.send(b"D", command + text)

    def ask(self, command, data=b""):
        """Sends, and reads the answer where the negotiation promised one."""
        if self.protocol & self.DO_NOT_SEND.get(command, 0):
            return Answer("not wanted", b"", [])
        self.send(command, data)
        if self.protocol & self.NO_REPLY.get(command, 0):
            return Answer("no reply", b"", [])
        return self.answer()

    def answer(self):
        changes = []
        while True:
            command, data = self.receive()
            if command in Answer.kinds:
                return Answer(Answer.kinds[command], data, changes)
            if command != b"p":  # progress
                changes.append((command.decode(), data.rstrip(b"\0")))

    def connect(self, address="192.0.2.1", host="client.example.net", port=40000, **macros):
        if macros is not None:
            self.macros(b"C", **{"j": "mx.test", "client_addr": address or "", **macros})
        if address is None:
            data = host.encode() + b"\0U"
        else:
            family = b"6" if ":" in address else b"4"
            data = host.encode() + b"\0" + family + struct.pack("!H", port) + address.encode() + b"\0"
        return self.ask(b"C", data)

    def helo(self, name="client.example.net"):
        return self.ask(b"H", name.encode() + b"\0")

    def mail(self, sender="<bob@sender.example>", *options, **macros):
        plain = sender.strip("<>")
        self.macros(b"M", **{"mail_addr": plain, **macros})
        return self.ask(b"M", b"\0".join(word.encode() for word in (sender, *options)) + b"\0")

    def rcpt(self, recipient, *options, with_macros=True, **macros):
        raw = recipient if isinstance(recipient, bytes) else recipient.encode()
        if with_macros:
            self.macros(b"R", **{"rcpt_addr": raw.strip(b"<>"), "rcpt_host": "x", "rcpt_mailer": "lmtp", **macros})
        return self.ask(b"R", b"\0".join([raw, *(word.encode() for word in options)]) + b"\0")

    def data(self, **macros):
        self.macros(b"T", **{"i": "4cXqueue", **macros})
        return self.ask(b"T")

    def header(self, name, value):
        return self.ask(b"L", f"{name}\0{value}\0".encode())

    def body(self, data=b"hello\r\n"):
        return self.ask(b"B", data)

    def eom(self, **macros):
        self.ask(b"N")
        self.macros(b"E", **{"i": "4cXqueue", **macros})
        return self.ask(b"E")

    def abort(self):
        self.send(b"A")

    def quit(self):
        self.send(b"Q")

    def quit_nc(self):
        self.send(b"K")

    def hang_up(self):
        self.socket.close()


# ------------------------------------------------------------------------------------------------------- world

class World:
    """All of it together. store: "redis" or "memory". Used as a context manager; everything ends with it."""

    def __init__(self, store="redis", limits=(), gates=1, alias_maps="plain", postfix=None, database=True,
                 domains=("example.com",), mta=True, **policy):
        self.scratch = Scratch()
        self.redis = self.database = self.sink = None
        self.gates, self.postfixes = [], []
        try:
            if store == "redis":
                self.redis = Redis(self.scratch)
            if database:
                self.database = Database(self.scratch)
                for domain in domains:
                    self.database.domain(domain)
            self.sink = Sink(self.scratch)
            for i in range(gates):
                self.gates.append(Gate(self.scratch, self._policy(store, list(limits), dict(policy)),
                                       name=f"gate{i}" if i else "gate"))
                if mta:
                    self.postfixes.append(Postfix(self.scratch, self.gates[-1].milter, self.sink,
                                                  self.database and self.database.path, alias_maps, postfix,
                                                  name=f"postfix{i}" if i else "postfix"))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def _policy(self, store, limits, more):
        counters = {"url": self.redis.url if store == "redis" else "memory:", "timeout": "2s"}
        counters.update(more.pop("counters", {}) if "counters" in more else {})
        policy = {"counters": counters, "limits": limits}
        if self.database:
            policy["aliases"] = {"database": str(self.database.path), "subaddress": "+"}
        policy.update(more)
        return policy

    @property
    def gate(self):
        return self.gates[0]

    @property
    def postfix(self):
        return self.postfixes[0]

    def smtp(self, client="192.0.2.1", number=0, **options):
        return Smtp(self.postfixes[number], client, **options)

    def milter(self, **options):
        return MilterClient(self.gate.socket, **options)

    def used(self, subject, limit, per="recipient"):
        """What the store holds, wherever it is: Redis by its key, memory: through `rcptgate show`."""
        if self.redis:
            return self.redis.used(f"rcptgate:{per}:{{{subject}}}", limit)
        rows = json.loads(self.gate.command("show", subject, "--json"))["counters"]
        return sum(row["used"] for row in rows if (row["key"], row["limit"]) == (f"{per}:{{{subject}}}", limit))

    def idle(self):
        for postfix in self.postfixes:
            postfix.idle()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        troubles = []
        for thing in [*self.postfixes, *self.gates, self.sink, self.redis]:
            try:
                if thing:
                    thing.stop()
            except (Failure, OSError) as trouble:
                troubles.append(trouble)
        if kind is not None and self.gates:
            sys.stderr.write("--- gate log, last lines\n" + self.gate.log()[-4000:] + "\n")
        self.scratch.remove()
        if troubles and kind is None:
            raise troubles[0]


def run_threads(n, work, patience=300):
    """work(i) in n threads at once, started together; the results in order, the first exception is raised. patience: seconds until
    the next of them has to have ended."""
    barrier = threading.Barrier(n)
    results = queue.Queue()

    def body(i):
        try:
            barrier.wait(PATIENCE)
            results.put((i, work(i), None))
        except BaseException as trouble:  # noqa: handed to the caller
            results.put((i, None, trouble))

    threads = [threading.Thread(target=body, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    done = sorted((results.get(timeout=patience) for _ in threads), key=lambda entry: entry[0])
    for _, _, trouble in done:
        if trouble:
            raise trouble
    return [value for _, value, _ in done]
