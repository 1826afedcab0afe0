"""Networks with an ingredient and without are trained, searched on the same lesions, and tabulated; what is done stays done."""

import json
from pathlib import Path

import ingredients
import numpy as np
import pytest
import SimpleITK as sitk
import typer
from ingredients import REAL, VARIANTS, Variant, no_vessels
from lopsided_training.config import bundled, read_config


def test_every_setting_is_one_that_the_recipe_has() -> None:
    plain = read_config(bundled("configs", "default"), ingredients.SETTINGS)
    for name, variant in VARIANTS.items():
        changed = read_config(bundled("configs", "default"), (*ingredients.SETTINGS, *variant.settings))
        assert (changed != plain) == bool(variant.settings), name
    same = {name: {v for v in VARIANTS.values() if v.data == name} for name in {v.data for v in VARIANTS.values()}}
    for variants in same.values():
        assert len({(v.backgrounds, v.change, v.one_protocol, v.more_small) for v in variants}) == 1


def test_they_are_trained_and_tabulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ball = np.linalg.norm((np.indices((72, 72, 72)) - 36) * 2.0, axis=0) < 60
    image = sitk.GetImageFromArray(np.where(ball, rng.normal(100, 5, ball.shape), 0).astype(np.float32))
    image.SetSpacing((2.0,) * 3)
    (tmp_path / "cases/one").mkdir(parents=True)
    for path in ("real.nii.gz", "cases/one/t1c.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / path))
    plain = Variant(backgrounds=(REAL,))
    without = Variant("without", (REAL,), no_vessels)
    monkeypatch.setattr(ingredients, "VARIANTS", {"all": plain, "without": without})
    out = tmp_path / "out"
    given = {"anatomies": tmp_path, "real": tmp_path / "real.nii.gz", "out": out}
    ingredients.main(tmp_path / "cases", **given, studies=1, steps=2, per_background=1)
    records = [
        json.loads((out / f"data/{d}/records/sim_001000.json").read_text(encoding="utf-8"))
        for d in ("as it ships", "without")
    ]
    assert records[0]["vessels"] > 0 == records[1]["vessels"] == records[1]["sulcal"]
    assert records[0]["lesions"] == records[1]["lesions"]
    found = [json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in ("all", "without")]
    assert [[(s["kind"], s["name"]) for s in scans] for scans in found] == [[("skull-stripped", "one-1")]] * 2
    assert found[0][0]["diameters"] == found[1][0]["diameters"] != []
    table = (out / "table.md").read_text(encoding="utf-8")
    assert table.count("| skull-stripped | ") == 2
    before = (out / "all.json").stat().st_mtime_ns
    (out / "without.json").unlink()
    ingredients.main(tmp_path / "cases", **given, studies=1, steps=2, per_background=1)
    assert (out / "all.json").stat().st_mtime_ns == before
    assert (out / "table.md").read_text(encoding="utf-8") == table
    with pytest.raises(typer.BadParameter, match=r"--only vessels: choose from all, without"):
        ingredients.main(tmp_path / "cases", **given, only=["vessels"])
