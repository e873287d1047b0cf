"""What a test starts: processes that are ended by their ids, in a scratch directory that is removed, also when the test is killed."""

import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PATIENCE = 60.0  # seconds until something that must happen has to have happened, on a slow and busy machine


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


def run_on_a_terminal(argv, feed, **options):
    """Runs it with its stderr on a terminal, whatever that takes: exit status, what it printed and what the terminal showed.
    feed(stdin) writes its input."""
    master, slave = pty.openpty()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave, **options)
    os.close(slave)
    shown = []

    def look():
        try:
            while data := os.read(master, 4096):
                shown.append(data)
        except OSError:
            pass  # the other end is closed

    looker = threading.Thread(target=look)
    looker.start()
    with process.stdin as stdin:
        feed(stdin)
    out = process.stdout.read().decode()
    status = process.wait()
    looker.join()
    os.close(master)
    process.stdout.close()
    return status, out, b"".join(shown)


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

    under = args = ()  # what is started here runs under no other command, a Redis with no more arguments

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="rcptgate-"))
        janitor().tell("dir", self.path)
        self.path.chmod(0o755)
        self.address = "127.{}.{}.{}".format(*(random.randint(1, 250) for _ in range(3)))
        self.ports = set()

    def __truediv__(self, name):
        return self.path / name

    def port(self):
        """A free one, and another each time, whoever listens there when."""
        while True:
            with socket.socket() as s:
                s.bind((self.address, 0))
                port = s.getsockname()[1]
            if port not in self.ports:
                self.ports.add(port)
                return port

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
