"""What is wrong with a pack, or may be meant otherwise, before it costs the GPU's time."""

from stableflows.lint.check import lint
from stableflows.lint.finding import Finding, Report, Severity

__all__ = ["Finding", "Report", "Severity", "lint"]
