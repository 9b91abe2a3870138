from __future__ import annotations

import time
from collections.abc import Callable

from tslrec_min.bench.figures import Effort, relative_time


def test_times_are_of_the_processor() -> None:
    """A work that waits costs nothing, and one that is done twice costs twice as much."""
    def busy(times: int) -> Callable[[], object]:
        return lambda: [sum(range(60_000)) for _ in range(times)]

    waits = relative_time(lambda: (time.sleep(0.05), busy(1)()), busy(1), Effort(5, 5), "")
    assert 0.5 < waits.value < 2
    assert 1.5 < relative_time(busy(4), busy(2), Effort(9, 5), "").value < 2.7
