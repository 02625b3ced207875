"""A command at a terminal of its own, as a person starts it."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

__all__ = ["Terminal", "eventually"]

PATIENCE = 120.0
"""Seconds after which a test gives up; nothing that is tested takes anything like it."""


class Terminal:
    """A command under a pseudo-terminal, in a session of its own, so that Ctrl-C reaches all of it."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        self._screen, tty = pty.openpty()
        modes = termios.tcgetattr(tty)
        modes[3] &= ~termios.ECHO  # else "^C" stands among what the command says
        termios.tcsetattr(tty, termios.TCSANOW, modes)
        self.process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=tty,
            stdout=tty,
            stderr=tty,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (one system call)
        )
        os.close(tty)
        self._said = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)

    def line_with(self, text: str) -> str:
        """The first line that contains `text`, as soon as it is there."""
        while True:
            for line in self._said.decode().splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.strip()
            if not self._read_on():
                raise AssertionError(f"It ended without saying {text!r}:\n{self._said.decode()}")

    def read_until(self, holds: Callable[[str], object]) -> None:
        """Read on until `holds` says so of all that was said, unfinished lines included."""
        while not holds(self._said.decode(errors="replace")):
            if not self._read_on():
                raise AssertionError(f"It ended with:\n{self._said.decode()}")

    def press_ctrl_c(self) -> None:
        os.write(self._screen, b"\x03")

    def to_the_end(self) -> tuple[int, list[str]]:
        """The exit status and all lines."""
        while self._read_on():
            pass
        return self.process.wait(PATIENCE), self._said.decode().splitlines()

    def _read_on(self) -> bool:
        if not select.select([self._screen], [], [], PATIENCE)[0]:
            raise AssertionError(f"It fell silent after:\n{self._said.decode()}")
        try:
            some = os.read(self._screen, 65536)
        except OSError:  # what a pseudo-terminal says when its last process has gone
            return False
        self._said += some
        return bool(some)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds within `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
