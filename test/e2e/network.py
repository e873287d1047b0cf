"""Hosts with an address of their own: network namespaces, each on a cable to one switch, which can be pulled out.

A namespace lives as long as the process that sleeps in it, so nothing stays behind when a test is killed."""

import itertools
import os
import subprocess

from processes import Failure, Process, wait_for

SWITCH = "switch"


def why_not():
    """Why there can be no hosts here; "": there can."""
    done = subprocess.run(["unshare", "--net", "ip", "link", "add", SWITCH, "type", "bridge"], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"no network namespaces can be had: {done.stderr.strip()}"


class Namespace:
    def __init__(self, scratch, name):
        self.process = Process(["unshare", "--net", "sleep", "infinity"], scratch / f"{name}.log")
        wait_for(lambda: os.readlink(self._net(self.process.pid)) != os.readlink(self._net("self")), f"no namespace: {self.process.log()}")
        self.under = ("nsenter", f"--target={self.process.pid}", "--net")
        self.ip("link", "set", "lo", "up")

    @staticmethod
    def _net(pid):
        return f"/proc/{pid}/ns/net"

    def ip(self, *words):
        done = subprocess.run([*self.under, "ip", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"ip {' '.join(words)}: {done.stderr}")

    def stop(self):
        self.process.stop()


class Host(Namespace):
    """Stands for the scratch (processes.py) where something is started: same directory, another address. under: words of a command
    that it then runs under."""

    args = ()

    def __init__(self, scratch, number, switch):
        super().__init__(scratch, f"host{number}")
        self.path, self.address, self.switch, self.plug = scratch.path, f"10.77.0.{number + 1}", switch, f"port{number}"
        self.ports = itertools.count(7000)
        switch.ip("link", "add", self.plug, "type", "veth", "peer", "name", "eth0", "netns", str(self.process.pid))
        switch.ip("link", "set", self.plug, "up", "master", SWITCH)
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self.ip("link", "set", "eth0", "up")

    def __truediv__(self, name):
        return self.path / name

    def port(self):
        return next(self.ports)

    def cut(self):
        """From now on what it sends, and what is sent to it, is lost without a word."""
        self.switch.ip("link", "set", self.plug, "nomaster")

    def heal(self):
        self.switch.ip("link", "set", self.plug, "master", SWITCH)


class Network:
    """n hosts that reach each other."""

    def __init__(self, scratch, n):
        self.things = []
        try:
            switch = self._keep(Namespace(scratch, SWITCH))
            switch.ip("link", "add", SWITCH, "type", "bridge")
            switch.ip("link", "set", SWITCH, "up")
            self.switch, self.hosts = switch, [self._keep(Host(scratch, i, switch)) for i in range(n)]
        except BaseException:
            self.stop()
            raise

    def _keep(self, thing):
        self.things.append(thing)
        return thing

    def part(self, *hosts):
        """From now on these do not reach each other, and all others still do; without any all is as it was."""
        for host in self.hosts:
            self.switch.ip("link", "set", host.plug, "type", "bridge_slave", "isolated", "on" if host in hosts else "off")

    def stop(self):
        for thing in reversed(self.things):
            thing.stop()
