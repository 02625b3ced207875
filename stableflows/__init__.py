"""The library beneath the flows: packs, plans, calls, the WebUI client. It does not import Prefect."""
