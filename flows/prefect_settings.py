"""What Prefect will find in its settings, found without importing it.

Importing Prefect takes seconds, and whether a server of our own is needed must be known before. The order is
Prefect 3.8's own (`prefect.settings.sources`): environment, `.env`, `prefect.toml`, `[tool.prefect]` of
`pyproject.toml`, each in the working directory, then the active profile.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import dotenv
from pydantic import SecretStr

from stableflows.errors import InputError, Where

__all__ = ["Setting", "prefect_setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting's value and the place that sets it, for people."""

    value: str
    where: str


def prefect_setting(*path: str) -> Setting | None:
    """What the setting `path`, such as `"api", "url"`, is set to; None where nobody sets it.

    Raises:
        InputError: a settings file is broken, or the active profile does not exist.
    """
    if "prefect.settings" in sys.modules:  # whoever imported it may have changed settings since
        return _asked_of_prefect(path)
    name = "_".join(("PREFECT", *path)).upper()
    return (
        _in_variables(os.environ, name, f"{name} in the environment")
        or _in_variables(dotenv.dotenv_values(".env"), name, f"{name} in {Path('.env').absolute()}")
        or _in_table(Path("prefect.toml"), path)
        or _in_table(Path("pyproject.toml"), ("tool", "prefect", *path))
        or _in_profile(name)
    )


def _asked_of_prefect(path: tuple[str, ...]) -> Setting | None:
    from prefect.settings import get_current_settings

    value: Any = get_current_settings()
    for part in path:
        value = getattr(value, part)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return None if value is None else Setting(str(value), "Prefect's current settings")


def _in_variables(variables: Mapping[str, str | None], name: str, where: str) -> Setting | None:
    for key, value in variables.items():
        if key.upper() == name and value is not None:
            return Setting(value, where)
    return None


def _in_table(file: Path, path: tuple[str, ...]) -> Setting | None:
    value: Any = _toml(file)
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None else Setting(str(value), f"{'.'.join(path)} in {file.absolute()}")


def _in_profile(name: str) -> Setting | None:
    file = _profiles_file()
    theirs = _toml(file)
    defaults = _toml(_default_profiles())
    active = os.environ.get("PREFECT_PROFILE") or theirs.get("active")
    profiles = theirs.get("profiles", {})
    known = {*profiles, *defaults["profiles"]}
    if active and active not in known:
        raise InputError(
            f"Prefect's profile {active!r} does not exist.",
            where=Where(file if file.exists() else None, field="PREFECT_PROFILE"),
            allowed=sorted(known),
            value=active,
        )
    # Prefect reads a profile from one file only; where that lacks it, Prefect's default profile counts.
    if active not in profiles:
        active, profiles = defaults["active"], defaults["profiles"]
    value = profiles[active].get(name)
    return None if value is None else Setting(str(value), f"profile {active!r} in {file}")


def _profiles_file() -> Path:
    """As `prefect.settings.sources._get_profiles_path` finds it."""
    name = "PREFECT_PROFILES_PATH"
    if path := os.environ.get(name) or dotenv.dotenv_values(".env").get(name):
        return Path(path)
    for file, table in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        if found := _in_table(Path(file), (*table, "profiles_path")):
            return Path(found.value)
    if home := os.environ.get("PREFECT_HOME"):
        return Path(home) / "profiles.toml"
    file_at_home = Path.home() / ".prefect" / "profiles.toml"
    return file_at_home if file_at_home.exists() else _default_profiles()


def _default_profiles() -> Path:
    return Path(str(distribution("prefect").locate_file("prefect/settings/profiles.toml")))


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"Prefect's settings cannot be read: {error}.", where=Where(file.absolute())
        ) from error
