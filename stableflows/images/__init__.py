"""Finished images as input: made again from their metadata, or taken through further stages.

    file ──metadata──> who wrote it, its text ──webui | others──> Recipe ──source──> Source (entries of a job)
    run ──picks──> Source

Of the WebUI client's package only the parser of infotexts is used.
"""

from stableflows.images.picks import Pick, finish, finished_images
from stableflows.images.source import images_in, read_images, recipe_of

__all__ = ["Pick", "finish", "finished_images", "images_in", "read_images", "recipe_of"]
