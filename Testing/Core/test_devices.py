"""Memory that runs out anywhere, and GPUs that are too old, taken by others, or several: simulated, for CI has none."""

import re
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from lopsided import brain, predict
from lopsided.devices import choose_device
from lopsided.errors import InputError, is_shortage
from lopsided.model import Model
from lopsided.networks import ResidualUNet, autocast
from lopsided.predict import Predictor
from lopsided.study import Study
from lopsided.volume import Geometry, Volume
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    RuntimeError("ITK ERROR: Image(0x5581): Failed to allocate memory for image."),
]
NO_KERNEL = RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with")


class Memory(TorchDispatchMode):
    """Notes the bytes of every tensor that is made, and gives none that is larger than ``limit``."""

    def __init__(self, limit: float, error: Exception) -> None:
        super().__init__()
        self.limit, self.error = limit, error
        self.asked: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                size = tensor.numel() * tensor.element_size()
                self.asked.add(size)
                if size > self.limit:
                    raise self.error
        return out


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, Exception], Memory]:
    """Of the network alone, with a limit to each tensor."""
    forward = ResidualUNet.forward
    monkeypatch.setattr(predict, "find_brain", lambda volume, device: None)

    def limited(limit: float, error: Exception) -> Memory:
        mode = Memory(limit, error)

        def within(self: ResidualUNet, x: torch.Tensor) -> torch.Tensor:
            with mode:
                return forward(self, x)

        monkeypatch.setattr(ResidualUNet, "forward", within)
        return mode

    return limited


def test_memory_that_runs_out_at_any_allocation_leaves_the_same_map_or_a_sentence(
    model: Model, study: Study, memory: Callable[[float, Exception], Memory]
) -> None:
    plenty = memory(np.inf, SHORTAGES[0])
    predictor = Predictor(model, "cpu")
    whole = predictor.probability_map(study).array
    sizes = sorted(plenty.asked)
    assert len(sizes) > 8
    ends = []
    for n, size in enumerate(sizes):
        memory(size - 1, SHORTAGES[n % len(SHORTAGES)])
        said: list[str] = []
        try:
            found = predictor.probability_map(study, lambda what, part, said=said: said.append(what)).array
        except MemoryError as error:
            assert "not enough memory even for small tiles; close other programs" in str(error)  # noqa: PT017
            ends.append("refused")
        else:
            assert "Not enough memory; going on in smaller tiles" in said
            assert re.fullmatch(r"Searching for lesions in \d+ tiles, to save memory", said[-3])
            assert np.abs(found - whole).max() < 1e-3
            ends.append("tiles")
    assert ends == sorted(ends), "less memory is never better"
    assert {"refused", "tiles"} == set(ends)


def test_what_is_larger_than_any_head_is_searched_in_tiles_from_the_start(
    model: Model, study: Study, memory: Callable[[float, Exception], Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of processors: an operating system does not say that memory is short, and ends who uses it."""
    plenty = memory(np.inf, SHORTAGES[0])
    predictor = Predictor(model, "cpu")
    told: list[tuple[str, float]] = []
    whole = predictor.probability_map(study, lambda *what: told.append(what)).array
    most, steps = max(plenty.asked), len(told)
    plenty.asked.clear()
    told.clear()
    monkeypatch.setattr(predict, "_AT_ONCE", 1)
    assert np.abs(predictor.probability_map(study, lambda *what: told.append(what)).array - whole).max() < 1e-3
    assert max(plenty.asked) < most
    assert len(told) > steps, "and progress is seen"
    assert told[-3][0].endswith("tiles, to save memory")


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The voxels of whatever a network gets."""
    sizes: list[int] = []
    forward = ResidualUNet.forward

    def noting(self: ResidualUNet, x: torch.Tensor) -> torch.Tensor:
        sizes.append(x[0, 0].numel())
        return forward(self, x)

    monkeypatch.setattr(ResidualUNet, "forward", noting)
    return sizes


@pytest.mark.parametrize(("part", "worth_it"), [(1.01, 1), (0.9, 1), (-1, 1), (0.01, 2**24)])
def test_no_more_is_searched_at_once_than_there_is_memory_for(
    model: Model, study: Study, looked_at: list[int], monkeypatch: pytest.MonkeyPatch, part: float, worth_it: int
) -> None:
    """But for what would save nothing."""
    monkeypatch.setattr(predict, "_WORTH_IT", worth_it)
    monkeypatch.setattr(Predictor, "_room", lambda self, images: 2**30)
    predictor = Predictor(model, "cpu")
    whole = predictor.probability_map(study).array
    largest = max(looked_at)
    looked_at.clear()
    monkeypatch.setattr(Predictor, "_room", lambda self, images: int(part * largest))
    told: list[str] = []
    found = predictor.probability_map(study, lambda what, part: told.append(what)).array
    assert np.abs(found - whole).max() < 1e-3
    at_once = part > 1 or worth_it > largest
    assert (max(looked_at) == largest) == at_once
    assert any("tiles, to save memory" in what for what in told) != at_once


def test_room_is_what_is_free_by_what_a_network_takes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**32, total=2**40, free=1))
    predictor = Predictor(model, "cpu")
    few, many = torch.zeros(1, 4, 8, 8, 8), torch.zeros(1, 4, 200, 200, 200)
    assert predictor._room(many) < predictor._room(few) < 2**32 / (4 * 4)
    monkeypatch.setattr(predict, "half_precision", lambda device: torch.bfloat16)
    half = predictor._room(few)
    monkeypatch.setattr(predict, "half_precision", lambda device: None)
    assert 1.2 * predictor._room(few) < half, "float32 takes more"
    monkeypatch.setattr(predict, "free_memory", lambda: 0)
    assert predictor._room(few) < 0


def test_what_is_kept_of_the_last_search_is_given_back_where_there_is_no_room(
    model: Model, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is in use again as before where there is."""
    predictor = Predictor(model, "cpu")
    kept = [True]
    monkeypatch.setattr(predict, "release_memory", kept.clear)
    monkeypatch.setattr(Predictor, "_room", lambda self, images: 2**30)
    predictor.probability_map(study)
    assert kept
    monkeypatch.setattr(Predictor, "_room", lambda self, images: 0 if kept else 2**30)
    told: list[str] = []
    predictor.probability_map(study, lambda what, part: told.append(what))
    assert not kept
    assert not any("tiles" in what for what in told)


def test_of_a_gpu_all_is_tried_at_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is too much."""
    monkeypatch.setattr(predict, "free_memory", lambda: 0)
    monkeypatch.setattr(predict, "_WORTH_IT", 1)
    predictor, images = Predictor(model, "cpu"), torch.zeros(1, 4, 160, 160, 160)
    assert predictor._largest(images) != (160, 160, 160)
    predictor.device = torch.device("cuda")
    assert predictor._largest(images) == (160, 160, 160)


SYSTEMS = [
    OSError(12, "Cannot allocate memory"),
    OSError(8, "Not enough memory resources are available to process this command"),
]


@pytest.mark.parametrize("error", SHORTAGES + SYSTEMS, ids=lambda error: str(error)[:20])
def test_whoever_says_that_memory_is_short(error: Exception) -> None:
    assert is_shortage(error)
    assert is_shortage(MemoryError())
    assert not is_shortage(NO_KERNEL)


def test_a_mistake_is_not_taken_for_want_of_memory(
    model: Model, study: Study, memory: Callable[[float, Exception], Memory]
) -> None:
    memory(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Predictor(model, "cpu").probability_map(study)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Simulated GPUs: (compute capability, free GB) of each."""

    def simulate(
        *cards: tuple[tuple[int, int], float], code_for: tuple[str, ...] = ("sm_75", "sm_80", "sm_90")
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cards))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda n: cards[n][0])
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(code_for))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda n: (int(cards[n][1] * 1e9), int(80e9)))

    return simulate


def test_without_a_gpu_it_is_the_cpu(gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpus()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device(None) == torch.device("cpu")
    with pytest.raises(
        InputError, match="--device cuda: not available here, or too old for this PyTorch; available: cpu"
    ):
        choose_device("cuda")


def test_a_gpu_whose_driver_fails_is_none(gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a computer that was asleep, or whose driver was updated since it started."""

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment")

    gpus(((8, 0), 40))
    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device(None) == torch.device("cpu")
    with pytest.raises(InputError, match="--device cuda: not available here"):
        choose_device("cuda")


def test_of_several_gpus_the_one_with_most_free_memory(gpus: Callable[..., None]) -> None:
    gpus(((8, 0), 4), ((9, 0), 60), ((8, 6), 20))
    assert choose_device(None) == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:2") == torch.device("cuda", 2)
    with pytest.raises(InputError, match="cuda:3: not available"):
        choose_device("cuda:3")


def test_a_gpu_that_pytorch_has_no_code_for_is_left_out(
    gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    gpus(((5, 0), 60), ((8, 6), 20))
    assert choose_device(None) == torch.device("cuda", 1)
    gpus(((6, 1), 60))
    assert choose_device(None) == torch.device("cpu")
    gpus(((12, 0), 60))
    assert choose_device(None) == torch.device("cpu")
    gpus(((12, 0), 60), code_for=("sm_90", "compute_90"))
    assert choose_device(None) == torch.device("cuda")


class OnPaper(Predictor):
    """Believes that it is on a GPU; its network is on the CPU all the same. ``broken`` is raised where it is used."""

    broken: Exception | None = None
    there = True

    def _use(self, device: torch.device, integers: bool = True) -> None:
        if device.type == "cuda" and not self.there:
            raise torch.OutOfMemoryError("CUDA out of memory. Another process holds 79 GiB")
        super()._use(torch.device("cpu"), integers)
        self.device = device


@pytest.fixture
def on_paper(model: Model, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> OnPaper:
    gpus(((8, 0), 40))
    monkeypatch.setattr(predict, "autocast", lambda device: autocast(torch.device("cpu")))
    monkeypatch.setattr(predict, "find_brain", lambda volume, device: None)
    predictor = OnPaper(model)
    forward = ResidualUNet.forward

    def fails(self: ResidualUNet, x: torch.Tensor) -> torch.Tensor:
        if predictor.broken and predictor.device.type == "cuda":
            raise predictor.broken
        return forward(self, x)

    monkeypatch.setattr(ResidualUNet, "forward", fails)
    return predictor


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NO_KERNEL, "cuda cannot be used (CUDA error: no kernel image is available for execution on the device)"),
        (SHORTAGES[0], "Not enough memory on cuda"),
    ],
    ids=["no kernel image", "never enough memory"],
)
def test_a_gpu_that_fails_is_left_for_the_cpu_with_a_sentence_and_the_same_map(
    on_paper: OnPaper, study: Study, broken: Exception, words: str
) -> None:
    assert on_paper.device == torch.device("cuda")
    expected = on_paper.probability_map(study).array
    on_paper.broken = broken
    said: list[str] = []
    found = on_paper.probability_map(study, lambda what, part: said.append(what)).array
    assert f"{words}; going on with the CPU" in said
    assert on_paper.device == torch.device("cpu")
    assert np.array_equal(found, expected)


@pytest.mark.usefixtures("on_paper")
def test_memory_that_another_program_holds_is_used_once_it_is_free(model: Model, study: Study) -> None:
    OnPaper.there = False
    try:
        predictor = OnPaper(model)
        said: list[str] = []
        predictor.probability_map(study, lambda what, part: said.append(what))
        assert said[0].startswith("cuda cannot be used (CUDA out of memory. Another process holds 79 GiB)")
        assert predictor.device == torch.device("cpu")
    finally:
        OnPaper.there = True
    predictor.probability_map(study)
    assert predictor.device == torch.device("cuda")


def test_the_brain_is_found_on_the_cpu_where_the_gpu_fails(
    head: Callable[..., Volume], geometry: Callable[..., Geometry], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = head(geometry((60, 60, 60), (3.0, 3.0, 3.0)))
    logits, used = brain._logits, []

    def fails(seen: np.ndarray, device: torch.device) -> np.ndarray:
        used.append(device.type)
        if device.type == "cuda":
            raise NO_KERNEL
        return np.where(seen > 0.2, logits(seen, device) + 100, -1)

    monkeypatch.setattr(brain, "_logits", fails)
    assert brain.find_brain(volume, "cuda") is not None
    assert used == ["cuda", "cpu"]


def test_the_same_device_gives_the_same_map_again(model: Model, study: Study) -> None:
    first, again = (Predictor(model, "cpu").probability_map(study).array for _ in range(2))
    assert np.array_equal(first, again)


def test_warmed_up_it_searches_as_before(model: Model, study: Study) -> None:
    cold, warm = Predictor(model, "cpu"), Predictor(model, "cpu")
    warm.warm_up()
    assert np.array_equal(cold.probability_map(study).array, warm.probability_map(study).array)
