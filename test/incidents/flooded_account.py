"""One account is flooded. A soft limit behind the queue fills the queue; at RCPT it costs the flooded account alone."""

from harness import Postfix, Redis
from lab import Run, Stream, all_taken_at_once, codes, deepest, delays, median
from services import Mailboxes

PROMISE = "P1"
TITLE = "A flooded account costs only itself: nobody else's mail waits behind the flood"
SIDES = ("Limit behind the queue: the next hop answers 450", "Limit at RCPT: the gate answers 450, then 550")
OTHERS = [f"person{i}@example.com" for i in range(60)]
FLOODED = "flooded@example.com"
TOLD = "the flood is told"
LIMITS = [{"name": "alias-minute", "per": "recipient", "max": Mailboxes.most, "window": "1m", "over": "defer"}]


class Times:
    def __init__(self, smoke):
        self.end, self.flood, self.rate = (7.0, (1.0, 4.0), 40) if smoke else (30.0, (5.0, 15.0), 40)
        self.spans = [(*self.flood, "flood of one account")]
        self.whole = smoke  # so short a flood is sent whole, however slowly
        # what goes on being refused is refused for good, after half of the flood
        self.enough = int((self.flood[1] - self.flood[0]) * self.rate / 2)


def play(build, times, guarded):
    with Run(build, times.end, Mailboxes) as run:
        run.database.aliases([*OTHERS, FLOODED])
        milter = None
        if guarded:
            hard = {"name": "alias-flood", "per": "recipient", "count": "attempts", "max": times.enough, "window": "1h", "over": "reject"}
            redis = run.own(Redis(run.scratch))
            milter = run.gate(redis.url, limits=[*LIMITS, hard]).milter
        # a small Postfix: 100 messages active instead of 20,000, and what was put off comes back after 5 s instead of 300
        postfix = Postfix(run.scratch, milter, run.sink, settings={
            "qmgr_message_active_limit": "100", "maximal_backoff_time": "5s"})
        Stream(run, OTHERS, 8)
        Stream(run, [FLOODED], times.rate, *times.flood, retry=None, client="198.51.100.9", strip=TOLD, whole=times.whole)
        run.begin(postfix)
        story = run.finish(settle=guarded)
        story["flooded"] = sum(delivery.recipient == FLOODED for delivery in run.sink.deliveries)
        return story


def judge(before, after, times):
    during = (times.flood[0] + 1, times.flood[1])
    slow, flat = median(delays(before, *during)), median(delays(after, *during))
    calm = median(delays(after, 0, times.flood[0]))  # on a busy machine all mail is slow: how much faster is told, and not asserted
    told = codes(after, TOLD)
    return [
        (f"others' mail during the flood, median: {slow:.1f} s without, {flat:.2f} s with the gate, {calm:.2f} s before the flood",
         flat < max(slow, 3 * calm)),
        (f"longest queue: {deepest(before)} messages without, {deepest(after)} with the gate", deepest(after) < deepest(before) / 3),
        ("with the gate every letter of the others arrived, and was taken at the first try",
         all_taken_at_once(after)),
        (f"the flooded account got {after['flooded']} messages, its limit's worth", after["flooded"] == Mailboxes.most),
        (f"the flood was told {told.count(250)} x 250, {told.count(450)} x 450, {told.count(550)} x 550: a soft refusal that goes on "
         "becomes a hard one", told.count(250) == Mailboxes.most and told.count(450) > 0 and told.count(550) > 0
         and told[-1] == 550 and not told.count(0)),
    ]


def caption(before, after, times):
    during, told = (times.flood[0] + 1, times.flood[1]), codes(after, TOLD)
    return f"""
        What was done: {times.rate} messages a second to one account for {times.flood[1] - times.flood[0]:.0f} s, while
        {len(OTHERS)} other people get 8 a second in all. Left, Postfix takes everything and the next hop answers 450 for the
        flooded account after {Mailboxes.most} messages; the flood fills Postfix's queue, comes back with every retry, and
        everybody's mail waits behind it, long after the flood has ended. Right, the same with the gate: at RCPT it lets
        {told.count(250)} of the flood in, puts off {told.count(450)}, and refuses the other {told.count(550)} for good;
        nothing of that is ever queued. The proof: others' mail took {median(delays(before, *during)):.1f} s (median, during
        the flood) without and {median(delays(after, *during)):.2f} s with the gate; the longest queue was {deepest(before)}
        against {deepest(after)} messages. Scaled down: Postfix holds 100 messages active (20,000 in production) and retries
        after 5 s (300 s)."""
