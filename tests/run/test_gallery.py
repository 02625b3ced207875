"""The gallery, as a real browser shows it from disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from stableflows.images.picks import finished_images
from stableflows.results import RunStatus
from stableflows.run.manifest import compose, write
from stableflows.run.plan_record import InputRecord, PlannedCall
from tests.run.browser import Page, browser
from tests.run.samples import Sample, png

CHAIN = ("txt2img", "img2img", "upscale", "adetailer")
SIZES = [(96, 128), (128, 96), (64, 160), (160, 64), (120, 120)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def draw(call: PlannedCall, index: int) -> bytes:
    width, height = SIZES[(call.entry + index) % len(SIZES)]
    return png(width, height, f"hsl({(call.entry * 37 + index * 11) % 360},40%,50%)", call.stage_type)


def mixed(sample: Sample) -> Sample:
    """Ten entries: done in one, two and four stages, with one and several images, failed, stopped."""
    ids = [
        sample.add("a lighthouse at dusk", CHAIN, seed=11),
        sample.add("a cat", ("txt2img", "upscale"), count=3, seed=22, negative="blurry"),
        sample.add("a dog", count=7, batch=4, seed=33),
        sample.add("a bird", name="Bird", seed=44),
    ]
    failed = sample.add("a failure", ("txt2img", "upscale"), seed=55)
    stopped = sample.add("a stop", CHAIN, seed=66)
    sample.add("never begun", seed=77)
    sample.write_plan()
    for call in (call for calls in ids for call in calls):
        sample.finish(call, draw)
    sample.finish(failed[0], draw)
    sample.fail(failed[1], "The server ran out of memory.")
    sample.finish(stopped[0], draw)
    sample.finish(stopped[1], draw)
    write(compose(sample.folder), status=RunStatus.FAILED, duration=754)
    return sample


def shown_entries(page: Page) -> list[str]:
    found: list[str] = page.run(
        "return [...document.querySelectorAll('article')].filter((a) => a.checkVisibility())"
        ".map((a) => a.querySelector('h2').textContent)"
    )
    return found


def assert_all_pictures_loaded(page: Page, expected: int) -> None:
    page.scroll_through()
    images = page.run(
        "return [...document.querySelectorAll('article img')].map((i) => [i.src, i.naturalWidth])"
    )
    assert len(images) == expected
    assert [source for source, width in images if not width] == []
    assert page.errors() == []
    requests = page.requests()
    assert len([url for url in requests if url.startswith("file:///")]) > 1
    assert [url for url in requests if not url.startswith(("file:///", "data:"))] == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_picture_is_seen(page: Page, sample: Sample, width: int, scheme: str) -> None:
    page.open(mixed(sample).folder.gallery_file, width=width, scheme=scheme)
    final, unfinished, thumbs = 1 + 3 + 7 + 1, 2, 4 + 3 * 2 + 2
    assert_all_pictures_loaded(page, final + unfinished + thumbs)
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_light_and_dark_follow_the_system(page: Page, sample: Sample) -> None:
    mixed(sample)
    brightness = {}
    for scheme in ("light", "dark"):
        page.open(sample.folder.gallery_file, scheme=scheme)
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    assert brightness["light"] > 600
    assert brightness["dark"] < 150


def test_three_hundred_images_load_as_they_come_into_view(page: Page, sample: Sample) -> None:
    calls = [call for number in range(150) for call in sample.add(f"prompt number {number}", count=2)]
    sample.write_plan()
    for call in calls:
        sample.finish(call, draw)
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    page.open(sample.folder.gallery_file)
    page.wait("document.readyState === 'complete'")
    asked = [url for url in page.requests() if url.endswith(".png")]
    assert 0 < len(asked) < 150
    page.open(sample.folder.gallery_file)
    assert_all_pictures_loaded(page, 300)


def test_the_place_of_a_picture_is_known_before_it_is_loaded(page: Page, sample: Sample) -> None:
    mixed(sample)
    page.open(sample.folder.gallery_file)
    page.scroll_through()
    heights = "return [...document.querySelectorAll('.shown')].map((a) => Math.round(a.offsetHeight))"
    loaded = page.run(heights)
    for image in (*sample.folder.images.glob("*.png"), *sample.folder.stages.glob("*.png")):
        image.unlink()
    page.open(sample.folder.gallery_file)
    page.wait("document.readyState === 'complete'")
    assert page.run(heights) == loaded
    assert min(loaded) > 80


EVIL = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    "\"'><svg onload=window.pwned=1>{{ 7*7 }}<!-- </title></style> javascript:alert(1) \u202e\ud83d"
)


def test_no_text_becomes_markup(page: Page, sample: Sample) -> None:
    sample.name = EVIL.replace("\ud83d", "")
    call, fails = (
        sample.add(EVIL, stages, name=EVIL, pack=EVIL.replace("\ud83d", ""), negative=EVIL)[0]
        for stages in (("txt2img",), ("txt2img", "upscale"))
    )
    sample.write_plan()
    sample.finish(call, draw, warnings=(EVIL,), unverified=(EVIL,))
    sample.fail(fails, EVIL)
    write(compose(sample.folder), status=RunStatus.FAILED, error=EVIL)
    page.open(sample.folder.gallery_file)
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.driver.find_element(By.CSS_SELECTOR, ".shown").click()
    page.wait("document.querySelector('.stage img').naturalWidth > 0")
    assert page.run("return window.pwned") is None
    assert page.run("return document.scripts.length") == 1
    assert page.run("return document.querySelectorAll('svg, img[src=x], [onerror], [onload]').length") == 0
    literal = EVIL.split("\u202e", maxsplit=1)[0]
    seen = page.run(
        "return [...document.querySelectorAll('h1, h2, .about, .note, dd, dialog .heading')]"
        ".map((e) => e.textContent)"
    )
    assert sum(literal in text for text in seen) >= 12
    # Nothing of it was even tried: the page's policy had nothing to refuse.
    assert page.errors() == []


def test_the_policy_lets_no_other_script_run(page: Page, sample: Sample) -> None:
    page.open(mixed(sample).folder.gallery_file)
    page.run("document.body.insertAdjacentHTML('beforeend', '<i id=probe onclick=\"window.pwned=1\"></i>')")
    page.run("document.querySelector('#probe').click()")
    assert page.run("return window.pwned") is None
    assert any("Content Security Policy" in message for message in page.errors())


def test_odd_file_names_are_encoded(page: Page, sample: Sample) -> None:
    odd = sample.folder.root / "store" / "100% #1? a&b:c 灯.png"
    odd.parent.mkdir()
    odd.write_bytes(png(40, 30))
    given = InputRecord(sha256="a" * 64, path=sample.folder.relative(odd), width=40, height=30)
    calls = sample.add("", ("upscale",), inputs=[given], seed=None)
    sample.write_plan()
    sample.finish(calls[0], draw)
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    page.open(sample.folder.gallery_file)
    assert_all_pictures_loaded(page, 3)
    assert page.run("return [...document.querySelectorAll('.steps a')].map((a) => a.dataset.word)") == [
        "given",
        "enlarged",
    ]


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.driver.switch_to.active_element.send_keys(key)


def viewer(page: Page) -> tuple[str, str, str]:
    """Place, stage and picture that the viewer shows, once its picture is loaded."""
    page.wait("document.querySelector('.stage img').complete")
    place, word, source, width = page.run(
        "const v = document.querySelector('#viewer'), w = v.querySelector('[aria-pressed=true]'),"
        " i = v.querySelector('.stage img');"
        "return [v.querySelector('.place').textContent, w ? w.textContent : '', i.src, i.naturalWidth]"
    )
    assert width > 0
    return place, word, unquote(source).rpartition("/")[2]


def test_the_viewer_steps_through_images_and_stages(page: Page, sample: Sample) -> None:
    page.open(mixed(sample).folder.gallery_file)
    page.driver.find_element(By.CSS_SELECTOR, ".shown").click()
    assert viewer(page) == ("1 of 14", "retouched", "0001-a-lighthouse-at-dusk-11.png")
    press(page, Keys.ARROW_UP)
    assert viewer(page) == ("1 of 14", "enlarged", "0001-1-upscale-11.png")
    press(page, Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_UP)
    assert viewer(page)[1:] == ("drawn", "0001-1-txt2img-11.png")
    press(page, Keys.ARROW_DOWN)
    assert viewer(page)[1] == "changed"
    press(page, Keys.ARROW_RIGHT)
    assert viewer(page) == ("2 of 14", "enlarged", "0002-a-cat-22-1.png")
    press(page, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert viewer(page)[0] == "14 of 14"
    press(page, Keys.HOME)
    assert viewer(page)[0] == "1 of 14"
    page.driver.find_element(By.XPATH, "//dialog//button[text()='drawn']").click()
    assert viewer(page)[1] == "drawn"
    press(page, Keys.ARROW_RIGHT, Keys.ESCAPE)
    # Back at what one saw last.
    page.wait("document.activeElement === document.querySelectorAll('.shown')[1]")
    press(page, Keys.ENTER)
    page.wait("document.querySelector('#viewer').open")
    assert page.errors() == []


def test_a_thumb_opens_its_own_stage(page: Page, sample: Sample) -> None:
    page.open(mixed(sample).folder.gallery_file)
    page.driver.find_element(By.CSS_SELECTOR, ".steps a[data-word=changed]").click()
    assert viewer(page)[1:] == ("changed", "0001-1-img2img-11.png")


def test_the_filter_narrows_by_text_and_status(page: Page, sample: Sample) -> None:
    page.open(mixed(sample).folder.gallery_file)
    box = page.driver.find_element(By.ID, "text")
    box.send_keys("CAT blurry")
    assert shown_entries(page) == ["a cat"]
    assert page.driver.find_element(By.CSS_SELECTOR, "output").text == "1 of 7 entries"
    page.driver.find_element(By.CSS_SELECTOR, ".shown[href*='a-cat']").click()
    assert viewer(page)[0] == "1 of 3"
    press(page, Keys.ESCAPE)
    box.clear()
    box.send_keys("no such thing")
    assert shown_entries(page) == []
    assert page.driver.find_element(By.ID, "none").is_displayed()
    box.clear()
    box.send_keys(" ")
    for value, prompts in (
        ("error", ["a failure"]),
        ("cancelled", ["a stop"]),
        ("not_reached", ["never begun"]),
        ("ok", ["a lighthouse at dusk", "a cat", "a dog", "Bird"]),
    ):
        page.driver.find_element(By.XPATH, f"//label[input/@value='{value}']").click()
        assert shown_entries(page) == prompts


def test_what_the_page_tells(page: Page, sample: Sample) -> None:
    sample.sandbox = True
    page.open(mixed(sample).folder.gallery_file)
    text = page.driver.find_element(By.TAG_NAME, "body").text
    for told in (
        "sample",
        "Failed",
        "November 2026",
        "gpu-box · a1111 · v1.10.1",
        "12 images",
        "7 entries",
        "1 failed",
        "1 stopped",
        "1 not reached",
        "12 min 34 s",
        "upscale: The server ran out of memory.",
        "The run ended before upscale was done.",
        "not enlarged and retouched",
        "Euler · 20 steps · CFG 7 · 512×512",
        "image 4 · seed 24",
    ):
        assert told in text, told
    assert page.driver.find_element(By.ID, "sandbox").is_displayed()


def test_images_are_numbered_as_finish_counts(page: Page, sample: Sample) -> None:
    page.open(mixed(sample).folder.gallery_file)
    captions = page.run("return [...document.querySelectorAll('.caption')].map((e) => e.textContent)")
    numbers = [int(found[1]) for caption in captions if (found := re.match(r"image (\d+) · ", caption))]
    assert numbers == [pick.number for pick in finished_images(sample.folder)] == list(range(1, 13))
    # The stages before have no number, in the viewer either.
    page.driver.find_element(By.CSS_SELECTOR, ".shown").click()
    caption = "return document.querySelector('#viewer .caption').textContent"
    assert page.run(caption).startswith("image 1 · seed 11")
    press(page, Keys.ARROW_UP)
    assert page.run(caption).startswith("seed 11")


def test_a_card_shows_what_was_drawn_and_is_found_by_it(page: Page, sample: Sample) -> None:
    for prompt, values in (("a cat at dawn", {"hour": "dawn", "steps": 20}), ("a dog at dusk", None)):
        sample.add(prompt)
        randomizer = {"seed": 5, "values": values} if values else None
        sample.entries[-1] = sample.entries[-1].model_copy(update={"randomizer": randomizer})
    sample.write_plan()
    for number in (1, 2):
        sample.finish(f"{number:04}/txt2img/0", draw)
    write(compose(sample.folder), status=RunStatus.COMPLETED, duration=1)
    page.open(sample.folder.gallery_file)
    drawn = page.run("return [...document.querySelectorAll('.drawn')].map((e) => e.textContent)")
    assert drawn == ["hour: dawn · steps: 20"]
    page.driver.find_element(By.ID, "text").send_keys("hour:")
    assert shown_entries(page) == ["a cat at dawn"]


def test_grids_stand_above_the_entries(page: Page, sample: Sample) -> None:
    calls = [sample.add("a cat", name="Cat & <b>dog</b>", seed=seed)[0] for seed in (1, 2)]
    for number, entry in enumerate(sample.entries):
        point = {"of": "s", "axes": [{"txt2img.steps": 10 + number}]}
        sample.entries[number] = entry.model_copy(update={"entry": {**entry.entry, "sweep": point}})
    sample.write_plan()
    for call in calls:
        sample.finish(call, draw)
    [grid] = write(compose(sample.folder), status=RunStatus.COMPLETED).grids
    page.open(sample.folder.gallery_file)
    found = page.driver.find_element(By.CSS_SELECTOR, ".grids a")
    assert unquote(found.get_attribute("href") or "").endswith(grid)
    assert found.text == "0001 cat b dog b"
    page.wait("document.querySelector('.grids img').naturalWidth > 0")
    assert page.run(
        "return document.querySelector('.grids').getBoundingClientRect().bottom <= "
        "document.querySelector('article').getBoundingClientRect().top"
    )
    assert page.errors() == []


def test_no_grids_no_section(sample: Sample) -> None:
    mixed(sample)
    assert 'class="grids"' not in sample.folder.gallery_file.read_text("utf-8")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.urls += [url for name in ("src", "href", "action", "srcset") if (url := given.get(name))]
        if tag == "img" and "src" in given:
            self.images.append(given)


def parsed(sample: Sample) -> _Links:
    links = _Links()
    links.feed(sample.folder.gallery_file.read_text("utf-8"))
    return links


def test_without_script_every_link_still_leads_to_its_file(sample: Sample) -> None:
    links = parsed(mixed(sample))
    local = [url for url in links.urls if url != "data:,"]
    assert len(local) > 30
    assert [url for url in local if not (sample.folder.path / unquote(url)).is_file()] == []
    assert all(image["alt"] and image["width"] and image["loading"] == "lazy" for image in links.images)


def test_no_sandbox_note_for_a_real_server(sample: Sample) -> None:
    mixed(sample)
    assert 'id="sandbox"' not in sample.folder.gallery_file.read_text("utf-8")


def test_the_folder_can_be_moved(page: Page, sample: Sample, tmp_path: Path) -> None:
    mixed(sample)
    moved = tmp_path / "moved #2"
    shutil.move(sample.folder.root, moved)
    page.open(moved / sample.folder.name / "index.html")
    assert_all_pictures_loaded(page, 12 + 2 + 4 + 6 + 2)


def test_a_run_of_nothing_has_a_page(sample: Sample) -> None:
    sample.write_plan()
    write(compose(sample.folder), status=RunStatus.COMPLETED)
    assert "nothing to render" in sample.folder.gallery_file.read_text("utf-8")
