"""The network between the workers of a chaos run and their server: two hosts, each behind a proxy of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.chaos.places import NOBODY, Postgres, Sqlite
from tests.proxy import FaultProxy

HOSTS = 2


class Network:
    """The networks of the hosts. On SQLite there is none."""

    def __init__(self, place: Sqlite | Postgres) -> None:
        remote = place.name == "postgresql"
        self.proxies = [FaultProxy(place.url) for _ in range(HOSTS)] if remote else []
        self.urls = [proxy.url for proxy in self.proxies] or [place.url]
        self.on_host: Callable[[str], set[int]] = lambda _url: set()
        """The supervisors that reach the server by this URL."""

    def faults(self) -> dict[str, float]:
        """What can happen to it, and how often."""
        return {"reset": 1.5, "cut_cable": 1.5, "slow_down": 1.5, "move": 1.0} if self.proxies else {}

    def reset(self, rng: random.Random) -> set[int]:
        """Reset all connections of a host. What was said is said again: nothing may run twice for it."""
        rng.choice(self.proxies).cut()
        return NOBODY

    def slow_down(self, rng: random.Random) -> set[int]:
        """Everything takes longer to a host and back."""
        proxy = rng.choice(self.proxies)
        proxy.delay(rng.uniform(0.005, 0.05))
        time.sleep(rng.uniform(1, 6))
        proxy.forward()
        return NOBODY

    def cut_cable(self, rng: random.Random) -> set[int]:
        """Nothing reaches a host any more, nor comes from it: others rescue its jobs, and it runs them to the end."""
        proxy = rng.choice(self.proxies)
        concerned = self.on_host(proxy.url)
        proxy.black_hole()
        time.sleep(rng.uniform(0.3, 5))
        proxy.forward()
        return concerned | self.on_host(proxy.url) | NOBODY

    def move(self, rng: random.Random) -> set[int]:
        """A silent failover: the connections of a host are dead, new ones are not. The server notices after a while."""
        proxy = rng.choice(self.proxies)
        concerned = self.on_host(proxy.url)
        proxy.fail_over()
        time.sleep(rng.uniform(1, 4))
        proxy.bury()
        return concerned | self.on_host(proxy.url) | NOBODY

    def mend(self) -> None:
        """Everything passes again."""
        for proxy in self.proxies:
            proxy.forward()
            proxy.bury()

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
