"""Recorded pairs that stand alone: what state they met, and what else went on while they ran."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from stableflows.sandbox import Fault, Sandbox, SandboxSettings
from tests.sandbox.recordings import Pair, by_name, recording, send
from tests.sandbox.sessions import A1111, AUTH, FORGE, SESSIONS, disk

USER = ("user", "pass")
SETTINGS: dict[str, tuple[SandboxSettings, Any]] = {
    "a1111": (SandboxSettings(), A1111),
    "forge": (SandboxSettings(flavour="forge"), FORGE),
    "auth": (SandboxSettings(auth=USER, more_users=(("bob", "secret"),), server_stop=True), AUTH),
    "api-only": (
        SandboxSettings(flavour="api-only", server_stop=True),
        disk("/srv/data2", a="cfca7f96d8982fb04710952bcbcfbc809fac2d1d37c8f017ba78a90dce49afc6"),
    ),
}
EXCUSED: dict[str, str] = {
    **{
        f"a1111/{pair['name']}": "agent-scheduler, an extension that the sandbox does not have"
        for pair in recording("a1111")["pairs"]
        if pair["name"].startswith(("as_", "agentsched_"))
    },
}
"""Pairs that are not replayed, and why."""

_SLOW = 0.04
Step = Callable[[Sandbox, httpx.Client], None]


@dataclass(frozen=True)
class Setting:
    """What was so when a pair was recorded."""

    before: Step | None = None
    during: Step | None = None
    """Runs beside the request, once it has been sent."""
    slow: bool = False
    fault: Fault | None = None
    options: tuple[tuple[str, Any], ...] = ()
    auth: tuple[str, str] | None = None


def job(name: str) -> Step:
    """Another pair's request, sent before and waited for."""
    return lambda _, client: _quiet(client, by_name("a1111")[name])


def _quiet(client: httpx.Client, pair: Pair) -> None:
    send(client, pair)


def running(**fields: Any) -> Step:
    """A job that runs (and is slow) while the pair is sent."""

    def step(sandbox: Sandbox, client: httpx.Client) -> None:
        body = {"prompt": "a cat", "steps": 20, "width": 256, "height": 256, "seed": 1, **fields}
        _start(sandbox, body)
        _wait(lambda: sandbox.webui.state.sampling_step >= 1)

    return step


def standing(task_id: str) -> Step:
    """A job that stands at its first step."""

    def step(sandbox: Sandbox, client: httpx.Client) -> None:
        sandbox.arm(Fault(kind="hang", step=0))
        _start(sandbox, {"prompt": "a cat", "steps": 20, "force_task_id": task_id})
        _wait(lambda: sandbox.webui.tasks.current == task_id)

    return step


def _start(sandbox: Sandbox, body: dict[str, Any]) -> None:
    auth = USER if sandbox.settings.auth else None

    def post() -> None:
        httpx.post(f"{sandbox.url}/sdapi/v1/txt2img", json=body, timeout=60, auth=auth)

    threading.Thread(target=post, daemon=True).start()


def _wait(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.005)
    raise TimeoutError("the sandbox never came to the state that the recording met")


def _once_running(then: str) -> Step:
    def step(sandbox: Sandbox, client: httpx.Client) -> None:
        _wait(lambda: sandbox.webui.state.sampling_step >= 1)
        client.post(then)

    return step


def interrupted(sandbox: Sandbox, client: httpx.Client) -> None:
    _once_running("/sdapi/v1/interrupt")(sandbox, client)


def ended(sandbox: Sandbox) -> None:
    """Let whatever still runs come to its end."""
    sandbox.webui.state.interrupt()
    _wait(lambda: sandbox.webui.state.job_count == 0)
    sandbox.webui.lock.submit(lambda: None).result(10)


def _two_waiting(sandbox: Sandbox, client: httpx.Client) -> None:
    running(force_task_id="task-A")(sandbox, client)


def _other_model(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.webui.options.data["sd_model_checkpoint"] = "sandbox_tiny_b"


def _interrupted_task(sandbox: Sandbox, client: httpx.Client) -> None:
    running(force_task_id="task-I")(sandbox, client)
    ended(sandbox)


def _failed_task(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.arm(Fault(kind="oom"))
    send(client, by_name("auth")["oom"])


_PARTIAL = Setting(during=interrupted, slow=True)
_OOM = Fault(kind="oom")
SCENES: dict[str, Setting] = {
    "a1111/t2i_jpg": Setting(options=(("samples_format", "jpg"),)),
    "a1111/t2i_nan_real": Setting(fault=Fault(kind="nan")),
    "a1111/options_get_after_wrong_type": Setting(options=(("jpeg_quality", "abc"),)),
    "a1111/options_get_poisoned": Setting(options=(("CLIP_stop_at_last_layers", "abc"),)),
    "a1111/interrupt_immediate": _PARTIAL,
    "a1111/interrupt_running_job": _PARTIAL,
    "a1111/interruptq_A": _PARTIAL,
    "a1111/skip_job": Setting(during=_once_running("/sdapi/v1/skip"), slow=True),
    "a1111/interrupt_call": Setting(before=running(), slow=True),
    "a1111/skip_call": Setting(before=running(), slow=True),
    "a1111/progress_during_with_image": Setting(before=running(), slow=True),
    "a1111/progress_right_after_interrupt": Setting(before=running(n_iter=2), slow=True),
    "a1111/progress_after_client_disconnect": Setting(before=running(steps=40), slow=True),
    "a1111/progress_after_error": Setting(before=job("t2i_steps_zero")),
    "a1111/progress_after_failed": Setting(before=job("task_failing")),
    "a1111/internal_progress_failed_task": Setting(before=job("task_failing")),
    "a1111/internal_progress_completed": Setting(before=job("task_ok_after")),
    "a1111/internal_progress_after_interrupt": Setting(before=_interrupted_task, slow=True),
    "a1111/queue_get_models_not_blocked": Setting(before=running(), slow=True),
    "a1111/queue_B": Setting(before=_two_waiting, slow=True),
    "a1111/queue_X_extras_waits": Setting(before=running(steps=4), slow=True),
    "a1111/interruptq_B": Setting(before=running(steps=4), slow=True),
    "a1111/t2i_after_bad_value": Setting(before=job("t2i_override_bad_value")),
    "a1111/t2i_after_norestore": Setting(before=job("t2i_override_model_b_norestore")),
    "a1111/t2i_after_unload": Setting(before=job("unload")),
    "a1111/t2i_after_reload": Setting(before=job("reload")),
    "a1111/t2i_after_idle_interrupt": Setting(before=job("interrupt_idle")),
    "auth/oom": Setting(fault=_OOM),
    "auth/oom_img": Setting(fault=_OOM),
    "auth/nans": Setting(fault=Fault(kind="nan", message="A tensor with all NaNs was produced in Unet.")),
    "auth/internal_progress_after_oom": Setting(before=_failed_task),
    "forge/oom": Setting(fault=_OOM),
    "forge/interrupt_job": _PARTIAL,
    "forge/interrupt_progress": Setting(before=running(), slow=True),
    "forge/interrupt_internal": Setting(before=standing("tI"), slow=True),
    "forge/auth_none": Setting(auth=USER),
    "forge/auth_wrong": Setting(auth=USER),
    "forge/auth_ok": Setting(auth=USER, before=job("t2i_basic")),
}


def alone() -> list[tuple[str, str]]:
    """Server and name of every pair that no session holds and that is not excused."""
    held = {(session.server, name) for session in SESSIONS for name in session.pairs}
    return [
        (server, pair["name"])
        for server in SETTINGS
        for pair in recording(server)["pairs"]
        if (server, pair["name"]) not in held
        and f"{server}/{pair['name']}" not in EXCUSED
        and f"{server}/{pair['name']}" not in DYING
    ]


DYING: tuple[str, ...] = (
    # The server ends, or has ended, or just begins: tests of their own.
    "auth/server_kill",
    "auth/server_stop",
    "auth/after_kill",
    "api-only/n_kill",
    "forge/get_loras",
    "forge/get_embeddings",
)


def _current_model(pair: Pair, server: str) -> str | None:
    """The checkpoint that was loaded when the pair was recorded, where its answer tells."""
    generation = pair["answer"].get("generation")
    if generation is None:
        return None
    base = next(iter(recording(server)["bases"].values()))
    info = {**base["info"], **generation["info"]}
    return info["sd_model_name"] or None


@contextmanager
def scene(sandbox: Sandbox, client: httpx.Client, server: str, pair: Pair) -> Iterator[None]:
    """The state that the pair met; afterwards everything is as before."""
    setting = SCENES.get(f"{server}/{pair['name']}", Setting())
    ui = sandbox.webui
    ui.tasks.current, ui.tasks.pending, ui.tasks.finished = None, [], []
    model = _current_model(pair, server)
    if model is not None:
        ui.options.data["sd_model_checkpoint"] = model
        ui.weights.reload()
    values = pair["answer"].get("listed", {}).get("values", {})
    known = {key: value for key, value in values.items() if key in ui.options}
    ui.options.data |= {**known, **dict(setting.options)}
    if setting.slow:
        ui.settings = sandbox.settings.model_copy(update={"step_seconds": _SLOW})
    helper = None
    try:
        if setting.before is not None:
            setting.before(sandbox, client)
        if setting.auth is not None:
            ui.settings = sandbox.settings.model_copy(update={"auth": setting.auth})
        if setting.fault is not None:
            sandbox.arm(setting.fault)
        if setting.during is not None:
            helper = threading.Thread(target=_beside, args=(sandbox, setting.during))
            helper.start()
        yield
    finally:
        if helper is not None:
            helper.join(20)
        sandbox.disarm()
        ui = sandbox.webui
        if setting.slow:
            ended(sandbox)
        ui.settings = sandbox.settings
        model_option = ui.options.data["sd_model_checkpoint"]
        ui.options.data = {**ui.options.defaults, "sd_model_checkpoint": model_option}


def _beside(sandbox: Sandbox, step: Step) -> None:
    with httpx.Client(base_url=sandbox.url, timeout=30) as client:
        step(sandbox, client)
