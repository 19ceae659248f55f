"""Writes the page of a result: all that it says is in the raw lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import targets, workloads
from benchmarks.charts import Bar, chart
from benchmarks.figures import Table, number
from benchmarks.results import Line, Result

HEAD = """\
# Performance

<!-- Written by `python -m benchmarks report`; do not edit. -->

Belayed as it is installed (`belayed work` at its defaults, the history on) beside other job queues for Python, and
beside what the databases can do with no job queue at all. Measured on {date} on one machine, in turns.
Ratios say more than rates: the same program may be half as fast on another machine, or next to a neighbour.
[Where the time goes](explain/performance.md) tells what was tried, why some
targets are missed, and of the figures on other machines.
"""
METHOD = """\
## How it is measured

The job is the same for all: it writes the time and its argument to a file in memory, by one `write`. So its start is
measured outside of the program that ran it, and afterwards the file must have one mark for each job. A rate is that
from the first start to the last: a start-up does not count. What processes use is read from `/proc`, for the worker
with all that it has started, and for the database's server. PostgreSQL and SQLite are durable as installed, and
so wait for the disk; Redis as installed does not: what came after its last snapshot is lost with the machine.

Programs take turns, workload by workload, and ratios are taken within one round, then the median of the rounds; the
best peer is the one with the best median. Single enqueues and drains take a few seconds: of those Belayed, PgQueuer and
the bare databases have three times as many rounds. Before each line a fixed loop is timed: {slow} here, so absolute
figures of different lines differ by as much.

Each peer runs at its defaults and at what its documentation advises for this work, as far as it keeps the durability.
Those pages are linked [below](#settings). After each run of Belayed its live jobs and its history are counted: together
they are as many as were enqueued. Where more succeed than a history keeps, the starts are counted instead.

Several peers promise less than others: Huey and, at their defaults, Celery take a job off the queue before it runs, and
lose it with the process; `SimpleWorker` of RQ has nothing around a job that crashes.
"""
REPEAT = """\
## Repeat it

```console
$ make bench          # about 20 minutes; the big tables at reduced sizes
$ make bench-quick    # about 2 minutes: the ratios to PgQueuer and to bare psycopg
$ make bench FULL=1   # the big tables at full size: an hour more
$ .venv/bin/python -m benchmarks report benchmarks/results/{file}
```

It wants nothing but this repository, and for some of it Redis and PgBouncer. What is not there is left out, and said.
Nothing else should run on the machine meanwhile.
"""


STORES = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "redis": "Redis"}


def page_of(result: Result, file: str) -> str:
    """The page, as MyST Markdown; *file* is the name of the raw result."""
    table = Table(result.lines)
    cals = sorted(line.cal for line in result.lines)
    slow = f"it took {number(cals[0])} to {number(cals[-1])} ms" if cals else "it was not"
    parts = [
        HEAD.format(date=result.about["date"]),
        *map(again, result.about.get("again", [])),
        aims(table),
        charts(table, result.lines),
        throughput(table, result.lines),
        costs(table, result.lines),
        waits(table, result.lines),
        scale(table, result.lines),
        METHOD.format(slow=slow),
        settings(result.lines),
        machine(result),
        failures(result),
        REPEAT.format(file=file),
    ]
    return "\n".join(part.strip() + "\n" for part in parts if part)


def again(told: Mapping[str, Any]) -> str:
    """What was measured later than the rest, and how fast the machine was then."""
    names, titles = ", ".join(told["workloads"]), ", ".join(told["titles"])
    return (
        f"*Measured again* on {told['date']}, after changes: {names}.\n"
        f"In the same rounds were {titles}.\n"
        f"The machine's fixed loop took {number(told['slower'])} times as long then as for the rest: of these figures\n"
        "only ratios can be compared with the others'.\n"
    )


def rows(head: Sequence[str], body: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """A table in Markdown, whose columns are numbers from the one given on."""
    line = "|".join("---" if index < numbers_from else "--:" for index in range(len(head)))
    return "\n".join([f"| {' | '.join(head)} |", f"|{line}|", *(f"| {' | '.join(cells)} |" for cells in body)])


def aims(table: Table) -> str:
    body = []
    last = ""
    for target in targets.ALL:
        value = target.measured(table)
        shown, met = "not measured", "–"
        if value is not None:
            shown = f"{number(value)} {target.unit}".strip()
            met = "met" if target.met(value) else "**missed**"
        body.append(("" if target.work == last else target.work, target.says, shown, met))
        last = target.work
    missing = "".join(f"\nNot measured: {one}.\n" for one in targets.UNMEASURED)
    missing += (
        "\nBig tables and long loads had the sizes that are told [below](#big-tables-and-long-loads): the targets'\n"
        "with `make bench FULL=1`, else smaller ones.\n"
    )
    return f"## Targets\n\n{rows(('work', 'target', 'measured', ''), body, numbers_from=2)}\n{missing}"


def kind_of(line: Line) -> str:
    return "ours" if line.name.startswith("belayed") else "bare" if line.bare else "peer"


def label_of(line: Line, *, store: bool = True) -> str:
    """What a line is called; Belayed has lines of two stores."""
    where = f", {STORES[line.store]}" if store and line.name.startswith("belayed") else ""
    return f"{line.title}{where}{'' if line.variant == 'default' else f' ({line.variant})'}"


def ways(lines: Iterable[Line], workload: str) -> dict[tuple[str, str], Line]:
    """A line of each contestant and variant that has run a workload."""
    return {(line.name, line.variant): line for line in lines if line.workload == workload and not line.error}


def bars(table: Table, lines: Sequence[Line], workload: str, figure: str, beside: str = "") -> list[Bar]:
    """A bar for each contestant, at the variant in which it is the best."""
    found: dict[str, Bar] = {}
    for (name, variant), line in ways(lines, workload).items():
        value = table.median(name, workload, figure, variant)
        if not value:
            continue
        other = table.median(name, workload, beside, variant) if beside else None
        bar = Bar(label_of(line), value, kind_of(line), other)
        better = min if beside else max
        found[name] = better(found.get(name, bar), bar, key=lambda one: one.value)
    return sorted(found.values(), key=lambda bar: bar.value, reverse=not beside)


def charts(table: Table, lines: Sequence[Line]) -> str:
    shown = []
    for title, unit, drawn, logarithmic in (
        ("Drain: no-op jobs worked off by one worker", "jobs/s", bars(table, lines, "drain", "jobs/s"), False),
        (
            "Enqueue: one job after the other, each committed",
            "jobs/s",
            bars(table, lines, "enqueue one", "jobs/s"),
            False,
        ),
        (
            "Latency: from the call of enqueue to the start of the job",
            "ms, p50 / p99, logarithmic",
            bars(table, lines, "latency", "p50 ms", "p99 ms"),
            True,
        ),
    ):
        if drawn:
            shown.append("```{raw} html\n" + chart(title, unit, drawn, logarithmic=logarithmic) + "\n```")
    return "\n\n".join(shown)


def cell(table: Table, line: Line, workload: str, figure: str) -> str:
    value = table.median(line.name, workload, figure, line.variant)
    return "" if value is None else number(value)


def everyone(lines: Iterable[Line], workloads: Sequence[str]) -> dict[tuple[str, str], Line]:
    found: dict[tuple[str, str], Line] = {}
    for workload in workloads:
        found |= {key: line for key, line in ways(lines, workload).items() if key not in found}
    order = {"ours": 0, "bare": 1, "peer": 2}
    return dict(sorted(found.items(), key=lambda item: (order[kind_of(item[1])], item[1].store, item[1].title)))


def throughput(table: Table, lines: Sequence[Line]) -> str:
    shown = ("enqueue one", "enqueue eight", "enqueue many", "drain", "drain two", "io", "io async")
    body = [
        (
            label_of(line, store=False),
            STORES[line.store],
            *(cell(table, line, workload, "jobs/s") for workload in shown),
        )
        for line in everyone(lines, shown).values()
    ]
    head = ("", "store", *shown)
    text = (
        "Jobs per second, medians. *Eight* are eight processes that enqueue, *two* are two workers, *io* are jobs that "
        "wait 10 ms, 50 at once. *Enqueue many* of bare psycopg is a `COPY`."
    )
    return f"## Throughput\n\n{text}\n\n{rows(head, body, numbers_from=2)}"


COSTS = (
    "worker CPU, µs/job",
    "database CPU, µs/job",
    "commits/job",
    "wal bytes/job",
    "command RSS, MB",
    "children RSS, MB",
)


def costs(table: Table, lines: Sequence[Line]) -> str:
    body = []
    for line in everyone(lines, ("drain",)).values():
        # Of PostgreSQL they are counted in its log, in a run of its own; Redis counts them itself.
        asked = cell(table, line, "statements", "statements/job") or cell(table, line, "drain", "statements/job")
        body.append((label_of(line), *(cell(table, line, "drain", cost) for cost in COSTS), asked))
    head = ("drained by one worker", *COSTS, "statements/job")
    return f"## What a job costs\n\n{rows(head, body)}"


def waits(table: Table, lines: Sequence[Line]) -> str:
    shown = ("p50 ms", "p95 ms", "p99 ms", "max ms")
    body = [
        (label_of(line), *(cell(table, line, "latency", figure) for figure in shown))
        for line in everyone(lines, ("latency",)).values()
    ]
    idle = ("statements/s", "worker CPU, ms/s", "database CPU, ms/s", "command RSS, MB", "children RSS, MB")
    unused = [
        (label_of(line), *(cell(table, line, "idle", figure) for figure in idle))
        for line in everyone(lines, ("idle",)).values()
    ]
    pooled = [
        (label_of(line), *(cell(table, line, "latency pooled", figure) for figure in shown))
        for line in ways(lines, "latency pooled").values()
    ]
    parts = ["## Latency and idleness", "One idle worker, a job each 50 ms; the call of enqueue and its commit count."]
    parts.append(rows(("from enqueue to start", *shown), body))
    if pooled:
        parts.append(rows(("behind PgBouncer", *shown), pooled))
    parts += ["Four workers with nothing to do:", rows(("", *idle), unused)]
    return "\n\n".join(parts)


def scale(table: Table, lines: Sequence[Line]) -> str:
    """All workloads that only Belayed runs."""
    usual = {*workloads.ALL}
    body = []
    for line in {
        (line.workload, line.name): line for line in lines if line.workload not in usual and not line.error
    }.values():
        told = (f"{figure} {number(table.median(line.name, line.workload, figure) or 0)}" for figure in line.figures)
        body.append((line.workload, STORES[line.store], f"{line.jobs:,}", "; ".join(told)))
    if not body:
        return ""
    text = "A workload has the name of its full size; *rows* says how many there were in this run."
    shown = rows(("workload", "store", "rows", "figures"), body, numbers_from=4)
    return f"## Big tables and long loads\n\n{text}\n\n{shown}"


def settings(lines: Sequence[Line]) -> str:
    body = []
    for line in {(line.name, line.variant): line for line in lines if line.source or line.options}.values():
        options = ", ".join(f"`{name} = {value}`" for name, value in line.options.items()) or "as installed"
        link = line.source
        if link.startswith("http"):
            link = f"[{link.removeprefix('https://')}]({link})"
        body.append((label_of(line), options, link or "a limit, no product"))
    return f"## Settings\n\n{rows(('', 'settings', 'advised by'), body, numbers_from=3)}"


def machine(result: Result) -> str:
    about = result.about
    versions = "\n".join(
        f"- {program}: " + ", ".join(f"{name} {version}" for name, version in found.items())
        for program, found in about["versions"].items()
    )
    place = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    servers = ", ".join(f"{name} {version}" for name, version in about["servers"].items())
    told = "\n".join(
        f"- {name}: " + (value if isinstance(value, str) else ", ".join(f"{key} = {one}" for key, one in value.items()))
        for name, value in about["settings"].items()
    )
    return f"## Machine and versions\n\n{place}. {servers}.\n\n{told}\n\n{versions}"


def failures(result: Result) -> str:
    told = [f"- **{name}** was not measured: {one_line(reason)}" for name, reason in result.missing.items()]
    told += [
        f"- {label_of(line)}, {line.workload}, run {line.run}: {one_line(line.error)}"
        for line in result.lines
        if line.error
    ]
    return "## What went wrong\n\n" + "\n".join(told) if told else ""


def one_line(text: str) -> str:
    """The end of an error, on one line, without what Markdown would take for its own."""
    return "`" + " ".join(text.split())[-300:].replace("`", "'") + "`"
