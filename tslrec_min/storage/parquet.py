"""pyarrow, which reads and writes Parquet and is an extra: imported where it is needed."""

from __future__ import annotations

from typing import Any

from ..errors import TslrecError


def load_pyarrow() -> tuple[Any, Any]:
    """Return the modules pyarrow, with pyarrow.compute in it, and pyarrow.parquet.

    Raises:
        TslrecError: pyarrow is not installed; the message names the extra.
    """
    try:
        import pyarrow
        import pyarrow.compute
        from pyarrow import parquet
    except ImportError:
        raise TslrecError("Parquet needs pyarrow, which is not installed; run pip install 'tslrec-min[parquet]', or "
                          "choose another format") from None
    return pyarrow, parquet
