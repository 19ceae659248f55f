"""What is found of a PostgreSQL server: rights, row-level security, copies of the tables, the NOTIFY queue."""

from __future__ import annotations

from belayed.errors import SchemaMissing, StoreError
from belayed.steps import Row
from belayed.store.findings import Finding, Result, ok, quoted

FULL = 0.1
"""How full the NOTIFY queue may be: from half of it on, no hints are sent."""


def out_of_reach(rows: list[Row]) -> list[Finding]:
    """Nothing, or that the role may not use the schema."""
    return [
        Finding(
            "rights",
            Result.FAIL,
            f"{role} may not use the schema {schema}",
            f"GRANT USAGE ON SCHEMA {schema} TO {role};",
        )
        for schema, role in rows
    ]


def denied(error: StoreError, rows: list[Row]) -> StoreError:
    """The error for what a role lacks: with what the owner of the tables is to run.

    *rows* are objects, as `TABLE belayed_jobs`, the rights to each that are lacking, and the role.
    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for what, lacking, _ in rows:
        kind, _, name = what.partition(" ")
        wanted.setdefault((lacking, kind), []).append(name)
    role = rows[0][2]
    grants = " ".join(f"GRANT {right} ON {kind} {', '.join(on)} TO {role};" for (right, kind), on in wanted.items())
    what = "Belayed's tables are out of reach" if isinstance(error, SchemaMissing) else str(error)
    refusal = StoreError(f"{what}: the role {role} lacks rights; let the owner of the tables run: {grants}")
    refusal.again = error.again
    return refusal


def rights(rows: list[Row]) -> list[Finding]:
    """Whether the role has all rights that it needs."""
    found = []
    for what, lacking, role in rows:
        if what.startswith("FUNCTION"):
            text = f"{role} may not notify: hints are refused, and with them enqueues in your own transactions"
            fix = f"GRANT {lacking} ON {what} TO {role}; -- or BELAYED_HINTS=no"
            found.append(Finding("rights", Result.WARN, text, fix))
        else:
            text = f"{role} lacks {lacking} on {what.partition(' ')[2]}"
            found.append(Finding("rights", Result.FAIL, text, f"GRANT {lacking} ON {what} TO {role};"))
    found.sort(key=lambda finding: finding.result is not Result.FAIL)
    return found or [ok("rights", "the role has those that it needs")]


def row_security(rows: list[Row]) -> list[Finding]:
    """Whether all rows can be seen."""
    found = []
    for table, role in rows:
        text = f"row-level security of {table} hides rows from {role}: what is hidden is neither claimed nor rescued"
        fix = f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;"
        found.append(Finding("row security", Result.FAIL, text, fix))
    return found or [ok("row security", "hides nothing")]


def second_copies(rows: list[Row], here: str | None) -> list[Finding]:
    """Whether the search path leads to one set of tables only."""
    found = []
    for schema, _ in rows:
        text = f"the search path has a second copy of the tables, in {schema}: another search path leads to other jobs"
        found.append(Finding("copies", Result.WARN, text, f"export BELAYED_SCHEMA={here}"))
    return found or [ok("copies", "the search path has one set of the tables")]


def notify_queue(rows: list[Row]) -> list[Finding]:
    """Whether what is notified is read."""
    found = []
    for usage, pid in rows:
        if usage < FULL:
            found.append(ok("hints", "the NOTIFY queue is read"))
            continue
        text = (
            f"the NOTIFY queue is {usage:.0%} full: a session listens and stays in a transaction. From 50 % on nobody "
            "sends hints; when it is full, each COMMIT with a NOTIFY fails"
        )
        fix = f"SELECT pg_terminate_backend({pid});" if pid else "SELECT * FROM pg_stat_activity ORDER BY xact_start;"
        found.append(Finding("hints", Result.FAIL if usage >= 0.5 else Result.WARN, text, fix))
    return found


def untied(kind: str, name: str, owner: str) -> str:
    """The statement that takes a trigger, a rule or a foreign key away."""
    if kind == "foreign key":
        return f"ALTER TABLE {owner} DROP CONSTRAINT {quoted(name)};"
    return f"DROP {kind.upper()} {quoted(name)} ON {owner};"
