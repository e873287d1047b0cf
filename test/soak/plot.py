"""Draws a soak: memory, threads and descriptors of each gate, what recipients were answered, and the victims, over time."""

from picture import BLUE, GREY, RED, STATES, plt, state_of

PANELS = (("memory", "memory (MB)"), ("threads", "threads"), ("descriptors", "descriptors"))


def draw_gauge(axes, samples, gauge, label):
    for gate, colour in zip(sorted({sample["gate"] for sample in samples}), (BLUE, RED)):
        for life in sorted({sample["life"] for sample in samples if sample["gate"] == gate}):
            lived = [sample for sample in samples if sample["life"] == life]
            axes.plot([sample["at"] / 60 for sample in lived], [sample[gauge] for sample in lived], color=colour, lw=1,
                      label=gate if lived[0]["at"] == min(s["at"] for s in samples if s["gate"] == gate) else None)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", ncol=2, fontsize=8, frameon=False)


def draw_answers(axes, answered):
    """A stack for each state that was seen, as many as there were in each second."""
    seen = sorted({state_of(int(code)) for _, answers in answered for code in answers})
    heights = [[sum(n for code, n in answers.items() if state_of(int(code)) == state) for _, answers in answered] for state in seen]
    axes.stackplot([at / 60 for at, _ in answered], heights, colors=[STATES[state][1] for state in seen],
                   labels=[f"{STATES[state][2][0]}xx" for state in seen], lw=0)
    axes.set_ylabel("answers to RCPT\na second")
    axes.legend(loc="upper left", ncol=3, fontsize=8, frameon=False)


def draw_victims(axes, events):
    names = sorted({what for _, what in events}, reverse=True)
    axes.plot([at / 60 for at, _ in events], [names.index(what) for _, what in events], "|", color=GREY, ms=9, mew=2)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    axes.set_xlabel("minutes")


def draw(path, story):
    figure, grid = plt.subplots(5, 1, figsize=(12.5, 13), sharex=True, layout="constrained",
                                gridspec_kw={"height_ratios": (2, 1.5, 1.5, 1.5, 2.5)})
    figure.suptitle(f"{story['minutes']:.0f} minutes, seed {story['seed']}: {story['mail'].get('taken')} recipients taken, "
                    f"{story['mail'].get('lost')} lost, {story['wrong']} 5xx without proof, {len(story['failures'])} failures")
    for axes, (gauge, label) in zip(grid, PANELS):
        draw_gauge(axes, story["samples"], gauge, label)
    draw_answers(grid[3], story["answered"])
    draw_victims(grid[4], story["events"])
    for axes in grid:
        axes.grid(axis="x", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        for at, _ in story["events"] if axes is not grid[4] else ():
            axes.axvline(at / 60, color=GREY, lw=0.3, ls=":")
    figure.savefig(path)
    plt.close(figure)
