"""One function for each thing a stage does to a picture."""

import base64
import functools
import hashlib
import io
import json
from collections.abc import Mapping
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from stableflows.sandbox.draw import figure, scene
from stableflows.sandbox.draw.dice import dice as seeded
from stableflows.sandbox.draw.palette import Palette, choose, mix

_BASE = 416  # Long side of the draft; what is larger is scaled up and finished at full size.
_STROKES = 40


class Recipe:
    """Everything that decides a picture's pixels.

    ``facts`` is the whole of it (JSON-like); ``prompt`` and the two contents are also used by name.
    """

    def __init__(self, facts: Mapping[str, Any], *, prompt: str, checkpoint: str, vae: str = "") -> None:
        self.facts = dict(facts)
        self.prompt = prompt
        self.digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True, default=str).encode()).digest()
        self.kind = scene.kind_of(prompt, seeded("scene", prompt))
        self.palette = choose(checkpoint, vae, prompt)

    def dice(self, purpose: str) -> Random:
        return seeded(self.digest, purpose)

    def with_facts(self, **facts: Any) -> "Recipe":
        changed = object.__new__(Recipe)
        changed.__dict__.update(self.__dict__)
        changed.facts = {**self.facts, **facts}
        changed.digest = hashlib.sha256(
            json.dumps(changed.facts, sort_keys=True, default=str).encode()
        ).digest()
        return changed


def generate(recipe: Recipe, width: int, height: int, word: str = "txt2img") -> Image.Image:
    """A new picture."""
    scale = min(1.0, _BASE / max(width, height))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = scene.paint(recipe.kind, small, recipe.palette, recipe.dice("scene"))
    figure.stand(
        canvas, figure.place(recipe.kind, small, recipe.prompt), recipe.palette, recipe.dice("figure")
    )
    _strokes(canvas, recipe, int(recipe.facts.get("steps") or 20))
    contrast = 0.9 + min(20.0, max(0.0, float(recipe.facts.get("cfg_scale") or 0))) * 0.018
    canvas = ImageEnhance.Contrast(canvas.filter(ImageFilter.SMOOTH)).enhance(contrast)
    if canvas.size != (width, height):
        canvas = canvas.resize((width, height), Image.Resampling.BICUBIC)
    if recipe.facts.get("hires"):
        # The second pass shows: edges are drawn anew at the final size.
        canvas = canvas.filter(ImageFilter.UnsharpMask(max(1.0, max(width, height) / 420), 140, 2))
    return _mark(canvas, recipe.digest, word)


def repaint(recipe: Recipe, image: Image.Image, strength: float, word: str = "img2img") -> Image.Image:
    """``image`` painted over: the stronger the denoising, the more of a new picture."""
    width, height = image.size
    fresh = generate(recipe, width, height, word)
    mixed = Image.blend(image.convert("RGB"), fresh, _share(strength) * 0.85)
    _paint_over(mixed, recipe, strength)
    return _mark(mixed, recipe.digest, word)


def texture(recipe: Recipe, image: Image.Image, strength: float) -> Image.Image:
    """A tile of a larger picture painted over: finer strokes on what is there, no picture of its own."""
    mixed = image.convert("RGB").filter(ImageFilter.UnsharpMask(2, 80, 2))
    _paint_over(mixed, recipe, strength * 0.6)
    return mixed


def _share(strength: float) -> float:
    return max(0.0, min(1.0, strength))


def _paint_over(image: Image.Image, recipe: Recipe, strength: float) -> None:
    """Strokes in the picture's own colours, a little towards the palette's light."""
    width, height = image.size
    dice = recipe.dice("strokes over")
    pen = ImageDraw.Draw(image)
    unit = min(width, height)
    colours = image.resize((24, 24), Image.Resampling.BOX)
    for _ in range(1 + int(_share(strength) * 110)):
        x, y = dice.random(), dice.random()
        colour = colours.getpixel((int(x * 24), int(y * 24)))
        tone = mix(_triple(colour), recipe.palette.light, dice.random() * 0.3)
        _stroke(
            pen,
            (x * width, y * height),
            unit * dice.uniform(0.02, 0.07),
            dice,
            colour=tone,
            width=max(1, int(unit * 0.008)),
        )


def enlarge(image: Image.Image, size: tuple[int, int], upscaler: str) -> Image.Image:
    """``image`` in another size. "Nearest" and "Lanczos" only resize, a model also sharpens."""
    if upscaler == "Nearest":
        return image.resize(size, Image.Resampling.NEAREST)
    larger = image.resize(size, Image.Resampling.LANCZOS)
    if upscaler in ("Lanczos", "None"):
        return larger
    character = hashlib.sha256(upscaler.encode()).digest()
    factor = max(1.0, size[0] / max(1, image.width))
    radius = factor * (0.7 + character[0] / 255 * 0.8)
    return larger.filter(ImageFilter.UnsharpMask(radius, 110 + character[1] % 90, 1))


def dabbed(image: Image.Image, mask: Image.Image, recipe: Recipe) -> Image.Image:
    """``image`` with small dabs of colour in the mask's area."""
    box = mask.getbbox()
    if box is None:
        return image
    pen = ImageDraw.Draw(image)
    dice = recipe.dice("dabs")
    size = max(1, min(box[2] - box[0], box[3] - box[1]) // 60)
    for _ in range(14):
        x, y = dice.randint(box[0], max(box[0], box[2] - 1)), dice.randint(box[1], max(box[1], box[3] - 1))
        colour = mix(
            recipe.palette.light, (dice.randrange(256), dice.randrange(256), dice.randrange(256)), 0.5
        )
        pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
    return image


def retouch(image: Image.Image, recipe: Recipe, strength: float, model: str = "face") -> Image.Image:
    """A careful face where the sitter's rough one is, with the detailer's corners around it.

    A model that looks for hands or persons sharpens the sitter instead.
    """
    result = image.convert("RGB").copy()
    at = figure.place(recipe.kind, result.size, recipe.prompt)
    box = at.box(1.6)
    side = box[2] - box[0]
    if side < 6:
        return _mark(result, recipe.digest, "adetailer")
    dice = recipe.dice("face")
    if "face" not in model:
        around = figure.Place(at.x, at.y + at.radius * 1.6, at.radius * 1.2)
        part = result.crop(around.box()).filter(ImageFilter.UnsharpMask(2, 160, 0))
        result.paste(part, around.box()[:2])
        _corners(result, around, recipe.palette, dice)
        return _mark(result, recipe.digest, "adetailer")
    face, mask = figure.fine_face(side, recipe.palette, dice)
    weight = 0.55 + 0.45 * max(0.0, min(1.0, strength))
    result.paste(face, box[:2], mask.point(lambda value: int(value * weight)))
    _corners(result, at, recipe.palette, dice)
    return _mark(result, recipe.digest, "adetailer")


def restore_faces(image: Image.Image, name: str, visibility: float) -> Image.Image:
    """GFPGAN and CodeFormer: a smoother, brighter middle."""
    smooth = image.filter(ImageFilter.GaussianBlur(1.2)).filter(ImageFilter.SMOOTH_MORE)
    if name == "GFPGAN":
        smooth = ImageEnhance.Brightness(smooth).enhance(1.05)
    mask = ImageChops.invert(Image.radial_gradient("L")).resize(image.size)
    restored = Image.composite(smooth, image, mask)
    return Image.blend(image, restored, max(0.0, min(1.0, visibility)))


def unfinished(image: Image.Image, recipe: Recipe, done: float) -> Image.Image:
    """An interrupted picture: the finished one under the noise that is left."""
    width, height = image.size
    cells = (max(1, width // 16), max(1, height // 16))
    noise = Image.frombytes("RGB", cells, recipe.dice("noise").randbytes(cells[0] * cells[1] * 3))
    rough = noise.resize((width, height), Image.Resampling.NEAREST)
    mixed = Image.blend(rough, image.convert("RGB"), max(0.0, min(1.0, done)) * 0.8 + 0.15)
    return _mark(mixed, recipe.with_facts(done=round(done, 4)).digest, "partial")


def preview(recipe: Recipe, width: int, height: int, done: float) -> str:
    """The live preview, an eighth of the size, as base64 PNG."""
    size = (max(1, width // 8), max(1, height // 8))
    picture = scene.paint(recipe.kind, size, recipe.palette, recipe.dice("scene"))
    noise = Image.frombytes("RGB", size, recipe.dice("noise").randbytes(size[0] * size[1] * 3))
    buffer = io.BytesIO()
    Image.blend(noise, picture, max(0.0, min(1.0, done))).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def mark(image: Image.Image, digest: bytes, word: str) -> Image.Image:
    """The sandbox's mark: what did it, and a strip of colours made of the recipe's digest."""
    return _mark(image, digest, word)


def _triple(colour: Any) -> tuple[int, int, int]:
    return colour if isinstance(colour, tuple) else (int(colour),) * 3


def _strokes(canvas: Image.Image, recipe: Recipe, steps: int) -> None:
    """Brush strokes, close to what lies under them: more steps, more of them."""
    dice = recipe.dice("strokes")
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    unit = min(width, height)
    palette = recipe.palette
    for _ in range(30 + 4 * min(steps, _STROKES)):
        x, y = dice.random(), dice.random()
        under = _triple(canvas.getpixel((int(x * width), int(y * height))))
        colour = mix(under, dice.choice((palette.light, palette.accent, palette.sky, palette.near)), 0.16)
        _stroke(
            pen,
            (x * width, y * height),
            unit * dice.uniform(0.01, 0.05),
            dice,
            colour=colour,
            width=dice.randint(1, max(2, unit // 110)),
        )


def _stroke(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    length: float,
    dice: Random,
    *,
    colour: tuple[int, int, int],
    width: int,
) -> None:
    slope = dice.uniform(-0.25, 0.25)
    x, y = at
    pen.line(
        (x - length, y - slope * length, x, y, x + length, y + slope * length * 0.6), fill=colour, width=width
    )


def _corners(image: Image.Image, at: figure.Place, palette: Palette, dice: Random) -> None:
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = at.box(1.55)
    arm = max(2, int(at.radius * 0.35))
    thick = max(1, int(at.radius * 0.045))
    colour = mix(palette.light, (255, 255, 255), 0.6)
    for x, dx in ((left, 1), (right, -1)):
        for y, dy in ((top, 1), (bottom, -1)):
            pen.line((x, y, x + dx * arm, y), fill=colour, width=thick)
            pen.line((x, y, x, y + dy * arm), fill=colour, width=thick)
    for _ in range(3):
        u, v = dice.uniform(left, right), dice.uniform(top - at.radius * 0.3, top + at.radius * 0.3)
        size = at.radius * dice.uniform(0.06, 0.12)
        pen.polygon([(u, v - size), (u + size / 4, v), (u, v + size), (u - size / 4, v)], fill=colour)
        pen.polygon([(u - size, v), (u, v + size / 4), (u + size, v), (u, v - size / 4)], fill=colour)


@functools.lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _mark(image: Image.Image, digest: bytes, word: str) -> Image.Image:
    width, height = image.size
    pen = ImageDraw.Draw(image)
    if min(width, height) < 96:
        _strip(pen, (0, max(0, height - 2), width, height), digest)
        return image
    size = max(9, round(min(width, height) * 0.026))
    text = f"SANDBOX  {word}"
    font = _font(size)
    length = font.getlength(text)
    x, y = round(size * 0.8), round(height - size * 2.7)
    pen.rounded_rectangle((x, y, x + length + size * 1.4, y + size * 2), radius=size * 0.6, fill=(18, 20, 26))
    pen.text((x + size * 0.7, y + size * 0.18), text, font=font, fill=(236, 232, 220))
    _strip(
        pen,
        (
            x + round(size * 0.7),
            y + round(size * 1.5),
            x + round(size * 0.7 + length),
            y + round(size * 1.75),
        ),
        digest,
    )
    return image


def _strip(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], digest: bytes) -> None:
    """Twelve cells of colour (or as many as fit): 36 bytes of the digest and its echo."""
    left, top, right, bottom = box
    echo = digest + hashlib.sha256(digest).digest()
    cells = max(1, min(12, right - left))
    for number in range(cells):
        colour = (echo[number * 3], echo[number * 3 + 1], echo[number * 3 + 2])
        start = left + (right - left) * number // cells
        end = left + (right - left) * (number + 1) // cells - 1
        pen.rectangle((start, top, max(start, end), max(top, bottom - 1)), fill=colour)
