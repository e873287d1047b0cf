"""Every look-up of an alias fails. A service that is asked at each RCPT takes all mail down; the gate has a copy that was good."""

import sqlite3

from harness import Postfix, Redis, Web, wait_for
from lab import Run, Stream, all_taken_at_once, codes, delays, median, share
from services import AlwaysWell, LookupService, Monitor, break_database

PROMISE = "P2, P6"
TITLE = "Look-ups fail: mail to known aliases goes on, nobody is bounced, and the status page tells the truth"
SIDES = ("Postfix asks a look-up service at every RCPT", "Postfix asks the gate at every RCPT")
KNOWN, UNKNOWN, PAGE = "known aliases are told", "unknown ones are told", "the status page says"
ALIASES = [f"alias{i}@example.com" for i in range(60)]


class Times:
    def __init__(self, smoke):
        self.end, self.fault = (9.0, (1.5, 6.0)) if smoke else (24.0, (5.0, 15.0))
        self.spans = [(*self.fault, "the alias database is broken")]
        self.noticed = self.fault[0] + 2.5  # "within a second", on a busy machine


def find_in(path):
    """What the look-up service answers, from the same file that the gate reads."""
    def find(key):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            known = db.execute("SELECT 1 FROM aliases WHERE address = ?", (key,)).fetchone()
            return "OK" if known else "550 5.1.1 no such address"
        except sqlite3.Error as trouble:
            raise OSError(trouble) from trouble
        finally:
            db.close()
    return find


def gate_of(run):
    redis, web = run.own(Redis(run.scratch)), Web(run.scratch)
    gate = run.gate(redis.url, http={"listen": web.listen})
    wait_for(web.up, "the gate's pages do not answer")
    return gate, web


def play(build, times, guarded):
    with Run(build, times.end) as run:
        run.database.aliases(ALIASES)
        settings, milter = {}, None
        if guarded:
            gate, web = gate_of(run)
            milter = gate.milter
        else:
            service = run.own(LookupService(run.scratch / "lookup.sock", find_in(run.database.path)))
            settings["smtpd_recipient_restrictions"] = f"check_recipient_access socketmap:unix:{service.path}:aliases"
            web = Web(run.scratch)
            run.own(AlwaysWell(web))
        postfix = Postfix(run.scratch, milter, run.sink, settings=settings)
        Stream(run, ALIASES, 8, retry=3.0, strip=KNOWN)
        Stream(run, [f"typo{i}@example.com" for i in range(500)], 4, retry=None, strip=UNKNOWN)
        run.begin(postfix)
        run.own(Monitor(run, web, PAGE))
        run.until(times.fault[0])
        mend = break_database(run.database)
        run.until(times.fault[1])
        mend()
        return run.finish(settle=True)


def judge(before, after, times):
    begin, end = times.fault
    failed = share(codes(before, KNOWN, times.noticed, end), lambda code: code // 100 == 4)
    lied = share(codes(before, PAGE), lambda code: code == 200)
    unknown = codes(after, UNKNOWN, times.noticed, end)
    return [
        (f"without: {failed:.0%} of the answers for known aliases were 4xx, and the status page said 200 in {lied:.0%} of the cases",
         failed > 0.9 and lied == 1),
        (f"with the gate all {len(after['letters'])} letters to known aliases were taken at the first try and delivered",
         all_taken_at_once(after)),
        (f"while nobody can know that an alias does not exist, the {len(unknown)} typos were told 451, never 550",
         len(unknown) > 0 and set(unknown) == {451}),
        ("before and afterwards they were told 550", set(codes(after, UNKNOWN, 0, begin)) <= {550}
         and codes(after, UNKNOWN)[-1] == 550),
        ("/healthz said 200 before, 503 during the fault, and 200 at the end", set(codes(after, PAGE, 0, begin)) <= {200}
         and set(codes(after, PAGE, times.noticed, end)) == {503} and codes(after, PAGE)[-1] == 200),
    ]


def caption(before, after, times):
    slow, flat = (delays(story, *times.fault) for story in (before, after))
    return f"""
        What was done: a file that is no database took the place of the alias database for
        {times.fault[1] - times.fault[0]:.0f} s, while 8 letters a second go to known aliases and 4 to addresses that do not
        exist. Left, Postfix asks a service that reads the database: every look-up fails, all mail is put off with 451, and
        the status page stays green, because it only tells that its process is alive. Right, the gate answers from the last
        good copy: known aliases get their mail as if nothing had happened; what it cannot know (does this address really not
        exist?) is 451 instead of 550; and its status page, which makes a real decision, says 503 until the file is good
        again. The proof: letters that set out during the fault took {median(slow):.1f} s (median; {slow[-1]:.1f} s at most)
        without and {median(flat):.2f} s ({flat[-1]:.2f} s) with the gate."""
