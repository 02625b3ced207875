"""Runs on disk, made from plans and calls without any server."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from PIL import Image, ImageDraw

from stableflows.job import EntrySpec, Job, JobItem
from stableflows.results import CallRecord, ImageRecord, StageOutput
from stableflows.run.folder import RunFolder
from stableflows.run.plan_record import PlannedCall, PlannedEntry, PlannedStage, PlanRecord, ServerRecord
from stableflows.seeds import SeedChoice
from stableflows.sequencer import StageSequencer
from stableflows.stages import StageType
from stableflows.store import Store

NOW = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
RUN_ID = "3f2a9c1b-0000-4000-8000-000000000001"


def png(width: int, height: int, colour: str = "#5a7d9a", text: str = "") -> bytes:
    """A picture with something on it."""
    picture = Image.new("RGB", (width, height), colour)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((width * 0.3, height * 0.3, width * 0.7, height * 0.7), fill="#f0d9a8")
    pen.text((4, 4), text, fill="white")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@dataclass
class Sample:
    """A run: entries are added, then the plan is written, then calls are made to end this way or that."""

    folder: RunFolder
    name: str = "sample"
    run_config: dict[str, Any] = field(default_factory=dict)
    sandbox: bool = False
    entries: list[PlannedEntry] = field(default_factory=list)
    calls: list[PlannedCall] = field(default_factory=list)

    def add(
        self,
        prompt: str,
        stages: Sequence[str] = ("txt2img",),
        *,
        name: str | None = None,
        pack: str = "demo",
        negative: str = "",
        count: int = 1,
        batch: int = 1,
        inputs: Sequence[Any] = (),
        seed: int | None = 1000,
        **settings: dict[str, Any],
    ) -> list[str]:
        """Plan an entry; gives the ids of its calls."""
        number = len(self.entries)
        config = {stage: {"enabled": True, **settings.get(stage, {})} for stage in stages}
        plan = StageSequencer().build_plan(config)
        total = count * max(1, len(inputs))
        calls: list[PlannedCall] = []
        makers: dict[int, str] = {}
        for stage in plan.get_stage_types():
            made: dict[int, str] = {}
            step = batch if stage is StageType.TXT2IMG else 1
            for first in range(0, total, step):
                n = min(step, total - first)
                call_id = f"{number + 1:04}/{stage}/{first}"
                calls.append(
                    PlannedCall(
                        call_id=call_id,
                        entry=number,
                        stage_type=stage,
                        index=first,
                        n=n,
                        after=makers.get(first),
                    )
                )
                made |= {first + place: call_id for place in range(n)}
            makers = made
        self.entries.append(
            PlannedEntry(
                pack_id=pack,
                pack_name=pack,
                entry={"name": name, "prompt": prompt, "negative_prompt": negative},
                prompt=prompt,
                negative_prompt=negative,
                inputs=tuple(inputs),
                mode=plan.mode,
                seed=SeedChoice(value=seed, how="derived") if seed is not None else None,
                count=count,
                stages=tuple(PlannedStage.model_validate(s.model_dump(mode="json")) for s in plan),
                calls=tuple(call.call_id for call in calls),
            )
        )
        self.calls += calls
        return [call.call_id for call in calls]

    def plan(self) -> PlanRecord:
        items = tuple(
            JobItem(pack_id=entry.pack_id, name=entry.pack_name, entry=EntrySpec(prompt="x"))
            for entry in self.entries
        )
        job = Job.model_validate({"name": self.name, "packs": items, "run_config": self.run_config})
        return PlanRecord(
            run_id=RUN_ID,
            job_id=job.job_id,
            job=job,
            created=NOW.isoformat(),
            server=ServerRecord(
                name="gpu-box",
                url="http://127.0.0.1:7860",
                family="a1111",
                version="v1.10.1",
                sandbox=self.sandbox,
            ),
            entries=tuple(self.entries),
            calls=tuple(self.calls),
        )

    def write_plan(self) -> None:
        self.folder.write_plan(self.plan())

    def finish(
        self,
        call_id: str,
        draw: Callable[[PlannedCall, int], bytes] | None = None,
        **output: Any,
    ) -> StageOutput:
        """A call that went well, with its images on disk."""
        call = next(call for call in self.calls if call.call_id == call_id)
        entry = self.entries[call.entry]
        images = []
        for place in range(call.n):
            index = call.index + place
            data = draw(call, index) if draw else png(24, 16, text=call_id)
            seed = entry.seed.value + index if entry.seed else None
            path = self.folder.place_image(
                Store(self.folder.root).put_image(data, ".png"),
                final=call.stage_type is entry.stages[-1].stage_type,
                entry=call.entry,
                stage=call.stage_type,
                index=index,
                n=entry.total_images,
                seed=seed,
                prompt=entry.prompt,
            )
            with Image.open(path) as image:
                width, height = image.size
            images.append(
                ImageRecord(
                    path=self.folder.relative(path),
                    sha256=hashlib.sha256(data).hexdigest(),
                    width=width,
                    height=height,
                    seed=seed,
                    infotext=f"{entry.prompt}\nSteps: 20, Seed: {seed}",
                )
            )
        made = StageOutput(
            stage_type=call.stage_type,
            images=tuple(images),
            key=hashlib.sha256(call_id.encode()).hexdigest(),
            **{"duration": 2.0, **output},
        )
        self._record(call, status="ok", output=made)
        return made

    def fail(self, call_id: str, error: str, status: str = "error") -> None:
        call = next(call for call in self.calls if call.call_id == call_id)
        self._record(call, status=status, error=error)

    def _record(self, call: PlannedCall, **fields: Any) -> None:
        self.folder.record_call(
            CallRecord(
                call_id=call.call_id,
                entry=call.entry,
                stage_type=call.stage_type,
                index=call.index,
                started=NOW.isoformat(),
                **fields,
            )
        )
