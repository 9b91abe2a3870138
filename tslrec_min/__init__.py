"""LLM-enhanced sequential recommendation for small machines: TSLRec (arXiv 2406.00333).

It exports the functions of `tslrec_min.api`: `prepare`, `pretrain`, `finetune`, `embed`, `train`, `evaluate`,
`recommend`, `similar`, `fuse`, `tune`, `probe`. Torch, transformers and llama_cpp are only loaded by the functions
that need them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from .runtime.mkl import ask_processor

TYPE_CHECKING = False  # importing it from typing takes longer than all of this
if TYPE_CHECKING:
    from typing import Any

    from .api import embed, evaluate, finetune, fuse, prepare, pretrain, probe, recommend, similar, train, tune
    from .errors import TslrecError
    from .runtime.progress import set_verbosity

    __version__: str

if find_spec(f"{__name__}.ranking._ranking") is None:
    raise ImportError(
        f"the compiled kernels of {__name__} are missing from {__path__[0]}, which seems to be a source tree that was "
        "not built. Build it with `pip install --no-build-isolation -e .`, or, if the package is installed elsewhere, "
        "run `python -P` so that the working directory does not shadow it")

ask_processor()  # before torch is imported

_HOME = {"TslrecError": "errors", "set_verbosity": "runtime.progress"}
__all__ = ["TslrecError", "embed", "evaluate", "finetune", "fuse", "prepare", "pretrain", "probe",
           "recommend", "set_verbosity", "similar", "train", "tune"]


def __getattr__(name: str) -> Any:
    """Import public names on first use."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # slow to import

        try:
            return version("tslrec-min")
        except PackageNotFoundError:  # used without being installed
            return "0+unknown"
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'api')}", __name__), name)


def __dir__() -> list[str]:
    """List the names of `__getattr__` too."""
    return sorted({*globals(), "__version__", *__all__})
