"""What was measured: lines with goal and result beside each other, the raw figures behind them, and what was skipped.

A line is {"what", "goal", "good", "result", "low", "high", "unit", "met", "rounds", "key"}: its result is the median of the rounds, low and
high are their spread. "key" names the lines that others look up (plot.py, capacity): part/contender/figure.
"""

import json
import statistics


def median(values):
    return statistics.median(values) if values else float("nan")


def at_least(goal):
    return {"goal": f">= {goal}", "good": lambda value: value >= goal}


def at_most(goal):
    return {"goal": f"<= {goal}", "good": lambda value: value <= goal}


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.3f}".rstrip("0").rstrip(".")


class Results:
    def __init__(self):
        self.raw, self.lines, self.skipped = {}, [], []

    def line(self, text, values, goal="", good=None, unit="", key=None):
        """values: one a round. goal and good: of at_least() or at_most(); without, there is none."""
        if not values:
            return
        middle = median(values)
        line = {"what": text, "goal": goal, "result": middle, "low": min(values), "high": max(values), "unit": unit,
                "met": good(middle) if good else None, "rounds": len(values), "key": key}
        self.lines.append(line)
        mark = {True: "met", False: "NOT MET", None: ""}[line["met"]]
        spread = f"{number(line['low'])} .. {number(line['high'])}"
        print(f"  {text:<76} {goal:>9} {number(middle) + ' ' + unit:>13} {spread:>19}  {mark}".rstrip(), flush=True)

    def skip(self, name, why):
        self.skipped.append(f"{name}: {why}")
        print(f"  (skipped: {name}: {why})", flush=True)

    def note(self, text):
        print(f"  ({text})", flush=True)

    @staticmethod
    def heading():
        print(f"  {'':<76} {'goal':>9} {'result':>13} {'lowest .. highest':>19}")

    def goals(self):
        """How many there were, and how many were met."""
        with_goal = [line for line in self.lines if line["met"] is not None]
        return len(with_goal), sum(line["met"] for line in with_goal)

    def write(self, path, machine):
        path.write_text(json.dumps({"machine": machine, "lines": self.lines, "skipped": self.skipped, "raw": self.raw}, indent=1) + "\n")
