"""`stableflows pack show|lint|expand|convert`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.pack import app
from stableflows.packs import read_sources
from stableflows.packs.native import as_native
from tests.packs.conftest import Write

ROOT = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"

Pack = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pack(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Runs the command; exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("STABLEFLOWS_SERVER", raising=False)

    def pack(*words: str | Path) -> tuple[int, str, str]:
        code = app([str(word) for word in words], result_action="return_value", exit_on_error=False)
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return code, out, err

    return pack


# -- show


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("block.txt", "block text"),
        ("native.yaml", "YAML"),
        ("native.json", "JSON"),
        ("list.json", "JSON, a list of prompts"),
        ("plain.tsv", "TSV"),
        ("table.csv", "CSV"),
        ("webui.txt", "AUTOMATIC1111 lines"),
        ("stablenew/castle.txt", "block text with StableNew's castle.json"),
    ],
)
def test_show_says_what_each_form_was_read_as(pack: Pack, name: str, form: str) -> None:
    file = SAMPLES / name
    code, out, _ = pack("show", file)
    assert code == 0
    assert out.startswith(f"{file}: {form}, id ")
    _, out, _ = pack("show", file, "--json")
    (shown,) = json.loads(out)["packs"]
    assert shown["format"] == form
    assert all(entry["line"] for entry in shown["entries"])


def test_show_says_the_settings_of_packs_and_entries(pack: Pack) -> None:
    _, out, _ = pack("show", SAMPLES / "native.yaml")
    assert out.splitlines() == [
        f'{SAMPLES}/native.yaml: YAML, id coast "The coast", 2 entries',
        "    prompt: highly detailed",
        "    negative_prompt: watermark",
        "    checkpoint: sandbox_base_v1",
        "    txt2img.enabled: True",
        "    txt2img.steps: 24",
        "   1  a lighthouse at dusk",
        "   2  harbour: a harbour: morning, fog",
        "      txt2img.seed=7, upscale.enabled=True, upscale.factor=1.5, count=2",
    ]


def test_show_tells_warnings(pack: Pack) -> None:
    _, out, _ = pack("show", SAMPLES / "webui.txt")
    assert f"Warning: {SAMPLES}/webui.txt:4: is taken as a prompt with all its tags" in out


@pytest.mark.parametrize("verb", ["show", "lint", "expand", "convert"])
def test_a_file_that_is_not_there(pack: Pack, verb: str) -> None:
    code, out, err = pack(verb, "none.txt")
    assert code == 2
    assert "there is no file none.txt" in out + err


@pytest.mark.parametrize("verb", ["show", "lint", "expand"])
def test_no_file_at_all(pack: Pack, verb: str) -> None:
    code, _, err = pack(verb)
    assert (code, err) == (2, "no pack was named.\n")


# -- lint


@pytest.mark.parametrize(
    ("text", "code"),
    [("a boat\n", 0), ("a (boat\n", 0), ("a boat\nneg: text\nugly\n", 1)],
)
def test_the_exit_code_of_lint(pack: Pack, write: Write, text: str, code: int) -> None:
    assert pack("lint", write("p.txt", text))[0] == code


def test_a_file_that_cannot_be_read_outweighs_errors_in_others(pack: Pack, write: Write) -> None:
    good, bad = write("a.txt", "a <foo:bar>\n"), write("b.txt", b"caf\xe9")
    code, out, _ = pack("lint", good, bad)
    assert code == 2
    assert "[stray-tag]" in out
    assert "[unreadable]" in out


def test_lint_prints_a_line_a_finding_and_a_sum(pack: Pack, write: Write) -> None:
    file = write("p.txt", "a (boat, <embedding:x>\n")
    _, out, _ = pack("lint", file)
    first, second, total = out.splitlines()
    assert first.startswith(f"{file}:1: warning [unbalanced] ")
    assert second.startswith(f"{file}:1: notice [embedding-tag] ")
    assert total == "1 warning, 1 notice"
    assert pack("lint", write("q.txt", "a boat\n"))[1] == "Nothing to say.\n"


def test_lint_as_json_for_editors(pack: Pack, write: Write) -> None:
    file = write("p.csv", "prompt,stepz\na boat,3\n")
    code, out, err = pack("lint", file, "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "findings": [
            {
                "file": str(file),
                "line": 1,
                "field": "column 2",
                "rule": "unknown-key",
                "severity": "error",
                "message": "there is no setting 'stepz'.",
                "mend": "did you mean steps?",
            }
        ]
    }


def test_names_are_held_against_a_server(pack: Pack, write: Write) -> None:
    file = write("p.csv", "prompt,checkpoint,sampler\na <lora:film_grian:1>,sandbox_base_v1,Eulr\n")
    assert pack("lint", file)[0] == 0
    code, out, _ = pack("lint", file, "--server", "sandbox", "--json")
    assert code == 1
    findings = json.loads(out)["findings"]
    assert {(each["rule"], each["line"]) for each in findings} == {("unknown-name", 2)}
    told = " ".join(each["message"] for each in findings)
    assert "no LoRA 'film_grian'. Did you mean 'film_grain'?" in told
    assert "no sampler 'Eulr'" in told
    assert "sandbox_base_v1" not in told


def test_a_server_that_is_not_there(pack: Pack, write: Write) -> None:
    code, _, err = pack("lint", write("p.txt", "a boat\n"), "--server", "http://127.0.0.1:9")
    assert code == 3
    assert "http://127.0.0.1:9" in err


def test_a_server_that_is_a_block_is_refused_in_words(pack: Pack, write: Write) -> None:
    code, _, err = pack("lint", write("p.txt", "a boat\n"), "--server", "my-box")
    assert code == 2
    assert "--server: name a URL such as" in err


# -- expand


def test_expand_writes_every_prompt(pack: Pack) -> None:
    code, out, _ = pack("expand", SAMPLES / "stablenew2/people.txt")
    assert code == 0
    assert out.splitlines()[::2] == [
        "a baker in the square",
        "a baker in the forge",
        "a smith in the square",
        "a smith in the forge",
    ]
    assert out.splitlines()[1] == "    job=baker, place=square"


def test_expand_as_json_with_a_limit(pack: Pack) -> None:
    _, out, _ = pack("expand", SAMPLES / "stablenew2/people.txt", "--limit", "1", "--json")
    (prompt,) = json.loads(out)["prompts"]
    assert (prompt["prompt"], prompt["line"]) == ("a baker in the square", 1)
    assert prompt["values"] == {"job": "baker", "place": "square"}


def test_counting_is_exact_and_does_not_expand(pack: Pack, write: Write) -> None:
    slots = "\n".join(f"    s{n}: [a, b, c, d, e, f, g, h, i, j]" for n in range(13))
    slotted = " ".join(f"[[s{n}]]" for n in range(13))
    file = write("p.yaml", f"matrix:\n  slots:\n{slots}\nentries: ['{slotted}', a boat]\n")
    code, out, _ = pack("expand", file, "--count", "--json")
    assert code == 0
    assert json.loads(out) == {
        "prompts": 10**13 + 1,
        "packs": [{"file": str(file), "prompts": 10**13 + 1}],
    }
    code, _, err = pack("expand", file)
    assert code == 2
    assert "Give a limit" in err
    (finding,) = json.loads(pack("lint", file, "--json")[1])["findings"]
    assert (finding["rule"], finding["severity"]) == ("unresolved", "error")
    assert finding["message"] == "stands for 10,000,000,000,000 prompts; at most 100,000 are rendered"


def test_draws_follow_from_the_seed(pack: Pack, write: Write) -> None:
    many = "|".join(map(str, range(100)))
    file = write("p.yaml", f"entries: ['a boat no {{{many}}}']\n")
    drawn = {seed: pack("expand", file, "--seed", seed)[1] for seed in ("1", "2")}
    assert drawn["1"] != drawn["2"]
    assert pack("expand", file, "--seed", "1")[1] == drawn["1"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a [[place]]", "'[[place]]' is a slot that no matrix defines"),
        ("a __nowhere/colours__", "__nowhere/colours__"),
        ("a {red|blue", "never closed"),
    ],
)
def test_what_cannot_be_resolved(pack: Pack, write: Write, prompt: str, said: str) -> None:
    file = write("p.txt", f"a boat\n\n{prompt}\n")
    code, _, err = pack("expand", file)
    assert code == 2
    assert f"{file}:3: " in err
    assert said in err
    code, out, _ = pack("lint", file, "--json")
    assert code == 1
    (finding,) = json.loads(out)["findings"]
    assert (finding["rule"], finding["line"]) == ("unresolved", 3)


# -- convert


def test_convert_to_standard_output_and_to_a_file(pack: Pack, tmp_path: Path) -> None:
    code, out, err = pack("convert", SAMPLES / "webui.txt")
    assert code == 0
    assert "Warning: " in err
    target = tmp_path / "webui.yaml"
    assert pack("convert", SAMPLES / "webui.txt", "--to", target)[:2] == (0, "")
    assert target.read_text("utf-8") == out
    (written,), (first,) = (read_sources([file]).packs for file in (target, SAMPLES / "webui.txt"))
    assert as_native(written) == as_native(first)


def test_convert_writes_over_nothing(pack: Pack, write: Write) -> None:
    target = write("mine.yaml", "entries: [mine]\n")
    code, _, err = pack("convert", SAMPLES / "block.txt", "--to", target)
    assert code == 2
    assert "is there already" in err
    assert target.read_text() == "entries: [mine]\n"


def test_convert_takes_one_pack(pack: Pack) -> None:
    code, out, err = pack("convert", SAMPLES / "packs.json")
    assert (code, out) == (2, "")
    assert "names 3 packs, and is no pack itself; convert each of them." in err


def test_a_stablenew_pack_converted_expands_to_the_same(pack: Pack, tmp_path: Path) -> None:
    target = tmp_path / "castle.yaml"
    assert pack("convert", SAMPLES / "stablenew/castle.txt", "--to", target)[0] == 0
    expanded = [
        [each["prompt"] for each in json.loads(pack("expand", file, "--json")[1])["prompts"]]
        for file in (SAMPLES / "stablenew/castle.txt", target)
    ]
    assert expanded[0] == expanded[1]
    assert len(expanded[0]) > 2


# -- what it costs


@pytest.mark.parametrize("words", [["--help"], ["show", "packs/demo.txt"], ["lint", "packs/demo.yaml"]])
def test_nothing_heavy_is_loaded(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from flows.cli import main\n"
        f"sys.argv = ['stableflows', 'pack', *{words!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('loaded:', sorted({'prefect', 'httpx', 'dynamicprompts'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
