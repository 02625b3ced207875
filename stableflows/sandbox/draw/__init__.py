"""Drawn pictures in place of diffusion: Pillow only, deterministic, and telling what a stage did.

A picture is a pure function of its *recipe*: everything that would change a real server's pixels, and nothing
else. The prompt chooses the scene, the checkpoint the palette, the seed the arrangement; whatever else stands
in the recipe reaches the pixels through its digest (brush strokes, and the strip of colours in the mark).
"""

from stableflows.sandbox.draw.stages import (
    Recipe,
    dabbed,
    enlarge,
    generate,
    mark,
    preview,
    repaint,
    restore_faces,
    retouch,
    texture,
    unfinished,
)

__all__ = [
    "Recipe",
    "dabbed",
    "enlarge",
    "generate",
    "mark",
    "preview",
    "repaint",
    "restore_faces",
    "retouch",
    "texture",
    "unfinished",
]
