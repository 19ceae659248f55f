"""What is to happen when this process forks. On systems that cannot fork, nothing ever does."""

from __future__ import annotations

import os
from collections.abc import Callable

Hook = Callable[[], object]


def at_fork(*, before: Hook | None = None, in_parent: Hook | None = None, in_child: Hook | None = None) -> None:
    """Have functions called around each fork: *before* it, then in the parent and in the child."""
    if not hasattr(os, "register_at_fork"):
        return
    given = {"before": before, "after_in_parent": in_parent, "after_in_child": in_child}
    os.register_at_fork(**{name: hook for name, hook in given.items() if hook is not None})
