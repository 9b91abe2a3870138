"""The command line: one module per command. Nothing heavy is imported before a command runs.

`main`, the group of all commands, is imported when it is asked for, so that ``__main__`` is the first to run.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing, which has it too, takes longer to import than all of this
if TYPE_CHECKING:
    from .group import main as main


def __getattr__(name: str) -> object:
    """Import `main` when it is first asked for."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .group import main

    return main
