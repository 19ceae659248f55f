"""The pools of a worker, as `--pool` and BELAYED_POOLS say them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import click

from belayed.cli.show import counted
from belayed.config import CappedConfig, WorkerConfig
from belayed.errors import ConfigError
from belayed.parsing import listed
from belayed.worker.worker import own_name

VARIABLE = "BELAYED_POOLS"
LARGEST = 10_000
"""So many processes, or jobs at once, are more than any machine has."""
LENGTH = 6
"""Digits that are read of a number: one that has more is too large in any case."""
COUNTS = re.compile(r"\s*([0-9]+)\s*(?:x\s*([0-9]+)\s*)?", re.ASCII)


def pools_of(options: tuple[str, ...], given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The texts of the pools: those of the options, else of the environment.

    *given* are the other options. Raises ConfigError or UsageError.
    """
    alone = not given["queues"] and given.get("processes") is None
    if options:
        if not alone:
            raise click.UsageError("give --pool, or --queue and --processes: a pool says both")
        return list(options)
    # An option counts more than a variable.
    found = environ.get(VARIABLE, "").split() if alone else []
    for variable in ("BELAYED_QUEUES", "BELAYED_PROCESSES"):
        if found and variable in environ:
            raise ConfigError(
                f"{VARIABLE} and {variable} are both set: a pool says its queues and processes; unset one"
            )
    return found


def pooled(config: WorkerConfig, pools: list[str], source: str) -> list[WorkerConfig]:
    """The settings of each pool. Raises ConfigError."""
    if len(pools) > 1 and config.name is None:
        config = replace(config, name=own_name())
    return [pool_of(config, pool, number, f"{source} {pool!r}") for number, pool in enumerate(pools, 1)]


def pool_of(config: WorkerConfig, text: str, number: int, shown: str) -> WorkerConfig:
    """The settings of the pool that *text* says; *config* has what it does not say."""
    names, how = text.rpartition(":")[::2] if ":" in text else (text, "1")
    counts = COUNTS.fullmatch(how)
    if counts is None:
        raise ConfigError(
            f"{shown}: after the colon write how many processes, such as mail:2, or with how many jobs each runs at "
            "once, such as mail:1x4"
        )
    processes, at_once = (None if count is None else int(count[:LENGTH]) for count in counts.groups())
    for count, noun in ((processes, "process"), (at_once, "job at once")):
        if count == 0:
            raise ConfigError(f"{shown}: there must be 1 {noun} or more")
        if count is not None and count > LARGEST:
            raise ConfigError(f"{shown}: at most {LARGEST:,} processes, and as many jobs at once in each")
    said: dict[str, Any] = {
        "queues": listed(names) or ("*",),
        "processes": processes,
        "name": f"{config.name}/{number}" if config.name else None,
    }
    if at_once is None:
        return replace(config, **said)
    values = {setting.name: getattr(config, setting.name) for setting in fields(config)}
    return CappedConfig(**{**values, **said, "threads": at_once, "async_slots": at_once})


def capacity(config: WorkerConfig) -> str:
    """How many jobs run at once, in words."""
    if isinstance(config, CappedConfig):
        each = "" if config.processes == 1 else " in each"
        jobs = counted(config.threads, "job")
        processes = "1 process" if config.processes == 1 else f"{config.processes:,} processes"
        return f"{processes}, {jobs} at once{each}"
    threads = counted(config.threads, "thread")
    return threads if config.processes <= 1 else f"{config.processes} processes of {threads}"
