"""What is known of items: latent categories with example titles, and maps of the item embeddings."""

from __future__ import annotations

import numpy as np

from ..embedding.quality import chance_share
from ..storage.artifacts import read_json
from .collect import EMBEDDINGS, Run, Spread
from .drawing import dot
from .figures import category_colors, category_sizes, item_map
from .markup import Content, Html, element, paragraph, quoted, table

_EXAMPLES = 5
_WHEN = {"embed-untuned": "before fine-tuning", "embed": "after fine-tuning",
         "preferences": "after fine-tuning, as preferences"}
_MADE_OF = {"preferences": " (what the head makes of the embeddings)"}


def categories(run: Run, name: str) -> Html | None:
    """Return the section on the latent categories, or None without them."""
    dataset, found = run.dataset, run.categories
    if dataset is None or found is None:
        return None
    labels = found.labels[1:]
    sizes = np.bincount(labels, minlength=found.n_categories)
    popularity = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)[1:]
    shares = np.bincount(labels, weights=popularity, minlength=found.n_categories) / max(1, popularity.sum())
    colors = category_colors(found.n_categories)
    rows: list[list[Content]] = []
    for category in np.argsort(-sizes, kind="stable"):
        items = np.flatnonzero(labels == category)
        popular = items[np.argsort(-popularity[items], kind="stable")][:_EXAMPLES]
        examples = " · ".join(quoted(dataset.titles[item], 60) or f"(item {quoted(dataset.item_ids[item], 30)})"
                              for item in popular)
        rows.append([[dot(colors[category]), str(category)], element("span", examples, class_="titles"),
                     f"{sizes[category]:,}", f"{shares[category]:.1%}"])
    about = run.file("pretrain", "metrics.json")["categories"]
    picture = category_sizes(f"{name}-sizes", "Number of items in every latent category", sizes, colors)
    return Html(
        paragraph(f"{found.n_categories} categories of {sizes.min():,} to {sizes.max():,} items, by k-means on the "
                  "item table of the pretrained recommender. A user's preferences are the shares of these categories "
                  f"in the history: their mean entropy is {about['mean_preference_entropy']:.2f}, that of equal shares "
                  f"{about['uniform_entropy']:.2f}.")
        + element("figure", picture, element("figcaption", "Items in every category; colours as in the table and the "
                                                           "maps."), class_="wide")
        + table(f"Latent categories with their {_EXAMPLES} most popular items",
                ["category", "most popular items", "items", "training interactions"], rows, texts=2))


def maps(run: Run, name: str, most: int) -> Html | None:
    """Return the section on the item embeddings, with at most `most` dots a map, or None without embeddings."""
    there = [role for role in EMBEDDINGS if run.stage(role)]
    if not there:
        return None
    return Html(_pictures(run, name, most) + table(
        "Item embeddings", ["", *(_WHEN[role] for role in there)], _rows(run, there)))


def _pictures(run: Run, name: str, most: int) -> Html:
    if run.dataset is None:
        return paragraph("The maps need the data set artifact, whose items they show.", class_="note")
    labels = run.categories.labels[1:] if run.categories else np.zeros(run.dataset.n_items, np.int64)
    colors = category_colors(int(labels.max()) + 1)
    shown = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).astype(int))
    pictures: list[Html] = []
    for which, spread in run.spreads.items():
        title = f"Map of the item embeddings {_WHEN[which]}, coloured by latent category"
        picture = item_map(f"{name}-{which}", title, spread.points[shown], labels[shown], colors)
        pictures.append(element("figure", picture, element("figcaption", _caption(run, which, spread))))
    every = "Every item is a dot" if len(shown) == len(labels) else f"{len(shown):,} of {len(labels):,} items are dots"
    colored = ", coloured by its latent category as above" if run.categories else ""
    return Html(paragraph(f"{every}{colored}. Vectors are brought to length 1 and projected onto their first two "
                          "principal components, of each set on its own: places in one map mean nothing in another. "
                          "What lies apart here is apart; what lies together may differ in the other dimensions.")
                + element("div", pictures, class_="figures"))


def _caption(run: Run, which: str, spread: Spread) -> str:
    caption = (f"{_WHEN[which].capitalize()}{_MADE_OF.get(which, '')}: the plane holds {spread.variance:.0%} of the "
               "variance.")
    if spread.neighbour_share is None or run.categories is None:
        return caption
    return (f"{caption} {spread.neighbour_share:.1%} of an item's 10 nearest neighbours by cosine, in all dimensions, "
            f"are of its category; by chance {chance_share(run.categories.labels):.1%}.")


def _rows(run: Run, there: list[str]) -> list[list[Content]]:
    stages = [stage for role in there if (stage := run.stage(role))]
    found = [read_json(stage.path / "embed.json") for stage in stages]
    return [["items × numbers", *(f"{about['items']:,} × {about['width']:,}" for about in found)],
            ["engine", *(about["engine"] for about in found)],
            ["mean cosine of two items", *(f"{about['mean_cosine']:.3f}" for about in found)],
            ["length of vectors, mean ± deviation", *(f"{about['norm_mean']:.2f} ± {about['norm_std']:.2f}"
                                                      for about in found)],
            ["different prompts", *(f"{about['different_prompts']:,}" for about in found)],
            ["titles cut", *(f"{about['titles_cut']:,}" for about in found)],
            ["tokens", *(f"{about['tokens']:,}" for about in found)]]
