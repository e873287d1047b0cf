"""A bare Debian as the test's machine: debootstrap's minbase in a directory, entered by chroot, or booted by
systemd-nspawn in a network of its own, where nothing but its own loopback is.

Owns its directory and its processes; stop() leaves neither processes nor mounts. Fails with Failure, which says what was
run and what it printed. Packages come through the host's network and apt sources: only apt-get is run in it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN = {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", "TERM": "dumb"}
APT = ("apt-get", "-qq", "-y", "-o", "Dpkg::Use-Pty=0")


class Failure(Exception):
    pass


def run(command, code=0, **options):
    """What a command printed; code None allows any exit."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", env=CLEAN, **options)
    if code is not None and done.returncode != code:
        raise Failure(f"{' '.join(map(str, command))}\nexit {done.returncode}, not {code}\n{done.stdout[-4000:]}")
    return done.stdout


def wait_for(question, what, seconds=60):
    until = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > until:
            raise Failure(f"after {seconds} s still not: {what}")
        time.sleep(0.2)
    return answer


def mirrors_of_apt():
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
                          capture_output=True, text=True, check=True)
    return list(dict.fromkeys(done.stdout.split()))


def sources(suite):
    """apt's lines for a suite: from the mirrors that this machine's apt uses, or those in MIRROR and MIRROR_SECURITY."""
    known = mirrors_of_apt()
    mirror = os.environ.get("MIRROR") or next(uri for uri in known if "security" not in uri)
    security = os.environ.get("MIRROR_SECURITY") or next((uri for uri in known if "security" in uri), mirror)
    return (f"deb {mirror} {suite} main\ndeb {mirror} {suite}-updates main\n"
            f"deb {security} {suite}-security main\n")


def bare_tar(suite, where):
    """The bare root as a tar file, made once."""
    tar, root = where / f"{suite}.tar", where / f"{suite}.new"
    if not tar.exists():
        shutil.rmtree(root, ignore_errors=True)
        mirror = sources(suite).split()[1]
        run(["debootstrap", "--variant=minbase", suite, root, mirror])
        (root / "etc/apt/sources.list").write_text(sources(suite))
        run(["tar", "-C", root, "--numeric-owner", "-cf", f"{tar}.new", "."])
        Path(f"{tar}.new").rename(tar)
        shutil.rmtree(root)
    return tar


class Machine:
    def __init__(self, tar, root):
        self.root, self.nspawn, self.init = Path(root), None, None
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
        run(["tar", "-C", self.root, "--numeric-owner", "-xf", tar])
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")

    def path(self, name):
        return self.root / name.lstrip("/")

    def _inside(self, network):
        if self.init is None:
            return ["chroot", self.root]
        spaces = ["-m", "-u", "-i", "-p"] + (["-n"] if network else [])
        return ["nsenter", "-t", str(self.init), *spaces, "-r", "-w", "--"]

    def sh(self, script, code=0, network=True):
        """A shell script, as root, in the machine's own network, or else in the host's."""
        return run([*self._inside(network), "sh", "-ec", script], code)

    def apt(self, *arguments, code=0):
        return run([*self._inside(False), *APT, *arguments], code)

    def boot(self):
        """systemd as process 1. A cgroup v2 of its own, whatever the host has."""
        log = open(f"{self.root}.console", "ab")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", "--private-network", "--register=no", "--keep-unit",
             "--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf",  # for IPAddressDeny= and DevicePolicy=
             "--console=pipe", f"--machine=rcptgate-{os.getpid()}", "-D", self.root],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**CLEAN, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        self.init = wait_for(self._child, "systemd-nspawn has started its process 1")
        wait_for(lambda: self.sh("systemctl is-system-running", None).strip() in ("running", "degraded"),
                 "systemd is up", 120)

    def _child(self):
        if self.nspawn.poll() is not None:
            raise Failure(f"systemd-nspawn has ended:\n{Path(f'{self.root}.console').read_text()[-2000:]}")
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def shutdown(self):
        if self.nspawn is not None:
            self.nspawn.terminate()
            try:
                self.nspawn.wait(90)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
            self.nspawn = self.init = None

    def remove(self):
        self.shutdown()
        shutil.rmtree(self.root, ignore_errors=True)
