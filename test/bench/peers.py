"""Other limiters, as their authors ship them: rspamd's ratelimit, policyd-rate-limit and postfwd (Debian packages) and Haraka with
haraka-plugin-limit (npm). Each is started privately, with one limit that is counted and never reached, per recipient where it can.

A peer has missing(options), why it cannot be measured here (None: it can); start(world, postfix); what Postfix is told about it: milter
(None: no milter) and settings; door, where mail is sent instead of to Postfix (None: to Postfix); at_rcpt, whether it decides there;
about, what to know when its figures are read; and stop(). Where Postfix must know the peer first, path and port are drawn when the object is made.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from contenders import DOMAIN, NO_LIMIT
from harness import Process, janitor, wait_for

MESSAGE = "450 4.7.1 too fast"


def program(name):
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def answers(address):
    """Does anybody listen there? address: a path, or (host, port)."""
    kind = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(kind) as s:
        try:
            s.connect(address if isinstance(address, tuple) else str(address))
            return True
        except OSError:
            return False


class Daemon:
    """What has put itself into the background, in the shape of a Process."""

    def __init__(self, pid):
        self.pid = pid
        janitor().tell("pid", pid)

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        janitor().tell("-pid", self.pid)


class Peer:
    name = package = about = None
    at_rcpt = True
    milter, settings, door, process = None, {}, None, None

    def __init__(self, world):
        self.directory = world.scratch / self.name
        self.directory.mkdir()
        self.directory.chmod(0o777)

    @classmethod
    def missing(cls, _options):
        return None if program(cls.program) else f"not installed (Debian package {cls.package})"

    def run(self, argv, address, **options):
        self.process = Process(argv, self.directory / "log", **options)
        wait_for(lambda: answers(address) or not self.process.alive(), f"{self.name} does not answer: {self.process.log()[-1000:]}")
        if not self.process.alive():
            raise AssertionError(f"{self.name} ended: {self.process.log()[-1000:]}")

    def stop(self):
        if self.process:
            self.process.stop()


class Rspamd(Peer):
    """The milter of rspamd with no module but ratelimit; counts in Redis."""

    name = package = program = "rspamd"
    at_rcpt = False
    about = "decides at end of message, when the recipients have long been accepted"

    def __init__(self, world):
        super().__init__(world)
        self.path = self.directory / "milter.sock"
        self.milter = f"unix:{self.path}"

    def start(self, world, _postfix):
        configuration = self.directory / "rspamd.conf"
        configuration.write_text(f"""
            options {{ pidfile = "{self.directory}/pid"; tempdir = "{self.directory}"; filters = ""; cache_file = "{self.directory}/cache";
                       control_socket = "{self.directory}/control.sock"; dns {{ nameserver = ["127.0.0.1:9"]; }} }}
            logging {{ type = "file"; filename = "{self.directory}/rspamd.log"; level = "error"; }}
            lua = "/usr/share/rspamd/rules/rspamd.lua";
            modules {{ path = "/usr/share/rspamd/plugins/ratelimit.lua"; }}
            redis {{ servers = "{world.redis.socket}"; }}
            ratelimit {{ rates {{ alias = {{ selector = "rcpts:addr";
                                       bucket = {{ burst = {NO_LIMIT}; rate = "{NO_LIMIT} / 1m"; skip_recipients = true; }} }} }} }}
            worker "rspamd_proxy" {{ milter = yes; bind_socket = "{self.path} mode=0666"; count = {os.cpu_count()}; timeout = 30s;
                                     upstream "local" {{ default = yes; self_scan = yes; }} }}
        """)
        self.run([program("rspamd"), "--no-fork", "--user", "_rspamd", "--group", "_rspamd", "--config", configuration], self.path)


class PolicydRateLimit(Peer):
    """Its window is a second and not a minute: it counts the rows of the window anew for each RCPT, and here all are of one sender."""

    name = package = program = "policyd-rate-limit"
    about = "decides at RCPT; cannot count by recipient: limits the sender; counts in SQLite"

    def __init__(self, world):
        super().__init__(world)
        self.path = self.directory / "policy.sock"
        self.settings = {"smtpd_recipient_restrictions": f"check_policy_service unix:{self.path}"}

    def start(self, world, _postfix):
        configuration = self.directory / "configuration.yaml"
        configuration.write_text(json.dumps({  # JSON is YAML
            "debug": False, "user": "nobody", "group": "nogroup", "pidfile": str(self.directory / "pid"), "backend": 0,
            "sqlite_config": {"database": str(self.directory / "db.sqlite3")}, "SOCKET": str(self.path), "socket_permission": 0o666,
            "limits": [[NO_LIMIT, 1]], "limits_by_id": {}, "limit_by_sasl": False, "limit_by_sender": True, "limit_by_ip": False,
            "limited_networks": [], "success_action": "dunno", "fail_action": MESSAGE, "db_error_action": "450 4.3.0 no database",
            "report": False, "delay_to_close": 300}))
        self.run([program(self.program), "--file", configuration], self.path)


class Postfwd(Peer):
    name, package, program = "postfwd", "postfwd", "postfwd2"
    about = "decides at RCPT; counts in the memory of its cache process"

    def __init__(self, world):
        super().__init__(world)
        self.address = (world.scratch.address, world.scratch.port())
        self.settings = {"smtpd_recipient_restrictions": "check_policy_service inet:{}:{}".format(*self.address)}

    def start(self, world, _postfix):
        pid_file = self.directory / "pid"
        subprocess.run([program(self.program), "--nodns", "--user", "nobody", "--group", "nogroup", "--pidfile", pid_file,
                        "--proto", "tcp", "--interface", self.address[0], "--port", str(self.address[1]), "--cache", "600", "--cache-no-size",
                        "--cache_proto", "unix", "--cache_port", self.directory / "cache.sock", "--norulestats", "--perfmon",
                        "--rule", f"id=ALIAS; action=rate(recipient/{NO_LIMIT}/60/{MESSAGE})"], check=True, capture_output=True)
        wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "postfwd writes no pid file")
        self.process = Daemon(int(pid_file.read_text()))
        wait_for(lambda: answers(self.address), "postfwd does not answer")


class Haraka(Peer):
    """Stands in front of Postfix, as another SMTP server, and hands on to it what it accepts."""

    name = "Haraka"
    about = "decides at RCPT; a server of its own: what it accepts it sends on to Postfix, which has no milter; counts in Redis"

    def __init__(self, world):
        super().__init__(world)
        self.home = self.found(world.options)
        self.door = (world.scratch.address, world.scratch.port())

    @staticmethod
    def found(options):
        """The directory that holds node_modules/Haraka, and beside it haraka-plugin-limit; None: there is none."""
        installed = program("haraka")
        directory = options.haraka or (Path(installed).resolve().parents[3] if installed else None)
        modules = directory and Path(directory).resolve() / "node_modules"
        return modules if modules and (modules / "Haraka").exists() and (modules / "haraka-plugin-limit").exists() else None

    @classmethod
    def missing(cls, options):
        if not program("node"):
            return "there is no node"
        return None if cls.found(options) else "not found (npm install Haraka haraka-plugin-limit in DIR, then --haraka DIR)"

    def start(self, world, postfix):
        host, port = self.door
        shutil.copytree(self.home / "Haraka/config", self.directory / "config")
        redis = f"path={world.redis.socket}\n"
        for name, text in {
                "plugins": "limit\nrcpt_to.in_host_list\nqueue/smtp_forward\n", "host_list": DOMAIN, "me": "mx.rcptgate.test",
                "smtp.ini": f"listen={host}:{port}\nnodes=cpus\n", "loglevel": "ERROR",
                "smtp_forward.ini": f"host={postfix.address}\nport={postfix.port}\n", "redis.ini": f"[server]\n{redis}[pubsub]\n{redis}",
                "limit.ini": f"[redis]\n{redis}database=0\n[concurrency]\nmax=0\n[rate_rcpt]\nenabled=true\ndefault={NO_LIMIT}/1m\n",
        }.items():
            (self.directory / "config" / name).write_text(text)
        self.run([program("node"), self.home / "Haraka/bin/haraka", "-c", self.directory], self.door)


PEERS = (Rspamd, PolicydRateLimit, Postfwd, Haraka)
