"""HTML by construction: what is not `Html` is text and is escaped, so no title or name can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_VOID = ("meta",)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Html(str):
    """Markup that is finished; only this module and `drawing` make it."""


Content = str | Iterable["Content"] | None
"""`Html` as it is, any other text escaped, nothing for None; or several of them."""


def escaped(content: Content) -> Html:
    """Return content as markup. Characters that no HTML or XML may hold become U+FFFD."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(_UNPRINTABLE.sub("\ufffd", content)))
    return Html("".join(map(escaped, content)))


def element(tag: str, *content: Content, **attributes: str | None) -> Html:
    """Return an element; `class_` is class, other underscores are hyphens, attributes that are None are left out."""
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
                    for name, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Html(f"<{tag}{given}/>")
    return Html(f"<{tag}{given}>{escaped(content)}</{tag}>")


def paragraph(*content: Content, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *content, class_=class_)


def table(caption: str, header: Sequence[Content], rows: Iterable[Sequence[Content]], *, texts: int = 1) -> Html:
    """Return a table that scrolls by itself where the page is narrow.

    Args:
        caption: what it shows; also its name for screen readers.
        header: one cell a column.
        rows: cells; the first of each is the row's heading.
        texts: so many first columns are texts and stand to the left, the others are figures.
    """
    def cell(tag: str, place: int, content: Content, scope: str | None) -> Html:
        return element(tag, content, scope=scope, class_=None if place < texts else "figure")

    head = element("tr", [cell("th", place, content, "col") for place, content in enumerate(header)])
    body = [element("tr", [cell("td" if place else "th", place, content, None if place else "row")
                           for place, content in enumerate(row)]) for row in rows]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", body))
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


def definitions(pairs: Iterable[tuple[Content, Content]], class_: str | None = None) -> Html:
    """Return a list of terms and what they are."""
    return element("dl", [element("div", element("dt", term), element("dd", value)) for term, value in pairs],
                   class_=class_)


def bullets(entries: Iterable[Content], class_: str | None = None) -> Html:
    """Return a list."""
    return element("ul", [element("li", entry) for entry in entries], class_=class_)


def details(summary: str, *content: Content) -> Html:
    """Return what is shown when its summary is clicked."""
    return element("details", element("summary", summary), *content)


def quoted(text: str, longest: int = 80) -> str:
    """Return a text on one line, cut after `longest` characters, as `escaped` can show it."""
    line = _UNPRINTABLE.sub("\ufffd", " ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest - 1]}…"


def setting(value: object) -> str:
    """Return a setting as text; of a path of this machine only its last part, since pages are passed on."""
    if not isinstance(value, str):
        return str(value)
    text = value if value and value.strip() == value else repr(value)
    return re.sub(r"^(?:~|\.{1,2}|[A-Za-z]:)?[/\\].*[/\\]", "…/", text)


def short(value: float, places: int = 4) -> str:
    """Return a metric's value without the zero before the point: .1082."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{places}f}").replace("-", "−")


def p_value(value: float) -> str:
    """Return a p-value: .0190, or 1."""
    return "1" if value >= 0.99995 else short(value)


def signed_share(value: float) -> str:
    """Return a relative change: +5.1%, −0.3%."""
    return f"{value:+.1%}".replace("-", "−")


def hash_code(value: str) -> Html:
    """Return the beginning of a hash; all of it shows when it is pointed at."""
    return element("code", value[:12], title=value)
