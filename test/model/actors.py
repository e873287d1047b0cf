"""Who sends mail: honest and hostile clients, each a generator over sessions of its own."""

import random
import time

from session import Session
from wire import Gone


class Actor:
    """One entry of the world's `actors`; run(i) is its i-th connection."""

    def __init__(self, spec, books, gates, until):
        self.spec, self.books, self.until = spec, books, until
        self.gates = gates[spec["gate"] % len(gates):] + gates[:spec["gate"] % len(gates)]
        self.kind = spec["kind"]

    def start(self, loop):
        """Its connections; some kinds have one by nature."""
        n = 1 if self.kind in ("silent", "opener", "late", "tide") else self.spec["connections"]
        for i in range(n):
            loop.spawn(self._run(i))

    def _run(self, i):
        r = random.Random(self.spec["seed"] + i)
        work = getattr(self, self.kind)
        while time.monotonic() < self.until:
            try:
                yield from work(r, i)
            except Gone:
                yield 0.03
            yield max(self.spec["pause"], 0.0)

    def _session(self, r, client=None):
        """An open session at one of the gates; None where the client is refused. A pool meets any gate, others mostly the same."""
        gate = self.gates[0] if r.random() < 0.7 else r.choice(self.gates)
        session = Session(self.books, gate, client or r.choice(self.spec["clients"]), self.kind)
        return session if (yield from session.open()) else None

    def _over(self):
        return time.monotonic() >= self.until

    def _pick(self, r):
        address = r.choice(self.spec["to"])
        if r.random() < 0.1:
            address = address.upper() if r.random() < 0.5 else address.replace("@", f"+t{r.randint(1, 3)}@")
        return address

    def _size(self, r):
        return r.randint(200, max(201, self.spec["size"]))

    # ---- honest

    def honest(self, r, i):
        """Messages with one to four recipients, most with a true SIZE; what was deferred comes again."""
        session = yield from self._session(r)
        again = []
        for _ in range(25):
            if session is None or self._over():
                break
            size = self._size(r)
            sender, to = again.pop() if again and r.random() < 0.5 else (r.choice(self.spec["from"]), self._pick(r))
            yield from session.mail(sender, size if r.random() < 0.6 else None)
            answers = []
            for address in {to, *(self._pick(r) for _ in range(r.choice([0, 0, 1, 3])))}:
                answers.append((yield from session.rcpt(address)))
            again += [(a.sender, a.raw) for a in answers if a.soft()][:2]
            if any(a.code == "continue" for a in answers):
                yield from session.end(size)
            else:
                session.abort()
            yield self.spec["pause"]
        if session:
            session.close()

    def pool(self, r, i):
        """A big sender: one message after the other, each tried from another address until it is in or refused for good."""
        sender, to, pause = r.choice(self.spec["from"]), self._pick(r), r.choice([0.1, 0.4, 0.4])
        for turn in range(12):
            session = yield from self._session(r, self.spec["clients"][turn % len(self.spec["clients"])])
            if session is None or self._over():
                return
            yield from session.mail(sender)
            answer = yield from session.rcpt(to)
            if answer.code == "continue":
                yield from session.end(500)
            session.close()
            if not answer.soft():
                return
            yield pause

    def roll(self, r, i):
        """Asks for every alias that there is, one after the other."""
        session = yield from self._session(r)
        to = list(self.spec["to"])
        r.shuffle(to)
        for begin in range(0, len(to), 20):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]))
            answers = []
            for address in to[begin:begin + 20]:
                answers.append((yield from session.rcpt(address)))
            if any(a.code == "continue" for a in answers):
                yield from session.end(200)
            else:
                session.abort()
            yield 0.002
        session.close()

    def slow(self, r, i):
        """Messages that take more than a second from RCPT to their end."""
        session = yield from self._session(r)
        for _ in range(3):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]), r.choice([None, 20_000]))
            answer = yield from session.rcpt(self._pick(r))
            if answer.code == "continue":
                yield r.choice([0.3, 1.2])
                yield from session.end(20_000)
            else:
                session.abort()
        session.close()

    def late(self, r, i):
        """Asks each pair once in a while; after a minute has been made to pass it is the same pairs that come back."""
        session = yield from self._session(r)
        for sender in self.spec["from"]:
            for to in self.spec["to"][:8]:
                if session is None or self._over():
                    return
                yield from session.mail(sender)
                answer = yield from session.rcpt(to)
                if answer.code == "continue":
                    yield from session.end(300)
                else:
                    session.abort()
        session.close()
        yield 0.4

    def silent(self, r, i):
        """Uses an alias up, is silent, and comes back."""
        to = self.spec["to"][0]
        for _ in range(2):
            session = yield from self._session(r)
            for _ in range(40):
                if session is None or self._over():
                    return
                yield from session.mail(self.spec["from"][0])
                answer = yield from session.rcpt(to)
                if answer.code != "continue":
                    break
                yield from session.end(400)
            session.close()
            yield 1.15

    # ---- hostile

    def hammer(self, r, i):
        """The same pair again and again from one address."""
        session = yield from self._session(r, self.spec["clients"][0])
        for _ in range(60):
            if session is None or self._over():
                return
            yield from session.mail(self.spec["from"][0])
            answer = yield from session.rcpt(self.spec["to"][0])
            if answer.code == "continue":
                yield from session.end(300)
            else:
                session.abort()
        session.close()

    def names(self, r, i):
        """Made-up recipients."""
        session = yield from self._session(r)
        domain = self.spec["to"][0].rpartition("@")[2]
        for _ in range(10):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]))
            taken = False
            for _ in range(20):
                answer = yield from session.rcpt(f"{r.choice(['g', 'shop-', 'x1-'])}{r.randint(0, 99999)}@{domain}")
                taken = taken or answer.code == "continue"
            if taken and r.random() < 0.5:
                yield from session.end(300)
            else:
                session.abort()
        session.close()

    def tags(self, r, i):
        """Made-up recipients, each in a message with several subaddresses."""
        session = yield from self._session(r)
        domain = self.spec["to"][0].rpartition("@")[2]
        for _ in range(30):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]))
            name, taken = f"shop-{r.randint(0, 99999)}", False
            for tag in range(r.choice([2, 3, 4])):
                answer = yield from session.rcpt(f"{name}+t{tag}@{domain}")
                taken = taken or answer.code == "continue"
            if taken:
                yield from session.end(300)
            else:
                session.abort()
        session.close()

    def tide(self, r, i):
        """Others fill half of a limit, then one source fills its share of it, and asks on until the others' part is long gone."""
        session = yield from self._session(r)
        if session is None:
            return
        source, *others = self.spec["to"]
        for address in others:
            if (yield from self._one(session, r, address)).soft():
                break
        yield r.uniform(0.5, 0.8) * self.spec["window"]
        end = time.monotonic() + 1.2 * self.spec["window"]
        while time.monotonic() < end and not self._over():
            yield from self._one(session, r, source)
            yield 0.02
        session.close()

    def _one(self, session, r, address):
        """A message to one recipient."""
        yield from session.mail(self.spec["from"][0])
        answer = yield from session.rcpt(address)
        if answer.code == "continue":
            yield from session.end(300)
        else:
            session.abort()
        return answer

    def senders(self, r, i):
        """Made-up senders to aliases that may exist."""
        session = yield from self._session(r)
        for _ in range(60):
            if session is None or self._over():
                return
            yield from session.mail(f"m{r.randint(0, 999999)}@{r.choice(['made.example', 'up.example', f'u{r.randint(0, 99)}.example'])}")
            answer = yield from session.rcpt(self._pick(r))
            if answer.code == "continue" and r.random() < 0.5:
                yield from session.end(300)
            else:
                session.abort()
        session.close()

    def resetter(self, r, i):
        """RCPT and RSET; what it reserved it gives back, told at once or with its next command."""
        session = yield from self._session(r)
        for _ in range(40):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]), r.choice([None, 1000, 900_000]))
            for _ in range(r.choice([1, 1, 3])):
                yield from session.rcpt(self._pick(r))
            if r.random() < 0.5:
                session.held_back()
                yield r.choice([0, 0.05, 0.3])
            else:
                session.abort()
        session.close()

    def idler(self, r, i):
        """Reserves, with a SIZE of its own making, and does nothing."""
        session = yield from self._session(r)
        if session is None:
            return
        yield from session.mail(r.choice(self.spec["from"]), r.choice([None, 10_000_000, 900_000, 15_000]))
        for _ in range(r.choice([1, 3, 8])):
            yield from session.rcpt(self._pick(r))
        yield r.choice([0.2, 1.0, 2.0])
        session.close(polite=r.random() < 0.5)

    def liar(self, r, i):
        """Declares one size and sends another."""
        session = yield from self._session(r)
        for _ in range(6):
            if session is None or self._over():
                return
            yield from session.mail(r.choice(self.spec["from"]), r.choice([1, 100, 500_000]))
            answer = yield from session.rcpt(self._pick(r))
            if answer.code == "continue":
                yield from session.end(r.choice([300, 20_000, 90_000]))
            else:
                session.abort()
            yield self.spec["pause"]
        session.close()

    def burst(self, r, i):
        """Many connections ask for one alias at once, in a beat."""
        session = yield from self._session(r)
        for _ in range(10):
            if session is None or self._over():
                return
            beat = 0.25 - time.monotonic() % 0.25
            yield beat
            for _ in range(4):
                yield from session.mail(self.spec["from"][0])
                answer = yield from session.rcpt(self.spec["to"][0])
                if answer.code == "continue":
                    yield from session.end(200)
                else:
                    session.abort()
        session.close()

    def beat(self, r, i):
        """Uses a limit of a second up at once, and asks again when a second is nearly over."""
        session = yield from self._session(r)
        for _ in range(20):
            if session is None or self._over():
                return
            yield 0.1 - time.time() % 0.1 + r.uniform(0, 0.04)  # early in a tenth of the window
            begin = time.monotonic()
            for address in self.spec["to"]:
                yield from self._one(session, r, address)
            yield begin + 0.93 - time.monotonic()
            while time.monotonic() < begin + 1.0:
                yield from self._one(session, r, self.spec["to"][0])
            yield 0.2
        session.close()

    def returner(self, r, i):
        """Uses a limit up, and asks again each time that something has just come back."""
        session = yield from self._session(r)
        if session is None:
            return
        for _ in range(4):
            yield from self._one(session, r, self.spec["to"][0])
        while not self._over():
            strike = len([s for s in self.books.strikes if s.end < time.monotonic()])
            while not self._over() and strike == len([s for s in self.books.strikes if s.end < time.monotonic()]):
                yield 0.005
            back = max(s.end for s in self.books.strikes if s.end < time.monotonic()) if strike else time.monotonic()
            yield max(0.0, back + random.Random(self.spec["seed"] + strike).uniform(0, 0.2) - time.monotonic())
            for _ in range(3):
                yield from self._one(session, r, self.spec["to"][0])
        session.close()

    def opener(self, r, i):
        """Opens many transactions without SIZE, then ends them all."""
        sessions = []
        for n in range(12):
            session = yield from self._session(r)
            if session is None or self._over():
                break
            sessions.append(session)
            yield from session.mail(r.choice(self.spec["from"]))
            yield from session.rcpt(self.spec["to"][0])
        for session in sessions:
            if session.message.rcpts[0].code == "continue":
                yield from session.end(max(self.spec["size"], 15000))
            session.close()
        yield 0.2
