"""LLM-enhanced sequential recommendation for small machines: TSLRec (arXiv 2406.00333).

Importing the package loads neither torch nor transformers nor llama_cpp.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

if find_spec(f"{__name__}._ranking") is None:
    raise ImportError(
        f"the compiled kernels of {__name__} are missing from {__path__[0]}: this looks like a source tree that "
        "was not built. Build it with `pip install --no-build-isolation -e .`, or, if the package is installed "
        "elsewhere, keep the working directory from shadowing it: `python -P`")

try:
    __version__ = version("tslrec-min")
except PackageNotFoundError:  # used without being installed
    __version__ = "0+unknown"
