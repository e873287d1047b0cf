"""A failing case as a short script: the policy and rows that matter, and the steps that lead to it, in the order of time."""

import json
from collections import Counter

from rules import base, canonical

MOST = 25  # findings are told in full for the first of each class; steps of one


def script(spec, books, findings, logs, options, without):
    words = [f"test/model/world --seed {spec['seed']}"]
    if options.only:
        words.append(f"--only {options.only}")
    if without:
        words.append(f"--without {','.join(without)}")
    lines = ["", "-" * 100, "repeat:  " + " ".join(words)]
    told, times = set(), Counter(f.kind for f in findings)
    for finding in findings:
        if finding.kind in told:
            continue
        told.add(finding.kind)
        lines += _case(spec, books, finding, logs, times[finding.kind])
    return "\n".join(lines)


def _case(spec, books, finding, logs, times):
    rcpts = {r.index: r for r in finding.about}
    lines = [f"WRONG    {finding}   (at {finding.when - books.begin:.3f} s, {times} of this class)",
             f"world    {spec['store']}, {spec['gates']} gates, mode {spec['mode']}, Redis' clock {spec['skew']:+} s, counters {json.dumps(spec['counters'])}"]
    lines += [f"limit    {json.dumps(entry)}" for entry in spec["limits"]]
    lines += [f"row      {json.dumps(row)}" for row in _rows(spec["data"], rcpts.values())]
    steps = [(r.asked, _step(r, books)) for r in list(rcpts.values())[-MOST:]]
    steps += [(s.begin, f"strike   {s.begin - books.begin:8.3f} to {s.end - books.begin:.3f} {s.kind} {s.facts or ''}") for s in books.strikes]
    lines += [text for _, text in sorted(steps, key=lambda step: step[0])]
    if rcpts:
        lines += _log(max(rcpts.values(), key=lambda r: r.asked), logs)
    return lines


def _step(r, books):
    m = r.message
    end = f"end {m.ended - books.begin:.3f} {m.size} bytes: {m.end}" if m.end else \
        f"given back {m.released - books.begin:.3f}" if m.released < 1e9 else "left open"
    return (f"rcpt     {r.asked - books.begin:8.3f} {r.client} <{r.sender}>{f' SIZE={m.declared}' if m.declared is not None else ''} "
            f"<{r.raw}> gate {r.gate} -> {r.code}{' dropped' if r.dropped else ''}; {end}")


def _rows(data, rcpts):
    rows = []
    addresses = {base(r.raw) for r in rcpts} | {"@".join(canonical(r.raw)) for r in rcpts}
    domains = {canonical(r.raw)[1] for r in rcpts}
    rows += [row for key, row in data["domains"].items() if key in domains]
    rows += [row for key, row in data["aliases"].items() if key in addresses][:10]
    rows += [row for (domain, _), row in data["globs"].items() if domain in domains][:10]
    rows += list(data["senders"].values())[:6] + list(data["clients"].values())[:3]
    return rows


def _log(r, logs):
    """What the gate itself logged of the last RCPT."""
    wanted = [line for line in logs.get(r.gate, "").splitlines() if f"client={r.client} " in line and f"to=<{r.raw}>" in line and (r.code or "") in line]
    return [f"log      {line}" for line in wanted[-2:]]
