from __future__ import annotations

import shutil
from pathlib import Path

from ..factories import hashes, write_run


def test_editing_the_configuration_redoes_what_depends_on_it(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    from tslrec_min.pipeline.config import load_run_config
    from tslrec_min.pipeline.run import run

    config = write_run(tmp_path, cycle_raw, llm)
    config.write_text(config.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    run(load_run_config(config), tmp_path / "out")
    config.write_text(config.read_text().replace("parity_prompts = 8", "parity_prompts = 10"))
    made = {stage["name"]: stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"]}
    assert made["finetune"] and not made["pretrain"] and not made["dataset"] and not made["train/1-ids-0"]
    assert not any(stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"])

    expected = hashes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "train")
    stages = run(load_run_config(config), tmp_path / "out", jobs=2)["stages"]  # of one thread each, as before
    assert hashes(tmp_path / "out") == expected
    assert [stage["name"] for stage in stages if stage["made"]] == [
        "train/1-ids-0", "train/2-untuned-0", "train/3-tslrec-0"]
