"""How the lines of a mail log are framed: by syslogds of many kinds, journald, Docker, Kubernetes."""

import datetime
import json

UTC = datetime.timezone.utc
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def syslog_date(moment):
    return f"{MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"


def quoted(text):
    return json.dumps(text)


class Frame:
    """How a line is written: at (Unix time), host, program ("postfix/smtpd"), process id, text."""

    zoned = True  # it tells the zone, so that any order can be understood
    dated = True  # and the year

    def __init__(self, day):
        self.day = day

    def local(self, at):
        return datetime.datetime.fromtimestamp(at, self.day.zone)

    def utc(self, at):
        return datetime.datetime.fromtimestamp(at, UTC)


class Syslog(Frame):
    zoned = dated = False
    before, host_before, text_before = "", "", ""

    def line(self, at, host, program, pid, text):
        return f"{self.before}{syslog_date(self.local(at))} {self.host_before}{host} {program}[{pid}]: {self.text_before}{text}\n"


class Priority(Syslog):
    before = "<22>"


class NamedPriority(Syslog):
    before = "<mail.info>"


class BsdVerbose(Syslog):
    host_before = "<mail.info> "


class Solaris(Syslog):
    text_before = "[ID 197553 mail.info] "


class Sysklogd(Syslog):
    repeats = "last message repeated {} times"


class RsyslogReduced(Syslog):
    repeats = "message repeated {} times: [ {}]"


class Rsyslog(Frame):
    def line(self, at, host, program, pid, text):
        return f"{self.local(at).isoformat(timespec='microseconds')} {host} {program}[{pid}]: {text}\n"


class Rfc5424(Frame):
    data = "-"

    def line(self, at, host, program, pid, text):
        return f"<22>1 {self.local(at).isoformat(timespec='milliseconds')} {host} {program} {pid} - {self.data} {text}\n"


class Rfc5424Data(Rfc5424):
    data = '[origin@1 x="a \\"] b" y="c"]'


class ShortIso(Frame):
    def line(self, at, host, program, pid, text):
        return f"{self.local(at):%Y-%m-%dT%H:%M:%S%z} {host} {program}[{pid}]: {text}\n"


class IsoLocal(Frame):
    zoned = False

    def line(self, at, host, program, pid, text):
        return f"{self.local(at):%Y-%m-%dT%H:%M:%S} {host} {program}[{pid}]: {text}\n"


class ShortFull(Frame):
    def line(self, at, host, program, pid, text):
        return f"{self.local(at):%a %Y-%m-%d %H:%M:%S %Z} {host} {program}[{pid}]: {text}\n"


class ShortUnix(Frame):
    def line(self, at, host, program, pid, text):
        return f"{at}.000001 {host} {program}[{pid}]: {text}\n"


class JournalJson(Frame):
    def line(self, at, host, program, pid, text):
        message = list(text.encode()) if self.day.dice.random() < 0.02 else text
        return json.dumps({"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": f"{at}100000", "_TRANSPORT": "syslog", "_HOSTNAME": host,
                           "SYSLOG_IDENTIFIER": program, "SYSLOG_PID": str(pid), "_PID": "1", "MESSAGE": message,
                           "_CMDLINE": 'smtpd -n "smtp"'}) + "\n"


class JournalExport(Frame):
    def line(self, at, host, program, pid, text):
        binary = self.day.dice.random() < 0.05
        data = text.encode()
        message = "MESSAGE\n" + (len(data).to_bytes(8, "little") + data).decode("latin-1") if binary else f"MESSAGE={text}"
        return (f"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP={at}100000\n_HOSTNAME={host}\nSYSLOG_IDENTIFIER={program}\n_PID={pid}\n"
                f"{message}\n\n")


class DockerInner(Frame):
    """The container's clock may be of another zone than the log of the runtime, which is of UTC."""

    def line(self, at, host, program, pid, text):
        moment = self.utc(at) if self.day.number % 2 else self.local(at)
        inner = f"{syslog_date(moment)} {host} {program}[{pid}]: {text}\n"
        return f'{{"log":{quoted(inner)},"stream":"stdout","time":"{self.utc(at):%Y-%m-%dT%H:%M:%S}.123456789Z"}}\n'


class DockerBare(Frame):
    def line(self, at, host, program, pid, text):
        log = text if program == "rcptgate" else f"{program}[{pid}]: {text}"
        return f'{{"log":{quoted(log + chr(10))},"stream":"stdout","time":"{self.utc(at):%Y-%m-%dT%H:%M:%S}.1Z"}}\n'


class Kubernetes(Frame):
    def line(self, at, host, program, pid, text):
        return f"{self.utc(at):%Y-%m-%dT%H:%M:%S}.123456789Z stdout F {syslog_date(self.local(at))} {host} {program}[{pid}]: {text}\n"


class Compose(Frame):
    def line(self, at, host, program, pid, text):
        log = text if program == "rcptgate" else f"{program}[{pid}]: {text}"
        return f"mail-1  | {self.utc(at):%Y-%m-%dT%H:%M:%S}.1Z {log}\n"


FRAMES = [Syslog, Priority, NamedPriority, BsdVerbose, Solaris, Sysklogd, RsyslogReduced, Rsyslog, Rfc5424, Rfc5424Data, ShortIso,
          IsoLocal, ShortFull, ShortUnix, JournalJson, JournalExport, DockerInner, DockerBare, Kubernetes, Compose]
