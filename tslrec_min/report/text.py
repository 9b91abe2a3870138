"""Values as a page shows them: figures, settings, names and hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(value: Any) -> Any:
    """Return a value as the template shows it: "" for None, U+FFFD for characters that HTML can't contain."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else _UNPRINTABLE.sub("\ufffd", str(value))


def quoted(text: str, longest: int = 80) -> str:
    """Return a text on one line, cut after `longest` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest - 1]}…"


def setting(value: object) -> str:
    """Return a setting as text; of a local path only the last part, since pages are passed on."""
    if not isinstance(value, str):
        return str(value)
    text = value if value and value.strip() == value else repr(value)
    return re.sub(r"^(?:~|\.{1,2}|[A-Za-z]:)?[/\\].*[/\\]", "…/", text)


def short(value: float, places: int = 4) -> str:
    """Return a metric's value without the zero before the point: .1082."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{places}f}").replace("-", "−")


def with_deviation(values: Mapping[str, Any]) -> str:
    """Return the mean of a metric and, over several runs, its standard deviation: .2139 ± .0022."""
    return short(values["mean"]) + (f" ± {short(values['std'])}" if len(values["runs"]) > 1 else "")


def p_value(value: float) -> str:
    """Return a p-value: .0190, or 1."""
    return "1" if value >= 0.99995 else short(value)


def signed_share(value: float) -> str:
    """Return a relative change: +5.1%, −0.3%."""
    return f"{value:+.1%}".replace("-", "−")


def duration(seconds: float) -> str:
    """Return a time: 12.3 s, 4 min 5 s, 2 h 3 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def hash_code(value: str) -> Markup:
    """Return the first characters of a hash; the title shows all of it."""
    return Markup('<code title="{}">{}</code>').format(value, value[:12])


def strong(text: str) -> Markup:
    """Return a text that stands out."""
    return Markup("<strong>{}</strong>").format(text)
