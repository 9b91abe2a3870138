import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

PADDING: int

def instruction_sets() -> list[str]: ...
def workspace_size(isa: int, longest: int, width: int) -> int: ...
def causal_filter(states: Floats, weights: Floats, keep: Floats, starts: Integers, lengths: Integers, out: Floats,
                  workspace: Floats, isa: int) -> None: ...
def causal_filter_gradient(d_out: Floats, states: Floats, weights: Floats, keep: Floats, starts: Integers,
                           lengths: Integers, d_states: Floats, d_keep: Floats, workspace: Floats,
                           isa: int) -> None: ...
