"""The client of a Stable Diffusion WebUI: its calls, names and errors, and the check of its answers."""
