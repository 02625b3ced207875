"""Prompt packs: reading the formats in which people keep their prompts."""

from stableflows.packs.sources import free_text, read_sources

__all__ = ["free_text", "read_sources"]
