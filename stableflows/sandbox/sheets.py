"""Grids with a legend, as the scripts make them."""

from PIL import Image, ImageDraw, ImageFont


def lettered(
    sheet: Image.Image, cell: tuple[int, int], across: list[str], down: list[str], margin: int = 0
) -> Image.Image:
    """A grid with column titles above and row titles at the left (three quarters of a cell wide)."""
    size = (cell[0] + cell[1]) // 25
    font = ImageFont.load_default(max(1, size))
    left = cell[0] * 3 // 4 if any(down) else 0
    lines = max((_lines(text, font, cell[0]) for text in across), default=0) if any(across) else 0
    top = lines * max(1, size - 1) + size // 2 * 2 if lines else 0
    canvas = Image.new("RGB", (sheet.width + left, sheet.height + top), "white")
    canvas.paste(sheet, (left, top))
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(across):
        pen.text((left + number * (cell[0] + margin) + cell[0] / 2, top / 2), text, "black", font, "mm")
    for number, text in enumerate(down):
        pen.text((left / 2, top + number * (cell[1] + margin) + cell[1] / 2), text, "black", font, "mm")
    return canvas


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> int:
    return max(1, round(font.getlength(text) / max(1, width) + 0.5)) if text else 0
