"""What we find in Prefect's settings is what Prefect finds there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.prefect_settings import prefect_setting
from stableflows.errors import InputError

HERE = "http://127.0.0.1:1/api"
THERE = "http://127.0.0.1:2/api"
TOML = f'[api]\nurl = "{HERE}"\n'
PYPROJECT = f'[tool.prefect.api]\nurl = "{THERE}"\n'
PROFILES = f'''active = "mine"
[profiles.mine]
PREFECT_API_URL = "{HERE}"
[profiles.other]
PREFECT_API_URL = "{THERE}"
PREFECT_HOME = "elsewhere"
[profiles.ephemeral]
PREFECT_SERVER_EPHEMERAL_ENABLED = "true"
'''

SITUATIONS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "nothing": ({}, {}),
    "environment": ({"PREFECT_API_URL": HERE}, {"prefect.toml": f'[api]\nurl = "{THERE}"\n'}),
    "environment, other case": ({"prefect_api_url": HERE}, {}),
    "environment, emptied": ({"PREFECT_API_URL": ""}, {"prefect.toml": TOML}),
    ".env": ({}, {".env": f"PREFECT_API_URL={HERE}\nPREFECT_HOME=h\n", "prefect.toml": PYPROJECT}),
    ".env, other case": ({}, {".env": f'prefect_api_url="{HERE}"\n'}),
    "prefect.toml": ({}, {"prefect.toml": TOML, "pyproject.toml": PYPROJECT}),
    "prefect.toml without it": ({}, {"prefect.toml": "[api]\nrequest_timeout = 5\n"}),
    "pyproject.toml": ({"PREFECT_HOME": "."}, {"pyproject.toml": PYPROJECT, "profiles.toml": PROFILES}),
    "pyproject.toml of something else": ({}, {"pyproject.toml": '[project]\nname = "x"\n'}),
    "active profile": ({"PREFECT_HOME": "."}, {"profiles.toml": PROFILES}),
    "named profile": ({"PREFECT_HOME": ".", "PREFECT_PROFILE": "other"}, {"profiles.toml": PROFILES}),
    "named ephemeral": ({"PREFECT_HOME": ".", "PREFECT_PROFILE": "ephemeral"}, {"profiles.toml": PROFILES}),
    "profiles elsewhere": ({"PREFECT_PROFILES_PATH": "p.toml"}, {"p.toml": PROFILES}),
    "profiles elsewhere, by .env": ({}, {".env": "PREFECT_PROFILES_PATH=p.toml\n", "p.toml": PROFILES}),
    "profiles elsewhere, by prefect.toml": (
        {},
        {"prefect.toml": 'profiles_path="p.toml"', "p.toml": PROFILES},
    ),
    "Prefect's own profile": ({"PREFECT_PROFILE": "local"}, {}),
    "Prefect's own, but not in the file": (
        {"PREFECT_HOME": ".", "PREFECT_PROFILE": "local"},
        {"profiles.toml": PROFILES},
    ),
    "no active profile": ({"PREFECT_HOME": "."}, {"profiles.toml": PROFILES.replace("active", "passive")}),
    "home by prefect.toml": ({}, {"prefect.toml": 'home = "h"'}),
    "home by environment": ({"PREFECT_HOME": "~/h"}, {".env": "PREFECT_HOME=g\n"}),
}

# Both are asked in the same way: one process, which goes from situation to situation.
ASK = """
import json, os, sys
def ours(*path):
    found = prefect_setting(*path)
    return found.value if found and found.value else None
def theirs(*path):
    value = Settings()
    for part in path:
        value = getattr(value, part)
    return str(value) if value else None
if sys.argv[1] == "ours":
    from flows.prefect_settings import prefect_setting
    ask = ours
else:
    from prefect.settings import Settings
    ask = theirs
untouched = dict(os.environ)
answers = {}
for name, variables in json.load(sys.stdin).items():
    os.chdir(os.path.join(untouched["HOME"], name))
    os.environ.clear()
    os.environ.update(untouched, **variables)
    home = os.path.expanduser(ask("home") or "~/.prefect")
    answers[name] = [ask("api", "url"), home]
if sys.argv[1] == "ours":
    assert "prefect" not in sys.modules
json.dump(answers, sys.stdout)
"""


def answers_of(whom: str, folder: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, whom],
        input=json.dumps({name: variables for name, (variables, _) in SITUATIONS.items()}),
        env={**environment, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    answers: dict[str, Any] = json.loads(asked.stdout)
    return answers


def test_it_finds_what_prefect_finds(tmp_path: Path) -> None:
    for name, (_, files) in SITUATIONS.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    ours, theirs = answers_of("ours", tmp_path), answers_of("prefect", tmp_path)
    assert ours == theirs
    assert {url for url, _home in ours.values()} >= {None, HERE, THERE}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and PREFECT_HOME without any setting, in a process without Prefect."""
    for name in [name for name in os.environ if name.startswith("PREFECT")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "prefect.settings", raising=False)
    return tmp_path


def test_it_says_where_a_setting_stands(settings: Path) -> None:
    (settings / "profiles.toml").write_text(PROFILES)
    found = prefect_setting("api", "url")
    assert found is not None
    assert found.where == f"profile 'mine' in {settings / 'profiles.toml'}"
    (settings / "pyproject.toml").write_text(PYPROJECT)
    found = prefect_setting("api", "url")
    assert found is not None
    assert found.where == f"tool.prefect.api.url in {settings / 'pyproject.toml'}"


def test_a_profile_that_does_not_exist(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings / "profiles.toml").write_text(PROFILES)
    monkeypatch.setenv("PREFECT_PROFILE", "mime")
    with pytest.raises(InputError, match=r"profile 'mime' does not exist. Did you mean 'mine'\?"):
        prefect_setting("api", "url")


def test_a_settings_file_that_is_broken(settings: Path) -> None:
    (settings / "prefect.toml").write_text("[api\n")
    with pytest.raises(InputError, match=r"prefect.toml: Prefect's settings cannot be read: .* line 1"):
        prefect_setting("api", "url")
