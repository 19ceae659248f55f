"""`breakpoint()` in a child process, which has no terminal: refused, with the command that has one."""

from __future__ import annotations

import os
import sys
from typing import Any

from belayed.errors import NoTerminal

OF_TERMINALS = {"pdb", "pdbp", "ipdb", "pudb", "bpdb", "bpython", "IPython", "ptpython", "code"}
"""The modules of debuggers and prompts that read from a terminal."""


def refuse_breakpoints(command: str) -> None:
    """Have `breakpoint()` raise NoTerminal, which names *command*.

    What needs no terminal is called as ever: a debugger that PYTHONBREAKPOINT names, such as web_pdb.set_trace, and
    the application's own `sys.breakpointhook`.
    """

    def hook(*args: Any, **kwargs: Any) -> Any:
        # Read each time, as Python does: a program may set it.
        named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONBREAKPOINT", "")
        if named and named.partition(".")[0] not in OF_TERMINALS:
            return sys.__breakpointhook__(*args, **kwargs)  # noqa: T100
        caller = sys._getframe(1)  # noqa: SLF001
        raise NoTerminal(
            f"breakpoint() at {caller.f_code.co_filename}:{caller.f_lineno}: a child process of a worker has no "
            f"terminal; run the job with `{command}`, or pass over it with PYTHONBREAKPOINT=0"
        )

    if sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = hook
