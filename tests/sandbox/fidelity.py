"""Writes the sums of the replay into ``docs/fidelity.md``: ``python -m tests.sandbox.fidelity``."""

from pathlib import Path

from tests.sandbox.recordings import recording
from tests.sandbox.sessions import SESSIONS
from tests.sandbox.singles import DYING, EXCUSED, alone
from tests.sandbox.trim_recordings import SERVERS

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"
_BEGIN = "<!-- sums: written by python -m tests.sandbox.fidelity -->"
_END = "<!-- end of sums -->"
_WHAT = {
    "a1111": "AUTOMATIC1111 v1.10.1 with ADetailer 25.3.0",
    "auth": "the same with `--api-auth` and `--api-server-stop`",
    "api-only": "the same with `--nowebui`",
    "sparse-config": "the same with a nearly empty `config.json`",
    "networks": "LoRAs, embeddings, VAEs, checkpoints, refiner (A1111 and Forge)",
    "forge": "Forge f2.0.1",
}


def replayed() -> dict[str, set[str]]:
    """The names of all replayed pairs by server."""
    names: dict[str, set[str]] = {server: set() for server in SERVERS}
    for session in SESSIONS:
        names[session.server] |= set(session.pairs)
    for server, name in alone():
        names[server].add(name)
    for key in DYING:
        server, name = key.split("/")
        names[server].add(name)
    return names


def excused() -> dict[str, dict[str, str]]:
    """Names and reasons of the excused pairs by server."""
    found: dict[str, dict[str, str]] = {server: {} for server in SERVERS}
    for key, reason in EXCUSED.items():
        server, name = key.split("/")
        found[server][name] = reason
    return found


def sums() -> str:
    """The tables of the page."""
    held, left = replayed(), excused()
    rows = ["| recorded server | pairs | replayed | excused |", "|---|---:|---:|---:|"]
    totals = [0, 0, 0]
    for server in SERVERS:
        counts = [len(recording(server)["pairs"]), len(held[server]), len(left[server])]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rows.append(f"| `{server}`: {_WHAT[server]} | {counts[0]} | {counts[1]} | {counts[2]} |")
    share = 100 * totals[1] / totals[0]
    rows.append(f"| **all** | **{totals[0]}** | **{totals[1]} ({share:.1f} %)** | **{totals[2]}** |")
    reasons: dict[str, list[str]] = {}
    for server in SERVERS:
        for name, reason in sorted(left[server].items()):
            reasons.setdefault(reason, []).append(f"`{server}/{name}`")
    lines = [f"- {reason}: {', '.join(names)}." for reason, names in reasons.items()]
    return "\n".join([*rows, "", "Excused, and why:", "", *lines])


def page(text: str) -> str:
    """The page with its sums brought up to date."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{sums()}\n\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
