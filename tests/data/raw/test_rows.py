from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.interactions import Collector
from tslrec_min.data.raw.readers import read_interactions
from tslrec_min.data.raw.rows import Chunk
from tslrec_min.data.raw.values import parse_time
from tslrec_min.errors import TslrecError

from .factories import in_words

BAD = ["u,a", "u,a,1,2", ",a,3", "u,,4", "u,a,noon", "u,a,9223372036854775808", "u,a,nan"]


@given(st.lists(st.sampled_from(["u,a,1", "v,b,2", "w,a,3.5", "u,b,1970-01-01", *BAD]), min_size=1, max_size=25))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_bad_rows_are_left_out_and_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    file = tmp_path_factory.mktemp("r") / "r.csv"
    file.write_text("user_id,item_id,timestamp\n" + "".join(f"{row}\n" for row in rows))
    config = PrepareConfig(on_bad_row="skip")
    raw = read_interactions(find_source(file, None, config), config)
    good = [row.split(",") for row in rows if row not in BAD]
    assert in_words(raw) == [(user, item, parse_time(time)) for user, item, time in good]
    assert sum(found["rows"] for found in raw.bad_rows.values()) == sum(row in BAD for row in rows)
    expected = [line for line, row in enumerate(rows, 2) if row in ("u,a", "u,a,1,2")]
    assert raw.bad_rows.get("wrong number of fields", {"first_lines": []})["first_lines"] == expected[:5]
    if first := next((line for line, row in enumerate(rows, 2) if row in BAD), None):
        strict = PrepareConfig()
        with pytest.raises(TslrecError, match=f"r.csv, line {first}: .*--on-bad-row skip"):
            read_interactions(find_source(file, None, strict), strict)


@given(st.lists(st.one_of(st.integers(-2**40, 2**40), st.floats(-1e9, 1e9), st.sampled_from(["1970-01-02", "7", " 8"])),
                min_size=1, max_size=20), st.booleans())
@settings(deadline=None)
def test_times_stay_what_they_are(values: list[Any], as_text: bool) -> None:
    values = [str(value) for value in values] if as_text else values
    collector = Collector("x", PrepareConfig(), timed=True)
    for start in range(0, len(values), 7):
        part = values[start:start + 7]
        collector.add(Chunk(range(start, start + len(part)), {"user": ["u"] * len(part), "item": ["i"] * len(part),
                                                              "time": part}, is_text=as_text))
    times = collector.finish().times
    expected = np.array([parse_time(value) for value in values])
    assert times is not None and times.dtype == expected.dtype and times.tolist() == expected.tolist()
