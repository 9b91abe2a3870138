"""The configuration of preparing data."""

from __future__ import annotations

from dataclasses import dataclass

from ..config_fields import MAX_SEED, SET, option
from ..errors import TslrecError

FORMATS = ("auto", "recbole", "csv", "jsonl", "parquet", "movielens", "sequences", "amazon", "yelp", "steam")
PREPARED_SPLITS = ("leave-one-out", "temporal")


@dataclass(frozen=True)
class PrepareConfig:
    """How raw interactions become a data set."""

    format: str = option("auto", "Format of the interactions.", choices=FORMATS)
    user_column: str = option("user_id", "Column, or JSON key, of the user id. The column options are for csv, jsonl "
                              "and parquet; the other formats have fixed names.")
    item_column: str = option("item_id", "Column of the item id, also in the items file.")
    time_column: str = option("timestamp", "Column of the timestamp, a number or an ISO date; empty: the rows are in "
                              "time order.")
    title_column: str = option("", "Column of the title in the items file; empty: the first of title, movie_title, "
                               "name, item_name and product_title.")
    item_fields: str = option("", "Further columns of the items file to keep for prompts, separated by commas.")
    rating_column: str = option("rating", "Column of the rating.", only_for={"min_rating": SET})
    columns: str = option("", "Column names for csv files without a header, separated by commas.")
    time_unit: str = option("s", "Unit of numeric timestamps; ms are divided by 1000. Amazon 2023 is always read as "
                            "ms.", choices=("s", "ms"))
    encoding: str = option("", "Text encoding; empty: UTF-8, or latin-1 for the old MovieLens files.")
    on_bad_row: str = option("error", "What to do with an unreadable row or a second title of an item: stop, or skip "
                             "and count it.", choices=("error", "skip"))
    missing_titles: str = option("error", "What to do if items have no row in the items file or there is no items "
                                 "file: stop, or use blank titles.", choices=("error", "blank"))
    duplicates: str = option("drop", "Interactions with the same user, item and time: keep only the first, or keep "
                             "all. Rows without a time are all kept.", choices=("drop", "keep"))
    min_rating: float | None = option(None, "Minimum rating. Default: no minimum.")
    from_time: str = option("", "Keep interactions from this time on: an ISO date (UTC), or a number as in the data "
                            "(in seconds if the data are in ms).")
    until_time: str = option("", "Keep interactions before this time.")
    k_core: int = option(5, "Minimum number of interactions of a user and of an item (k-core). The filter is repeated "
                         "until every user and item has them.", low=0)
    cold_items: float = option(0.0, "Fraction of the items held out of training (0 = none). Interactions with them are "
                               "removed from the histories and become targets of evaluate's cold-start table.",
                               low=0, high=0.5)
    cold_seed: int = option(0, "Random seed for choosing the cold items.", low=0, high=MAX_SEED,
                            only_for={"cold_items": SET})
    split: str = option("leave-one-out", "leave-one-out: a user's last item is the test target, the one before it the "
                        "validation target. temporal: training ends at the same time for all users.",
                        choices=PREPARED_SPLITS)
    validation_share: float = option(0.1, "Fraction of the interactions in the validation period.", low=0.001, high=0.5,
                                     only_for={"split": ("temporal",)})
    test_share: float = option(0.1, "Fraction of the interactions in the test period, the last one.", low=0.001,
                               high=0.5, only_for={"split": ("temporal",)})

    def __post_init__(self) -> None:
        """Check what no field can check alone."""
        if self.validation_share + self.test_share > 0.9:
            raise TslrecError(f"--validation-share {self.validation_share} and --test-share {self.test_share} leave "
                              "less than a tenth of the interactions for training; lower them")
