from __future__ import annotations

from typing import Any

import pytest

from tslrec_min.report.drawing import draw, style

pytest.importorskip("matplotlib")


def test_pictures_are_not_as_the_users_own_settings_have_them() -> None:
    def paint(axes: Any) -> None:
        axes.plot([1, 2], [3, 4], label="x")
        axes.set_xlabel("NDCG@10")

    plain = draw(paint, "a", "A picture")
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "red", "xtick.labelsize": 30, "text.usetex": True}):
        assert draw(paint, "a", "A picture") == plain


def test_many_lines_look_different() -> None:
    looks = [(style(group)["color"], style(group)["linestyle"]) for group in range(32)]
    assert len(set(looks)) == 32
