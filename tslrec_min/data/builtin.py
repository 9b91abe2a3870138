"""Built-in data sets: where they come from."""

from __future__ import annotations

from pathlib import Path

from ..errors import TslrecError
from ..storage.downloads import WheelMember, fetch_wheel_members

DATASETS = {
    "ml-100k": (
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.inter",
                    "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.item",
                    "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    ),
}


def fetch_dataset(name: str) -> dict[str, Path]:
    """Return the files of a built-in data set by their names, fetched if need be.

    Raises:
        TslrecError: there is no such data set, or it can't be had.
    """
    if name not in DATASETS:
        raise TslrecError(f"there is no built-in data set {name!r}; expected one of {', '.join(sorted(DATASETS))}")
    members = DATASETS[name]
    return {member.name: path for member, path in zip(members, fetch_wheel_members(members), strict=True)}


def resolve_dataset(spec: str | Path) -> tuple[Path, Path | None]:
    """Return the file or folder of interactions that `spec` stands for, and its items file where that is known.

    Args:
        spec: a built-in data set (`DATASETS`), which is fetched if need be, or a path.

    Raises:
        TslrecError: a built-in data set can't be had.
    """
    if str(spec) not in DATASETS or Path(spec).exists():
        return Path(spec), None
    interactions, items = fetch_dataset(str(spec)).values()
    return interactions, items
