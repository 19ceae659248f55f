"""What a connection's socket tells without a question to its server."""

from __future__ import annotations

import select


def readable(fd: int) -> bool:
    """Whether something has come. By poll() where there is one: select() takes no descriptor above 1023."""
    if not hasattr(select, "poll"):
        return bool(select.select([fd], [], [], 0)[0])
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
