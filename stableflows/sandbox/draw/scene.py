"""Backgrounds: sky, light and one of a few landscapes, chosen by the words of the prompt."""

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from stableflows.sandbox.draw.palette import Colour, Palette, mix

_WORDS: dict[str, tuple[str, ...]] = {
    "coast": ("lighthouse", "sea", "ocean", "beach", "coast", "harbor", "harbour", "boat", "ship", "wave"),
    "mountains": ("mountain", "lake", "alps", "peak", "valley", "snow", "glacier", "river"),
    "forest": ("forest", "tree", "woods", "pine", "jungle", "garden", "meadow"),
    "city": ("city", "street", "skyline", "town", "neon", "building", "cyberpunk", "castle", "village"),
    "dunes": ("desert", "dune", "sand", "canyon", "mars", "planet"),
    "studio": ("portrait", "face", "woman", "man", "girl", "boy", "person", "headshot", "close-up", "selfie"),
    "table": ("still life", "vase", "flower", "fruit", "food", "coffee", "table", "bouquet", "bowl"),
}


def kind_of(prompt: str, dice: Random) -> str:
    """The scene of a prompt: by its first telling word, else by chance (the same for the same prompt)."""
    text = prompt.lower()
    found = [(text.find(word), kind) for kind, words in _WORDS.items() for word in words if word in text]
    return min(found)[1] if found else dice.choice(tuple(_WORDS))


def paint(kind: str, size: tuple[int, int], palette: Palette, dice: Random) -> Image.Image:
    """A background of the given size."""
    canvas = _sky(size, palette, dice)
    _SCENES[kind](canvas, palette, dice)
    return canvas


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    mask = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask)


def _glow(
    canvas: Image.Image, centre: tuple[float, float], radius: float, colour: Colour, power: float
) -> None:
    side = max(2, int(radius * 2))
    mask = ImageChops.invert(Image.radial_gradient("L").resize((side, side)))
    mask = mask.point(lambda value: int((max(0, value - 75) / 180) ** 2 * 255 * power))
    spot = Image.new("RGB", (side, side), colour)
    canvas.paste(spot, (int(centre[0] - radius), int(centre[1] - radius)), mask)


def _sky(size: tuple[int, int], palette: Palette, dice: Random) -> Image.Image:
    width, height = size
    canvas = _gradient(size, palette.sky, palette.horizon)
    sun = (width * dice.uniform(0.12, 0.6), height * dice.uniform(0.12, 0.42))
    unit = min(width, height)
    _glow(canvas, sun, unit * 0.55, palette.light, 0.75)
    draw = ImageDraw.Draw(canvas)
    radius = unit * dice.uniform(0.045, 0.09)
    draw.ellipse(_round(sun, radius), fill=mix(palette.light, (255, 255, 255), 0.4))
    clouds = Image.new("L", size, 0)
    pen = ImageDraw.Draw(clouds)
    for _ in range(dice.randint(2, 5)):
        x, y = dice.uniform(0, width), height * dice.uniform(0.05, 0.4)
        for _ in range(dice.randint(4, 8)):
            part = unit * dice.uniform(0.03, 0.09)
            at = (x + dice.uniform(-0.16, 0.16) * unit, y + dice.uniform(-0.02, 0.02) * unit)
            pen.ellipse(
                (at[0] - part * 2, at[1] - part * 0.5, at[0] + part * 2, at[1] + part * 0.5), fill=120
            )
    clouds = clouds.filter(ImageFilter.GaussianBlur(unit * 0.02))
    canvas.paste(mix(palette.light, palette.horizon, 0.35), (0, 0, width, height), clouds)
    return canvas


def _round(centre: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def _ridge(width: int, level: float, rough: float, dice: Random) -> list[tuple[float, float]]:
    """A mountain line from left to right: midpoint displacement."""
    heights = [dice.uniform(-0.6, 0.6) * rough, dice.uniform(-0.6, 0.6) * rough]
    spread = rough
    while len(heights) < 65:
        between = [(a + b) / 2 + dice.uniform(-spread, spread) for a, b in pairwise(heights)]
        joined = [value for pair in zip(heights, between, strict=False) for value in pair]
        heights = [*joined, heights[-1]]
        spread *= 0.55
    return [(width * index / 64, level + value) for index, value in enumerate(heights)]


def _below(canvas: Image.Image, line: list[tuple[float, float]], colour: Colour) -> None:
    width, height = canvas.size
    ImageDraw.Draw(canvas).polygon([(-1, height + 1), *line, (width + 1, height + 1)], fill=colour)


def _mountains(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    for share, rough, colour in (
        (0.50, 0.20, mix(palette.far, palette.horizon, 0.45)),
        (0.58, 0.15, palette.far),
        (0.66, 0.08, palette.middle),
    ):
        line = _ridge(width, height * share, height * rough, dice)
        _below(canvas, line, colour)
        if share < 0.6:
            _snow(canvas, line, height * (share - 0.06), mix(palette.light, (255, 255, 255), 0.5))
    _water(canvas, int(height * 0.72), palette, dice)


def _snow(canvas: Image.Image, line: list[tuple[float, float]], above: float, colour: Colour) -> None:
    """White where a mountain line rises above a height: the higher, the deeper."""
    pen = ImageDraw.Draw(canvas)
    for (x0, y0), (x1, y1) in pairwise(line):
        if y0 < above and y1 < above:
            deep0, deep1 = (above - y0) * 0.6, (above - y1) * 0.6
            pen.polygon([(x0, y0), (x1, y1), (x1, y1 + deep1), (x0, y0 + deep0)], fill=colour)


def _water(canvas: Image.Image, top: int, palette: Palette, dice: Random) -> None:
    """Water from a line to the bottom: the sky mirrored, darker below, with ripples."""
    width, height = canvas.size
    depth = height - top
    if depth < 2:
        return
    mirror = canvas.crop((0, max(0, top - depth), width, top)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.resize((width, depth)).filter(ImageFilter.GaussianBlur(max(1.0, height * 0.006)))
    deep = _gradient((width, depth), mix(palette.middle, palette.horizon, 0.3), palette.near)
    canvas.paste(Image.blend(mirror, deep, 0.45), (0, top))
    pen = ImageDraw.Draw(canvas)
    for _ in range(60):
        share = dice.random() ** 1.4
        y = top + share * depth
        half = width * (0.01 + share * 0.05) * dice.uniform(0.5, 1.5)
        x = dice.uniform(0, width)
        tone = mix(palette.light, palette.middle, dice.uniform(0.2, 0.8))
        pen.line((x - half, y, x + half, y), fill=tone, width=1 + int(share * height / 300))


def _coast(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    _below(canvas, _ridge(width, height * 0.585, height * 0.02, dice), mix(palette.far, palette.horizon, 0.5))
    _water(canvas, int(height * 0.6), palette, dice)
    side = 1 if dice.random() < 0.5 else -1
    base = 0.22 if side > 0 else 0.30
    x = width * (base + dice.uniform(-0.05, 0.05))
    cliff = [
        (0.0, 0.56),
        (x / width + 0.10, 0.60),
        (x / width + 0.2, 0.72),
        (x / width + 0.13, 0.86),
        (0, 0.98),
    ]
    points = [(px * width, (py + dice.uniform(-0.015, 0.015)) * height) for px, py in cliff]
    pen = ImageDraw.Draw(canvas)
    pen.polygon(points, fill=palette.near)
    pen.polygon(
        [points[0], points[1], points[2], (x, height * 0.68)], fill=mix(palette.middle, palette.near, 0.4)
    )
    tall = height * dice.uniform(0.26, 0.34)
    wide = min(width, height) * 0.05
    foot = height * 0.61
    white = mix(palette.light, (255, 255, 255), 0.5)
    pen.polygon(
        [
            (x - wide, foot),
            (x + wide, foot),
            (x + wide * 0.62, foot - tall),
            (x - wide * 0.62, foot - tall),
        ],
        fill=white,
    )
    for band in (0.18, 0.5, 0.8):
        low, high = foot - tall * band, foot - tall * (band + 0.14)
        a, b = (wide * (1 - 0.38 * share) for share in (band, band + 0.14))
        pen.polygon([(x - a, low), (x + a, low), (x + b, high), (x - b, high)], fill=palette.accent)
    lamp = foot - tall - wide * 0.9
    pen.rectangle((x - wide * 0.55, lamp, x + wide * 0.55, foot - tall), fill=palette.near)
    pen.polygon([(x - wide * 0.8, lamp), (x + wide * 0.8, lamp), (x, lamp - wide)], fill=palette.accent)
    _glow(canvas, (x, lamp + wide * 0.45), wide * 3.2, palette.light, 0.9)


def _forest(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    _below(canvas, _ridge(width, height * 0.52, height * 0.09, dice), mix(palette.far, palette.horizon, 0.4))
    for row, (share, tall) in enumerate(((0.62, 0.16), (0.72, 0.24), (0.86, 0.36))):
        colour = (mix(palette.far, palette.middle, 0.5), palette.middle, palette.near)[row]
        line = _ridge(width, height * share, height * 0.03, dice)
        _below(canvas, line, colour)
        pen = ImageDraw.Draw(canvas)
        for x, y in line[:: 2 + row]:
            size = height * tall * dice.uniform(0.6, 1.1)
            lean = x + dice.uniform(-0.01, 0.01) * width
            shade = mix(colour, palette.near, dice.uniform(0.0, 0.35))
            for layer in range(3):
                low = y + size * 0.06 - size * 0.28 * layer
                half = size * (0.22 - 0.05 * layer)
                pen.polygon([(lean - half, low), (lean + half, low), (lean, low - size * 0.45)], fill=shade)


def _city(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    for row, (low, high) in enumerate(((0.28, 0.45), (0.18, 0.36), (0.10, 0.24))):
        colour = (mix(palette.far, palette.horizon, 0.45), palette.middle, palette.near)[row]
        ground = height * (0.78 + row * 0.07)
        x = -dice.uniform(0, 0.05) * width
        while x < width:
            wide = width * dice.uniform(0.05, 0.11)
            top = ground - height * dice.uniform(low, high)
            pen.rectangle((x, top, x + wide, height), fill=colour)
            if dice.random() < 0.3:
                pen.polygon([(x, top), (x + wide, top), (x + wide / 2, top - wide * 0.8)], fill=colour)
            if row:
                cell = max(2.0, width * 0.014)
                for column in range(int(wide / cell) - 1):
                    for floor in range(int((height - top) / (cell * 1.6))):
                        if dice.random() < 0.33:
                            left, up = x + cell * (column + 0.7), top + cell * (0.8 + floor * 1.6)
                            lit = mix(palette.light, palette.accent, dice.random() * 0.6)
                            pen.rectangle((left, up, left + cell * 0.5, up + cell * 0.8), fill=lit)
            x += wide * dice.uniform(0.85, 1.15)


def _dunes(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    steps = ((0.52, palette.far), (0.62, mix(palette.far, palette.accent, 0.35)), (0.76, palette.middle))
    for share, colour in (*steps, (0.9, palette.near)):
        phase, swing = dice.uniform(0, 6), height * dice.uniform(0.03, 0.07)
        line = [
            (
                width * i / 48,
                height * share + math.sin(phase + i / 48 * dice_free(phase)) * swing,
            )
            for i in range(49)
        ]
        _below(canvas, line, colour)
        pen = ImageDraw.Draw(canvas)
        for (x0, y0), (x1, y1) in pairwise(line):
            pen.line((x0, y0, x1, y1), fill=mix(colour, palette.light, 0.5), width=max(1, height // 160))


def dice_free(phase: float) -> float:
    """How many waves a dune line has; from its phase, so that one line keeps one form."""
    return 4.0 + phase % 3


def _studio(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    backdrop = _gradient(
        (width, height), mix(palette.sky, palette.near, 0.3), mix(palette.horizon, palette.far, 0.4)
    )
    canvas.paste(backdrop)
    unit = min(width, height)
    for _ in range(26):
        centre = (dice.uniform(0, width), dice.uniform(0, height * 0.85))
        colour = mix(palette.light, palette.accent, dice.random())
        _glow(canvas, centre, unit * dice.uniform(0.06, 0.2), colour, dice.uniform(0.15, 0.5))


def _table(canvas: Image.Image, palette: Palette, dice: Random) -> None:
    width, height = canvas.size
    canvas.paste(_gradient((width, height), mix(palette.sky, palette.near, 0.35), palette.far))
    _glow(canvas, (width * 0.2, height * 0.15), min(width, height) * 0.8, palette.light, 0.6)
    pen = ImageDraw.Draw(canvas)
    edge = height * 0.7
    pen.rectangle((0, edge, width, height), fill=mix(palette.near, palette.accent, 0.15))
    pen.rectangle((0, edge, width, edge + height * 0.015), fill=mix(palette.near, palette.light, 0.35))
    unit = min(width, height)
    x, foot = width * dice.uniform(0.28, 0.38), height * 0.78
    for _ in range(9):
        tip = (x + dice.uniform(-0.2, 0.2) * unit, foot - unit * dice.uniform(0.42, 0.62))
        pen.line(
            (x, foot - unit * 0.25, *tip),
            fill=mix(palette.middle, (40, 90, 50), 0.6),
            width=max(1, int(unit / 90)),
        )
        bloom = mix(palette.accent, palette.light, dice.random() * 0.7)
        size = unit * dice.uniform(0.035, 0.06)
        for petal in range(6):
            angle = petal * math.pi / 3 + dice.random()
            centre = (tip[0] + math.cos(angle) * size * 0.8, tip[1] + math.sin(angle) * size * 0.8)
            pen.ellipse(_round(centre, size * 0.7), fill=bloom)
        pen.ellipse(_round(tip, size * 0.5), fill=palette.light)
    pen.ellipse(
        (x - unit * 0.11, foot - unit * 0.24, x + unit * 0.11, foot + unit * 0.02), fill=palette.middle
    )
    pen.rectangle(
        (x - unit * 0.05, foot - unit * 0.31, x + unit * 0.05, foot - unit * 0.2), fill=palette.middle
    )
    _glow(canvas, (x - unit * 0.045, foot - unit * 0.15), unit * 0.07, palette.light, 0.7)
    for number in range(dice.randint(2, 4)):
        centre = (
            width * (0.5 + number * 0.1) + dice.uniform(-0.02, 0.02) * width,
            height * (0.8 + 0.02 * (number % 2)),
        )
        pen.ellipse(
            _round(centre, unit * 0.06), fill=mix(palette.accent, palette.horizon, dice.random() * 0.6)
        )
        _glow(canvas, (centre[0] - unit * 0.02, centre[1] - unit * 0.02), unit * 0.04, palette.light, 0.7)


_SCENES: dict[str, Callable[[Image.Image, Palette, Random], None]] = {
    "coast": _coast,
    "mountains": _mountains,
    "forest": _forest,
    "city": _city,
    "dunes": _dunes,
    "studio": _studio,
    "table": _table,
}
