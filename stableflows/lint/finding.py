"""One thing that the linter says, and all that it says of a file."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from stableflows.errors import InputError, InvalidInputs, Where
from stableflows.packs.model import Remark

__all__ = ["Finding", "Report", "Rule", "Severity", "of_error", "of_remark"]


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """It does not render, or not what is written."""
    WARNING = "warning"
    """It renders, and is seldom meant so."""
    NOTICE = "notice"
    """Good to know."""


class Rule(StrEnum):
    """What is looked for; docs/lint.md says more of each."""

    UNREADABLE = "unreadable"
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown-key"
    INVALID_SETTING = "invalid-setting"
    UNKNOWN_NAME = "unknown-name"
    UNRESOLVED = "unresolved"
    LEAKING_NEGATIVE = "leaking-negative"
    JOINED_LINES = "joined-lines"
    NEGATIVE_WORDS = "negative-words"
    UNBALANCED = "unbalanced"
    WEIGHT = "weight"
    EMBEDDING_TAG = "embedding-tag"
    STRAY_TAG = "stray-tag"
    LITERAL_LINE = "literal-line"
    DUPLICATE = "duplicate"
    REPEATED_FILE = "repeated-file"
    LEFT_OUT = "left-out"
    NO_EFFECT = "no-effect"
    HIRES_THEN_UPSCALE = "hires-then-upscale"
    LONG_PROMPT = "long-prompt"
    OTHER = "other"


class Finding(BaseModel):
    """One thing that the linter says.

    Attributes:
        line: 1-based; None where it is about the whole file.
        field: the setting or prompt, dotted.
        mend: what to do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    line: int | None = None
    field: str | None = None
    rule: Rule
    severity: Severity
    message: str
    mend: str = ""

    @classmethod
    def at(cls, where: Where, rule: Rule, severity: Severity, message: str, mend: str = "") -> Finding:
        return cls(
            file=str(where.file or ""),
            line=where.line,
            field=where.field,
            rule=rule,
            severity=severity,
            message=message,
            mend=mend,
        )

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        mend = f" {self.mend[0].upper()}{self.mend[1:]}" if self.mend else ""
        mend += "" if not mend or mend.endswith("?") else "."
        # A message that shows a place in a prompt ends with a line that points to it.
        told = self.message if "\n" in self.message else f"{self.message.rstrip('.')}."
        return f"{place}: {self.severity} [{self.rule}]{field} {told}{mend}"


class Report(BaseModel):
    """All that the linter says of a file and of the packs that it names, in the order of their lines.

    Attributes:
        readable: whether it could be read at all, be it with errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...]
    readable: bool = True


def of_error(error: InputError, rule: Rule = Rule.INVALID) -> list[Finding]:
    """What stands in the way of reading or merging, as findings."""
    if isinstance(error, InvalidInputs):
        return [finding for each in error.errors for finding in of_error(each, rule)]
    mend = ""
    if error.value is not None and error.allowed:
        rule = rule if rule in (Rule.UNRESOLVED, Rule.UNKNOWN_NAME) else Rule.UNKNOWN_KEY
        if error.suggestions:
            mend = f"did you mean {' or '.join(error.suggestions)}?"
    return [Finding.at(error.where, rule, Severity.ERROR, error.message, mend)]


SEVERE = {Rule.LEAKING_NEGATIVE: Severity.ERROR, Rule.LEFT_OUT: Severity.NOTICE}
"""What a linter calls by its name, where a reader only warns."""


def of_remark(remark: str) -> Finding:
    """A reader's warning as a finding."""
    if not isinstance(remark, Remark):
        return Finding.at(Where(), Rule.OTHER, Severity.WARNING, remark)
    rule = Rule(remark.rule)
    return Finding.at(remark.where, rule, SEVERE.get(rule, Severity.WARNING), remark.message, remark.mend)
