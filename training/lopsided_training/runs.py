"""A finished run: what ``fit`` leaves behind, read and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopsided.errors import InputError
from lopsided.model import Model, ModelCard, OperatingPoint, Provenance, find_model
from lopsided.wording import DISCLAIMER
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from .config import FitConfig, first_of
from .examine import UNCALIBRATED

CONFIG, DATA, WEIGHTS, RUN = "config.json", "data.json", "model.safetensors", "run.json"


def model_folder(path: Path) -> Path:
    """A folder with a model, or else the bundled model of that name: what is written to it must not go into the program."""
    return path if (path / "model.json").is_file() else find_model(str(path))


@dataclass(frozen=True)
class Seen:
    """A case that something was learnt from or measured on. ``images``: the hashes of its post-contrast T1, of the file and of its
    voxels, which another file may have too."""

    name: str
    patient: str
    images: frozenset[str]


@dataclass(frozen=True)
class Run:
    """``facts``: the content of ``run.json``. ``weights``: the bytes of ``model.safetensors``."""

    folder: Path
    config: FitConfig
    facts: dict[str, Any]
    weights: bytes

    @property
    def weights_sha256(self) -> str:
        """Of the weights' file."""
        return hashlib.sha256(self.weights).hexdigest()

    def trained_on(self) -> Iterator[Seen]:
        """Every case that it has learnt from, before it started too."""
        facts: dict[str, Any] | None = self.facts
        while facts:
            for name, case in facts.get("cases", {}).items():
                # earlier runs know files alone
                images = frozenset(case[what] for what in ("t1c", "t1c_voxels") if what in case)
                yield Seen(name, case["patient"], images)
            facts = facts.get("start_from")

    def began_with_a_model(self) -> bool:
        """Whether it, or a run that it started from, began with a model folder, which does not say what that was trained on."""
        facts = self.facts
        while facts["start_from"] and "cases" in facts["start_from"]:
            facts = facts["start_from"]
        return facts["start_from"] is not None

    def model(self, scales: tuple[float, ...] = (1.0,)) -> Model:
        """The network as a model that was neither calibrated nor measured; its card says nothing of that.

        Args:
            scales: see :class:`lopsided.model.ModelCard`.

        Raises:
            InputError: weights that are not a safetensors file.
        """
        try:
            weights = load(self.weights)
        except SafetensorError as error:
            raise InputError(f"{self.folder / WEIGHTS}: not a safetensors file ({error}); train again") from None
        config = self.config
        own = {
            "command": f"lopsided-train fit --config (its content: {config.model_dump_json()})",
            "loss": f"{config.loss.kind}, {config.loss.model_dump_json(exclude={'kind'})}",
            "steps": self.facts["steps"],
            "machine": self.facts["machine"],
            "hours": self.facts["hours"],
        }
        parts = [self.facts["start_from"], own] if self.facts["start_from"] else [own]
        card = ModelCard(
            format_version=1,
            name="uncalibrated",
            title="",
            intended_use=DISCLAIMER,
            licence="",
            created="",
            architecture=config.network,
            input=config.input,
            scales=scales,
            calibration=UNCALIBRATED,
            threshold=0.5,
            operating_points=(OperatingPoint(confidence=0, false_positives_per_scan=0, sensitivity=0),),
            provenance=Provenance(
                command="; from there: ".join(part["command"] for part in parts),
                data="",
                loss=_then(part["loss"] for part in parts),
                steps=sum(part["steps"] for part in parts),
                seed=config.seed,
                machine=_then(part["machine"] for part in parts),
                hours=round(sum(part["hours"] for part in parts), 2),
                software=self.facts["software"],
                evaluated_on="",
                limitations="",
            ),
            weights_sha256=self.weights_sha256,
        )
        return Model(self.folder, card, weights)


def _then(parts: Iterable[str]) -> str:
    """One after the other; once where all are the same."""
    return "; then ".join(dict.fromkeys(parts))


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: it is not finished, or its settings or facts are not those of this software.
    """
    for name in (CONFIG, RUN, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: missing, so this is not a finished run; let `lopsided-train fit` finish"
            )
    try:
        config = FitConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(f"{folder / CONFIG}: {first_of(error)}; train again with this software") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{folder / RUN}: cannot be read ({error}); train again") from None
    missing = sorted({"cases", "machine", "hours", "software", "start_from", "steps"} - set(facts))
    if missing:
        raise InputError(f"{folder / RUN}: does not say {missing[0]}; train again with this software")
    return Run(folder, config, facts, (folder / WEIGHTS).read_bytes())
