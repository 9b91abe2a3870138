"""The order of the folders: each imports only from those before it, lazily or not; docs/architecture.md says why."""

from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tslrec_min

from .factories import ROOT, script

READER = script(ROOT / "docs" / "generate_architecture.py")
"""The picture of the architecture and these tests read imports by the same code."""
ORDER = ("errors", "config_fields", "configs", "runtime", "storage", "data", "ranking", "item_vectors", "llm",
         "recommenders", "categories", "finetuning", "embedding", "evaluation", "recommendation", "pipeline", "report",
         "bench", "api", "cli")
"""In this order; those that are `SIDE_BY_SIDE` import none of each other."""
SIDE_BY_SIDE = {"pipeline", "report", "bench"}
STAGES = {"data": "prepare", "categories": "pretrain", "finetuning": "finetune", "embedding": "embed",
          "recommenders": "train", "evaluation": "evaluate", "recommendation": "recommend"}


def sources() -> dict[str, Path]:
    """Return every module by its name without the package's, such as ``data.dataset``; the root itself is ``""``."""
    return {".".join(parts): path for parts, path in READER.modules()}


def imported(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of this package that a module imports, inside functions and for types too."""
    for parts in READER.imported(tuple(filter(None, name.split("."))), path):
        whole = ".".join(parts)
        yield whole if whole in modules else whole.rpartition(".")[0]  # else it is a name in a module


def upward(modules: dict[str, Path]) -> list[str]:
    """Return the imports that run against the order."""
    wrong = []
    for name, path in modules.items():
        own = name.partition(".")[0]
        if not own:
            continue  # the root loads what is asked for by name
        for other in imported(name, path, modules):
            folder = other.partition(".")[0]
            if not folder or folder == own:
                continue  # __version__, which needs nothing
            if ORDER.index(folder) > ORDER.index(own) or {folder, own} <= SIDE_BY_SIDE:
                wrong.append(f"{name} imports {other}")
    return sorted(set(wrong))


def test_folders_import_only_from_those_before_them() -> None:
    assert upward(sources()) == []


def test_no_modules_import_each_other() -> None:
    modules = sources()
    graph = {name: {other for other in imported(name, path, modules) if other != name}
             for name, path in modules.items() if name}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError, which names a cycle


@pytest.mark.parametrize("planted", ["from ..recommenders.train import train",
                                     "def late():\n    from tslrec_min.cli import main",
                                     "import tslrec_min.api.results", "from .. import embedding"])
def test_a_planted_upward_import_is_found(tmp_path: Path, planted: str) -> None:
    modules = sources()
    changed = tmp_path / "histories.py"
    changed.write_text(modules["data.histories"].read_text(encoding="utf-8") + f"\n{planted}\n", encoding="utf-8")
    assert upward(modules | {"data.histories": changed})


def test_every_stage_has_its_command_and_its_artifact_where_they_are_looked_for() -> None:
    for folder, command in STAGES.items():
        assert (ROOT / "tslrec_min" / folder / f"{command}.py").is_file()
        assert (ROOT / "cli" / f"{command}.py").is_file()
    for folder in ("item_vectors", "recommenders", "categories", "finetuning", "evaluation"):
        assert (ROOT / "tslrec_min" / folder / "artifact.py").is_file()


def test_no_folder_is_called_like_a_public_function() -> None:
    """Imported, a folder of that name would replace the function on the package."""
    folders = {path.name for path in (ROOT / "tslrec_min").iterdir() if path.is_dir()}
    assert not folders & set(tslrec_min.__all__)


def test_the_top_level_can_be_read_at_a_glance() -> None:
    assert len([path for path in (ROOT / "tslrec_min").iterdir() if path.is_file()]) <= 8


def test_no_module_is_long() -> None:
    modules = sources().values()
    assert not [path for path in modules if len(path.read_text(encoding="utf-8").splitlines()) > 300]
