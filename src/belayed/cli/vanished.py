"""The check of `doctor` that a machine which vanishes does not keep its locks for long. Nothing is printed here."""

from __future__ import annotations

from datetime import timedelta

from belayed.cli.show import rough
from belayed.store.answers import Sessions
from belayed.store.findings import Finding, Result, ok

LONGEST = 180.0
"""Seconds that the session of a machine that has vanished may stay."""
UNACKNOWLEDGED = 925.0
"""Seconds after which Linux gives up a connection whose other side acknowledges nothing (tcp_retries2 = 15)."""
REMEDY = (
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "'60s'"),
)


def sessions(found: Sessions) -> Finding:
    """Whether the server ends the sessions of machines that have vanished in good time."""
    if not found.remote:
        return ok("sessions", "asked from the server's own machine: how long it keeps those of others is not known")
    longest = kept(found)
    if longest <= LONGEST:
        return ok("sessions", f"that of a machine that vanishes ends within {rough(timedelta(seconds=longest))}")
    text = (
        f"that of a machine that vanishes stays for up to {rough(timedelta(seconds=longest))}: a job that was rescued "
        "from there waits as long for the rows that it has locked"
    )
    database = found.database.replace('"', '""')
    fix = "; ".join(f'ALTER DATABASE "{database}" SET {name} = {value}' for name, value in REMEDY)
    return Finding("sessions", Result.WARN, text, fix)


def kept(found: Sessions) -> float:
    """The most seconds for which the server keeps the session of a client that has vanished.

    If all that was sent had been acknowledged, keepalives end it; `tcp_user_timeout` stands for their count if it is
    set (man 7 tcp). If something is on its way, none are sent: then only `tcp_user_timeout` counts, or the kernel's own
    limit. A transaction ends sooner where `idle_in_transaction_session_timeout` is set.
    """
    silent = found.idle + found.interval * found.looks
    if found.user_timeout:
        silent = max(found.idle + found.interval, found.user_timeout)
    longest = max(silent, found.user_timeout or UNACKNOWLEDGED)
    return min(longest, found.idle_in_transaction) if found.idle_in_transaction else longest
