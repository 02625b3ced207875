"""Palettes: each checkpoint paints with one, a VAE shifts it."""

import colorsys
import hashlib
from dataclasses import dataclass

from stableflows.sandbox.draw.dice import dice

Colour = tuple[int, int, int]


def _rgb(text: str) -> Colour:
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


# sky above, sky at the horizon, light, far, middle, near, accent
_PALETTES: tuple[tuple[str, ...], ...] = (
    ("1d3557", "f4a261", "ffe8b6", "6d7f9c", "3a5a78", "1b2a3d", "e76f51"),
    ("5b7db1", "f7d9c4", "fff6e0", "9fb0c3", "6a8a7b", "2f4a44", "d1495b"),
    ("2b1b4d", "e56b9f", "ffd6e8", "7a5ea8", "4b3a78", "1f1838", "ffb84d"),
    ("0f4c5c", "9ad1d4", "fdf6e3", "5fa8a8", "2f7f79", "123c3c", "fb8b24"),
    ("33415c", "cbd5e1", "f8fafc", "8d99ae", "5c677d", "212a3e", "c1121f"),
    ("3a2e39", "f2a65a", "fff0d4", "a9714b", "6b4a3f", "2b1d1f", "4f9d69"),
    ("23395b", "b9e3c6", "f6fff8", "7fb7a2", "4d8b6f", "1d4038", "f0c808"),
    ("3c1642", "f5d0c5", "fff4ec", "b388a6", "7d5a80", "2d1a35", "1dd3b0"),
)
_SKIN = ("f1c9a5", "d9a37a", "a8714e", "7a4a32", "f6d7c3")
_HAIR = ("2b1b14", "5a3825", "8d5524", "c68e3f", "1c1c24", "6b2737", "3e4a61")


@dataclass(frozen=True)
class Palette:
    """Colours of one picture."""

    sky: Colour
    horizon: Colour
    light: Colour
    far: Colour
    middle: Colour
    near: Colour
    accent: Colour
    skin: Colour
    hair: Colour
    dress: Colour


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` with ``share`` of ``second``."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(first, second, strict=True))
    return r, g, b


def _turn(colour: Colour, hue: float, saturation: float) -> Colour:
    h, light, s = colorsys.rgb_to_hls(*(part / 255 for part in colour))
    r, g, b = colorsys.hls_to_rgb((h + hue) % 1.0, light, max(0.0, min(1.0, s * saturation)))
    return round(r * 255), round(g * 255), round(b * 255)


def choose(checkpoint: str, vae: str, sitter: str) -> Palette:
    """The palette of a checkpoint's content and a VAE's content; ``sitter`` decides who is painted."""
    digest = hashlib.sha256(checkpoint.encode()).digest()
    hue = (digest[1] / 255 - 0.5) * 0.08
    saturation = 1.0 if not vae else 0.8 + hashlib.sha256(vae.encode()).digest()[0] / 255 * 0.6
    colours = [_turn(_rgb(text), hue, saturation) for text in _PALETTES[digest[0] % len(_PALETTES)]]
    person = dice("sitter", sitter)
    skin, hair = _rgb(person.choice(_SKIN)), _rgb(person.choice(_HAIR))
    dress = mix(colours[6], colours[person.choice((1, 3, 4))], person.random() * 0.5)
    sky, horizon, light, far, middle, near, accent = colours
    return Palette(sky, horizon, light, far, middle, near, accent, skin, hair, dress)
