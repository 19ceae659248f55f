"""The tables that a worker is to serve: they are there, and are most likely the right ones."""

from __future__ import annotations

from belayed import origin
from belayed.database import Database
from belayed.safelog import log

MADE = "made %s, as there was no such file: nothing has been enqueued there%s"
warned: set[str] = set()
"""The places of which this process has said that they may be the wrong ones."""


def check_tables(database: Database) -> None:
    """Check the tables, which are made first on SQLite; warn if they may be the wrong ones.

    Raises SchemaMissing, SchemaNewer or StoreUnavailable.
    """
    place = database.address
    missing = place.is_missing
    database.check_schema()
    if missing:
        warned.add(place.target)
        log.warning(MADE, origin.shown(place), origin.advice(place))
    elif place.target not in warned and origin.is_default(place) and origin.nearby_project() is not None:
        warned.add(place.target)
        log.warning("serves %s%s", origin.shown(place), origin.advice(place))
