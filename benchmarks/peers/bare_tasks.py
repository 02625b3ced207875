"""Prefect's own cost: an async flow that awaits async tasks which do nothing. Prints seconds a task."""

import asyncio
import json
import sys
import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE


@task(cache_policy=NO_CACHE)
async def nothing(number: int) -> int:
    return number


@flow
async def tasks(count: int) -> float:
    began = time.monotonic()
    for number in range(count):
        await nothing(number)
    return (time.monotonic() - began) / count


if __name__ == "__main__":
    seconds = asyncio.run(tasks(int(sys.argv[1])))
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
