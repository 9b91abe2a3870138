import numpy as np
from numpy.typing import NDArray

def by_user(users: NDArray[np.int32], items: NDArray[np.int32], keys: NDArray[np.int64] | None,
            users_out: NDArray[np.int32], items_out: NDArray[np.int32], keys_out: NDArray[np.int64] | None,
            indptr: NDArray[np.int64], room: NDArray[np.int64], threads: int) -> None: ...
def repeated(users: NDArray[np.int32], items: NDArray[np.int32], keys: NDArray[np.int64], n_items: int,
             out: NDArray[np.uint8]) -> int: ...
def core(indptr: NDArray[np.int64], items: NDArray[np.int32], k: int, user_counts: NDArray[np.int64],
         item_counts: NDArray[np.int64], kept: NDArray[np.uint8]) -> None: ...
def taken(indptr: NDArray[np.int64], items: NDArray[np.int32], keys: NDArray[np.int64] | None,
          kept: NDArray[np.uint8], users: NDArray[np.int64], numbers: NDArray[np.int32],
          indptr_out: NDArray[np.int64], items_out: NDArray[np.int32], keys_out: NDArray[np.int64] | None,
          threads: int) -> None: ...
def lines_of_split(user_text: bytes, user_offsets: NDArray[np.int64], item_text: bytes,
                   item_offsets: NDArray[np.int64], items: NDArray[np.int32], indptr: NDArray[np.int64],
                   ends: NDArray[np.int64], first: int, out: NDArray[np.uint8]) -> tuple[int, int]: ...
