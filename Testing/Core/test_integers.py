"""A network in 8-bit integers: nearly the same map, and where it cannot be used, the map of the floating-point one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lopsided import predict, runtime
from lopsided.errors import InputError
from lopsided.model import INTEGER_GRAPH, INTEGER_WEIGHTS, Model, load_card, load_model
from lopsided.networks import IntegerNetwork
from lopsided.predict import Predictor, tiled_logits
from lopsided.study import Study


@pytest.fixture
def integers(integer_folder: Path) -> Model:
    return load_model(integer_folder)


@pytest.fixture
def floating(integers: Model, study: Study) -> np.ndarray:
    """The map of the same model without its integers."""
    return Predictor(replace(integers, integers=None), "cpu").probability_map(study).array


def test_on_a_cpu_the_map_is_nearly_that_of_the_floating_point_network(
    integers: Model, study: Study, floating: np.ndarray
) -> None:
    predictor = Predictor(integers, "cpu")
    assert predictor.in_integers
    found = predictor.probability_map(study).array
    inside = floating > 0
    assert np.array_equal(found > 0, inside)
    apart = np.abs(found - floating)[inside]
    assert 0 < apart.max() < 0.1 * np.ptp(floating[inside])
    assert np.corrcoef(found[inside], floating[inside])[0, 1] > 0.99


def test_tiles_agree_with_the_whole_volume_and_each_shape_has_its_own_result(integers: Model) -> None:
    network = Predictor(integers, "cpu").network
    assert isinstance(network, IntegerNetwork)
    images = torch.randn(1, 4, 24, 96, 16)
    whole = network(images)
    kept = whole.clone()
    assert whole.shape == (1, 1, 24, 96, 16)
    assert (tiled_logits(network, images, (16, 16, 16)) - whole).abs().max() < 1e-4
    assert (network(images + 1) - whole).abs().max() > 1e-3
    assert torch.equal(whole, kept), "a result is not written over by the next"


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_what_a_search_took_can_be_given_back_and_the_next_gives_the_same(integers: Model) -> None:
    def held() -> int:
        runtime.release_memory()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    predictor = Predictor(integers, "cpu")
    images = torch.randn(1, 4, 96, 128, 128)
    before = predictor.network(images)
    kept = held()
    predictor.release_memory()
    assert kept - held() > 10 * images[0, 0].numel()
    assert torch.equal(predictor.network(images), before)


@pytest.mark.parametrize("there", [None, ModuleType("openvino")], ids=["absent", "an empty folder"])
def test_without_openvino_the_floating_point_network_is_used(
    integers: Model, study: Study, floating: np.ndarray, monkeypatch: pytest.MonkeyPatch, there: ModuleType | None
) -> None:
    """Nor where an installation left but a part of it, as where a program holds its files."""
    monkeypatch.setitem(sys.modules, "openvino", there)
    predictor = Predictor(integers, "cpu")
    assert not predictor.in_integers
    assert np.array_equal(predictor.probability_map(study).array, floating)


def test_where_there_is_a_gpu_nobody_waits_for_integers(integers: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "choose_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(IntegerNetwork, "__init__", lambda *_: pytest.fail("built for nothing"))
    assert not Predictor(integers).in_integers


@pytest.mark.parametrize("words", ["Failed to allocate 67172352 bytes of memory", "std::bad_alloc", "not supported"])
def test_integers_that_fail_are_done_without_and_tried_again(
    integers: Model, study: Study, floating: np.ndarray, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    predictor = Predictor(integers, "cpu")
    expected = predictor.probability_map(study).array
    said: list[str] = []

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError(words)

    with monkeypatch.context() as failing:
        failing.setattr(IntegerNetwork, "__call__", fail)
        found = predictor.probability_map(study, lambda what, part: said.append(what)).array
    assert f"8-bit integers cannot be used ({words}); going on without" in said
    assert np.array_equal(found, floating)
    assert np.array_equal(predictor.probability_map(study).array, expected)


@pytest.mark.parametrize("error", [RuntimeError("std::bad_alloc"), MemoryError("std::bad_alloc")], ids=repr)
@pytest.mark.parametrize("first", [True, False], ids=["at once", "after a search without"])
def test_integers_that_there_is_no_memory_to_build_are_built_at_the_next_search(
    integers: Model, study: Study, floating: np.ndarray, monkeypatch: pytest.MonkeyPatch, first: bool, error: Exception
) -> None:
    with monkeypatch.context() as failing:
        if not first:
            predictor = Predictor(integers, "cpu")
            predictor._use(predictor.device, integers=False)
        failing.setattr(IntegerNetwork, "__init__", Mock(side_effect=error))
        if first:
            predictor = Predictor(integers, "cpu")
        assert np.array_equal(predictor.probability_map(study).array, floating)
    predictor.probability_map(study)
    assert predictor.in_integers


def test_what_openvino_leaves_unwritten_is_want_of_memory(
    integers: Model, study: Study, floating: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory for a new shape it may compute nothing, and raise nothing."""
    predictor = Predictor(integers, "cpu")
    said: list[str] = []
    monkeypatch.setattr(predictor.network, "_request", Mock())
    found = predictor.probability_map(study, lambda what, part: said.append(what)).array
    assert "8-bit integers cannot be used (not enough memory); going on without" in said
    assert np.array_equal(found, floating)


@pytest.mark.skipif(sys.platform != "linux", reason="where a process's memory can be limited")
def test_short_of_memory_nothing_of_an_earlier_search_is_given_again(integer_folder: Path, tmp_path: Path) -> None:
    few, many = (torch.randn(1, 4, *shape) for shape in ((32, 32, 32), (96, 112, 104)))
    wanted = Predictor(load_model(integer_folder), "cpu").network(many)
    torch.save((few, many, wanted), tmp_path / "tensors")
    script = f"""
import re, resource, sys
from pathlib import Path
import torch
from lopsided.model import load_model
from lopsided.predict import Predictor
torch.set_num_threads(1)
network = Predictor(load_model(Path({str(integer_folder)!r})), "cpu").network
few, many, wanted = torch.load({str(tmp_path / "tensors")!r}, weights_only=True)
network(few)
with open("/proc/self/status") as file:
    size = int(re.search(r"VmSize:\\s+(\\d+)", file.read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (int(sys.argv[1]) << 20), resource.RLIM_INFINITY))
try:
    said = network(many)
except (MemoryError, RuntimeError) as error:
    said = error
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(torch.allclose(said, wanted, atol=1e-3) if isinstance(said, torch.Tensor) else said)
"""
    lines = []
    for left in ("8", "16", "64"):
        command = [sys.executable, "-c", script, left]
        try:
            lines += subprocess.run(
                command, stdout=subprocess.PIPE, check=True, timeout=40, text=True
            ).stdout.splitlines()
        except subprocess.TimeoutExpired:  # now and then OpenVINO waits for a thread that there is no memory for
            continue
    assert "not enough memory" in lines
    assert "False" not in lines


def test_what_openvino_says_is_its_last_line(integers: Model) -> None:
    network = Predictor(integers, "cpu").network
    with pytest.raises(RuntimeError) as caught:
        network(torch.zeros(1, 3, 16, 16, 16))  # a sequence too few
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)
    assert network(torch.zeros(1, 4, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_nobody_is_told_that_openvino_is_used(integer_folder: Path) -> None:
    """Its import says so over the network, if a package that it brings along is there."""
    script = f"""
import socket, sys
def refuse(*_, **__):
    print("network", flush=True)
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from lopsided.model import load_model
from lopsided.predict import Predictor
predictor = Predictor(load_model(Path({str(integer_folder)!r})), "cpu")
predictor.warm_up()
print(predictor.in_integers, sys.modules["openvino_telemetry"])
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.splitlines() == ["True None"]


@pytest.mark.parametrize("name", [INTEGER_GRAPH, INTEGER_WEIGHTS])
def test_changed_or_missing_integers_are_refused(integer_folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(integer_folder, tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: its hash is not the one"):
        load_model(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: cannot be read"):
        load_model(copy)


def test_integers_that_openvino_cannot_read_are_done_without(
    integers: Model, study: Study, floating: np.ndarray
) -> None:
    assert integers.integers is not None
    broken = replace(integers, integers=replace(integers.integers, graph=b"<net/>"))
    predictor = Predictor(broken, "cpu")
    assert not predictor.in_integers
    assert np.array_equal(predictor.probability_map(study).array, floating)


def test_a_card_without_integers_has_the_digest_that_it_had_before_there_were_any(
    model_folder: Path, tmp_path: Path
) -> None:
    content = json.loads((model_folder / "model.json").read_text(encoding="utf-8"))
    assert content.pop("integers") is None
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_card(tmp_path).digest == content["digest"]
