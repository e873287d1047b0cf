"""Draws the results as one SVG that needs no reader's guide: goals, mail through Postfix, memory over time."""

from html import escape

from report import number

GOOD, BAD, PLAIN, OURS, FAINT = "#2a9d6f", "#c8503c", "#9aa7b4", "#2f6db5", "#e9f5ef"
WIDTH, LEFT, ROW = 1060, 470, 26
LABELS = {"gate1": "rcptgate, one limit", "gate3": "rcptgate, three limits", "empty": "empty milter", "naive": "naive milter",
          "no milter": "Postfix, no milter"}


class Drawing:
    def __init__(self):
        self.parts, self.y = [], 0

    def text(self, x, y, text, size=12, anchor="start", fill="#222", weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
                          f'font-weight="{weight}">{escape(text)}</text>')

    def box(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width):.1f}" height="{height:.1f}" fill="{fill}"/>')

    def line(self, points, stroke="#444", width=1.2):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>')

    def heading(self, text, explanation):
        self.y += 40
        self.text(16, self.y, text, 15, weight="bold")
        self.text(16, self.y + 17, explanation, 11, fill="#666")
        self.y += 30

    def spread(self, low, high, y):
        self.line([(low, y), (high, y)])
        self.line([(low, y - 4), (low, y + 4)])
        self.line([(high, y - 4), (high, y + 4)])

    def svg(self):
        height = self.y + 20
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
                f'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"><rect width="100%" height="100%" fill="#fff"/>'
                f'{"".join(self.parts)}</svg>\n')


def draw_goals(drawing, lines):
    """A row a goal, all on one scale: the result as a share of its goal. The side on which a result is good is tinted."""
    if not lines:
        return
    drawing.heading("Goals", "each result as a share of its goal (the vertical line); the tinted side is the good one; "
                    "whiskers: lowest and highest round")
    full, most = 330, 2.2
    middle = LEFT + full / most
    top = drawing.y

    def at(line, value):
        return LEFT + full * min(most, max(0, value / float(line["goal"].split()[1]))) / most

    for line in lines:
        y, upward, colour = drawing.y, line["goal"].startswith(">"), GOOD if line["met"] else BAD
        drawing.box(middle if upward else LEFT, y, LEFT + full - middle if upward else middle - LEFT, ROW - 4, FAINT)
        drawing.text(LEFT - 10, y + 15, line["what"].strip(), 11, "end")
        drawing.box(LEFT, y + 5, at(line, line["result"]) - LEFT, ROW - 14, colour)
        drawing.spread(at(line, line["low"]), at(line, line["high"]), y + 11)
        drawing.text(LEFT + full + 10, y + 15, f"{number(line['result'])} {line['unit']}".strip(), 12, fill=colour, weight="bold")
        drawing.text(LEFT + full + 90, y + 15, f"wanted {line['goal'].replace('>=', 'at least').replace('<=', 'at most')} {line['unit']}", 11)
        drawing.y += ROW
    drawing.line([(middle, top - 2), (middle, drawing.y)], "#222", 1.6)


def draw_bars(drawing, title, explanation, bars):
    """bars: (name, line of the table), the longest is as wide as the field."""
    if not bars:
        return
    drawing.heading(title, explanation)
    scale = 420 / max(line["high"] for _, line in bars)
    for name, line in bars:
        ours = name.startswith("gate")
        drawing.text(LEFT - 10, drawing.y + 14, LABELS.get(name, name), 12, "end", weight="bold" if ours else "normal")
        drawing.box(LEFT, drawing.y + 2, line["result"] * scale, ROW - 10, OURS if ours else PLAIN)
        drawing.spread(LEFT + line["low"] * scale, LEFT + line["high"] * scale, drawing.y + 10)
        drawing.text(LEFT + line["high"] * scale + 10, drawing.y + 14, number(line["result"]), 12)
        drawing.y += ROW


def draw_memory(drawing, samples, subjects):
    if not samples:
        return
    drawing.heading("Resident memory under load", "MB over seconds, 1,000,000 aliases, 500 sessions; the dashed line: every one of the "
                    f"{subjects:,} subjects has been seen")
    width, height, base = WIDTH - 120, 120, drawing.y + 125
    longest, most = samples[-1][0], max(sample[1] for sample in samples) * 1.2

    def at(seconds, mb):
        return 60 + width * seconds / longest, base - height * mb / most

    drawing.line([(60, base - height), (60, base), (60 + width, base)], "#888")
    drawing.line([at(s, mb) for s, mb, _ in samples], OURS, 2)
    full = next((s for s, _, seen in samples if seen >= subjects), None)
    if full is not None:
        for i in range(0, height, 8):
            drawing.line([(at(full, 0)[0], base - i), (at(full, 0)[0], base - i - 4)], "#888")
    for share in (0.5, 1):
        drawing.text(54, base - height * share + 4, number(round(most * share)), 10, "end")
        drawing.text(60 + width * share, base + 14, f"{longest * share:.0f} s", 10, "middle")
    drawing.text(at(*samples[-1][:2])[0] + 4, at(*samples[-1][:2])[1] + 4, f"{samples[-1][1]:.1f}", 12)
    drawing.y = base + 16


def bars_of(results, part, figure):
    """The contenders of a part, in the order in which they were measured."""
    found = [(line["key"].split("/"), line) for line in results.lines if line["key"]]
    return [(words[1], line) for words, line in found if words[0] == part and words[2] == figure]


def write_svg(path, results, machine):
    drawing = Drawing()
    drawing.y = 30
    drawing.text(16, drawing.y, "rcptgate beside others", 20, weight="bold")
    drawing.text(16, drawing.y + 20, f"{machine['date']}, {machine['cores']} cores ({machine['cpu']}), load average "
                 f"{machine['load_before']:.1f} before, {machine['rounds']} rounds of {machine['seconds']:g} s", 11, fill="#666")
    drawing.y += 16
    draw_goals(drawing, [line for line in results.lines if line["met"] is not None])
    draw_bars(drawing, "Decisions a second, straight on the milter protocol", "100 connections, whole messages of one recipient",
              bars_of(results, "direct", "rate"))
    draw_bars(drawing, "Messages a second through Postfix, 20 sessions",
              "one recipient a message, a connection each (rspamd decides at end of message, Haraka stands in front of Postfix)",
              bars_of(results, "postfix", "rate"))
    draw_bars(drawing, "Messages a second through Postfix, 5 recipients a message", "20 sessions that are kept",
              bars_of(results, "postfix-several", "rate"))
    draw_memory(drawing, results.raw.get("memory"), 100000)
    path.write_text(drawing.svg())
