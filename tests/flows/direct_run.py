"""A direct run as a command makes one; `test_prefect_api.py` starts it as a process of its own.

    python direct_run.py TASKS SECONDS [stubborn]

runs TASKS tasks of SECONDS each, four at a time. Every seventh fails, every fifth answers "Cached". On a
cancel the tasks in flight end at once, unless they are stubborn.
"""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing, suppress
from contextvars import ContextVar
from pathlib import Path

from flows.prefect_api import cancel_on_interrupt, prefect_api, watch_for_cancel
from stableflows.errors import StableflowsError


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    tasks, seconds = int(sys.argv[1]), float(sys.argv[2])
    try:
        with prefect_api(announce=say) as api:
            assert "prefect" in sys.modules
            say(f"{api.source} {api.url}")
            status = asyncio.run(run(tasks, seconds))
        say(f"{final_task_runs()} task runs are final")  # now, before anything of Prefect's ends late
        return status
    except StableflowsError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def final_task_runs() -> int:
    """How many task runs of the newest flow run are final in the database."""
    query = """
        select count(*) from task_run
        where flow_run_id = (select id from flow_run order by created desc limit 1)
        and state_type in ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')
    """
    with closing(sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db")) as database:
        [count] = database.execute(query).fetchone()
    return int(count)


cancel_of_this_run: ContextVar[asyncio.Event] = ContextVar("cancel_of_this_run")


async def wait(seconds: float) -> bool:
    """Whether the run is to end; a stubborn task looks only when its time is over."""
    cancel = cancel_of_this_run.get()
    if "stubborn" in sys.argv:
        await asyncio.sleep(seconds)
    else:
        with suppress(TimeoutError):
            await asyncio.wait_for(cancel.wait(), seconds)
    return cancel.is_set()


async def run(tasks: int, seconds: float) -> int:
    from prefect import flow, get_run_logger, task
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas.objects import State
    from prefect.runtime import flow_run
    from prefect.states import Cancelled, Completed, Failed

    @task(cache_policy=NO_CACHE)
    async def call(i: int) -> State[int] | int:
        if await wait(seconds):
            return Cancelled()
        if i % 14 == 3:
            raise StableflowsError(f"call {i} failed")
        if i % 14 == 10:
            raise ValueError(f"call {i} broke")
        return Completed(name="Cached", data=i) if i % 5 == 0 else i

    @flow(name="direct run")
    async def job() -> State[None]:
        get_run_logger().info("hello from the flow")
        cancel = cancel_of_this_run.get()

        async def watch() -> None:
            await watch_for_cancel(flow_run.id, cancel, every=0.5)
            say("cancelling")

        watcher = asyncio.create_task(watch())
        at_once = asyncio.Semaphore(4)

        async def one(i: int) -> State[int] | int | None:
            async with at_once:
                return None if cancel.is_set() else await call(i)

        say(f"flow run {flow_run.id}")
        try:
            with cancel_on_interrupt(cancel):
                results = await asyncio.gather(*map(one, range(tasks)), return_exceptions=True)
        except asyncio.CancelledError:  # a second Ctrl-C: not even the calls in flight are waited for
            if not cancel.is_set():
                raise
        finally:
            watcher.cancel()
        if cancel.is_set():
            return Cancelled()
        failed = sum(isinstance(result, Exception) for result in results)
        return Failed(message=f"{failed} of {tasks} failed") if failed else Completed()

    cancel = asyncio.Event()
    cancel_of_this_run.set(cancel)
    with cancel_on_interrupt(cancel):
        state = await job(return_state=True)
    say(f"{state.name} {state.message}")
    return 130 if state.is_cancelled() else int(state.is_failed())


if __name__ == "__main__":
    sys.exit(main())
