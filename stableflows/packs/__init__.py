"""Prompt packs: reading the formats in which people keep their prompts."""
