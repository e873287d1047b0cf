"""The world of an end-to-end test: a private Postfix, a private Redis, the gate, and clients of our own.

Everything lives in a scratch directory and on loopback addresses that are drawn at random, so any number of
tests run side by side. Whatever is started is ended by its process id; a janitor process outlives us, so that
nothing stays behind when a test is killed. Tests take all parts from here, wherever they are written.
"""

import atexit
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from milter_client import Answer, MilterClient
from network import Network
from processes import PATIENCE, Failure, Process, Scratch, janitor, run_on_a_terminal, wait_for
from redis_cluster import Cluster
from redis_server import Redis
from sentinel import Replicated
from sink import Sink, SinkHandler
from smtp import Closed, Smtp

SOURCE = Path(__file__).resolve().parents[2]


def for_everybody(program):
    """The program, which some tests run as another user; where others may not enter its directory (it is below /root, say), a copy."""
    if all(directory.stat().st_mode & 0o001 for directory in Path(program).resolve().parents):
        return program
    directory = tempfile.mkdtemp(prefix="rcptgate-program-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)
    return shutil.copy(program, directory)


PROGRAM = Path(os.environ.get("RCPTGATE") or SOURCE / "build/test-release/rcptgate").resolve()
RCPTGATE = for_everybody(str(PROGRAM))
PRELOADS = PROGRAM.parent / "test/faults"  # libraries that stand before a program's own
SANITIZED = any(word in Path(RCPTGATE).read_bytes() for word in (b"__asan_init", b"__tsan_init"))  # many times slower


# ------------------------------------------------------------------------------------------------- alias rules

TABLES = ("domains", "aliases", "alias_globs", "sender_rules", "client_rules")


class Database:
    """The alias database as a service's own application writes it: from policy/aliases.sql, with plain SQL."""

    def __init__(self, scratch, name="aliases.db"):
        self.directory = scratch / "aliases"
        self.directory.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postfix", "postfix")  # a command of root's refuses one of root's that all may write to
        self.directory.chmod(0o777)
        self.path = self.directory / name
        self.script((SOURCE / "policy/aliases.sql").read_text())

    @contextmanager
    def _open(self):
        db = sqlite3.connect(str(self.path), timeout=PATIENCE, isolation_level=None)
        try:
            yield db
        finally:
            db.close()
            self.share()

    def share(self):
        """Everybody may write to it, whoever has created the files beside it."""
        for path in self.directory.iterdir():
            path.chmod(0o666)

    def script(self, sql):
        with self._open() as db:
            db.executescript(sql)

    def run(self, sql, *values):
        with self._open() as db:
            return db.execute(sql, values).fetchall()

    def rows(self):
        with self._open() as db:
            return rows_of(db)

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


def rows_of(db):
    return [sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES]


# ----------------------------------------------------------------------------------------------------- postfix

class Postfix:
    """Postfix from a configuration of our own. settings are lines of main.cf; {key: value}."""

    queues = ("incoming", "active", "deferred", "maildrop", "hold", "corrupt")

    def __init__(self, scratch, milter, sink, maps=None, settings=None, name="postfix"):
        self.scratch = scratch
        self.root = scratch / name
        self.etc = self.root / "etc"
        self.spool = self.root / "spool"
        self.log_path = self.root / "mail.log"
        self.address, self.port = scratch.address, scratch.port()
        self._make_directories()
        self._write_configuration(milter, sink, maps, settings or {})
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

    def _write_configuration(self, milter, sink, maps, settings):
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
            "smtpd_milters": f"{{ {milter}, command_timeout=60s, default_action=tempfail }}" if milter else "",
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
        if maps:  # as in production; without, there is no expansion and the sink sees the alias
            main.update(virtual_alias_domains=f"socketmap:{maps}:domains",
                        virtual_alias_maps=f"socketmap:{maps}:aliases")
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
            wait_for(lambda: not self.queued(), "the queue does not get empty", 3 * PATIENCE)
        except Failure as failure:
            raise Failure(f"{failure}\n{self.log()[-3000:]}") from None

    def stop(self):
        self.process.stop()


# -------------------------------------------------------------------------------------------------------- gate

class Gate:
    """rcptgate run. Its log goes to stderr, which is kept; a sanitizer's report is a failure of the test.
    under: words of a command that it runs under, valgrind for one."""

    def __init__(self, scratch, policy, name="gate", start=True, under=()):
        self.scratch, self.name, self.under = scratch, name, under
        self.state = scratch / f"{name}-state"
        self.state_is_told = True
        self.socket = scratch / f"{name}.sock"
        self.policy_path = scratch / f"{name}.json"
        self.policy = {
            "milter": {"socket": f"unix:{self.socket}", "group": "postfix", "mode": "0660"},
            "maps": {"socket": self.maps},
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

    @property
    def maps(self):
        """The socket of Postfix's maps; as for the milter, one for each gate of a world."""
        return f"unix:{self.scratch / self.name}-map.sock"

    def write_policy(self, **changes):
        self.policy.update(changes)
        self.policy_path.write_text(json.dumps(self.policy, indent=2))

    def env(self):
        """As systemd sets it."""
        where = {"STATE_DIRECTORY": str(self.state)} if self.state_is_told else {}
        return dict(os.environ, **SANITIZERS, **where)

    def start(self, wait=True):
        self.process = Process([*self.under, RCPTGATE, "run", "-c", self.policy_path],
                               self.scratch / f"{self.name}.log", env=self.env())
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

    def take(self, recipient, client="192.0.2.1"):
        """One message, in a session of its own: what its RCPT is answered."""
        with MilterClient(self.socket) as m:
            m.connect(client)
            m.helo()
            answer = m.message(recipient)
            m.quit()
        return answer.status

    def told(self, *recipients, client="192.0.2.1", sender="<bob@sender.example>"):
        """What a new connection is told, which hangs up then: at each RCPT of a message, or at once ["refused"]."""
        with MilterClient(self.socket) as m:
            said = m.connect(client)
            if said.kind == "reject" or said.status.startswith("5"):
                return ["refused"]
            m.mail(sender)
            return [m.rcpt(f"<{recipient}>").status for recipient in recipients]

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

    def is_well(self):
        """But for lines of the log: where the machine is slower than the load some are lost, which is told for a minute."""
        report = self.status()
        return report["status"] == "healthy" or {reason["what"] for reason in report["reasons"]} == {"log"}

    def gets_well(self):
        try:
            wait_for(self.is_well, f"{self.name} does not get well")
        except Failure as failure:
            raise Failure(f"{failure}: {self.status()['reasons']}") from None

    def has_taken(self, database):
        """What the database holds now has passed its checks: the last good copy has every row of it."""
        copy = self.state / "aliases.copy.db"
        if not copy.exists() or self.status()["aliases"]["in_force"] != "live":
            return False
        db = sqlite3.connect(f"file:{copy}?immutable=1", uri=True)
        try:
            return rows_of(db) == database.rows()
        finally:
            db.close()

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
                              text=True, errors="replace", timeout=5 * PATIENCE, env=self.env())
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
        connection = http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE)
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


# ------------------------------------------------------------------------------------------------------- world

def serve(gate):
    """Starts a gate anew, with pages; who reads them."""
    gate.stop()
    web = Web(gate.scratch)
    gate.write_policy(http={"listen": web.listen})
    gate.start()
    wait_for(web.up, "the HTTP server does not answer")
    return web


class World:
    """All of it together. store: "redis", "cluster", "sentinel" (cluster, sentinel: its arguments) or "memory"; maps: Postfix expands aliases, by the
    gate's maps; hosts: so many in a network of their own, the i-th gate on the i-th, what Redis is made of where `hosts` and `watchers` of
    its arguments say. Used as a context manager; everything ends with it."""

    timeout = "10s"  # of the counters: a slow machine is no outage

    def __init__(self, store="redis", limits=(), gates=1, maps=False, postfix=None, database=True,
                 domains=("example.com",), mta=True, cluster=None, sentinel=None, hosts=0, **policy):
        self.scratch = Scratch()
        nodes = cluster or sentinel or {}
        self.redis = self.database = self.sink = self.network = None
        self.gates, self.postfixes = [], []
        try:
            if hosts:
                self.network = Network(self.scratch, hosts)
                places = {word: [self.network.hosts[i] for i in nodes[word]] for word in ("hosts", "watchers") if word in nodes}
                nodes = {**nodes, **places}
            if store == "redis":
                self.redis = Redis(self.scratch)
            elif store == "cluster":
                self.redis = Cluster(self.scratch, **nodes)
            elif store == "sentinel":
                self.redis = Replicated(self.scratch, **nodes)
            if database:
                self.database = Database(self.scratch)
                for domain in domains:
                    self.database.domain(domain)
            self.sink = Sink(self.scratch)
            for i in range(gates):
                place = {"under": self.network.hosts[i].under} if hosts else {}
                self.gates.append(Gate(self.scratch, self._policy(store, list(limits), dict(policy)),
                                       name=f"gate{i}" if i else "gate", **place))
                if mta:
                    self.postfixes.append(Postfix(self.scratch, self.gates[-1].milter, self.sink,
                                                  self.gates[-1].maps if maps else None, postfix,
                                                  name=f"postfix{i}" if i else "postfix"))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def _policy(self, store, limits, more):
        counters = {"url": self.redis.url if self.redis else "memory:", "timeout": self.timeout}
        if getattr(self.redis, "ca", None):
            counters["tls"] = {"ca": str(self.redis.ca)}
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

    def send(self, *recipients, client="192.0.2.1", **message):
        """One message through Postfix, in a session of its own (Smtp.send): the answers to its RCPTs; what was taken is taken at its end."""
        with self.smtp(client) as smtp:
            answers, end = smtp.send(recipients, **message)
        if end is not None and end.code != 250:
            raise Failure(f"the end of the message: {end!r}")
        return answers

    def milter(self, number=0, **options):
        return MilterClient(self.gates[number].socket, **options)

    def take(self, recipient, client="192.0.2.1", number=0):
        return self.gates[number].take(recipient, client)

    def used(self, subject, limit, per="recipient"):
        """What the store holds, wherever it is: Redis by its key, memory: through `rcptgate show`."""
        if self.redis:
            return self.redis.used(f"rcptgate:{per}:{{{subject}}}", limit)
        rows = json.loads(self.gate.command("show", subject, "--json"))["counters"]
        return sum(row["used"] for row in rows if (row["key"], row["limit"]) == (f"{per}:{{{subject}}}", limit))

    def idle(self):
        for postfix in self.postfixes:
            postfix.idle()

    def settled(self):
        """Waits until every gate has taken what the database holds now: only then is a 5xx certain for who does not exist."""
        for gate in self.gates:
            wait_for(lambda: gate.has_taken(self.database), f"{gate.name} does not take the alias rules")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        troubles = []
        for thing in [*self.postfixes, *self.gates, self.sink, self.redis, self.network]:
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
