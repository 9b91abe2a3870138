"""Built-in data sets."""

from __future__ import annotations

from pathlib import Path

from ..storage.downloads import WheelMember, fetch_wheel_members

DATASETS = {
    "ml-100k": (
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.inter",
                    "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.item",
                    "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    ),
}


def resolve_dataset(spec: str | Path) -> tuple[Path, Path | None]:
    """Return the file or folder of interactions that `spec` stands for, and its items file where that is known.

    Args:
        spec: a built-in data set (`DATASETS`), fetched if necessary, or a path.

    Raises:
        TslrecError: a built-in data set can't be fetched.
    """
    if str(spec) not in DATASETS or Path(spec).exists():
        return Path(spec), None
    interactions, items = fetch_wheel_members(DATASETS[str(spec)])
    return interactions, items
