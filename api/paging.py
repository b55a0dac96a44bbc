"""Pages: rows of a page as an answer shows them."""

from collections.abc import Callable
from typing import TypeVar

from api.schemas.base import Page as PageShape
from api.schemas.base import Shape
from core.services.paging import Page

Row = TypeVar("Row")
Item = TypeVar("Item", bound=Shape)


def shape_page(kind: type[Item], page: Page[Row], shape: Callable[[Row], Item]) -> PageShape[Item]:
    """Return a page with each row shaped."""
    return PageShape[kind](items=[shape(row) for row in page.items], next_cursor=page.next_cursor)  # type: ignore[valid-type]  # pydantic makes the class at run time
