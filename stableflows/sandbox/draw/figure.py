"""The sitter: somebody stands in every picture, so that a face detailer has a face to retouch.

Where the face is depends on the prompt and the size alone: a later stage that gets only pixels and the prompt
finds it again.
"""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from stableflows.sandbox.draw.dice import dice as seeded
from stableflows.sandbox.draw.palette import Palette, mix


@dataclass(frozen=True)
class Place:
    """Centre and radius of the face, in pixels."""

    x: float
    y: float
    radius: float

    def box(self, margin: float = 1.6) -> tuple[int, int, int, int]:
        half = self.radius * margin
        return int(self.x - half), int(self.y - half), int(self.x + half), int(self.y + half)


def place(kind: str, size: tuple[int, int], sitter: str) -> Place:
    width, height = size
    dice = seeded("place", sitter)
    unit = min(width, height)
    if kind == "studio":
        return Place(width * (0.5 + dice.uniform(-0.04, 0.04)), height * 0.42, unit * 0.2)
    return Place(width * dice.uniform(0.68, 0.78), height * dice.uniform(0.58, 0.64), unit * 0.075)


def stand(canvas: Image.Image, at: Place, palette: Palette, dice: Random) -> None:
    """Body, hair and a rough face: two smudges for eyes, as a small diffusion face looks."""
    pen = ImageDraw.Draw(canvas)
    x, y, r = at.x, at.y, at.radius
    height = canvas.size[1]
    shoulder = r * 1.75
    pen.ellipse((x - r * 1.25, y - r * 1.35, x + r * 1.25, y + r * 1.5), fill=palette.hair)
    top = y + r * 1.35
    pen.polygon(
        [
            (x - r * 0.5, top - r * 0.3),
            (x + r * 0.5, top - r * 0.3),
            (x + shoulder, top + r * 0.55),
            (x + shoulder * 1.15, height + 2),
            (x - shoulder * 1.15, height + 2),
            (x - shoulder, top + r * 0.55),
        ],
        fill=palette.dress,
    )
    pen.polygon(
        [
            (x, top - r * 0.2),
            (x + shoulder * 0.9, top + r * 0.5),
            (x + shoulder, height + 2),
            (x + r * 0.2, height + 2),
        ],
        fill=mix(palette.dress, palette.near, 0.25),
    )
    pen.rectangle(
        (x - r * 0.32, y + r * 0.7, x + r * 0.32, y + r * 1.4), fill=mix(palette.skin, palette.near, 0.2)
    )
    pen.ellipse((x - r * 0.85, y - r * 1.02, x + r * 0.85, y + r * 1.08), fill=palette.skin)
    shade = mix(palette.skin, palette.near, 0.55)
    drift = dice.uniform(-0.06, 0.06) * r
    for side in (-1, 1):
        eye = (x + side * r * 0.36 + drift, y - r * 0.08 + dice.uniform(-0.05, 0.05) * r)
        pen.ellipse((eye[0] - r * 0.15, eye[1] - r * 0.11, eye[0] + r * 0.15, eye[1] + r * 0.11), fill=shade)
    pen.ellipse(
        (x - r * 0.24 + drift, y + r * 0.46, x + r * 0.24 + drift, y + r * 0.62),
        fill=mix(shade, palette.accent, 0.3),
    )
    _fringe(pen, at, palette)
    soft = canvas.crop(at.box(1.3)).filter(ImageFilter.GaussianBlur(max(0.6, r * 0.07)))
    canvas.paste(soft, at.box(1.3)[:2])


def _fringe(pen: ImageDraw.ImageDraw, at: Place, palette: Palette) -> None:
    x, y, r = at.x, at.y, at.radius
    pen.chord((x - r * 0.98, y - r * 1.28, x + r * 0.98, y + r * 0.5), 188, 352, fill=palette.hair)


def fine_face(size: int, palette: Palette, dice: Random) -> tuple[Image.Image, Image.Image]:
    """A careful face in a square of ``size`` pixels (3.2 face radii), and the mask to paste it with."""
    scale = 2 if size < 240 else 1
    side = max(8, size * scale)
    face = Image.new("RGB", (side, side), palette.skin)
    pen = ImageDraw.Draw(face)
    c, r = side / 2, side / 3.2
    glow = Image.new("L", (side, side), 0)
    ImageDraw.Draw(glow).ellipse((c - r * 0.7, c - r * 0.8, c + r * 0.35, c + r * 0.6), fill=150)
    face.paste(
        mix(palette.skin, (255, 250, 240), 0.5), (0, 0), glow.filter(ImageFilter.GaussianBlur(r * 0.3))
    )
    blush = Image.new("L", (side, side), 0)
    for cheek in (-1, 1):
        at = (c + cheek * r * 0.5, c + r * 0.28)
        ImageDraw.Draw(blush).ellipse(
            (at[0] - r * 0.2, at[1] - r * 0.13, at[0] + r * 0.2, at[1] + r * 0.13), fill=130
        )
    face.paste(
        mix(palette.skin, (226, 88, 88), 0.45), (0, 0), blush.filter(ImageFilter.GaussianBlur(r * 0.1))
    )
    line = max(1, int(r * 0.05))
    iris = dice.choice(((72, 112, 160), (88, 128, 84), (110, 74, 44), (70, 70, 82), (150, 110, 60)))
    gaze = dice.uniform(-0.04, 0.04) * r
    dark = mix(palette.hair, (20, 14, 12), 0.5)
    for eye_side in (-1, 1):
        x, y = c + eye_side * r * 0.36, c - r * 0.06
        pen.ellipse((x - r * 0.19, y - r * 0.11, x + r * 0.19, y + r * 0.12), fill=(250, 248, 244))
        pen.ellipse((x + gaze - r * 0.1, y - r * 0.1, x + gaze + r * 0.1, y + r * 0.11), fill=iris)
        pen.ellipse((x + gaze - r * 0.05, y - r * 0.05, x + gaze + r * 0.05, y + r * 0.06), fill=(16, 14, 18))
        pen.ellipse(
            (x + gaze - r * 0.06, y - r * 0.07, x + gaze - r * 0.01, y - r * 0.02), fill=(255, 255, 255)
        )
        pen.arc((x - r * 0.21, y - r * 0.14, x + r * 0.21, y + r * 0.2), 195, 345, fill=dark, width=line)
        lift = dice.uniform(0.0, 0.06) * r
        pen.arc(
            (x - r * 0.25, y - r * 0.34 - lift, x + r * 0.25, y + r * 0.1),
            205,
            335,
            fill=palette.hair,
            width=line + 1,
        )
    shadow = mix(palette.skin, palette.near, 0.35)
    pen.arc((c - r * 0.14, c - r * 0.02, c + r * 0.1, c + r * 0.36), 20, 120, fill=shadow, width=line)
    lips = mix(palette.accent, (170, 50, 60), 0.6)
    smile = dice.uniform(0.05, 0.14) * r
    pen.chord((c - r * 0.26, c + r * 0.42 - smile, c + r * 0.26, c + r * 0.62 + smile), 12, 168, fill=lips)
    pen.arc(
        (c - r * 0.3, c + r * 0.36 - smile, c + r * 0.3, c + r * 0.6),
        25,
        155,
        fill=mix(lips, dark, 0.5),
        width=line,
    )
    _fringe(pen, Place(c, c, r), palette)
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((c - r * 0.85, c - r * 1.02, c + r * 0.85, c + r * 1.08), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(r * 0.05))
    half = (max(1, size), max(1, size))
    return face.resize(half, Image.Resampling.LANCZOS), mask.resize(half, Image.Resampling.LANCZOS)
