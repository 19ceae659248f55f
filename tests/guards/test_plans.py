"""At a million rows, no statement visits more of them than it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from belayed.job import State
from belayed.store import STORES
from belayed.store.statements import Tables, catalogue
from tests import servers
from tests.guards.filling import LANES, fill
from tests.guards.walk import BATCH, RUN, Explained, Visit, everything, nodes, outline

# In one process: they share large databases.
pytestmark = [pytest.mark.xdist_group("guards"), pytest.mark.deep]

UNPLANNED = {
    "load",  # COPY, and on SQLite an INSERT of one row: there is nothing to plan.
    # One row of VALUES, of a job that comes now: the tests have a clock of their own.
    "insert_ready", "insert_told",
    # The tables' making, and what is asked of them before there are any jobs.
    "has_schema", "create_schema", "has_versions", "create_versions", "lock_versions", "version", "migrated", "drop",
    "check", "no_room",
}  # fmt: skip
"""The statements that are not looked at."""
MAY_SCAN = {
    "counts",  # All live jobs by queue and state: for people who look at the status, not for workers.
    "overdue",  # The queues with old jobs: for monitoring, once a minute or so.
    "ended_counts",  # As `counts`. It stops at a limit; until then PostgreSQL may pass over other states.
}
"""The statements that may read a whole table."""
LARGE = ("belayed_jobs", "belayed_history", "belayed_attempts")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A full database."""
    path = tmp_path_factory.mktemp("guards") / "belayed.db"
    fill(f"sqlite:///{path}")
    yield f"sqlite:///{path}"
    path.unlink()  # pytest would keep its 300 MB.


@pytest.fixture(scope="module")
def postgresql(postgres_server: str) -> Iterator[str]:
    """A full database."""
    url = servers.create_database(postgres_server)
    fill(url)
    yield url
    servers.drop_database(postgres_server, url)


STATISTICS = {
    "none": "SELECT 1",
    "fresh": "ANALYZE",
    # Of an hour in which nothing ran.
    "idle": "DELETE FROM belayed_jobs WHERE state = 'running'; ANALYZE",
}
"""What is done first, in the transaction that is rolled back."""


@pytest.fixture(scope="module")
def walked(request: pytest.FixtureRequest) -> Callable[[str, str], list[Visit]]:
    """What each statement of a store visits, with statistics of one kind."""

    @cache
    def walked(dialect: str, statistics: str) -> list[Visit]:
        walk = Explained(request.getfixturevalue(dialect))
        with walk as store:
            walk.raw.execute(STATISTICS[statistics])
            everything(store)
        return walk.visits

    return walked


def reads(visit: Visit) -> list[str]:
    """Where a plan reads a large table from its start, in no order of an index."""
    if isinstance(visit.plan, dict):
        return [
            f"{visit.name}: {node['Node Type']} on {node['Relation Name']}"
            for node in nodes(visit.plan)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
        ]
    aliases = "|".join({*LARGE, *re.findall(rf'"(?:{"|".join(LARGE)})" AS (\w+)', visit.text)})
    whole = re.compile(rf"SCAN ({aliases})(?! USING (COVERING )?INDEX)\b")
    return [f"{visit.name}: {line}" for line in visit.plan if whole.match(line)]


def excess(visit: Visit) -> list[str]:
    """What of a visit is more than the statement is about."""
    asked = visit.asked
    return [
        f"{visit.name}, about {asked} rows: {found} {what}"
        for what, found, most in (
            ("steps", visit.steps, 250 * max(asked, RUN)),
            ("rows visited", visit.rows, 10 * max(asked, RUN)),
            ("rows sorted", visit.sorted, 2 * max(asked, RUN)),
            # The smallest index has 4,000. What this transaction has changed is still in the way, and is passed over.
            ("pages", visit.pages, 20 * asked + 3000),
        )
        if found > most
    ]


def faults(visits: list[Visit]) -> str:
    """What is wrong with the visits, each with its plan; nothing, we hope."""
    found = [(fault, visit) for visit in visits for fault in (*reads(visit), *excess(visit))]
    return "\n".join(f"{fault}\n{outline(visit.plan)}" for fault, visit in found)


@pytest.mark.parametrize(
    ("dialect", "statistics"),
    [("postgresql", "none"), ("postgresql", "fresh"), ("postgresql", "idle"), ("sqlite", "none"), ("sqlite", "fresh")],
)
def test_a_statement_visits_few_rows(walked, dialect, statistics):
    visits = walked(dialect, statistics)

    assert not (found := faults([visit for visit in visits if visit.name not in MAY_SCAN])), found


@pytest.mark.parametrize("dialect", STORES)
def test_each_statement_is_looked_at(walked, dialect):
    names = {visit.name for visit in walked(dialect, "none")}

    assert names == set(catalogue(dialect, Tables())) - UNPLANNED


@pytest.mark.parametrize("dialect", STORES)
def test_a_look_at_the_lanes_finds_all_of_them(request, dialect):
    with Explained(request.getfixturevalue(dialect)) as store:
        lanes = store.lanes()

        store.claimed(BATCH, lanes=lanes)

    assert len(lanes.lanes) == LANES


# The newest live jobs are scheduled, the oldest are ready: `find` begins there, and `matching` here.
SOME = {"ids": [*range(1, BATCH + 1)]}, {"ids": [*range(1, BATCH + 1)]}
LIVE = {"states": [State.SCHEDULED]}, {"states": [State.READY]}
ENDED = {"states": [State.FAILED]}, {"states": [State.FAILED]}


@pytest.mark.parametrize("conditions", [SOME, LIVE, ENDED], ids=["ids", "live", "ended"])
@pytest.mark.parametrize("dialect", STORES)
def test_jobs_are_found_without_a_look_at_all_others(request, dialect, conditions):
    walk = Explained(request.getfixturevalue(dialect))

    with walk as store:
        found = store.find(conditions[0], count=BATCH), store.matching(conditions[1], count=BATCH)

    # One in a hundred of those that have ended has failed: the others may be passed over.
    assert [len(jobs) for jobs in found] == [BATCH, BATCH]
    assert max(visit.rows for visit in walk.visits) <= 400 * BATCH, faults(walk.visits)
    assert max(visit.steps for visit in walk.visits) <= 4000 * BATCH, faults(walk.visits)


def test_the_statements_that_are_excused_are_there():
    names = set().union(*(catalogue(dialect, Tables()) for dialect in STORES))

    assert names >= UNPLANNED | MAY_SCAN
