"""The steps of test/package/run, in order: each prints a row with its time. A step that fails is shown, and the others
of that machine are left out where they stand on it."""

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import scenario
from machine import Failure, Machine, bare_tar, run

SOURCE = Path(__file__).resolve().parents[2]
WORK = SOURCE / "build/package"
PACKAGE = "/root/rcptgate.deb"
NEWER = "/root/rcptgate-newer.deb"


class Table:
    def __init__(self, suite):
        self.suite, self.passed, self.failed = suite, 0, 0

    def row(self, what, step, *arguments):
        """True when the step held. Ctrl-C is no step's failure."""
        began = time.monotonic()
        try:
            step(*arguments)
            word = "ok"
            self.passed += 1
        except Exception as failure:
            word = "FAILED"
            self.failed += 1
            text = str(failure) if isinstance(failure, Failure) else traceback.format_exc()[-800:]
            print("    " + text.strip().replace("\n", "\n    "), flush=True)
        print(f"{self.suite:9} {what:66} {time.monotonic() - began:6.1f} s  {word}", flush=True)
        return word == "ok"


def copy_source(machine):
    """What git would clone, with what is not yet committed."""
    target = machine.path("/root/rcptgate")
    target.mkdir()
    run(["sh", "-ec", f"tar -C '{SOURCE}' -c --exclude=./build --exclude=./.git . | tar -C '{target}' -x"])


def newer_package(machine):
    """The same package with the next version, and another policy as shipped: dpkg has to choose."""
    machine.sh(f"""rm -rf /root/newer; dpkg-deb -R {PACKAGE} /root/newer
        sed -i 's/^Version: .*/&+newer/' /root/newer/DEBIAN/control
        sed -i 's/What a fresh installation runs/As a newer version ships it/' /root/newer/etc/rcptgate/policy.json
        rm -f /root/newer/DEBIAN/md5sums; dpkg-deb -b --root-owner-group /root/newer {NEWER}; rm -rf /root/newer""")


# ------------------------------------------------------------------------------------------------ a booted machine

def boot_minbase(machine):
    machine.apt("update")
    machine.apt("install", "--no-install-recommends", "systemd-sysv", "dbus", "iproute2")
    machine.path("/etc/apt/apt.conf.d/yes").write_text('APT::Get::Assume-Yes "true";\n')
    copy_source(machine)
    machine.boot()
    scenario.network(machine)


def keep_package(machine):
    packages = list(machine.path("/root/rcptgate/build").glob("rcptgate_*.deb"))
    shutil.copy(packages[0], machine.path(PACKAGE))
    machine.path("/root/undo").write_text(scenario.way_back(SOURCE))


def build(machine, given):
    """The README's first block; or, where a package is given, without the build."""
    if given is None:
        scenario.readme(machine, SOURCE, 0)
    else:
        machine.path("/root/rcptgate/build").mkdir()
        shutil.copy(given, machine.path("/root/rcptgate/build/rcptgate_given.deb"))
        scenario.readme(machine, SOURCE, 0, leave_out="contrib/build-deb")


def booted(table, tar, root, given):
    machine = Machine(tar, root)
    walk = [(f"README, Install, block {n}: {what}", scenario.readme, machine, SOURCE, n - 1) for n, what in
            ((2, "aliases"), (3, "Postfix"), (4, "enforce"), (5, "a flood"))]
    unit = [
        ("the gate starts before Postfix after a boot", scenario.starts_before_postfix),
        ("systemctl reload", scenario.reloads),
        ("Redis: mail goes on without it, and it comes back", scenario.redis_breaks),
        ("a limit on the backlog acts (postqueue in the sandbox)", scenario.backlog),
        ("nothing was denied", scenario.nothing_denied),
        ("a socket directory that is missing", scenario.socket_directory_missing),
        ("a policy that cannot be used", scenario.unusable_policy),
        ("remote-redis.conf", scenario.redis_on_another_host),
        ("paths.conf", scenario.data_elsewhere),
        ("unix-only.conf", scenario.unix_only),
        ("a second instance", scenario.several_instances),
        ("upgrade keeps the policy and restarts the gate", partial(scenario.upgrade_keeps_the_policy, newer=NEWER)),
        ("remove, Postfix's way back, purge", scenario.remove_and_purge),
        ("README, Install: without the package", partial(scenario.without_the_package, source=SOURCE)),
    ]
    try:
        if not table.row("minbase, booted by systemd", boot_minbase, machine):
            return
        if not table.row("README, Install, block 1: build and install", build, machine, given):
            return
        keep_package(machine)
        newer_package(machine)
        table.row("installed: groups, modes, healthy, main.cf untouched", scenario.installs_and_runs, machine)
        for step in walk[:2]:
            table.row(*step)
        table.row("in shadow nothing is refused, nothing bounces", scenario.shadow_refuses_nothing, machine)
        for step in walk[2:]:
            table.row(*step)
        table.row("enforced", scenario.enforce_stops_the_flood, machine)
        for what, step in unit:
            table.row(what, step, machine)
        shutil.copy(machine.path(PACKAGE), WORK / f"{table.suite}.deb")
    finally:
        machine.remove()


# -------------------------------------------------------------------------------------------- a root without systemd

def bare_install(machine):
    shutil.copy(WORK / f"{machine.suite}.deb", machine.path(PACKAGE))
    machine.apt("update")
    machine.apt("install", PACKAGE)
    scenario.expect("rcptgate" not in machine.sh("postconf -n"), "main.cf was touched")
    machine.sh("rcptgate check; test -S /var/lib/rcptgate/control.sock && exit 1; rcptgate alias list; exit 0")


def bare_upgrade(machine):
    newer_package(machine)
    policy = machine.path(scenario.POLICY)
    policy.write_text(policy.read_text().replace('"shadow"', '"enforce"'))
    edited = policy.read_text()
    machine.apt("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "install", NEWER)
    scenario.expect(policy.read_text() == edited, "the edited policy was replaced")


def bare_purge(machine):
    machine.apt("remove", "rcptgate")
    scenario.expect(machine.path(scenario.POLICY).exists(), "remove took the policy")
    machine.apt("purge", "rcptgate")
    left = machine.sh("find /etc /usr /var -iname '*rcptgate*' ! -path '/var/lib/dpkg/*' ! -path '/var/cache/*' ! -path '/var/log/*'")
    scenario.expect(not left, f"purge leaves\n{left}")


def lintian(machine):
    machine.apt("install", "--no-install-recommends", "lintian")
    said = machine.sh(f"lintian --allow-root --fail-on error,warning {PACKAGE}", None)
    scenario.expect(not [line for line in said.splitlines() if line[:2] in ("E:", "W:")], said)


def bare(table, tar, root):
    machine = Machine(tar, root)
    machine.suite = table.suite
    try:
        if table.row("bare root without systemd running: install", bare_install, machine):
            table.row("bare root: upgrade keeps an edited policy", bare_upgrade, machine)
            table.row("bare root: remove and purge leave nothing", bare_purge, machine)
        table.row("lintian: no error, no warning", lintian, machine)
    finally:
        machine.remove()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suites", nargs="*", metavar="bookworm|trixie")
    parser.add_argument("--package", metavar="DEB", help="do not build, take this one (with one release)")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("test/package/run: needs root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    WORK.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    for suite in arguments.suites or ["bookworm", "trixie"]:
        table = Table(suite)
        tar = bare_tar(suite, WORK)
        booted(table, tar, WORK / f"{suite}-booted", arguments.package)
        if (WORK / f"{suite}.deb").exists():
            bare(table, tar, WORK / f"{suite}-bare")
        passed, failed = passed + table.passed, failed + table.failed
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
