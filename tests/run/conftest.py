from __future__ import annotations

from pathlib import Path

import pytest

from stableflows.run.folder import RunFolder
from tests.run.samples import NOW, RUN_ID, Sample


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(RunFolder.create(tmp_path / "outputs", "sample", RUN_ID, NOW))
