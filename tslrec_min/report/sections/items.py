"""What is known of items: latent categories with example titles, and maps of the item embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from ...embedding.quality import chance_share
from ..collect import EMBEDS, PROBE, Run, Spread
from ..drawing import dot
from ..figures import category_colors, category_sizes, item_map
from ..text import p_value, quoted, short, signed_share

_EXAMPLES = 5
_WHEN = {"embed-tfidf": "by words (TF-IDF)", "embed-encoder": "of an encoder",
         "embed-untuned": "before fine-tuning", "embed": "after fine-tuning",
         "preferences": "after fine-tuning, as preferences"}
_PROBED = {"NDCG@10": "ndcg@10", "HR@10": "hr@10", "tail HR@10": "tail_hr@10",
           "reachable users' NDCG@10": "reachable_ndcg@10", "other users' NDCG@10": "unreachable_ndcg@10"}
_MADE_OF = {"preferences": " (what the head makes of the embeddings)"}


def categories(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the latent categories, or None without them."""
    dataset, latent = run.dataset, run.categories
    if dataset is None or latent is None:
        return None
    labels, count = latent.labels[1:], latent.n_categories
    sizes = np.bincount(labels, minlength=count)
    popularity = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)[1:]
    shares = np.bincount(labels, weights=popularity, minlength=count) / max(1, popularity.sum())
    colors = category_colors(count)
    rows = []
    for category in np.argsort(-sizes, kind="stable"):
        items = np.flatnonzero(labels == category)
        popular = items[np.argsort(-popularity[items], kind="stable")][:_EXAMPLES]
        examples = " · ".join(quoted(dataset.titles[item], 60) or f"(item {quoted(dataset.item_ids[item], 30)})"
                              for item in popular)
        rows.append([dot(colors[category]) + str(category), Markup('<span class="titles">{}</span>').format(examples),
                     f"{sizes[category]:,}", f"{shares[category]:.1%}"])
    return {"count": count, "sizes": sizes, "about": run.file("pretrain", "metrics.json")["categories"], "rows": rows,
            "examples": _EXAMPLES, "picture": category_sizes(
                f"{name}-sizes", "Number of items in every latent category", sizes, colors)}


def maps(run: Run, name: str, most: int) -> dict[str, Any] | None:
    """Return the section on the item embeddings, with at most `most` dots a map, or None without embeddings."""
    described = {role: about for role in EMBEDS if (about := run.file(role, "embed.json"))}
    if not described:
        return None
    figures = {"items × numbers": "{items:,} × {width:,}", "engine": "{engine}",
               "mean cosine of two items": "{mean_cosine:.3f}",
               "length of vectors, mean ± deviation": "{norm_mean:.2f} ± {norm_std:.2f}",
               "different prompts": "{different_prompts:,}", "titles cut": "{titles_cut:,}", "tokens": "{tokens:,}"}
    rows = [[label, *(figure.format(**about) for about in described.values())] for label, figure in figures.items()]
    return {"header": ["", *(_WHEN[role] for role in described)], "rows": rows, "probe": _probe(run)} | (
        {"pictures": None} if run.dataset is None else _pictures(run, run.dataset.n_items, name, most))


def _probe(run: Run) -> dict[str, Any] | None:
    """Return the table of `evaluation.probe`, and what it is of; None without it."""
    report = run.file(PROBE, "metrics.json")
    if report is None:
        return None
    tests = {test["arm"]: test for test in report["comparisons"]}
    rows = []
    for row in report["rows"]:
        figures = ["" if row[key] is None else short(row[key]) for key in _PROBED.values()]
        test = tests.get(row["name"])
        lift = ["", ""] if test is None else [
            "" if test["relative"] is None else signed_share(test["relative"]), p_value(test["p_holm"])]
        rows.append([row["name"], *figures, *lift])
    return {"header": ["", *_PROBED, "NDCG@10 over the first of its kind", "p (Holm)"], "rows": rows,
            "split": report["split"], "users": report["groups"]["users"], "tests": len(tests),
            "items_read": report["groups"]["items_read"]}


def _pictures(run: Run, n_items: int, name: str, most: int) -> dict[str, Any]:
    labels = run.categories.labels[1:] if run.categories else np.zeros(n_items, np.int64)
    colors = category_colors(int(labels.max()) + 1)
    shown = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).astype(int))
    how = ", coloured by latent category" if run.categories else ""
    pictures = [(item_map(f"{name}-{which}", f"Map of the item embeddings {_WHEN[which]}{how}", spread.points[shown],
                          labels[shown], colors), _caption(run, which, spread))
                for which, spread in run.spreads.items()]
    return {"pictures": pictures, "shown": len(shown), "items": len(labels), "colored": run.categories is not None}


def _caption(run: Run, which: str, spread: Spread) -> str:
    when = _WHEN[which]
    caption = (f"{when[0].upper()}{when[1:]}{_MADE_OF.get(which, '')}: the plane holds {spread.variance:.0%} of the "
               "variance.")
    if spread.neighbour_share is None or run.categories is None:
        return caption
    return (f"{caption} {spread.neighbour_share:.1%} of an item's 10 nearest neighbours by cosine, in all dimensions, "
            f"are of its category; by chance {chance_share(run.categories.labels):.1%}.")

