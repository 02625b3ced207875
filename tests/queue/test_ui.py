"""Prefect's UI in a real browser: the form starts a job, and the run's page leads to its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import Queue, eventually
from tests.run.browser import Page, browser

FIELD = """
const label = [...document.querySelectorAll('*')].find(
  (e) => !e.children.length && e.textContent.trim().startsWith(arguments[0]));
let around = label;
while (around && !around.querySelector('textarea')) around = around.parentElement;
return around && around.querySelector('textarea');
"""
"""The text box below a label."""
BUTTON = "return [...document.querySelectorAll('button')].find((e) => e.textContent.trim() === arguments[0])"


def fill(page: Page, label: str, text: str) -> None:
    box: Any = eventually(lambda: page.run(FIELD, label), f"no field {label!r}")
    box.clear()
    box.send_keys(text)


def click(page: Page, button: str) -> None:
    eventually(lambda: page.run(BUTTON, button), f"no button {button!r}").click()


def wait_for(page: Page, text: str) -> None:
    eventually(lambda: text in page.run("return document.body.innerText"), f"{text!r} is not on the page")


@pytest.mark.timeout(400)
def test_the_form_starts_a_job_and_its_contact_sheet_shows_pictures(queue: Queue, tmp_path: Path) -> None:
    deployment = queue.api("/deployments/name/render/render-pack")
    ui = queue.url.removesuffix("/api")
    pack = tmp_path / "ships.yaml"
    pack.write_text(
        "config: {txt2img: {enabled: true, width: 256, height: 192, steps: 2}}\n"
        "entries: [a brig at dusk, a yawl in fog, a cutter]\n"
    )
    with browser(tmp_path / "profile") as page:
        page.cdp(
            "Emulation.setDeviceMetricsOverride", width=1280, height=1800, deviceScaleFactor=1, mobile=False
        )
        page.driver.get(f"{ui}/deployments/deployment/{deployment['id']}/run")
        wait_for(page, "Files with prompts, such as packs/demo.yaml")
        fill(page, "Packs", str(pack))
        fill(page, "Output folder", str(queue.out))
        click(page, "Submit")
        eventually(lambda: queue.history)
        [line] = queue.history
        assert (line.status, line.result and line.result.image_count) == ("COMPLETED", 3)
        [flow_run_id] = line.flow_run_ids
        queue.is_in(flow_run_id, "Completed")

        page.driver.get(f"{ui}/runs/flow-run/{flow_run_id}")
        wait_for(page, "ships")
        [sheet] = queue.api(
            "/artifacts/filter",
            {
                "artifacts": {
                    "flow_run_id": {"any_": [flow_run_id]},
                    "key": {"any_": ["stableflows-report"]},
                }
            },
        )
        page.driver.get(f"{ui}/artifacts/artifact/{sheet['id']}")
        wait_for(page, "a brig at dusk")
        shown = "[...document.querySelectorAll('img')].filter((i) => i.src.startsWith('data:image/webp'))"
        widths = eventually(lambda: page.run(f"return {shown}.map((image) => image.naturalWidth)"))
        assert widths == [192, 192, 192]
        page.driver.save_screenshot(str(tmp_path / "sheet.png"))
