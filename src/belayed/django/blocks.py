"""The transaction that is open on a thread's connection: what is in it no worker sees, before it is committed."""

from __future__ import annotations

from typing import Any

from django.db import connections

OF_TEST = (
    "the transaction of a test is never committed: run jobs by belayed.testing.drain(), or commit "
    "(TransactionTestCase, pytest.mark.django_db(transaction=True))"
)


def is_open(alias: str) -> bool:
    """Whether what this thread writes into a database waits for a commit."""
    one = connections[alias]
    # What has not connected has written nothing; it says that it is not in autocommit mode.
    return one.in_atomic_block or (one.connection is not None and not one.autocommit)


def is_of_test(alias: str) -> bool:
    """Whether it waits for that of a TestCase, which never comes."""
    blocks: list[Any] = connections[alias].atomic_blocks
    return any(getattr(block, "_from_testcase", False) for block in blocks)


def until_when(alias: str, do: str) -> str:
    """When to *do* what needs a commit, or what to do instead."""
    if is_of_test(alias):
        return OF_TEST
    return f"{do} after the {'block' if connections[alias].in_atomic_block else 'commit'}"
