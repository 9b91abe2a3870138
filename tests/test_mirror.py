"""Every module has its tests where a stranger looks for them: tslrec_min/data/cold.py in tests/data/test_cold.py."""

from pathlib import Path

from .factories import ROOT

LONGER_THAN = 40
"""Lines. Shorter modules are tested with what uses them."""
ELSEWHERE = {
    "api/test_api.py": ("__init__.py", "api/results.py"),  # the package offers what the API does, with its results
    "configs/test_configs.py": ("configs/evaluate.py", "configs/language_model.py", "configs/prepare.py",
                                "configs/train.py"),
    "test_config_fields.py": ("errors.py",),  # messages that name several problems at once
    "robustness/test_kernel_inputs.py": ("runtime/validation.py",),  # it checks what kernels are given
    "llm/test_packed_decoder.py": ("llm/projections.py",),  # parts of its layers
    # What all adapters have in common:
    "recommenders/adapters/test_adapters.py": ("recommenders/adapters/base.py", "recommenders/adapters/gate.py",
                                               "recommenders/adapters/none.py",
                                               "recommenders/adapters/projection.py"),
    "categories/test_pretrain.py": ("categories/artifact.py",),  # it reads what is written
    "evaluation/test_compare.py": ("evaluation/artifact.py",),  # it reads what evaluate writes
    "storage/test_checkpoints.py": ("storage/resumable.py",),  # runs that are resumed
    "embedding/test_store.py": ("embedding/plan.py", "cli/embed.py"),  # one run, shared out and resumed
    # A page has all sections:
    "report/test_report.py": ("report/sections/accuracy.py", "cli/report.py"),
    # The suite runs them:
    "bench/test_suite.py": ("bench/chain.py", "bench/kernels.py", "bench/stages.py", "bench/tiny_model.py"),
    "recommenders/models/test_models.py": ("recommenders/models/backbone.py",
                                                  "recommenders/models/sasrec.py"),  # what all have in common
    "bench/test_gate.py": ("cli/bench.py",),  # a command that does no more than call what is tested there, as are these
    "cli/test_options.py": ("cli/every_command.py",),
    "recommendation/test_export.py": ("cli/export.py",),
    "finetuning/test_quant_report.py": ("cli/gguf.py",),
    "finetuning/test_item_training.py": ("finetuning/item_samples.py", "cli/finetune.py"),
    "finetuning/test_projection.py": ("finetuning/item_tokens.py",),
    "recommendation/test_recommend.py": ("cli/recommend.py",),
    "recommendation/test_similar.py": ("cli/similar.py",),
}
"""Test file -> modules that have none of their name, as it tests them."""
OF_THE_WHOLE = ("end_to_end", "robustness", "docs")
"""Folders of tests that are about no single module."""


def modules() -> dict[str, Path]:
    """Return every module by its path in the mirror: that of the package, and cli/ beside its folders."""
    places = (ROOT / "tslrec_min", ""), (ROOT / "cli", "cli/")
    return {f"{prefix}{path.relative_to(package).as_posix()}": path
            for package, prefix in places for path in package.rglob("*.py")}


def place_of(module: str, path: Path) -> Path:
    """Return where a module's tests are expected; those of a folder's __init__.py are called like the folder."""
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return (ROOT / "tests" / module).with_name(f"test_{name}.py")


def test_every_module_has_a_test_file_of_its_name() -> None:
    elsewhere = {module for tested in ELSEWHERE.values() for module in tested}
    missing = {module for module, path in modules().items() if not place_of(module, path).is_file()
               and len(path.read_text(encoding="utf-8").splitlines()) > LONGER_THAN}
    assert sorted(missing - elsewhere) == []
    assert sorted(elsewhere - missing) == []  # exceptions that are none any more
    assert all((ROOT / "tests" / name).is_file() for name in ELSEWHERE)


def test_every_test_file_is_called_like_a_module() -> None:
    expected = {place_of(module, path) for module, path in modules().items()}
    others = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")
              if path not in expected and path.relative_to(ROOT / "tests").parts[0] not in OF_THE_WHOLE}
    assert others == {"test_layers.py", "test_mirror.py", "test_package.py"}
