"""What ``/sdapi/v1/progress`` and ``/internal/progress`` read while a job runs, quirks included."""

import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_FINISHED_KEPT = 16


@dataclass
class State:
    """The job that runs. Between jobs ``job_count`` is 0 and everything else keeps its last value."""

    job: str = ""
    job_count: int = 0
    job_no: int = 0
    job_timestamp: str = "0"
    sampling_step: int = 0
    sampling_steps: int = 0
    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    time_start: float = 0.0
    textinfo: str | None = None
    hires_counted: bool = False
    """The job count was doubled for the hires pass; a script's further runs do not double it again."""
    preview: Callable[[], str] | None = None
    """Makes the current image (base64 PNG) when somebody asks; None while there is none."""
    preview_id: int = 0
    woken: threading.Event = field(default_factory=threading.Event)
    """Set by interrupt and skip, so that a waiting job sees them."""

    def begin(self, job: str) -> None:
        self.job, self.job_count, self.job_no = job, -1, 0
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")
        self.sampling_step = 0
        self.time_start = time.time()
        self.skipped = self.interrupted = self.stopping_generation = False
        self.textinfo = None
        self.hires_counted = False
        self.preview = None
        self.woken.clear()

    def count(self, iterations: int, *, hires: bool = False) -> None:
        """Set the job count unless a script has set its own; a hires pass doubles it, once."""
        if self.job_count == -1:
            self.job_count = iterations
        if hires and not self.hires_counted:
            self.job_count *= 2
            self.hires_counted = True

    def end(self) -> None:
        self.job, self.job_count = "", 0
        self.preview = None

    def next_job(self) -> None:
        self.job_no += 1
        self.sampling_step = 0

    def interrupt(self) -> None:
        self.interrupted = True
        self.woken.set()

    def skip(self) -> None:
        self.skipped = True
        self.woken.set()

    def as_json(self) -> dict[str, Any]:
        names = (
            "skipped",
            "interrupted",
            "stopping_generation",
            "job",
            "job_count",
            "job_timestamp",
            "job_no",
            "sampling_step",
            "sampling_steps",
        )
        return {name: getattr(self, name) for name in names}

    def _share_done(self) -> float:
        done = 0.0
        if self.job_count > 0:
            done += self.job_no / self.job_count
            if self.sampling_steps > 0:
                done += self.sampling_step / self.sampling_steps / self.job_count
        return done

    def progress(self, *, with_image: bool) -> dict[str, Any]:
        """The answer of ``GET /sdapi/v1/progress``."""
        answer = {"progress": 0.0, "eta_relative": 0.0, "state": self.as_json()}
        if self.job_count == 0:
            return {**answer, "current_image": None, "textinfo": self.textinfo}
        done = 0.01 + self._share_done()
        elapsed = time.time() - self.time_start
        answer["progress"] = min(done, 1)
        answer["eta_relative"] = elapsed / done - elapsed
        preview = self.preview if with_image else None
        return {**answer, "current_image": preview() if preview else None, "textinfo": self.textinfo}


class Tasks:
    """Task ids: which runs, which wait, which are done. A failed task stays the current one."""

    def __init__(self) -> None:
        self.current: str | None = None
        self.pending: list[str] = []
        self.finished: list[str] = []

    @staticmethod
    def new_id(kind: str) -> str:
        letters = [secrets.choice(string.ascii_uppercase + string.digits) for _ in range(7)]
        return f"task({kind}-{''.join(letters)})"

    def queue(self, task_id: str) -> None:
        if task_id not in self.pending:
            self.pending.append(task_id)

    def start(self, task_id: str) -> None:
        self.current = task_id
        if task_id in self.pending:
            self.pending.remove(task_id)

    def finish(self, task_id: str) -> None:
        if self.current == task_id:
            self.current = None
        self.finished = [*self.finished, task_id][-_FINISHED_KEPT:]

    def as_json(self) -> dict[str, Any]:
        return {"size": len(self.pending), "tasks": list(self.pending)}

    def progress(self, request: dict[str, Any], state: State) -> dict[str, Any]:
        """The answer of ``POST /internal/progress``."""
        task_id = request.get("id_task")
        shown = request.get("id_live_preview", -1)
        answer: dict[str, Any] = {
            "active": task_id is not None and task_id == self.current,
            "queued": task_id in self.pending,
            "completed": task_id in self.finished,
            "progress": None,
            "eta": None,
            "live_preview": None,
            "id_live_preview": -1,
            "textinfo": "Waiting...",
        }
        if not answer["active"]:
            if answer["queued"]:
                place = self.pending.index(str(task_id)) + 1
                answer["textinfo"] = f"In queue: {place}/{len(self.pending)}"
            return answer
        done = min(state._share_done(), 1)
        elapsed = time.time() - state.time_start
        answer |= {
            "progress": done,
            "eta": elapsed / done - elapsed if done > 0 else None,
            "textinfo": state.textinfo,
            "id_live_preview": shown,
        }
        if request.get("live_preview", True) and state.preview and shown != state.preview_id:
            answer["live_preview"] = "data:image/png;base64," + state.preview()
            answer["id_live_preview"] = state.preview_id
        return answer
