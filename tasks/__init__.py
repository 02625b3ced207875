"""Prefect tasks: one per stage type, and those around them."""
