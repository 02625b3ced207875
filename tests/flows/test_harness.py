"""`run_job`: the same outcome and history whoever renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.harness import run_job
from stableflows.run import history

JOB: dict[str, Any] = {
    "packs": [
        {"pack_id": "p", "name": "Pack", "entry": {"prompt": "a cat"}, "config_snapshot": {}},
        {
            "pack_id": "p",
            "name": "Pack",
            "entry": {"prompt": "a dog"},
            "config_snapshot": {"txt2img_config": {"steps": 5}},
        },
    ],
    "pipeline": {"txt2img_enabled": True},
    "run_config": {"source": "api", "prompt_pack_id": "p"},
}


class Legacy:
    """Stands for a runner of the caller's."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.configs: list[dict[str, Any]] = []

    def run_full_pipeline(self, config: dict[str, Any]) -> Any:
        self.configs.append(config)
        return self.answer


def test_a_legacy_runner_that_returns_a_dict_counts(tmp_path: Path) -> None:
    legacy = Legacy({"images": ["1.png", "2.png"]})
    outcome = run_job(JOB, legacy=legacy, out=tmp_path)
    assert [config["prompt"] for config in legacy.configs] == ["a cat", "a dog"]
    assert legacy.configs[1]["txt2img"]["steps"] == 5
    assert isinstance(legacy.configs[0]["seed"], int)
    result = outcome["result"]
    assert (result["total_entries"], result["mode"]) == (2, "prompt_pack_batch")
    assert [entry["image_count"] for entry in result["results"]] == [2, 2]
    (line,) = history.read(tmp_path)
    assert (line.status.value, line.source, line.prompt_pack_id) == ("COMPLETED", "api", "p")
    assert line.result is not None
    assert line.result.total_entries == 2


def test_a_legacy_runner_that_returns_no_dict_gives_way_to_the_function(tmp_path: Path) -> None:
    legacy = Legacy(None)
    seen: list[str] = []

    def pipeline(config: dict[str, Any]) -> dict[str, Any]:
        seen.append(config["prompt"])
        if config["prompt"] == "a dog":
            raise RuntimeError("no GPU")
        return {"images": ["x"]}

    outcome = run_job(JOB, legacy=legacy, pipeline_func=pipeline, out=tmp_path)
    assert seen == ["a cat", "a dog"]
    assert len(legacy.configs) == 2
    assert [entry["status"] for entry in outcome["result"]["results"]] == ["ok", "error"]
    assert outcome["result"]["results"][1]["error"] == "RuntimeError: no GPU"
    (line,) = history.read(tmp_path)
    assert (line.status.value, line.error) == ("FAILED", "1 of 2 entries failed")


def test_a_job_that_is_none_is_an_error_in_the_outcome(tmp_path: Path) -> None:
    outcome = run_job({"packs": [{"entry": {"promt": "x"}}]}, pipeline_func=dict, out=tmp_path)
    assert "Did you mean 'prompt'" in outcome["error"]
    assert "result" not in outcome
