"""A table of the page: cells that are shown one way and sorted another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Cell", "Table", "number", "word"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what is sorted by: a number, the text, or None: last."""

    text: str
    key: float | str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page.

    Parameters
    ----------
    title : str
        Its heading.
    columns : tuple of str
        Their names.
    rows : tuple of tuple of Cell
        As many cells as there are columns.
    note : str
        A sentence or two on how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"two columns of {self.title!r} have one name")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the numbers as they are."""
        return {
            "title": self.title,
            "rows": [
                dict(zip(self.columns, (cell.key for cell in row), strict=True))
                for row in self.rows
            ],
        }


def number(value: float | None, form: str = ".4g") -> Cell:
    """Show a number; a dash where there is none, which sorts last."""
    if value is None:
        return Cell("-", None)
    if form == ".4g" and value >= 1000:
        form = ",.0f"  # no powers of ten
    return Cell(f"{value:{form}}", float(value))


def word(value: object) -> Cell:
    """Show a text."""
    return Cell(str(value), str(value))
