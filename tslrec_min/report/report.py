"""The command ``report``: the page on runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import TslrecError
from ..storage.atomic import output_files
from .collect import collect


def write_report(specifications: Sequence[str], out: Path, *, overwrite: bool = False) -> dict[str, list[str]]:
    """Write the page on runs.

    Args:
        specifications: see `collect.collect`.
        out: the page; written under another name and renamed, so it is complete or not there.
        overwrite: replace an existing file.

    Returns:
        Name of the run -> kinds of artifacts that it lacks; their sections are left out.

    Raises:
        TslrecError: matplotlib is missing, `out` exists, an artifact is missing or damaged, or the page would be
            larger than `page.MAX_BYTES`.
    """
    with output_files(out, overwrite=overwrite) as (temporary,):
        runs = collect(specifications)
        _check_extra()
        from .page import MAX_BYTES, page

        text = page(runs)
        size = len(text.encode())
        if size > MAX_BYTES:
            raise TslrecError(f"the page on {len(runs)} runs would have {size / 1e6:.1f} MB, expected at most "
                              f"{MAX_BYTES / 1e6:g}; write several pages with fewer runs each")
        temporary.write_text(text, encoding="utf-8")
    return {run.name: run.missing for run in runs}


def _check_extra() -> None:
    """Raise TslrecError unless the packages of the extra ``report`` can be imported."""
    try:
        import jinja2  # noqa: F401
        import matplotlib.backends.backend_svg  # noqa: F401
    except ImportError as error:
        raise TslrecError(f"reports need matplotlib and jinja2, which can't be imported ({error}); install the extra: "
                          "pip install 'tslrec-min[report]'") from None
