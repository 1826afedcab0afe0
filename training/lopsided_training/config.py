"""Settings of a training run: what a TOML file, such as those in ``configs/``, may say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from lopsided.architectures import Architecture, ResidualUNetSizes
from lopsided.errors import InputError
from lopsided.model import InputSequence, InputSpec, Scale
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from .losses.settings import LopsidedConfig, LossConfig

LARGEST_SEED = 2**32 - 1  # that NumPy and Lightning take
_WORD = re.compile(r"(?![\d._e+-]+$)[A-Za-z0-9][\w.-]*")  # and no number
_S = TypeVar("_S", bound=BaseModel)


class Section(BaseModel):
    """Settings are whole, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PatchConfig(Section):
    """``size`` voxels a side; ``on_lesion``: the share drawn around an annotated lesion; ``on_bright``: that around
    something bright, for what is mistaken for lesions is bright and rare; ``paste``: the share into which it is tried to paste
    a smaller copy of an annotated lesion (:mod:`lopsided_training.paste`; not of one at the edge of the grid, nor more than
    some 40 voxels across, and only where ten tries find tissue without a lesion for it); ``small``: how much more small lesions weigh
    (:func:`lopsided_training.patches.emphasis`), where the loss has weights of lesions; ``drop``: how often each optional sequence is
    withheld (Grøvik et al., npj Digital Medicine 2021); ``perturb``: whether intensities are perturbed. All patches are
    mirrored at random."""

    size: int = Field(64, gt=0)
    on_lesion: float = Field(0.5, ge=0, le=1)
    on_bright: float = Field(0.0, ge=0, le=1)
    paste: float = Field(0.0, ge=0, le=1)
    small: float = Field(1.5, ge=0, le=3)
    drop: float = Field(0.4, ge=0, le=1)
    perturb: bool = True

    @model_validator(mode="after")
    def _shares(self) -> PatchConfig:
        if self.on_lesion + self.on_bright > 1:
            raise ValueError("on_lesion and on_bright together are at most 1")
        return self


class ValidationConfig(Section):
    """One of ``folds`` parts of the patients, the ``fold``-th, is held out (none where ``folds`` is 0). Every ``every``
    steps at most ``cases`` of its cases are searched, those with lesions first; the weights with the best mean of the FROC are kept. Training
    ends early after ``patience`` such looks without a better one (never where 0)."""

    folds: int = Field(5, ge=0)
    fold: int = Field(0, ge=0)
    every: int = Field(500, gt=0)
    cases: int = Field(8, gt=0)
    patience: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> ValidationConfig:
        if self.folds == 1 or self.fold >= max(1, self.folds):
            raise ValueError("folds must be 0 or at least 2, and fold below it")
        return self


class FitConfig(Section):
    """Everything ``fit`` does, beside the data."""

    seed: int = Field(1, ge=0, le=LARGEST_SEED)
    steps: int = Field(3000, gt=0)
    batch: int = Field(2, gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    checkpoint_every: int = Field(250, gt=0)
    loaders: int = Field(2, gt=0, description="threads that draw patches; what they draw does not depend on it")
    lesion_labels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="label values that are lesions; all but 0 where empty"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    input: InputSpec = InputSpec(
        sequences=(
            InputSequence(name="t1c", required=True),
            InputSequence(name="t1"),
            InputSequence(name="t2"),
            InputSequence(name="flair"),
        ),
        spacing_mm=(1.0, 1.0, 1.0),
        clip=(-5.0, 10.0),
    )
    scales: tuple[Scale, ...] = Field(
        (1.0,),
        min_length=1,
        description="of the voxels that a case is seen in to those of input; each for as many cases",
    )
    network: Architecture = ResidualUNetSizes(
        channels=(16, 32, 64, 96), encoder_blocks=(0, 2, 2, 2), decoder_blocks=(1, 1, 1)
    )
    loss: LossConfig = LopsidedConfig()
    patches: PatchConfig = PatchConfig()
    validation: ValidationConfig = ValidationConfig()

    @field_validator("input")
    @classmethod
    def _in_order(cls, spec: InputSpec) -> InputSpec:
        if spec.sequences[0].name != "t1c":  # what is bright is looked for in the first
            raise ValueError("sequences must begin with t1c")
        return spec

    @model_validator(mode="after")
    def _patches_fit(self) -> FitConfig:
        size, stride = self.patches.size, self.network.stride
        if size % stride:
            raise ValueError(
                f"patches.size {size} is not a multiple of {stride}, the stride of the network ({self.network.kind})"
            )
        if self.batch == 1 and self.network.kind == "residual-unet-3d" and size == stride:
            raise ValueError(
                f"patches.size {size} leaves one voxel on the network's lowest level, of which there is no mean with batch 1; "
                "choose a larger patches.size, or batch"
            )
        return self


def read_config(path: Path | None, changes: Sequence[str] = ()) -> FitConfig:
    """The settings of a training, the defaults for None.

    Raises:
        InputError: as :func:`read_settings`, or a loss that cannot have what is asked for.
    """
    config = read_settings(path, FitConfig, changes)
    if config.patches.small and not config.loss.weighs_lesions:
        if "small" in config.patches.model_fields_set:
            raise InputError(
                f"{path or '--set'}: patches.small: loss.kind {config.loss.kind} has no weights of lesions; leave it out"
            )
        config = config.model_copy(update={"patches": config.patches.model_copy(update={"small": 0.0})})
    return config


def read_settings(path: Path | None, kind: type[_S], changes: Sequence[str] = ()) -> _S:
    """The settings in a TOML file, the defaults for None; ``changes`` such as ``loss.beta=0.2`` go over them.

    Raises:
        InputError: an unreadable file, an unknown setting, or a value out of range, by name.
    """
    where: Path | str = path or "--set"
    quotes = ""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
        for change in changes:
            where = f"--set {change}"
            name, _, value = change.partition("=")
            quotes = f"; text needs quotes: --set '{name}=\"{value}\"'" if _WORD.fullmatch(value) else ""
            _merge(content, tomllib.loads(change))
        where = path or "--set"
        return kind.model_validate(content)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        instead = quotes or ("; mend it, or check its path" if where == path else "; write NAME=VALUE, as steps=20000")
        raise InputError(f"{where}: cannot be read as TOML ({error}){instead}") from None
    except ValidationError as error:
        setting = _setting(error.errors()[0])
        blamed = [f"--set {change}" for change in changes if change.partition("=")[0].strip() == setting]
        raise InputError(f"{blamed[-1] if blamed else where}: {first_of(error)}") from None


def first_of(error: ValidationError) -> str:
    """What is wrong first, and with which setting if with one alone."""
    first = error.errors()[0]
    setting = _setting(first)
    what = "no such setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{setting}: {what}" if setting else what


def _setting(error: ErrorDetails) -> str:
    """Its name, as in the file: there the kind of a loss or network is no part of it."""
    names = list(error["loc"])
    if error["type"] == "union_tag_invalid":
        names.append("kind")
    else:
        for union in {"loss", "network"}.intersection(names):
            del names[names.index(union) + 1 : names.index(union) + 2]
    return ".".join(map(str, names))


def bundled(kind: str, name: str) -> Path:
    """A file that comes with the package, by its name (``default``), or any other by its path.

    Args:
        kind: ``configs`` or ``recipes``.
        name: as above.

    Raises:
        InputError: neither.
    """
    folder = Path(__file__).parent / kind
    for path in (folder / f"{name}.toml", Path(name)):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in folder.glob("*.toml")))
    raise InputError(f"{name}: no such file, and none of the bundled {kind}: {names}")


def _merge(content: dict[str, Any], change: dict[str, Any]) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            _merge(content[name], value)
        else:
            content[name] = value
