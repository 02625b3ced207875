"""`stableflows pack show|lint|expand|convert FILE...`: what a pack was read as, is wrong with, and comes to.

Nothing is rendered. Only `lint --server` asks a server, and only then is its client loaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.text import Text

from flows.command import main, refused
from flows.wording import counted
from stableflows.config.layers import merge_values
from stableflows.errors import ExitCode, InputError, StableflowsError, Where

if TYPE_CHECKING:
    from stableflows.lint import Finding, Report
    from stableflows.packs.model import PackEntry, PromptPack, Source
    from stableflows.prompts.resolve import Around, Resolver

__all__ = ["app"]

app = App(
    name="pack",
    help="Look at prompt packs: what they were read as, what is wrong with them, what they come to.",
    default_parameter=Parameter(negative=()),
    version_flags=(),
)

Json = Annotated[bool, Parameter(name="--json")]

STYLES = {"error": "red", "warning": "yellow", "notice": "blue"}


@app.command
def show(*files: str, json_output: Json = False) -> int:
    """Say what each file was read as: its format, entries and settings.

    Parameters
    ----------
    files:
        Pack files, globs, pack lists, a job file.
    json_output:
        Print it as JSON and nothing else.
    """
    try:
        source = _read(files)
        data = [_shown(pack) for pack in source.packs]
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        return _json({"packs": data, "warnings": list(source.warnings)})
    console = Console(highlight=False)
    for pack in data:
        _print_pack(pack, console)
    for warning in source.warnings:
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    return int(ExitCode.OK)


@app.command
def lint(*files: str, server: str | None = None, json_output: Json = False) -> int:
    """Say what is wrong in each file, or may be meant otherwise: file, line, rule and mend.

    Ends with 1 if there is an error, 0 with only warnings and notices, 2 if a file cannot be read at all.

    Parameters
    ----------
    files:
        Pack files, globs, pack lists, a job file.
    server:
        A server whose names (checkpoints, LoRAs, ...) the packs are held against: a URL, or sandbox.
    json_output:
        Print the findings as JSON, for editors, and nothing else.
    """
    from stableflows.lint import Severity

    try:
        _some(files)
        reports = [_linted(file, server) for file in files]
    except StableflowsError as error:
        return refused(error, json_output)
    findings = list(dict.fromkeys(finding for report in reports for finding in report.findings))
    counts = Counter(finding.severity for finding in findings)
    if json_output:
        _json({"findings": [each.model_dump(mode="json") for each in findings]})
    else:
        _print_findings(findings, counts)
    if not all(report.readable for report in reports):
        return int(ExitCode.BAD_INPUT)
    return int(ExitCode.ENTRIES_FAILED if counts[Severity.ERROR] else ExitCode.OK)


@app.command
def expand(
    *files: str,
    count: bool = False,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    json_output: Json = False,
) -> int:
    """Write the prompts that packs stand for, with variants, wildcards, slots, styles and sweeps resolved.

    Parameters
    ----------
    files:
        Pack files, globs, pack lists, a job file.
    count:
        Only say how many there are, exactly and at once.
    limit:
        So many at most.
    seed:
        The job's seed, from which draws follow; left out, that of the job file, else 0.
    json_output:
        Print it as JSON and nothing else.
    """
    from stableflows.prompts.resolve import Resolver

    try:
        source = _read(files)
        resolver = Resolver(seed=source.seed if seed is None else seed, sweep=source.sweep)
        if count:
            return _print_counts(source, resolver, json_output)
        prompts = list(islice(_expanded(source, resolver), limit))
    except StableflowsError as error:
        return refused(error, json_output)
    if json_output:
        return _json({"prompts": prompts})
    # Not through rich, which takes longer for 100,000 lines than drawing them does.
    sys.stdout.writelines(_as_lines(prompt) for prompt in prompts)
    return int(ExitCode.OK)


@app.command
def convert(file: str, *, to: Path | None = None) -> int:
    """Write a pack of any form as a native one, in YAML.

    Parameters
    ----------
    file:
        A pack file.
    to:
        Where to write it; left out, to standard output. A file that exists is not written over.
    """
    from stableflows.packs.native import native_yaml

    try:
        source = _read((file,))
        if len(source.packs) != 1 or source.pipeline or source.run_config or source.settings:
            raise InputError(
                f"names {counted(len(source.packs), 'pack')}, and is no pack itself; convert each of them.",
                where=Where(Path(file)),
            )
        text = native_yaml(source.packs[0])
        if to is not None:
            _write(to, text)
    except StableflowsError as error:
        return refused(error)
    for warning in source.warnings:
        sys.stderr.write(f"Warning: {warning}\n")
    if to is None:
        sys.stdout.write(text)
    return int(ExitCode.OK)


def _expanded(source: Source, resolver: Resolver) -> Iterator[dict[str, Any]]:
    """What each prompt of a job is, one after another."""
    from stableflows.prompts.own import dotted

    for pack in source.packs:
        for entry in pack.entries:
            for resolved in resolver.resolve(pack, entry, _around(source, entry)):
                randomizer = resolved.randomizer or {}
                yield {
                    "file": str(pack.file),
                    "line": entry.where.line,
                    "prompt": resolved.prompt,
                    "negative_prompt": resolved.negative_prompt,
                    "globals": {key: text for key, text in resolved.globals.model_dump().items() if text},
                    "seed": randomizer.get("seed"),
                    "values": randomizer.get("values", {}),
                    "settings": resolved.settings,
                    "stage_prompts": {dotted(place): text for place, text in resolved.own.items()},
                }


def _around(source: Source, entry: PackEntry) -> Around:
    from stableflows.items import default_layer, job_wide
    from stableflows.prompts.resolve import Around

    return Around([default_layer(entry.inputs), *source.pipeline], job_wide(source))


def _as_lines(prompt: dict[str, Any]) -> str:
    lines = [prompt["prompt"] or "(no prompt)"]
    if prompt["negative_prompt"]:
        lines.append(f"    neg: {prompt['negative_prompt']}")
    lines += [f"    global {name}: {text}" for name, text in prompt["globals"].items()]
    lines += [f"    {name}: {text}" for name, text in prompt["stage_prompts"].items()]
    if prompt["values"]:
        lines.append("    " + ", ".join(f"{name}={value}" for name, value in prompt["values"].items()))
    return "".join(f"{line}\n" for line in lines)


def _print_counts(source: Source, resolver: Resolver, as_json: bool) -> int:
    from stableflows.prompts.resolve import told

    counts = [
        sum(resolver.count(pack, entry, _around(source, entry)) for entry in pack.entries)
        for pack in source.packs
    ]
    files = [str(pack.file) for pack in source.packs]
    if as_json:
        packs = [{"file": file, "prompts": number} for file, number in zip(files, counts, strict=True)]
        return _json({"prompts": sum(counts), "packs": packs})
    console = Console(highlight=False)
    if len(files) > 1:
        for file, number in zip(files, counts, strict=True):
            console.print(Text(f"{file}: {told(number)}"), soft_wrap=True)
    entries, total = sum(len(pack.entries) for pack in source.packs), sum(counts)
    console.print(
        f"{counted(entries, 'entry')}, {told(total)} prompt{'' if total == 1 else 's'}", soft_wrap=True
    )
    return int(ExitCode.OK)


def _some(files: tuple[str, ...]) -> None:
    if not files:
        raise InputError("no pack was named.")


def _read(files: tuple[str, ...]) -> Source:
    from stableflows.packs import read_sources

    return read_sources(files)


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError("is there already; name another file.", where=Where(file, field="--to")) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}.", where=Where(file, field="--to")) from None


def _json(data: Any) -> int:
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return int(ExitCode.OK)


def _shown(pack: PromptPack) -> dict[str, Any]:
    return {
        "file": str(pack.file),
        "format": pack.format or "an entry of a job file",
        "id": pack.pack_id,
        "name": pack.name,
        "globals": {key: value for key, value in pack.globals.model_dump().items() if value},
        "settings": merge_values(pack.layers),
        "entries": [_shown_entry(entry) for entry in pack.entries],
    }


def _shown_entry(entry: PackEntry) -> dict[str, Any]:
    return {
        "line": entry.where.line,
        "name": entry.name,
        "prompt": entry.prompt,
        "negative_prompt": entry.negative_prompt,
        "inputs": [str(file) for file in entry.inputs],
        "settings": merge_values(entry.layers),
    }


def _print_pack(pack: dict[str, Any], console: Console) -> None:
    name = f' "{pack["name"]}"' if pack["name"] != pack["id"] else ""
    title = (
        f"{pack['file']}: {pack['format']}, id {pack['id']}{name}, {counted(len(pack['entries']), 'entry')}"
    )
    console.print(Text(title, style="bold"), soft_wrap=True)
    for key, value in (*pack["globals"].items(), *_dotted(pack["settings"])):
        console.print(Text(f"    {key}: {value}"), soft_wrap=True)
    width = max(20, console.width - 6)
    for number, entry in enumerate(pack["entries"], start=1):
        name = f"{entry['name']}: " if entry["name"] else ""
        line = Text(f"{number:>4}  {name}{' '.join(entry['prompt'].split()) or ', '.join(entry['inputs'])}")
        line.truncate(width, overflow="ellipsis")
        console.print(line, soft_wrap=True)
        if settings := ", ".join(f"{key}={value}" for key, value in _dotted(entry["settings"])):
            console.print(Text(f"      {settings}", style="dim"), soft_wrap=True)


def _dotted(settings: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        found += _dotted(value, f"{at}{key}.") if isinstance(value, dict) else [(f"{at}{key}", value)]
    return found


def _print_findings(findings: list[Finding], counts: Counter[Any]) -> None:
    console = Console(highlight=False)
    for finding in findings:
        console.print(Text(str(finding), style=STYLES[finding.severity]), soft_wrap=True)
    told = ", ".join(counted(counts[kind], kind) for kind in STYLES if counts[kind])
    console.print(told or "Nothing to say.")


def _linted(file: str, server: str | None) -> Report:
    from stableflows.lint import lint as lint_file

    report = lint_file(file)
    if server is None or any(finding.severity == "error" for finding in report.findings):
        return report  # what cannot be planned cannot be held against a server
    return report.model_copy(update={"findings": (*report.findings, *_unknown_names(file, server))})


def _unknown_names(file: str, server: str) -> list[Finding]:
    """What the pack names and the server does not have, or would do differently without a word.

    Raises:
        InputError: `server` is no URL; or the pack makes no plan.
        WebUIError: it cannot be reached, wants a password, or is no WebUI.
    """
    from flows.server import SANDBOX, by_url, sandbox_server
    from stableflows.lint.finding import Rule, of_error
    from stableflows.request import RenderRequest, prepare

    prepared = prepare(RenderRequest.of(packs=(file,)))
    if server == SANDBOX:
        with sandbox_server() as sandbox:
            problems = asyncio.run(_problems(prepared, sandbox))
    else:
        config = by_url(server, "--server")
        if config is None:
            raise InputError(
                "name a URL such as http://127.0.0.1:7860, or sandbox.", where=Where(field="--server")
            )
        problems = asyncio.run(_problems(prepared, config))
    return [finding for problem in problems for finding in of_error(problem, Rule.UNKNOWN_NAME)]


async def _problems(prepared: Any, config: Any) -> list[InputError]:
    from stableflows.preflight import check_names
    from stableflows.webui.client import WebUIClient
    from stableflows.webui.names import load_names

    async with WebUIClient(config) as client:
        await client.wait_ready(0)
        return check_names(prepared.entries, await load_names(client), await client.probe())


if __name__ == "__main__":
    main(app)
