"""Who is measured and how: what the folders of benchmarks/peers say of themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Variant:
    """One way to set a program up: its defaults, or what its documentation advises."""

    name: str
    options: Mapping[str, Any]
    environment: Mapping[str, str]
    source: str
    """The page that advises it; empty for defaults."""
    jobs: Mapping[str, int]
    """How many jobs each of its workloads has, by the workload's name; 0 where that does not apply."""


@dataclass(frozen=True)
class Contestant:
    """A program on one kind of store."""

    program: str
    """The name of its folder."""
    title: str
    store: str
    variants: Sequence[Variant] = field(repr=False)
    bare: bool = False
    """No job queue, but the limit that one cannot pass."""
    pythons: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        return PEERS / self.program

    @property
    def name(self) -> str:
        """Its name in results."""
        return f"{self.program}/{self.store}" if self.program == "belayed" else self.program

    @property
    def requirements(self) -> Path | None:
        """What to install for it; None if the project's own environment has it."""
        path = self.folder / "requirements.txt"
        return path if path.exists() else None


def read(folder: Path) -> list[Contestant]:
    """The contestants of one folder: one for each kind of store."""
    settings = tomllib.loads((folder / "settings.toml").read_text())
    usual = settings.get("jobs", {})
    variants = []
    for name, told in settings["variants"].items():
        sizes = {**usual, **told.get("jobs", {})}
        variants.append(
            Variant(
                name=name,
                options=told.get("options", {}),
                environment=told.get("environment", {}),
                source=told.get("source", ""),
                jobs={workload: sizes.get(workload, 0) for workload in told["workloads"]},
            )
        )
    stores = settings["store"] if isinstance(settings["store"], list) else [settings["store"]]
    return [
        Contestant(
            program=folder.name,
            title=settings["title"],
            store=store,
            variants=variants,
            bare=settings.get("bare", False),
            pythons=settings.get("pythons", ()),
        )
        for store in stores
    ]


def everyone() -> list[Contestant]:
    """All contestants: Belayed first, then the limits, then the peers."""
    folders = sorted(path.parent for path in PEERS.glob("*/settings.toml"))
    found = [one for folder in folders for one in read(folder)]
    return sorted(found, key=lambda one: (one.program != "belayed", not one.bare, one.store, one.title))
