"""What a postmaster does with the package on a machine booted by systemd, from the README's lines to the purge.

Each function is one row of the table that test/package/run prints; it gets the machine as the one before left it."""

import json
import re
import textwrap
import time

import smtp
from machine import Failure, wait_for

STRANGER = "192.0.2.7"
POLICY = "/etc/rcptgate/policy.json"
DROPIN = "/etc/systemd/system/rcptgate.service.d"


def expect(truth, what):
    if not truth:
        raise Failure(what)


def begins(answers, *codes):
    got = [answer.split()[0] for answer in answers]
    expect(got == list(map(str, codes)), f"answers {answers}, not {codes}")


def send(machine, *recipients):
    return smtp.send(machine.init, STRANGER, recipients)


def status(machine, code=None):
    return machine.sh("rcptgate status", code)


def policy(machine, **changes):
    """The policy with some keys set anew, and in force."""
    path = machine.path(POLICY)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))
    wait_for(lambda: not machine.sh(f"find {POLICY} -newermt '-2 seconds'"), "the policy is in force")


def restarted(machine):
    machine.sh("systemctl daemon-reload; systemctl restart rcptgate; systemctl is-active rcptgate")


def dropin(machine, name, text=None):
    """One of the shipped drop-ins, as it is or with the site's own text."""
    shipped = f"/usr/share/rcptgate/systemd/{name}"
    machine.sh(f"install -D -m 644 {shipped} {DROPIN}/{name}")
    if text is not None:
        path = machine.path(f"{DROPIN}/{name}")
        path.write_text(text(path.read_text()))
    restarted(machine)


def dropins_gone(machine):
    machine.sh(f"rm -rf {DROPIN}")
    restarted(machine)


def network(machine):
    """An address of its own beside loopback, from which the strangers' mail comes."""
    machine.sh("ip link add eth0 type dummy 2>/dev/null || ip link add eth0 type veth peer name eth1; "
               f"ip addr add {STRANGER}/24 dev eth0; ip link set eth0 up")


def readme(machine, source, n, leave_out=None):
    """The n-th block of shell lines in the README's section Install, to the letter, each line for itself. Only apt and the
    build, which runs apt, see a network with packages in it."""
    section = re.search(r"(?ms)^## Install\n(.*?)^## ", (source / "README.md").read_text()).group(1)
    block = textwrap.dedent(re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", section)[n])
    for command in re.findall(r"(?m)^for .*\n(?: .*\n)+done$|^.+$", block):
        if command == leave_out:
            continue
        outside = command.startswith(("apt-get ", "contrib/build-deb", "contrib/install-packages"))
        flood = "swaks" in command and not outside  # fails where a message is refused, as a shell of a person allows
        said = machine.sh(f"cd /root/rcptgate; {'set +e; ' if flood else ''}{command}", None if flood else 0,
                          network=not outside)
        if flood:
            expect(said.count("450 4.2.1 <shop@example.com>") == 2, f"two of twelve would be refused\n{said}")


def way_back(source):
    """The last lines of postconf-lines: what an administrator pastes before the package is removed."""
    text = (source / "contrib/postfix/postconf-lines").read_text()
    return text[text.index("#postconf -X"):].replace("#", "")


# ----------------------------------------------------------------------------------------------------- the walk

def installs_and_runs(machine):
    expect("rcptgate" not in machine.sh("postconf -n"), "main.cf was touched")
    status(machine, 0)
    expect(": clean" in machine.sh("rcptgate check"), "check has something to say")
    expect(" policy.json" not in machine.sh("systemctl --failed"), "a unit has failed")
    groups = machine.sh("id -nG rcptgate; id -nG postfix").splitlines()
    expect(set(groups[0].split()) == {"rcptgate", "postfix", "postdrop", "rcptgate-aliases"}, groups[0])
    expect(not {"rcptgate-aliases", "rcptgate"} & set(groups[1].split()), groups[1])
    machine.sh("useradd -G rcptgate,rcptgate-aliases clerk; runuser -u clerk -- sh -ec "
               "'rcptgate status; rcptgate domain add clerk.example; rcptgate domain remove clerk.example'")
    machine.sh("runuser -u postfix -- test -w /var/lib/rcptgate/control.sock", 1)
    modes = machine.sh("stat -c '%a %U:%G' /etc/rcptgate/policy.json /var/lib/rcptgate /var/lib/rcptgate/aliases "
                       "/var/lib/rcptgate/aliases/aliases.db /var/lib/rcptgate/control.sock "
                       "/var/spool/postfix/rcptgate /var/spool/postfix/rcptgate/milter.sock /var/spool/postfix/rcptgate/map.sock").splitlines()
    expect(modes == ["640 root:rcptgate", "751 rcptgate:rcptgate", "2770 rcptgate:rcptgate-aliases",
                     "660 rcptgate:rcptgate-aliases", "660 rcptgate:rcptgate",
                     "2750 rcptgate:postfix", "660 rcptgate:postfix", "660 rcptgate:postfix"], "\n".join(modes))


def shadow_refuses_nothing(machine):
    """Twelve messages in a row to an alias that takes ten a minute; Postfix itself refuses the unknown."""
    for _ in range(12):
        begins(send(machine, "shop@example.com", "nobody@example.com"), 250, 550, 250)
    expect("status=bounced" not in machine.sh("journalctl -o cat"), "Postfix bounced what it had accepted")
    machine.sh("rcptgate reset shop@example.com; rcptgate reset me@example.net")


def enforce_stops_the_flood(machine):
    wait_for(lambda: send(machine, "shop@example.com")[0].startswith("450 4.2.1"), "the flood is stopped", 10)
    begins(send(machine, "nobody@example.com"), 550)
    expect("no such address" in send(machine, "nobody@example.com")[0], "it was not the gate that answered")


# ----------------------------------------------------------------------------------------------- the unit at work

def starts_before_postfix(machine):
    """After a boot the gate listens before Postfix takes mail."""
    machine.shutdown()
    machine.boot()
    network(machine)
    wait_for(lambda: machine.sh("systemctl is-active rcptgate postfix", None).split() == ["active"] * 2, "both run")
    daemon = "postfix@-" if machine.path("/lib/systemd/system/postfix@.service").exists() else "postfix"
    times = [int(machine.sh(f"systemctl show -p {key} --value {unit}")) for key, unit in
             (("ActiveEnterTimestampMonotonic", "rcptgate"), ("ExecMainStartTimestampMonotonic", daemon))]
    expect(0 < times[0] <= times[1] or times[1] == 0, f"gate ready {times[0]}, {daemon} started {times[1]}")
    begins(send(machine, "shop@example.com"), 250, 250)


def reloads(machine):
    machine.sh("systemctl reload rcptgate")
    wait_for(lambda: "event=policy-loaded" in machine.sh("journalctl -o cat -t rcptgate -n 20"), "reloaded")
    begins(send(machine, "shop@example.com"), 250, 250)
    status(machine, 0)


def redis_breaks(machine):
    """Redis by Debian's own service; stopped, and back."""
    machine.apt("install", "redis-server")
    policy(machine, counters={"url": "redis://127.0.0.1:6379/0"})
    restarted(machine)
    wait_for(lambda: "healthy" in status(machine), "healthy with Redis")
    begins(send(machine, "shop@example.com"), 250, 250)
    expect("rcptgate:" in machine.sh("redis-cli keys '*'"), "nothing was counted in Redis")
    machine.sh("systemctl stop redis-server")
    wait_for(lambda: "degraded" in status(machine), "degraded without Redis")
    begins(send(machine, "shop@example.com"), 250, 250)
    machine.sh("systemctl start redis-server")
    wait_for(lambda: "healthy" in status(machine), "healthy again")
    begins(send(machine, "shop@example.com"), 250, 250)


def backlog(machine):
    """A limit on what Postfix's queue holds, read by postqueue(1) inside the sandbox."""
    limits = json.loads(machine.path(POLICY).read_text())["limits"]
    machine.sh("rcptgate alias add stuck@example.com stuck@example.net; "
               "rcptgate alias add fresh@example.com fresh@example.net", None)
    machine.sh("postsuper -d ALL")
    policy(machine, queue={"every": "1s"}, limits=[
        {"name": "waiting", "per": "mailbox", "count": "backlog", "max": 3, "over": "defer"}])
    for _ in range(5):
        send(machine, "stuck@example.com")
    wait_for(lambda: "limit=waiting" in machine.sh("journalctl -o cat -t rcptgate -n 50")
             or send(machine, "stuck@example.com")[0].startswith("450"), "the backlog limit acts", 20)
    begins(send(machine, "stuck@example.com"), 450)
    begins(send(machine, "fresh@example.com"), 250, 250)
    status(machine, 0)
    policy(machine, limits=limits)


def socket_directory_missing(machine):
    """Not 226/NAMESPACE: the gate says what is missing, and goes on trying."""
    machine.sh("systemctl stop rcptgate; rm -rf /var/spool/postfix/rcptgate; systemctl start --no-block rcptgate")
    wait_for(lambda: "/var/spool/postfix/rcptgate/milter.sock" in
             machine.sh("journalctl -o cat -u rcptgate -n 20 | grep -i cannot", None), "the gate says what is missing")
    time.sleep(12)  # more than the five starts after which systemd would give up
    machine.sh("systemd-tmpfiles --create rcptgate.conf")
    wait_for(lambda: machine.sh("systemctl is-active rcptgate", None).strip() == "active", "it is back", 10)
    expect("226" not in machine.sh("systemctl show -p ExecMainStatus rcptgate"), "226/NAMESPACE")


def unusable_policy(machine):
    """Broken while it runs, and at a restart: the last good one. Where there never was one: no gate."""
    path = machine.path(POLICY)
    good = path.read_text()
    path.write_text("{ broken")
    restarted(machine)
    begins(send(machine, "fresh@example.com"), 250, 250)
    machine.sh("systemctl stop rcptgate; mv /var/lib/rcptgate/last-policy.json /root/")
    machine.sh("systemctl start rcptgate", 1)
    time.sleep(3)
    expect(machine.sh("systemctl show -p ExecMainStatus,NRestarts --value rcptgate").split() == ["0", "78"] or
           "78" in machine.sh("systemctl show -p ExecMainStatus --value rcptgate"), "not 78")
    begins(send(machine, "fresh@example.com"), 451)
    path.write_text(good)
    machine.sh("systemctl reset-failed rcptgate; systemctl start rcptgate")
    begins(send(machine, "fresh@example.com"), 250, 250)


# -------------------------------------------------------------------------------------------- drop-ins, instances

def redis_on_another_host(machine):
    """Refused by the unit until remote-redis.conf allows the address."""
    machine.sh(f"sed -i 's/^bind .*/bind 127.0.0.1 {STRANGER}/; s/^protected-mode yes/protected-mode no/' "
               "/etc/redis/redis.conf; systemctl restart redis-server")
    policy(machine, counters={"url": f"redis://{STRANGER}:6379/0"})
    restarted(machine)
    wait_for(lambda: "degraded" in status(machine), "the unit keeps other addresses away")
    begins(send(machine, "fresh@example.com"), 250, 250)
    dropin(machine, "remote-redis.conf", lambda text: text.replace("192.0.2.10", STRANGER))
    wait_for(lambda: "healthy" in status(machine), "healthy with the drop-in")
    policy(machine, counters={"url": "memory:"})
    dropins_gone(machine)


def data_elsewhere(machine):
    machine.sh("install -d -m 2770 -o rcptgate -g rcptgate-aliases /srv/mail/aliases; "
               "install -d -m 751 -o rcptgate -g rcptgate /srv/mail/rcptgate; "
               "cp -p /var/lib/rcptgate/aliases/aliases.db /srv/mail/aliases/")
    policy(machine, aliases={"database": "/srv/mail/aliases/aliases.db"}, state="/srv/mail/rcptgate")
    dropin(machine, "paths.conf")
    status(machine, 0)
    begins(send(machine, "fresh@example.com"), 250, 250)
    policy(machine, aliases={}, state="/var/lib/rcptgate")
    dropins_gone(machine)
    status(machine, 0)


def unix_only(machine):
    """No network at all: mail, the queue command and the limit on the backlog work, and so does Redis by its socket."""
    machine.sh("sed -i 's,^# *unixsocket .*,unixsocket /run/redis/redis-server.sock,; s,^# *unixsocketperm .*,"
               "unixsocketperm 770,' /etc/redis/redis.conf; adduser rcptgate redis >/dev/null 2>&1 || "
               "usermod -aG redis rcptgate; systemctl restart redis-server")
    policy(machine, counters={"url": "unix:///run/redis/redis-server.sock"}, http={"listen": ""})
    dropin(machine, "unix-only.conf")
    wait_for(lambda: "healthy" in status(machine), "healthy without a network")
    backlog(machine)
    policy(machine, counters={"url": "memory:"}, http={"listen": "127.0.0.1:9627"})
    dropins_gone(machine)


def several_instances(machine):
    text = json.loads(machine.path(POLICY).read_text())
    text |= {"state": "/var/lib/rcptgate/second", "http": {"listen": "127.0.0.1:9628"},
             "milter": {"socket": "unix:/var/spool/postfix/rcptgate/second/milter.sock"}}
    machine.path("/etc/rcptgate/second.json").write_text(json.dumps(text))
    machine.sh("systemctl enable --now rcptgate@second; systemctl is-active rcptgate@second")
    machine.sh("rcptgate status -c /etc/rcptgate/second.json", 0)
    machine.sh("systemctl disable --now rcptgate@second; rm -rf /etc/rcptgate/second.json /var/lib/rcptgate/second")
    status(machine, 0)


def nothing_denied(machine):
    """What the sandbox refused would be in the journal."""
    log = machine.sh("journalctl -o short-monotonic -b")
    denied = [line for line in log.splitlines() if re.search(
        r"(?i)operation not permitted|permission denied|read-only file system|seccomp|SIGSYS|audit|apparmor|"
        r"status=2\d\d/|Address family not supported", line)]
    ours = [line for line in denied if re.search("rcptgate|postqueue|showq|proxymap|smtpd", line)]
    expect(not ours, "\n".join(ours[:20]))


# --------------------------------------------------------------------------------------------------- and the end

def upgrade_keeps_the_policy(machine, newer):
    path = machine.path(POLICY)
    before = path.read_text()
    pid = machine.sh("systemctl show -p MainPID --value rcptgate")
    machine.apt("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "install", "--reinstall", newer)
    expect(path.read_text() == before, "the policy was changed")
    expect(machine.sh("systemctl show -p MainPID --value rcptgate") != pid, "the gate was not restarted")
    expect(machine.sh(f"stat -c '%a %U:%G' {POLICY}").strip() == "640 root:rcptgate", "the policy's mode")
    begins(send(machine, "fresh@example.com"), 250, 250)


def remove_and_purge(machine):
    said = machine.apt("remove", "rcptgate")
    expect("smtpd_milters names the gate" in said, f"remove says nothing of Postfix:\n{said}")
    expect(machine.path(POLICY).exists(), "remove took the policy")
    undo = machine.path("/root/undo").read_text()
    machine.sh(undo)
    expect("rcptgate" not in machine.sh("postconf -n"), "the way back leaves something in main.cf")
    said = machine.apt("purge", "rcptgate")
    expect("alias data stays" in said, f"purge does not say that the data stays:\n{said}")
    left = machine.sh("find /etc /usr /var/lib /var/spool/postfix -iname '*rcptgate*' ! -path '/var/lib/dpkg/*'")
    expect(left.split() == ["/var/lib/rcptgate"], left)
    expect(sorted(machine.sh("cd /var/lib/rcptgate; find .").split())[:3] == [".", "./aliases",
                                                                             "./aliases/aliases.db"], "data is gone")


def without_the_package(machine, source):
    """The README's last block, on the machine that the package has left."""
    machine.sh("rm -rf /var/lib/rcptgate; systemctl daemon-reload")
    readme(machine, source, 5)
    status(machine, 0)
    expect(machine.sh(f"stat -c '%a %U:%G' {POLICY}").strip() == "640 root:rcptgate", "the policy's mode")
    expect(machine.sh("stat -c %G /var/lib/rcptgate/aliases/aliases.db").strip() == "rcptgate-aliases", "the data's group")
    machine.sh("rcptgate domain add example.com; rcptgate alias add fresh@example.com fresh@example.net; "
               "sh /usr/share/rcptgate/postfix/postconf-lines; postfix reload")
    wait_for(lambda: send(machine, "fresh@example.com")[0].startswith("250"), "mail comes through")
