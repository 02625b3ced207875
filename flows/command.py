"""What all command lines share: exit codes, and that nobody's mistake ends in a traceback."""

from __future__ import annotations

import json
import sys

from cyclopts import App, CycloptsError

from stableflows.errors import ExitCode, StableflowsError

__all__ = ["main", "refused"]


def refused(error: StableflowsError, as_json: bool = False) -> int:
    """Say what was wrong, on standard error and, if asked for, as JSON; and with what to exit."""
    sys.stderr.write(f"{error}\n")
    if as_json:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
    return int(error.exit_code)


def main(app: App) -> None:
    """Run a command line and end the process with its exit code."""
    app.suppress_keyboard_interrupt = False  # cyclopts would end the process without a word
    try:
        code = app(result_action="return_value", exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(ExitCode.BAD_INPUT)  # cyclopts has printed what is wrong
    except StableflowsError as error:
        sys.exit(refused(error))
    except KeyboardInterrupt:
        sys.stderr.write("Cancelled\n")
        sys.exit(ExitCode.CANCELLED)
    sys.exit(code if isinstance(code, int) else 0)
