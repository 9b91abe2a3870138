"""Ids and times from text, JSON, Parquet and data frames."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from ...configs import PrepareConfig
from ...errors import TslrecError

NOT_IN_IDS = "\t\r\n\0"
_SHOWN = 80
"""Maximum number of characters of a value in messages."""


def brief(value: Any) -> str:
    """Return the repr of a value for messages, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def id_text(value: Any) -> str:
    """Return an id as text: 12 and 12.0 are ``12``, a missing one (None, NaN) is empty.

    Raises:
        ValueError: it is neither text nor a number.
    """
    if isinstance(value, str):
        return value.strip()
    if is_missing(value):
        return ""
    if isinstance(value, float | np.floating | Decimal):  # Parquet of databases has decimal numbers
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise ValueError(f"{brief(value)} is neither text nor a number")


def can_be_id(name: str) -> bool:
    """Return whether a name is not empty and has no tab, line break, NUL or lone surrogate."""
    if name.isprintable():
        return name != ""
    return not any(mark in name for mark in NOT_IN_IDS) and is_text(name)


def is_text(name: str) -> bool:
    """Return whether UTF-8 can encode a name: JSON can have lone surrogates."""
    return name == name.encode(errors="replace").decode()


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas.NA."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):  # pandas.NA, which has no truth value; an array
        return not hasattr(value, "__len__")


def parse_time(value: Any, per_second: int = 1) -> float:
    """Parse a time: a number, where integers stay exact, or an ISO date, in UTC unless it has a time zone.

    Args:
        value: text, a number, or a date or time of Python, NumPy or pandas.
        per_second: units of a number per second.

    Returns:
        The number in seconds, or seconds since 1970 for a date.

    Raises:
        ValueError: it is none of these, or does not fit into 64 bits.
    """
    if isinstance(value, np.datetime64):
        value = str(value)
    elif hasattr(value, "isoformat"):
        value = value.isoformat()
    if is_missing(value) or isinstance(value, bool):
        raise ValueError("the time is missing" if is_missing(value) else f"time {brief(value)} is no time")
    number = _as_number(value)
    if number is not None:
        if not abs(number) < 2**63:  # NaN neither
            raise ValueError(f"time {brief(value)} does not fit into 64 bits")
        return number if per_second == 1 else number / per_second
    try:
        moment = datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        raise ValueError(f"time {brief(value)} is neither a number nor an ISO date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _as_number(value: Any) -> float | None:
    if isinstance(value, str | int | np.integer):
        with contextlib.suppress(ValueError):
            return int(value)
    with contextlib.suppress(ValueError, TypeError):
        number = float(value)
        return int(number) if number.is_integer() else number
    return None


def time_window(config: PrepareConfig) -> tuple[float, float] | None:
    """Return ``from_time`` (included) and ``until_time`` (not included), None if neither is set.

    Raises:
        TslrecError: one is no time, or they are in the wrong order.
    """
    if not config.from_time and not config.until_time:
        return None
    first, end = _bound("--from-time", config.from_time, -math.inf), _bound("--until-time", config.until_time, math.inf)
    if first >= end:
        raise TslrecError(f"no time is from {config.from_time} on and before {config.until_time}; exchange --from-time "
                          "and --until-time")
    return first, end


def _bound(flag: str, text: str, default: float) -> float:
    try:
        return parse_time(text) if text else default
    except ValueError as error:
        raise TslrecError(f"{flag}: {error}; give a number or a date like 2014-07-01") from None
