"""One job in one output folder, from its first run to its end, whatever befalls it; what must then hold."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from PIL import Image

from stableflows.results import RunStatus
from stableflows.run import history
from stableflows.run.folder import RunFolder
from stableflows.run.manifest import Manifest
from tests.faults.ledger import Ledger
from tests.faults.processes import Forker

__all__ = ["DEPTH", "Reference", "World", "pack_of"]

DEPTH = 2
"""Calls at the server at once: what a kill may cost."""

PACK = """\
config:
  checkpoint: sandbox_base_v1
  txt2img: {{width: 64, height: 64, steps: 2}}
  img2img: {{enabled: true, steps: 2, denoising_strength: 0.5}}
  upscale: {{enabled: true, upscaler: Lanczos}}
  adetailer: {{enabled: true, steps: 2, units: [{{ad_model: face_yolov8n.pt}}]}}
entries:
{entries}"""


def pack_of(entries: int) -> str:
    """A pack of so many entries, four calls each; every fifth wants another checkpoint."""
    lines = []
    for number in range(entries):
        other = ", config: {checkpoint: sandbox_anime_xl}" if number % 5 == 4 else ""
        lines.append(f"  - {{prompt: portrait of sailor number {number}{other}}}\n")
    return PACK.format(entries="".join(lines))


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run of the job left.

    Attributes:
        pictures: SHA-256 of each image by its path in the run's folder.
        files: what else is below the output root, with the run's own names taken out.
        home: what is in STABLEFLOWS_HOME.
    """

    pictures: Mapping[str, str]
    files: frozenset[str]
    home: frozenset[str]

    @property
    def calls(self) -> int:
        return len(self.pictures)


@dataclass
class World:
    """An output folder and the runs into it."""

    root: Path
    home: Path
    pack: Path
    forker: Forker
    ledger: Ledger
    in_flight: int = 0
    """Requests at the sandbox when runs were killed: those that may be rendered again."""
    too_many: list[str] = field(default_factory=list)
    _settled: int = 0

    def command(self, server: str) -> list[str]:
        """The command that starts the job, or takes it up again if there is something to take up."""
        if any(self.root.glob("*/plan.json")):
            return ["--resume", self.folder.plan().run_id, *self.options(server)]
        return [str(self.pack), *self.options(server)]

    def retry(self, server: str) -> list[str]:
        """The command that also makes again what failed."""
        return ["--retry", self.folder.plan().run_id, *self.options(server)]

    def options(self, server: str) -> list[str]:
        return ["--server", server, "--out", str(self.root)]

    @property
    def folder(self) -> RunFolder:
        """The one run folder that there must be."""
        [plan] = self.root.glob("*/plan.json")
        return RunFolder(self.root, plan.parent.name)

    def done(self) -> int:
        """Calls that are recorded as rendered."""
        plans = list(self.root.glob("*/plan.json"))
        if not plans:
            return 0
        return len(
            {
                call.call_id
                for call in RunFolder(self.root, plans[0].parent.name).calls()
                if call.status == "ok"
            }
        )

    def after_death(self) -> None:
        """Count what may be rendered again, because a run or its server has just died: what was asked for
        and is not kept. (The server's log says that it answered before the answer has left.)"""
        kept = {
            image["sha256"]
            for file in (self.root / "store" / "records").rglob("*.json")
            for image in json.loads(file.read_bytes())["images"]
        }
        asked = self.ledger.read()
        lost = [
            each
            for each in asked[self._settled :]
            if each.counts and not (each.status == 200 and set(each.images) <= kept)
        ]
        self._settled = len(asked)
        self.in_flight += len(lost)
        if len(lost) > DEPTH:
            self.too_many.append(f"{len(lost)} calls were in flight at one death")

    def again(self) -> int:
        """Requests that were made again, although their pictures were not in flight when something died."""
        return max(0, self.ledger.rendered_again() - self.in_flight)

    def reference(self) -> Reference:
        """What the run left, as that to which others are compared."""
        pictures = {
            path.relative_to(self.folder.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.path.rglob("*.png")
        }
        return Reference(pictures, self._files(), self._home())

    def _files(self) -> frozenset[str]:
        name = self.folder.name
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return frozenset(path.replace(name, "RUN") for path in found if not path.endswith(".png"))

    def _home(self) -> frozenset[str]:
        return frozenset(
            path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if path.is_file()
        )

    def check(self, reference: Reference) -> list[str]:
        """Everything that is wrong; empty is good. The run must have come to its end."""
        wrong: list[str] = []
        folder = self.folder
        manifest = Manifest.model_validate(json.loads(folder.manifest_file.read_bytes()))
        if manifest.status is not RunStatus.COMPLETED:
            wrong.append(f"the manifest says {manifest.status}: {manifest.error}")
        lines = history.read(self.root)
        raw = [json.loads(line) for line in history.history_file(self.root).read_bytes().splitlines()]
        if [(line.run_id, line.status) for line in lines] != [(manifest.run_id, RunStatus.COMPLETED)]:
            wrong.append(f"the history says {[(line.run_id, line.status, line.error) for line in lines]}")
        if len(raw) > 1 and not lines[-1].resumed:
            wrong.append("the last line of the history does not say that the run was resumed")
        wrong += self._wrong_pictures(reference, manifest)
        wrong += self._left_over(reference)
        if beyond := self.again():
            wrong.append(f"{beyond} calls were rendered again that were not in flight")
        return wrong + self.too_many

    def _wrong_pictures(self, reference: Reference, manifest: Manifest) -> list[str]:
        wrong: list[str] = []
        seen: set[str] = set()
        records = {call.call_id: call for call in self.folder.calls()}
        planned = self.folder.plan().calls
        finals = {image.path for entry in manifest.result.results for image in entry.images}
        for call in planned:
            record = records.get(call.call_id)
            if record is None or record.status != "ok" or record.output is None:
                wrong.append(f"call {call.call_id} is not done: {record and record.error}")
                continue
            for image in record.output.images:
                path = self.root / image.path
                seen.add(path.relative_to(self.folder.path).as_posix())
                wrong += self._wrong_picture(path, image.sha256, reference)
        if len(finals) != len(manifest.result.results):
            wrong.append(f"{len(finals)} finished images of {len(manifest.result.results)} entries")
        if seen != set(reference.pictures):
            wrong.append(
                f"images: missing {set(reference.pictures) - seen}, more {seen - set(reference.pictures)}"
            )
        if extra := {path.name for path in self.folder.path.rglob("*.png")} - {
            Path(path).name for path in seen
        }:
            wrong.append(f"images that no record names: {sorted(extra)}")
        return wrong

    def _wrong_picture(self, path: Path, sha256: str, reference: Reference) -> list[str]:
        name = path.relative_to(self.folder.path).as_posix()
        if not path.is_file():
            return [f"{name} is lost"]
        data = path.read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except OSError as error:
            return [f"{name} does not decode: {error}"]
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            return [f"{name} is not what the manifest says"]
        if found != reference.pictures.get(name):
            return [f"{name} is not the picture of the undisturbed run"]
        return []

    def owes_options(self) -> bool:
        """Whether the server died before its options could be put back: the next run there does it."""
        return any((self.root / "store" / "options").glob("*.json"))

    def _left_over(self, reference: Reference) -> list[str]:
        """Files that an undisturbed run does not leave, and locks that somebody holds."""
        more = sorted(_plain(self._files()) - _plain(reference.files))
        wrong = [f"left over: {path}" for path in more if not path.startswith("store/options/")]
        wrong += [f"left over at home: {path}" for path in sorted(self._home() - reference.home)]
        for file in (*self.root.rglob("*.lock"), *self.home.rglob("*.lock"), *self.home.rglob("*.next")):
            lock = FileLock(file)
            try:
                lock.acquire(blocking=False)
            except TimeoutError:
                wrong.append(f"{file} is still held")
            else:
                lock.release()
        return wrong


def _plain(files: frozenset[str]) -> set[str]:
    """Without what the store names by content: that is looked at by the run's records."""
    return {re.sub(r"store/(jobs|records|images)/.*", r"store/\1", path) for path in files}
