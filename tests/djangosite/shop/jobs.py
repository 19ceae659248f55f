"""Jobs that nobody imports but Belayed itself."""

from __future__ import annotations

from belayed import task


@task
def tidy() -> None: ...
