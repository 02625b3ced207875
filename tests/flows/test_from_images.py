"""Images made again from themselves, taken further, and the keepers of a draft finished."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flows import finish, reprocess
from stableflows.errors import ExitCode
from stableflows.sandbox import Catalog, LoggedRequest, Sandbox, SandboxSettings, run_sandbox
from tests.flows import ran
from tests.flows.conftest import RunningServer
from tests.flows.ran import Ran, inputs_of, run_command, stage_of

pytestmark = pytest.mark.xdist_group("from-images")

SMALL = ("--set", "txt2img.width=64", "--set", "txt2img.height=64", "--set", "txt2img.steps=2")

PACK = """
id: sailors
config:
  txt2img: {enabled: true, width: 64, height: 72, steps: 4, cfg_scale: 6.5}
  checkpoint: sandbox_portrait_v2
entries:
  - {name: plain, prompt: portrait of a sailor}
  - name: negative
    prompt: "portrait of a cook,\\na ship's galley"
    negative_prompt: "blurry, easynegative_sb"
    config: {txt2img: {sampler: DPM++ 2M, scheduler: Karras, seed: 7}}
  - name: second pass
    prompt: portrait of a captain
    config:
      txt2img:
        hires: {enabled: true, upscaler: Lanczos, scale: 1.5, steps: 3, denoising_strength: 0.4}
  - name: two sizes
    prompt: portrait of a mate
    config: {txt2img: {hires: {enabled: true, width: 96, height: 104, sampler: DDIM, prompt: closer}}}
  - name: refined
    prompt: portrait of a pilot
    config: {txt2img: {refiner: {enabled: true, checkpoint: sandbox_anime_xl, switch_at: 0.5}}}
  - name: refined at a step
    prompt: portrait of a fisher
    config: {txt2img: {refiner: {enabled: true, checkpoint: sandbox_anime_xl, switch_step: 2}}}
  - name: varied
    prompt: portrait of a boy
    config: {txt2img: {subseed: 5, subseed_strength: 0.3}, clip_skip: 2, vae: sandbox_vae.safetensors}
  - name: options
    prompt: portrait of a girl <lora:film_grain:0.7>
    config:
      txt2img:
        sampler: Euler a
        override_settings: {eta_noise_seed_delta: 31337, randn_source: CPU, token_merging_ratio: 0.5}
        tiling: true
        eta: 0.5
  - name: detailed
    prompt: portrait of a man
    config:
      txt2img:
        alwayson_scripts:
          ADetailer:
            args:
              - true
              - false
              - {ad_model: face_yolov8n.pt, ad_prompt: "smiling, old"}
              - {ad_model: hand_yolov8n.pt}
  - name: enlarged
    prompt: portrait of a woman
    config: {upscale: {enabled: true, upscaler: Lanczos, factor: 1.5}}
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def at(sandbox: Sandbox, running_server: RunningServer, tmp_path: Path) -> At:
    return At(sandbox, running_server, tmp_path)


class At:
    """Commands at one sandbox, into one output root."""

    def __init__(self, sandbox: Sandbox, prefect: RunningServer, folder: Path) -> None:
        self.sandbox, self.prefect, self.folder = sandbox, prefect, folder
        self.root = folder / "out"

    def run(self, *arguments: str, root: Path | None = None) -> Ran:
        return run_command(
            *arguments, "--server", self.sandbox.url, root=root or self.root, prefect=self.prefect
        )

    def command(self, module: object, *arguments: str) -> Ran:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ran, "app", module.app)  # type: ignore[attr-defined]
            return self.run(*arguments)

    def sent(self) -> list[LoggedRequest]:
        """What was asked of the server, but for the probe by which a run learns the hashes of networks."""
        requests = self.sandbox.generating()
        return [
            request for request in requests if not request.body.get("prompt", "").startswith("stableflows ")
        ]

    def copies(self, first: Ran) -> list[str]:
        """The finished images, carried away from their run: nothing but what is in them is known."""
        away = self.folder / "away"
        away.mkdir()
        for file in sorted(first.folder.path.glob("*.png")):
            shutil.copy(file, away / file.name)
        return sorted(str(file) for file in away.iterdir())


def bytes_of(one: Ran) -> list[bytes]:
    return [file.read_bytes() for file in sorted(one.folder.path.glob("*.png"))]


def keys_of(one: Ran) -> list[tuple[str, str | None]]:
    return sorted((call.call_id, call.key) for call in one.calls)


def picture(file: Path, infotext: str | None = None, size: tuple[int, int] = (64, 64)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    chunks = PngInfo()
    if infotext is not None:
        chunks.add_text("parameters", infotext)
    Image.effect_noise(size, 50).convert("RGB").save(file, pnginfo=chunks)
    return file


INFOTEXT = (
    "{prompt}\nSteps: 2, Sampler: Euler, CFG scale: 6.0, Seed: {seed}, Size: 64x64, Model: sandbox_base_v1"
)


def test_images_are_made_again_from_themselves(at: At) -> None:
    """On the same server the same pixels, infotext and keys, so that the store has them all."""
    pack = at.folder / "pack.yaml"
    pack.write_text(PACK)
    first, sent = at.run(str(pack)), len(at.sent())
    assert first.code == ExitCode.OK, first.err
    images = at.copies(first)
    again = at.run("--from", *images)
    assert again.code == ExitCode.OK, again.err
    assert bytes_of(again) == bytes_of(first)
    # An infotext tells all arguments of ADetailer, also those that the request left to their defaults.
    differing = {call for call, _ in set(keys_of(again)) ^ set(keys_of(first))}
    assert differing == {"0009/txt2img/0"}
    assert len(at.sent()) == sent + 1
    assert again.history[-1].prompt_source == "image"

    anew = at.run("--from", *images, root=at.folder / "elsewhere")
    assert anew.code == ExitCode.OK, anew.err
    assert bytes_of(anew) == bytes_of(first)
    assert len(at.sent()) == sent + 1 + sent


CHAIN = """
config:
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {enabled: true, factor: 1.5, upscaler: Lanczos}
  adetailer: {enabled: true, steps: 3}
globals: {prompt: oil painting, negative_prompt: blurry}
entries:
  - {prompt: portrait of a sailor, count: 2}
"""


def test_an_image_in_the_folder_of_its_run_is_made_again_through_all_stages(at: At) -> None:
    """Its infotext alone would not do: ADetailer's says nothing of what it retouched."""
    pack = at.folder / "pack.yaml"
    pack.write_text(CHAIN)
    first = at.run(str(pack))
    assert first.code == ExitCode.OK, first.err
    second = sorted(first.folder.path.glob("*.png"))[1]
    again = at.run("--from", str(second))
    assert again.code == ExitCode.OK, again.err
    assert bytes_of(again) == [second.read_bytes()]
    assert all(call.output and call.output.cached for call in again.calls)
    [away] = [name for name in at.copies(first) if name.endswith(second.name)]
    refused = at.run("--from", away, "--plan")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err.startswith(f"{away}: it was made from another image (img2img)")


def test_a_prompt_in_an_image_is_final(at: At) -> None:
    """What looks like a variant or a wildcard was sent as it stands, and is sent so again."""
    prompt = "a {red|blue} house, __colour__, [[old]]"
    file = picture(at.folder / "a.png", INFOTEXT.format(prompt=prompt, seed=3))
    done = at.run("--from", str(file))
    assert done.code == ExitCode.OK, done.err
    assert at.sent()[-1].body["prompt"] == prompt


def test_what_an_image_says_and_nobody_knows_is_told(at: At) -> None:
    text = INFOTEXT.format(prompt="a house", seed=3) + ", Wonder: 3, Version: v1.10.1"
    files = [picture(at.folder / f"{name}.png", text) for name in "ab"]
    done = at.run("--from", *map(str, files), "--plan")
    assert done.code == ExitCode.OK
    [line] = [line for line in done.out.splitlines() if "Wonder" in line]
    assert (
        line
        == f"Warning: {files[0]}: 'Wonder' in its parameters is not known here, and left out (and 1 more)."
    )


@pytest.mark.parametrize(
    ("infotext", "said"),
    [
        (None, "has no generation parameters; it cannot be made again."),
        (
            "only a prompt",
            "its generation parameters are half there: the last line, 'Steps: ...', is missing.",
        ),
        (
            "a\nSteps: 2, Sampler: Euler, CFG scale: 7",
            "its generation parameters are half there: without Seed, Size.",
        ),
        (
            "a\nSteps: two, Sampler: Euler, Seed: 1, Size: 8x8",
            "'Steps' is 'two', which is not a whole number.",
        ),
        ("a\nSteps: 2, Sampler: Euler, Seed: 1, Size: 8by8", "'Size' is '8by8', which is not WIDTHxHEIGHT."),
        ("a\nSteps: 999, Sampler: Euler, Seed: 1, Size: 8x8", "less than or equal to 150"),
    ],
)
def test_an_image_that_says_too_little_is_refused(at: At, infotext: str | None, said: str) -> None:
    file = picture(at.folder / "a.png", infotext)
    refused = at.run("--from", str(file), "--plan")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err.startswith(f"{file}: ")
    assert said in refused.err


def test_from_goes_with_nothing_else_that_is_rendered(at: At) -> None:
    file = picture(at.folder / "a.png", INFOTEXT.format(prompt="a", seed=1))
    refused = at.run("--from", str(file), "--prompt", "a cat", "--plan")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err == "--from: goes with neither packs nor --prompt nor --input.\n"


def test_a_folder_is_enlarged_whatever_its_images_say(at: At) -> None:
    old = at.folder / "old"
    plain = picture(old / "plain.png")
    picture(old / "sub" / "deep.png", "only a prompt")
    picture(old / "broken-chunk.png", "{")
    (old / "notes.txt").write_text("no image")
    done = at.command(
        reprocess, str(old), "--stages", "upscale", "--set", "upscale.upscaler=Lanczos", "--recursive"
    )
    assert done.code == ExitCode.OK, done.err
    assert [row["name"] for row in done.table] == ["broken-chunk", "plain", "deep"]
    assert {(row["width"], row["height"]) for row in done.table} == {("128", "128")}
    assert [stage_of(request) for request in at.sent()[-3:]] == ["upscale"] * 3
    assert plain.exists()


def test_images_are_changed_with_the_prompt_and_settings_found_in_them(at: At) -> None:
    old = at.folder / "old"
    for seed, name in enumerate(("one", "two"), start=1):
        picture(old / f"{name}.png", INFOTEXT.format(prompt=f"house {name}", seed=seed), (64, 72))
    done = at.command(
        reprocess, str(old), "--stages", "upscale,img2img", "--set", "img2img.denoising_strength=0.3",
        "--set", "upscale.upscaler=Lanczos",
    )  # fmt: skip
    assert done.code == ExitCode.OK, done.err
    bodies = [request.body for request in at.sent()[-4:] if "init_images" in request.body]
    asked = sorted((body["prompt"], body["seed"], body["steps"], body["cfg_scale"]) for body in bodies)
    assert asked == [("house one", 1, 2, 6.0), ("house two", 2, 2, 6.0)]
    assert {(body["width"], body["height"], body["denoising_strength"]) for body in bodies} == {(64, 72, 0.3)}
    assert {body["override_settings"]["sd_model_checkpoint"] for body in bodies} == {"sandbox_base_v1"}


def test_which_images_lack_a_prompt_is_told_of_all_at_once(at: At) -> None:
    old = at.folder / "old"
    picture(old / "good.png", INFOTEXT.format(prompt="a", seed=1))
    bare = [picture(old / f"bare{number}.png") for number in range(2)]
    refused = at.command(reprocess, str(old), "--stages", "img2img")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err.splitlines() == [
        f"{file}: has no generation parameters, and img2img needs a prompt." for file in bare
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--stages", "upscale"), "there is no folder 'nowhere'."),
        (("--stages", "upscale"), "name a folder of images."),
        ((".", "--stages", "txt2img,upscale"), "--stages: must be of img2img, upscale and adetailer"),
        ((".", "--stages", "upscal"), "--stages: there is no stage 'upscal'. Did you mean 'upscale'?"),
    ],
)
def test_what_cannot_be_reprocessed(at: At, arguments: tuple[str, ...], said: str) -> None:
    refused = at.command(reprocess, *arguments)
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err.startswith(said)


DRAFT = """
config:
  checkpoint: sandbox_base_v1
  txt2img: {enabled: true, width: 64, height: 64, steps: 2}
  upscale: {factor: 1.5, upscaler: Lanczos}
  adetailer: {steps: 3}
globals: {prompt: oil painting}
entries:
  - {name: one, prompt: portrait of a sailor}
  - {name: three, prompt: portrait of a cook <lora:film_grain:0.5>, count: 3}
  - name: drawn
    prompt: portrait of a mate
    config: {txt2img: {seed: -1}}
  - name: batch
    prompt: portrait of a captain
    count: 4
    config: {txt2img: {batch_size: 2}}
"""


def test_the_keepers_of_a_draft_are_finished_without_drawing_them_again(at: At) -> None:
    pack = at.folder / "pack.yaml"
    pack.write_text(DRAFT)
    draft = at.run(str(pack))
    assert draft.code == ExitCode.OK, draft.err
    sent, drafted = len(at.sent()), draft.table
    done = at.command(finish, draft.history[-1].run_id, "--pick", "3,5,1", "--stages", "upscale,adetailer")
    assert done.code == ExitCode.OK, done.err
    assert Counter(map(stage_of, at.sent()[sent:])) == {"upscale": 3, "adetailer": 3}
    drawn = [call for call in done.calls if call.stage_type == "txt2img"]
    assert len(drawn) == 3
    assert all(call.output and call.output.cached for call in drawn)
    assert [row["name"] for row in done.table] == ["three", "drawn", "one"]
    assert [row["seed"] for row in done.table] == [drafted[number - 1]["seed"] for number in (3, 5, 1)]
    assert {row["width"] for row in done.table} == {"96"}
    prompts = {request.body["prompt"] for request in at.sent()[sent:] if "prompt" in request.body}
    assert "portrait of a sailor" in prompts, "ADetailer does without the global prompt"


def test_settings_of_the_command_line_win_over_the_drafts(at: At) -> None:
    pack = at.folder / "pack.yaml"
    pack.write_text(DRAFT)
    assert at.run(str(pack)).code == ExitCode.OK
    done = at.command(finish, "--pick", "1-2", "--stages", "upscale", "--set", "upscale.factor=2")
    assert done.code == ExitCode.OK, done.err
    assert [row["width"] for row in done.table] == ["128", "128"]
    assert all(call.output and call.output.cached for call in done.calls if call.stage_type == "txt2img")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--pick", "99", "--stages", "upscale"),
            "--pick: there is no image 99; the run has the finished images 1",
        ),
        (("--pick", "x", "--stages", "upscale"), "--pick: 'x' is no number; write numbers and ranges"),
        (("--pick", "3-1", "--stages", "upscale"), "--pick: '3-1' is no range"),
        (
            ("--pick", "1", "--stages", "txt2img"),
            "--stages: the run's images cannot be taken through txt2img",
        ),
        (("nosuchrun", "--pick", "1", "--stages", "upscale"), "there is no run 'nosuchrun'"),
    ],
)
def test_what_cannot_be_finished(at: At, arguments: tuple[str, ...], said: str) -> None:
    draft = at.run("--prompt", "a cat", "--set", "txt2img.width=64", "--set", "txt2img.height=64")
    assert draft.code == ExitCode.OK
    refused = at.command(finish, *arguments)
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err.startswith(said)


def test_old_images_are_enlarged_and_retouched(at: At) -> None:
    """ADetailer needs a generation stage, or images that were generated before, and their prompts."""
    old = at.folder / "old"
    for seed, name in enumerate(("one", "two"), start=1):
        picture(old / f"{name}.png", INFOTEXT.format(prompt=f"face {name}", seed=seed))
    done = at.command(
        reprocess, str(old), "--stages", "upscale,adetailer", "--set", "upscale.upscaler=Lanczos",
        "--set", "adetailer.steps=3",
    )  # fmt: skip
    assert done.code == ExitCode.OK, done.err
    bodies = [request.body for request in at.sent() if "init_images" in request.body]
    asked = sorted((body["prompt"], body["seed"], body["steps"], body["width"]) for body in bodies[-2:])
    assert asked == [("face one", 1, 3, 128), ("face two", 2, 3, 128)]
    lacking = picture(old / "bare.png")
    refused = at.command(reprocess, str(old), "--stages", "upscale,adetailer")
    assert refused.code == ExitCode.BAD_INPUT
    assert refused.err == f"{lacking}: has no generation parameters, and adetailer needs a prompt.\n"


def test_a_keeper_from_a_batch_is_continued_as_it_is(at: At) -> None:
    """Drawn alone it would be another picture, and the rest of its batch is not wanted."""
    pack = at.folder / "pack.yaml"
    pack.write_text(DRAFT)
    draft = at.run(str(pack))
    seeds, picked, sent = [row["seed"] for row in draft.table], draft.pictures, len(at.sent())
    done = at.command(finish, "--pick", "8", "--stages", "upscale,adetailer")
    assert done.code == ExitCode.OK, done.err
    requests = at.sent()[sent:]
    assert [stage_of(request) for request in requests] == ["upscale", "adetailer"]
    assert inputs_of(requests[0])[0] in {hashlib.sha256(data).hexdigest() for data in picked.values()}
    assert str(requests[1].body["seed"]) == seeds[7] == done.table[0]["seed"]
    assert requests[1].body["prompt"] == "portrait of a captain"


def test_a_checkpoint_is_what_its_file_holds(at: At) -> None:
    """Renamed on the server it makes the same picture; where its name is another file's, nothing is sent."""
    first = at.run("--prompt", "a sailor", "--set", "checkpoint=sandbox_portrait_v2", *SMALL)
    assert first.code == ExitCode.OK, first.err
    [image] = at.copies(first)
    base, portrait, *others = Catalog().checkpoints
    renamed = portrait.model_copy(update={"name": "portrait_final"})
    replaced = base.model_copy(update={"name": portrait.name})
    for files, code in (((base, renamed), ExitCode.OK), ((base, replaced), ExitCode.BAD_INPUT)):
        catalog = Catalog(checkpoints=(*files, *others))
        with run_sandbox(SandboxSettings(knows_hashes=True), catalog=catalog) as sandbox:
            there = At(sandbox, at.prefect, at.folder / files[1].name)
            again = there.run("--from", image)
            assert again.code == code, again.err
            assert len(there.sent()) == (code == ExitCode.OK)
        if code == ExitCode.OK:
            [made] = there.copies(again)
            assert Image.open(made).tobytes() == Image.open(image).tobytes()
        else:
            assert f"has the hash {base.sha256[:10]}, so it is another file" in again.out
            assert portrait.sha256[:10] in again.out


def test_a_keeper_is_not_drawn_again_with_another_file(at: At) -> None:
    """The picture that was picked would be another."""
    draft = at.run("--prompt", "a sailor", "--set", "checkpoint=sandbox_portrait_v2", *SMALL)
    assert draft.code == ExitCode.OK, draft.err
    base, portrait, *_ = Catalog().checkpoints
    replaced = base.model_copy(update={"name": portrait.name})
    settings = SandboxSettings(knows_hashes=True)
    with run_sandbox(settings, catalog=Catalog(checkpoints=(base, replaced))) as sandbox:
        there = At(sandbox, at.prefect, at.folder)
        refused = there.command(finish, "last", "--pick", "1", "--stages", "upscale")
        assert there.sent() == []
    assert refused.code == ExitCode.BAD_INPUT
    assert "so it is another file" in refused.out
