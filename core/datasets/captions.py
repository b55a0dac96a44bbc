"""Names beside pictures."""

from PIL import ImageFont


def shorten(name: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return a name as far as it fits into ``width`` pixels, with an ellipsis where it does not."""
    if font.getlength(name) <= width:
        return name
    name = name[:width]  # no letter is narrower than a pixel; measuring a name of many thousands would take long
    while name and font.getlength(name + "…") > width:
        name = name[:-1]
    return name + "…"
