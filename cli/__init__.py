"""The command line: one module per command. Nothing heavy is imported before a command runs.

`main`, the group of all commands, is imported on first use, so that ``__main__`` runs first.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing it from typing takes longer than all of this
if TYPE_CHECKING:
    from .group import main as main


def __getattr__(name: str) -> object:
    """Import `main` on first use."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .group import main

    return main
