"""Memory, threads and descriptors of each gate, a sample a second, and whether they are flat."""

import threading
from collections import namedtuple
from pathlib import Path

import fault_table

Sample = namedtuple("Sample", "at gate life pid memory threads descriptors")  # memory: MB; life: how often it was started
# What may be more at the end of a life than after its beginning. Descriptors and threads come and go with Postfix's processes, each with
# connections to the milter and to the maps; memory is that of tables that fill, and of malloc's arenas.
SLACK = {"memory": 6.0, "threads": 12, "descriptors": 20}
SLOPE = {"memory": 0.1, "threads": 0.0, "descriptors": 0.0}  # and for each minute
SHORTEST = 20  # samples; a life of fewer says nothing
FILLING, YOUNG = {"memory": 12.0}, 2.0  # and in the first minutes, in which a gate on a busy machine only comes to what it needs


class Gauges:
    def __init__(self, house, now):
        self.house, self.now = house, now
        self.samples, self.answers, self.over, self.seen = [], [], threading.Event(), {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        before = fault_table.row.answers.copy()
        while not self.over.wait(1):
            for gate in self.house.gates:
                self._look(gate.name, gate.process.pid)
            answers = fault_table.row.answers.copy()
            self.answers.append((self.now(), {code: answers[code] - before[code] for code in sorted(answers)}))
            before = answers

    def _look(self, gate, pid):
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            memory, threads = int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])
        except (OSError, KeyError):
            return  # it has ended
        life = self.seen.setdefault((gate, pid), len(self.seen))
        self.samples.append(Sample(self.now(), gate, life, pid, memory, threads, descriptors))

    def stop(self):
        self.over.set()
        self.thread.join()

    def growth(self):
        """Of each life that is long enough: how much each gauge grew, and how much it may. Compared are the lowest of its second quarter
        and of its last: a leak lifts the lowest, a crowd only the others."""
        for life in range(len(self.seen)):
            samples = [sample for sample in self.samples if sample.life == life]
            quarter = len(samples) // 4
            if len(samples) < SHORTEST:
                continue
            minutes = (samples[-1].at - samples[0].at) / 60
            for gauge, slack in SLACK.items():
                low, high = (min(getattr(sample, gauge) for sample in part) for part in
                             (samples[quarter:2 * quarter], samples[-quarter:]))
                filling = FILLING.get(gauge, 0) if minutes < YOUNG else 0
                yield samples[0], gauge, minutes, low, high, slack + filling + SLOPE[gauge] * minutes

    def leaks(self):
        return [f"{gauge} of {first.gate} (pid {first.pid}, {minutes:.1f} minutes): {low:.1f} grew to {high:.1f}, more than {most:.1f}"
                for first, gauge, minutes, low, high, most in self.growth() if high - low > most]
