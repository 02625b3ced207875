"""What other programs call the samplers and schedules of the WebUIs."""

from __future__ import annotations

from stableflows.errors import nearest
from stableflows.images.recipe import Unreadable

__all__ = ["comfy_scheduler", "sampler_of"]

SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "dpm_2_a": "DPM2 a",
    "kdpm_2": "DPM2",
    "kdpm_2_a": "DPM2 a",
    "lms": "LMS",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_2s": "DPM++ 2S a",
    "dpmpp_2_a": "DPM++ 2S a",
    "dpmpp_2": "DPM++ 2M",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_3m_sde_gpu": "DPM++ 3M SDE",
    "ddim": "DDIM",
    "plms": "PLMS",
    "pndm": "PLMS",
    "uni_pc": "UniPC",
    "uni_pc_bh2": "UniPC",
    "unipc": "UniPC",
    "restart": "Restart",
    "lcm": "LCM",
}
"""Name in ComfyUI, SwarmUI and InvokeAI, and the WebUIs' for the same or the nearest method."""

SCHEDULERS = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
    "kl_optimal": "KL Optimal",
    "polyexponential": "Polyexponential",
}


def sampler_of(name: str) -> dict[str, str]:
    """Sampler, and scheduler if it is part of the name, as fields of a stage.

    Raises:
        Unreadable: no WebUI has one that is like it.
    """
    plain = name.removeprefix("k_")
    if plain in SAMPLERS:
        return {"sampler": SAMPLERS[plain]}
    if plain.endswith("_k") and plain[:-2] in SAMPLERS:
        return {"sampler": SAMPLERS[plain[:-2]], "scheduler": "Karras"}
    raise Unreadable(f"its sampler {name!r} has no counterpart in a WebUI{_hint(plain, SAMPLERS)}")


def comfy_scheduler(name: str) -> dict[str, str]:
    """The scheduler as a field of a stage.

    Raises:
        Unreadable: no WebUI has it.
    """
    if name in SCHEDULERS:
        return {"scheduler": SCHEDULERS[name]}
    raise Unreadable(f"its scheduler {name!r} has no counterpart in a WebUI{_hint(name, SCHEDULERS)}")


def _hint(name: str, known: dict[str, str]) -> str:
    near = nearest(name, known)
    return f" (like it are {', '.join(known[one] for one in near)})" if near else ""
