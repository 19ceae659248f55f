"""The jobs that are measured: they do nothing, or say when they began."""

import time

from belayed import task


@task
def noop(number: int) -> None:
    pass


@task
def stamp() -> float:
    return time.time()


@task
async def pause() -> None:
    import asyncio

    await asyncio.sleep(0.01)
