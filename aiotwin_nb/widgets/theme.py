"""The look that the lab's panels share: one style sheet, and small pieces of HTML. All text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files

import ipywidgets as widgets

LABELS = {"description_width": "88px"}
FULL = {"width": "100%", "margin": "2px 0"}


@cache
def _css() -> str:
    return files("aiotwin_nb.widgets").joinpath("lab.css").read_text(encoding="utf-8")


def style_sheet() -> widgets.HTML:
    """An invisible widget that brings the style; every panel that uses it has one, so that it looks right alone."""
    return widgets.HTML(f"<style>{_css()}</style>", layout=widgets.Layout(display="none"))


def html(text: str = "", *classes: str) -> widgets.HTML:
    """An HTML widget with classes of the style sheet."""
    widget = widgets.HTML(text, layout=widgets.Layout(margin="0"))
    for name in ("aiotwin-html", *classes):
        widget.add_class(name)
    return widget


def box(kind: type[widgets.Box], children: Sequence[widgets.Widget], *classes: str) -> widgets.Box:
    """A box with classes of the style sheet."""
    made = kind(list(children))
    for name in classes:
        made.add_class(name)
    return made


def heading(text: str, more: str = "") -> str:
    """A section's heading with a remark in a quieter voice."""
    quiet = f" <small>{escape(more)}</small>" if more else ""
    return f"<h4 class='aiotwin-heading'>{escape(text)}{quiet}</h4>"


def chip(text: str, kind: str = "plain", tip: str = "") -> str:
    """A word in a coloured frame; the word says it all, the colour only helps. `kind`: plain, good, busy, bad."""
    title = f" title='{escape(tip, quote=True)}'" if tip else ""
    return f"<span class='aiotwin-chip aiotwin-{kind}'{title}>{escape(text)}</span>"


def complaint(text: str) -> str:
    """A line on what is wrong, or nothing."""
    return f"<div class='aiotwin-complaint' role='alert'><b>!</b> {escape(text)}</div>" if text else ""


def remark(text: str) -> str:
    """A quiet line."""
    return f"<div class='aiotwin-remark'>{escape(text)}</div>"


def table(head: Sequence[tuple[str, str]], rows: Iterable[tuple[str, Sequence[str]]], caption: str) -> str:
    """A table. `head`: (title, tip) of every column; `rows`: (classes, cells), the cells being HTML.

    `caption` is for screen readers. Columns whose title ends with a blank hold numbers.
    """
    numeric = [title.endswith(" ") for title, _ in head]
    titles = "".join(
        f"<th scope='col'{_numeric(right)} title='{escape(tip, quote=True)}'>{escape(title.strip())}</th>"
        for (title, tip), right in zip(head, numeric, strict=True)
    )
    body = "".join(
        f"<tr class='{classes}'>"
        + "".join(f"<td{_numeric(right)}>{cell}</td>" for cell, right in zip(cells, numeric, strict=True))
        + "</tr>"
        for classes, cells in rows
    )
    return (
        f"<div class='aiotwin-scroll' tabindex='0' role='region' aria-label='{escape(caption, quote=True)}'>"
        f"<table class='aiotwin-table'><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _numeric(right: bool) -> str:
    return " class='aiotwin-number'" if right else ""


def amount(value: float | int | None) -> str:
    """A number as people write it: 1,320; a dash for none."""
    return "–" if value is None else f"{number_of(value):,}"


def number_of(value: float | int) -> float | int:
    """Whole numbers without a fraction, others with two digits at most."""
    rounded = round(float(value), 2)
    return int(rounded) if rounded == int(rounded) else rounded
