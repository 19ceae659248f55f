"""Parameters of libpq that an application sets in its environment: `PGSSLMODE`, `PGPASSWORD` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from belayed.connections.parameters import ConnectionParameters


def with_variables(parameters: ConnectionParameters, variables: Mapping[str, str]) -> ConnectionParameters:
    """*parameters*, and what libpq takes of these variables of the environment where they do not say it."""
    names = {one.envvar.decode(): one.keyword.decode() for one in Conninfo.get_defaults() if one.envvar}
    found = {names[variable]: text for variable, text in variables.items() if text and variable in names}
    if not found:
        return parameters
    try:
        given = conninfo_to_dict(**parameters.given)
    except psycopg.Error:
        # Who connects with it says what is wrong.
        return parameters
    more = {name: text for name, text in found.items() if name not in given}
    return replace(parameters, given={**more, **parameters.given})
