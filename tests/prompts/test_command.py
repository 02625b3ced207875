"""The demo pack through the command line's eyes, and what plain packs do not pay for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.flows.ran import run_command

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "packs" / "wildcards-demo.yaml"


def test_the_demo_is_planned_to_the_count(tmp_path: Path) -> None:
    ran = run_command(str(DEMO), "--plan", "--json", root=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.printed["total_entries"] == ran.printed["total_images"] == 9
    prompts = [entry["prompt"] for entry in ran.printed["entries"]]
    assert not [prompt for prompt in prompts if set("{}$") & set(prompt) or "__" in prompt or "[[" in prompt]
    assert len({entry["seed"]["value"] for entry in ran.printed["entries"] if entry["name"] == "bridge"}) == 1
    again = run_command(str(DEMO), "--plan", "--json", root=tmp_path)
    assert again.printed == ran.printed


def test_a_prompt_of_the_command_line_is_drawn(tmp_path: Path) -> None:
    ran = run_command("--prompt", "a {red|blue} cat", "--plan", "--json", root=tmp_path)
    assert ran.printed["entries"][0]["prompt"] in ("a red cat", "a blue cat")


def test_a_missing_wildcard_ends_with_code_2_and_its_line(tmp_path: Path) -> None:
    pack = tmp_path / "pack.txt"
    pack.write_text("a cat\n\na dog,\nin a __colour__ hat\n")
    ran = run_command(str(pack), "--plan", root=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert f"{pack}:4: there is no wildcard __colour__" in ran.err
    assert "Traceback" not in ran.err


def test_a_pack_without_syntax_does_not_load_the_parser() -> None:
    code = (
        "import json, sys\n"
        "from stableflows.request import RenderRequest, prepare\n"
        "prepare(RenderRequest(packs=('packs/demo.yaml',)))\n"
        "print(json.dumps(sorted({'dynamicprompts', 'pyparsing', 'jinja2'} & set(sys.modules))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
