"""Draws an incident: the run without on the left, the run with the gate on the right, both on the same scales.

From top to bottom: how long each letter took, what waits, and strips of what somebody was told. The caption stands below and must
do alone.
"""

import textwrap

import matplotlib
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

WIDTH, DPI = 12.5, 80
BLUE, RED, GREEN, GREY, LIGHT = "#1f5fa8", "#c0392b", "#2e7d4f", "#555555", "#9cc3e6"
SHADES = ("#f4c542", "#d98880")
STATES = [  # what was told, how it is drawn, how it is called
    (lambda code: code // 100 == 2, "#4a9d5b", "250 taken, 200 well"),
    (lambda code: code // 100 == 4, "#f0b429", "4xx come back later"),
    (lambda code: code == 503, "#b5651d", "503 something is wrong"),
    (lambda code: code // 100 == 5, "#7b3294", "5xx never"),
    (lambda code: code == 0, "#222222", "no answer, session hangs"),
]


def state_of(code):
    return next(i for i, (fits, _, _) in enumerate(STATES) if fits(code))


def shade(axes, spans, label):
    for i, (begin, end, what) in enumerate(spans):
        axes.axvspan(begin, end, color=SHADES[i % 2], alpha=0.28, lw=0, zorder=-1)
        if label:
            axes.text((begin + end) / 2, 0.97 - 0.1 * i, what, transform=axes.get_xaxis_transform(), ha="center", va="top",
                      fontsize=10, color="#5c4400", bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1.5})


def mark(panels, marks):
    """What happens at one moment: (second, what)."""
    for at, what in marks:
        for axes in panels:
            axes.axvline(at, color=GREY, lw=1.2, ls="--")
        panels[0].text(at, 0.8, f" {what}", transform=panels[0].get_xaxis_transform(), fontsize=10, color=GREY)


def draw_delays(axes, story, top):
    fates = {fate: [letter for letter in story["letters"] if letter["fate"] == fate] for fate in ("delivered", "waiting", "refused")}
    arrived, waiting, refused = fates.values()
    axes.plot([letter["begun"] for letter in arrived], [letter["delay"] for letter in arrived], "o", ms=3.5, color=BLUE, mew=0,
              label="delivered after")
    if waiting:
        axes.plot([letter["begun"] for letter in waiting], [story["seconds"] - letter["begun"] for letter in waiting], "^", ms=5,
                  mfc="none", mec=GREY, label="not delivered when the run ended, had waited so long")
    if refused:
        axes.plot([letter["begun"] for letter in refused], [top * 0.72] * len(refused), "x", ms=6, color=RED,
                  label="lost: refused for good (5xx)")
    axes.set_ylim(-0.03 * top, top)


def draw_depth(axes, story, top):
    at, queued, outside = zip(*story["depth"])
    axes.stackplot(at, queued, outside, colors=[BLUE, LIGHT], labels=["in Postfix's queue", "still at the senders"])
    axes.set_ylim(-0.03 * top, top)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def draw_strips(axes, story, names):
    width = story["seconds"] / 40
    for row, name in enumerate(names):
        bins = {}
        if name not in story["strips"]:
            axes.text(width, len(names) - 1 - row, "(there is none)", va="center", fontsize=9, color=GREY)
        for at, code in story["strips"].get(name, ()):
            bins.setdefault(int(at / width), []).append(state_of(code))
        for sent, answered in story.get("hung", {}).get(name, ()):
            for i in range(int(sent / width), int(answered / width)):
                bins.setdefault(i, []).append(state_of(0))
        for i, states in bins.items():  # a tile is divided as its answers are
            bottom = len(names) - 1 - row - 0.31
            for state in sorted(set(states)):
                part = 0.62 * states.count(state) / len(states)
                axes.bar(i * width, part, width, bottom, align="edge", color=STATES[state][1], lw=0)
                bottom += part
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 18) for name in reversed(names)], fontsize=9.5)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)


def draw_legends(figure, grid, stories, y, line):
    """One for the marks of the upper panels, below it one for the colours of the strips."""
    marks = {}
    for axes in grid[:2].flat:
        handles, labels = axes.get_legend_handles_labels()
        marks.update(zip(labels, handles))
    seen = sorted({state_of(code) for story in stories for strip in story["strips"].values() for _, code in strip})
    tiles = {STATES[i][2]: matplotlib.patches.Patch(color=STATES[i][1]) for i in seen}
    for entries, at in ((marks, y), (tiles, y - line)):
        figure.legend(entries.values(), entries.keys(), loc="center", bbox_to_anchor=(0.55, at), ncol=len(entries), fontsize=9.5,
                      frameon=False)


def scales(stories):
    """The upper ends of the two upper panels, the same for both runs."""
    longest = max((letter["delay"] or story["seconds"] - letter["begun"] for story in stories for letter in story["letters"]
                   if letter["fate"] != "refused"), default=1)
    deepest = max(queued + outside for story in stories for _, queued, outside in story["depth"])
    return max(5.0, longest * 1.3), max(40, deepest * 1.25)


def layout(strips, lines):
    """A figure for so many strips and lines of caption, its panels, and the height of the caption's top (all in inches)."""
    text, title, legend = 0.205 * lines + 0.25, 0.8, 1.15
    ratios = (2.3, 1.7, 0.42 * strips + 0.05)
    height = title + sum(ratios) + 0.5 + legend + text
    figure, grid = plt.subplots(3, 2, figsize=(WIDTH, height), sharex=True, squeeze=False, gridspec_kw={
        "height_ratios": ratios, "left": 0.125, "right": 0.985, "top": 1 - title / height,
        "bottom": (legend + text) / height, "hspace": 0.12, "wspace": 0.06})
    return figure, grid, text


def trim(panels, spans, column):
    for i, axes in enumerate(panels):
        shade(axes, spans, i == 0)
        axes.grid(axis="both" if i < 2 else "x", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if column == 1:
            axes.tick_params(axis="y", labelleft=False)


def draw(path, incident, times, stories, caption):
    caption = textwrap.fill(caption, 158)
    names = list(stories[1]["strips"])
    figure, grid, text = layout(len(names), caption.count("\n") + 1)
    height = figure.get_figheight()
    tops = scales(stories)
    figure.suptitle(incident.TITLE, fontsize=15, fontweight="bold", x=0.02, y=1 - 0.14 / height, ha="left", va="top")
    for column, story in enumerate(stories):
        panels = grid[:, column]
        panels[0].set_title(incident.SIDES[column], fontsize=11.5, color=(RED, GREEN)[column], fontweight="bold")
        draw_delays(panels[0], story, tops[0])
        draw_depth(panels[1], story, tops[1])
        draw_strips(panels[2], story, names)
        trim(panels, story.get("spans") or times.spans, column)
        mark(panels, story.get("marks", ()))
        panels[2].set_xlabel(getattr(incident, "CLOCK", "seconds since the run began"))
    grid[0, 0].set_ylabel("delay of a letter\n(seconds)", fontsize=10.5)
    grid[1, 0].set_ylabel(getattr(incident, "WAITS", "letters that wait"), fontsize=10.5)
    grid[0, 0].set_xlim(0, max(story["seconds"] for story in stories))
    draw_legends(figure, grid, stories, (text + 0.45) / height, 0.24 / height)
    figure.text(0.02, text / height, caption, fontsize=10.5, va="top", ha="left", linespacing=1.35)
    save(figure, path)


def save(figure, path):
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)  # few colours: a third of the size
    small.save(path, optimize=True)
