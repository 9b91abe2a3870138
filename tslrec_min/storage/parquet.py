"""pyarrow, an optional dependency that reads and writes Parquet: imported where it is needed."""

from typing import Any

from ..errors import TslrecError


def load_pyarrow() -> tuple[Any, Any]:
    """Return the modules pyarrow, with pyarrow.compute loaded, and pyarrow.parquet.

    Raises:
        TslrecError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        from pyarrow import parquet
    except ImportError:
        raise TslrecError("Parquet needs pyarrow, which is not installed; run pip install 'tslrec-min[parquet]', or "
                          "choose another format") from None
    return pyarrow, parquet
