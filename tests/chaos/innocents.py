"""Whether a chaos run has charged a job for what it did not do, kept jobs waiting, or lost a worker for good."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from tests.chaos.kinds import kind_of
from tests.chaos.ledger import Ledger, Start
from tests.chaos.load import Accepted
from tests.chaos.verdict import SLACK, Exit, Fault, Verdict

OF_CHILDREN = ("kill_child", "signal_child")
"""Faults that end a child: who ran there alone is charged, as nobody can know better."""
OF_WORKERS = ("kill_supervisor", "kill_tree", "ask_to_end", "toggle_solo")
"""Faults that end a worker."""
HINDRANCES = ("lock", "freeze", "restart", "stop_supervisor", "stop_tree", "imports fail", "starve_of_files",
              "hide_interpreter", "flood_health")  # fmt: skip
"""Faults during which jobs may have to wait."""
AT_START = (*HINDRANCES, *OF_CHILDREN, "cut", "stop_child")
"""Faults for which a worker may not come to serve: it says why, and ends."""
LATE = 60.0
"""Seconds after a fault within which others may take a worker for dead for it: the lapse, and the looks until then."""
PROCESS = re.compile(r"its process (\d+) ")
WORKER = re.compile(r":(\d+)-[0-9a-f]{16}$")


def charges(
    verdict: Verdict,
    accepted: Accepted,
    ledger: Ledger,
    faults: Sequence[Fault],
    exits: Sequence[Exit],
    raw: Any,
    unrecorded: Collection[int] = (),
) -> None:
    """Find the innocent jobs that were charged with a crash, or put aside for the deaths of their workers."""
    charged: dict[int, list[tuple[int, str]]] = defaultdict(list)
    query = "SELECT job_id, number, message FROM belayed_attempts WHERE outcome = 'crashed' AND error_type IS NOT NULL"
    for id, number, message in raw.execute(query):
        charged[id].append((number, message or ""))
    rescued: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for id, worker, at in raw.execute("SELECT job_id, worker, ended_at FROM belayed_attempts WHERE outcome = 'lost'"):
        rescued[id].append((worker or "", at.timestamp() if isinstance(at, datetime) else at / 1e6))
    by_process: dict[int, list[Start]] = defaultdict(list)
    for starts in ledger.starts.values():
        for start in starts:
            by_process[start.pid].append(start)
    columns = "id, task, state, crashes, rescues"
    for id, task, state, crashes, rescues in [
        *raw.execute(f"SELECT {columns} FROM belayed_history"),
        *raw.execute(f"SELECT {columns} FROM belayed_jobs"),
    ]:
        kind = kind_of(task)
        if kind is None or kind.guilty or id in accepted.rows:
            continue
        who = f"{task} #{id}"
        found = charged[id]
        if id not in unrecorded:
            verdict.innocents += [f"{who}: charged, and no record says why"] * (crashes - len(found))
        for number, message in found:
            reason = explanation((id, number), message, by_process, ledger, faults)
            if reason is None:
                verdict.innocents.append(f"{who}, attempt {number}: charged, as {message}")
            else:
                verdict.excused[reason] += 1
        if state == "failed" and rescues >= 10:
            unexplained = sorted({worker for worker, at in rescued[id] if not was_ours(worker, at, faults, exits)})
            if unexplained or not rescued[id]:
                verdict.innocents.append(f"{who}: put aside, though nothing was done to {', '.join(unexplained)}")
            else:
                verdict.excused["rescues"] += 1


def explanation(
    attempt: tuple[int, int],
    message: str,
    by_process: dict[int, list[Start]],
    ledger: Ledger,
    faults: Iterable[Fault],
) -> str | None:
    """Why it was right to charge an attempt that had done nothing; None: it was not."""
    found = PROCESS.search(message)
    if found is None:
        return None
    pid = int(found[1])
    if pid in ledger.scribbled:
        # What the supervisor reads there is what a job has written.
        return "scribbled pages"
    others = [one for one in by_process[pid] if (one.id, one.attempt) not in ledger.left | {attempt}]
    if others:
        return None
    return next((fault.kind for fault in faults if fault.kind in OF_CHILDREN and pid in fault.pids), None) or next(
        (fault.kind for fault in faults if fault.kind == "kill_tree" and any(
            one.parent in fault.pids for one in by_process[pid]
        )),
        None,
    )  # fmt: skip


def was_ours(worker: str, at: float, faults: Iterable[Fault], exits: Iterable[Exit]) -> bool:
    """Whether something was done to a worker for which others took it for dead at that time."""
    found = WORKER.search(worker)
    pid = int(found[1]) if found else -1
    if any(fault.kind in OF_WORKERS and pid in fault.pids for fault in faults):
        return True
    if any(one.pid == pid and one.ended <= at for one in exits):
        # A job has ended it, or it has given up: what was done to all at that time is no reason.
        return False
    return any(
        fault.kind in (*HINDRANCES, "lapse")
        and (not fault.pids or pid in fault.pids)
        and fault.begin <= at <= fault.end + LATE
        for fault in faults
    )


def waits(verdict: Verdict, accepted: Accepted, ledger: Ledger, faults: Sequence[Fault], now: float,
          patience: tuple[float, float]) -> None:  # fmt: skip
    """Find the canaries that waited for too long; *patience* are seconds for plain ones and for suspects."""
    spans = [(fault.begin, min(fault.end, now)) for fault in faults if fault.kind in HINDRANCES]
    for canary in accepted.canaries:
        until = min(ledger.ends.get(canary.key, [now]))
        waited = until - canary.at
        if canary.suspect:
            verdict.longest_suspect = max(verdict.longest_suspect, waited)
        else:
            verdict.longest = max(verdict.longest, waited)
        hindered = covered(spans, canary.at, until)
        if waited > patience[canary.suspect] + hindered:
            what = "suspect" if canary.suspect else "canary"
            verdict.stalled.append(
                f"{what} {canary.key}: waited {waited:.1f} s from {canary.at:.1f}, {hindered:.1f} of them explained"
            )


def covered(spans: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds between *begin* and *end* that lie in one of the spans at least."""
    total, reached = 0.0, begin
    for first, last in sorted(spans):
        first, last = max(first, reached), min(last, end)
        if last > first:
            total, reached = total + last - first, last
    return total


def endings(verdict: Verdict, exits: Iterable[Exit], ledger: Ledger, faults: Sequence[Fault]) -> None:
    """Find the workers that have ended though nothing was done to end them."""
    killers = {one.pid for one in ledger.deaths}
    for one in exits:
        ended = any(fault.kind in OF_WORKERS and one.pid in fault.pids for fault in faults)
        by_job = one.solo and one.pid in killers
        at_start = not one.ready and any(
            fault.kind in AT_START and fault.begin <= one.ended and fault.end + SLACK >= one.started for fault in faults
        )
        if not (ended or by_job or at_start):
            last = one.log.read_text("utf-8", "replace").rstrip().splitlines()[-3:] if one.log.exists() else []
            verdict.ends.append(f"worker {one.pid} ended by itself with {one.code} ({one.log}): {' | '.join(last)}")
