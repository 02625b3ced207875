"""Prefect blocks. Registered by `prefect block register -m blocks`, and found through an entry point."""

from blocks.webui import WebUIServer

__all__ = ["WebUIServer"]
