"""LLM-enhanced sequential recommendation for small machines: TSLRec (arXiv 2406.00333).

The functions of `tslrec_min.api` are here too: `prepare`, `pretrain`, `finetune`, `embed`, `train`, `evaluate`,
`recommend`, `similar`.
Importing the package loads neither torch nor transformers nor llama_cpp: they come with the function that needs them.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import embed, evaluate, finetune, prepare, pretrain, recommend, similar, train
    from .errors import TslrecError
    from .progress import set_verbosity

if find_spec(f"{__name__}._ranking") is None:
    raise ImportError(
        f"the compiled kernels of {__name__} are missing from {__path__[0]}: this looks like a source tree that "
        "was not built. Build it with `pip install --no-build-isolation -e .`, or, if the package is installed "
        "elsewhere, keep the working directory from shadowing it: `python -P`")

try:
    __version__ = version("tslrec-min")
except PackageNotFoundError:  # used without being installed
    __version__ = "0+unknown"

_HOME = {"TslrecError": "errors", "set_verbosity": "progress"}
__all__ = ["TslrecError", "embed", "evaluate", "finetune", "prepare", "pretrain", "recommend", "set_verbosity",
           "similar", "train"]


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'api')}", __name__), name)


def __dir__() -> list[str]:
    """Name what `__getattr__` finds, too."""
    return sorted({*globals(), *__all__})
