"""The server's options: defaults, what ``config.json`` holds, and how a wrong value poisons them."""

from typing import Any

from stableflows.sandbox.errors import ServerError
from stableflows.sandbox.recorded import Family, of_family

_HIDDEN: dict[str, Any] = {
    # Options of extensions: they can be set, but GET /options does not list them.
    "ad_max_models": 4,
    "ad_same_seed_for_each_tab": False,
    "lora_add_hashes_to_infotext": True,
    "sd_lora": "None",
}
_EXPLANATIONS = ("sd_vae_explanation", "infotext_explanation", "profiling_explanation", "settings_in_ui")
_RESTRICTED = {
    "temp_dir",
    "api_enable_requests",
    "api_forbid_local_requests",
    "api_useragent",
    "disabled_extensions",
    "disable_all_extensions",
    "restore_config_state_file",
    "sd_checkpoint_hash",
}
_ALWAYS_IN_CONFIG = ("sd_model_checkpoint", "sd_checkpoint_hash", "samples_save", "samples_format")


def _restricted(name: str) -> bool:
    return name.startswith("outdir_") or name in _RESTRICTED


class Options:
    """``data`` is what stands in ``config.json``; anything else has its default.

    The restore after an override covers only keys that stand in ``data``: on a sparse config an override of
    another key stays for all later requests.
    """

    def __init__(self, family: Family, *, sparse: bool) -> None:
        self._family = family
        self.listed: dict[str, Any] = of_family(family, "options")
        self.defaults: dict[str, Any] = {**_HIDDEN, **self.listed}
        names = _ALWAYS_IN_CONFIG if sparse else tuple(self.defaults)
        self.data: dict[str, Any] = {name: self.defaults[name] for name in names}
        self.saved: dict[str, Any] = dict(self.data)
        """``config.json``: what a restarted server begins with. POST /options writes it."""

    def save(self) -> None:
        self.saved = dict(self.data)

    def __getitem__(self, name: str) -> Any:
        return self.data.get(name, self.defaults.get(name))

    def __contains__(self, name: str) -> bool:
        return name in self.defaults

    def set(self, name: str, value: Any) -> bool:
        """Set an option through the API; whether its value changed.

        Raises:
            ServerError: KeyError for a name that does not exist.
        """
        if name in self.data and self.data[name] == value and type(self.data[name]) is type(value):
            return False
        if name not in self.defaults:
            raise ServerError("KeyError", repr(name))
        if _restricted(name) or name in _EXPLANATIONS:
            return False
        self.data[name] = value
        return True

    def stored(self, names: list[str]) -> dict[str, Any]:
        """Values to restore after an override: only of keys that stand in the config."""
        return {name: self.data[name] for name in names if name in self.data}

    def changed(self) -> dict[str, Any]:
        """Every option whose value is not its default."""
        return {name: value for name, value in self.data.items() if value != self.defaults[name]}

    def as_json(self) -> dict[str, Any]:
        """The answer of ``GET /options``.

        Raises:
            ServerError: ValidationError if any option was set to a value of another type.
        """
        answer: dict[str, Any] = {}
        complaints: list[str] = []
        for name, default in self.listed.items():
            value = self[name]
            complaint = _misfit(value, default)
            if complaint:
                complaints.append(f"response -> {name}\n  {complaint}")
            answer[name] = value
        if complaints:
            plural = "s" if len(complaints) > 1 else ""
            head = f"{len(complaints)} validation error{plural} for Options\n"
            raise ServerError("ValidationError", head + "\n".join(complaints))
        return {
            name: float(value) if _is_number(self.listed[name]) and isinstance(value, str) else value
            for name, value in answer.items()
        }


def _is_number(default: Any) -> bool:
    return isinstance(default, int | float) and not isinstance(default, bool)


def _misfit(value: Any, default: Any) -> str | None:
    if value is None or default is None:
        return None
    if isinstance(default, bool):
        fits = isinstance(value, bool) or str(value).lower() in ("0", "1", "true", "false", "on", "off")
        return None if fits else "value could not be parsed to a boolean (type=type_error.bool)"
    if _is_number(default):
        try:
            float(value)
        except (TypeError, ValueError):
            return "value is not a valid float (type=type_error.float)"
        return None
    if isinstance(default, list):
        return None if isinstance(value, list) else "value is not a valid list (type=type_error.list)"
    return None if isinstance(value, str | int | float) else "str type expected (type=type_error.str)"
