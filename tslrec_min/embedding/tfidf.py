r"""The stage ``embed`` without a language model: the words of titles by TF-IDF, reduced by a truncated SVD.

A word is a run of letters, digits or underscores (Python's ``\w+``, so also of Chinese characters) in the title's NFKC
form, in lower case. Word w, which is tf times in a title and in df of n titles, weighs (1 + ln tf) (1 + ln((1 + n) /
(1 + df))), with sublinear tf and smoothed idf as scikit-learn's TfidfVectorizer computes them; every title's weights
are divided by their norm: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information
Processing & Management 24(5), 1988. An item's vector is its weights times the right singular vectors V: U S of the
latent semantic indexing of Deerwester et al., JASIS 41(6), 1990.

Document frequencies and V are learned from the titles of all items except cold ones, whose vectors are computed with
them. No interaction is read. An item whose title has no word, or none that was learned, has a vector of zeros.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configs import EmbedConfig
from ..data.csr import offsets, owners
from ..data.dataset import load_dataset
from ..errors import TslrecError
from ..item_vectors.artifact import BLOCK, describe_embeddings, write_embeddings
from ..runtime.measuring import start_measuring
from ..runtime.progress import step
from ..storage.artifacts import Recipe, is_current, refuse_existing, write_artifact, write_json
from ..storage.existing import Existing
from .store import WHOLE, Part

if TYPE_CHECKING:
    from .truncated_svd import SparseMatrix

TFIDF = "tfidf"
"""In place of a language model's name."""
DEFAULT_WIDTH = 192


def embed_tfidf(dataset_path: Path, out: Path, config: EmbedConfig, width: int | None = None, *, device: Any = "cpu",
                threads: int = 1, existing: Existing = Existing.REFUSE, append_to: Path | None = None,
                part: Part = WHOLE) -> int:
    """Embed every item by the words of its title; arguments as for `embed.embed_base`, whose settings are refused.

    Args:
        dataset_path: artifact.
        out: folder of the artifact: item_embeddings.npy, items.txt, embed.json.
        config: must be the default one.
        width: D, which is smaller if the titles do not have that many independent words; None: `DEFAULT_WIDTH`.
        device: not used; the work is done on the CPU.
        threads: of torch.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.
        append_to, part: must be the default.

    Returns:
        0, as no part is left to others.

    Raises:
        TslrecError: the data set is missing or damaged, no title has a word, or an option is for language models.
    """
    width = DEFAULT_WIDTH if width is None else width
    _refuse_options(config, append_to, part, width)
    started = start_measuring()
    dataset, dataset_hash = load_dataset(dataset_path)
    recipe = Recipe("embed", {"model": TFIDF, "tfidf_width": width}, {"dataset": dataset_hash})
    if existing.reuses and is_current(out, recipe):
        return 0
    refuse_existing(out, "embed", overwrite=existing.overwrites)
    import torch

    torch.set_num_threads(threads)
    everything = dataset.with_cold_items()
    step(f"counting the words of {everything.n_items} titles")
    weights = Weights.learned(dataset.titles)
    known = weights.of(dataset.titles)
    step(f"reducing {len(weights.vocabulary)} words to {width} dimensions")
    from .truncated_svd import right_singular_vectors

    singular, vectors = right_singular_vectors(known, width)
    rows = weights.of(everything.titles) if dataset.cold else known
    with write_artifact(out, recipe, overwrite=existing.overwrites, started=started) as folder:
        write_embeddings(folder, _blocks(rows, vectors), dataset)
        lengths = rows.indptr.diff()
        write_json(folder / "embed.json", describe_embeddings(folder) | {
            "model": TFIDF, "engine": TFIDF, "catalogue_hash": everything.catalogue_hash(),
            "words": len(weights.vocabulary), "tokens": sum(len(words_of(title)) for title in everything.titles),
            "different_prompts": len(set(everything.titles)), "titles_cut": 0, "kept": 0,
            "computed": everything.n_items, "without_words": int((lengths == 0).sum()),
            "share_of_squares": float(singular.square().sum() / known.values.double().square().sum())})
    return 0


def _refuse_options(config: EmbedConfig, append_to: Path | None, part: Part, width: int) -> None:
    """Raise TslrecError if an option is given that has no meaning without a language model, or a bad width."""
    from ..runtime.distributed import refuse_several_processes

    default, given = asdict(EmbedConfig()), asdict(config)
    options = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value != default[name]]
    options += [f"--append-to {append_to}"] * (append_to is not None)
    options += [f"--shard {part.number + 1}/{part.count}"] * (part.count > 1 and not part.launch)
    if options:
        raise TslrecError(f"--model {TFIDF} has no language model, so {', '.join(options)} can't be "
                          "used with it; leave it out")
    if type(width) is not int or width < 1:
        raise TslrecError(f"the width of {TFIDF} is {width!r}; expected a number of dimensions, at least 1")
    refuse_several_processes()


def words_of(title: str) -> list[str]:
    """Return the words of a title, in order, with repetitions."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", title).lower())


@dataclass(frozen=True)
class Weights:
    """The words that are known, and the weight of each."""

    vocabulary: Mapping[str, int]
    """Word -> its column, in the order of the words."""
    idf: np.ndarray
    """float64 [V], 1 + ln((1 + n) / (1 + df))."""

    @classmethod
    def learned(cls, titles: Sequence[str]) -> Weights:
        """Learn words and document frequencies from titles.

        Raises:
            TslrecError: no title has a word.
        """
        frequencies = Counter(word for title in titles for word in set(words_of(title)))
        if not frequencies:
            raise TslrecError(f"none of the {len(titles)} titles has a word, so {TFIDF} can't embed them; prepare the "
                              "data set with titles")
        words = sorted(frequencies)
        df = np.array([frequencies[word] for word in words], np.float64)
        return cls({word: column for column, word in enumerate(words)}, 1 + np.log((1 + len(titles)) / (1 + df)))

    def of(self, titles: Sequence[str]) -> SparseMatrix:
        """Return the weights of titles, float32 [n, V] with rows of norm 1, or 0 without a known word."""
        import torch

        from .truncated_svd import SparseMatrix

        columns, counts, lengths = array("q"), array("q"), array("q")
        for title in titles:
            tally = Counter(self.vocabulary[word] for word in words_of(title) if word in self.vocabulary)
            lengths.append(len(tally))
            for column in sorted(tally):
                columns.append(column)
                counts.append(tally[column])
        indptr, chosen = offsets(np.array(lengths)), np.array(columns)
        values = (1 + np.log(np.array(counts))) * self.idf[chosen]
        rows = owners(np.array(lengths))
        values /= np.sqrt(np.bincount(rows, np.square(values), minlength=len(titles)))[rows]
        return SparseMatrix(torch.from_numpy(indptr), torch.from_numpy(chosen),
                          torch.from_numpy(values.astype(np.float32)), len(self.vocabulary))


def _blocks(rows: SparseMatrix, vectors: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of items, and their embeddings."""
    for start in range(0, len(rows.indptr) - 1, BLOCK):
        block = rows.rows(start, start + BLOCK).times(vectors)
        yield np.arange(start, start + len(block)), block.numpy()
