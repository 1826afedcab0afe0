"""How fast a study becomes candidates, beside MONAI's and nnU-Net's inference of the same network, and how near the limit.

    python Testing/Benchmarks/inference.py [--study FOLDER] [--model FOLDER] [--json FILE]

``--study`` is a folder with t1c.nii.gz and, for four sequences, t1, t2 and flair (or t1n, t2w, t2f); the sample study
where none is given. All methods share weights, input, and every stage but the network, and take turns; each number is a
median. nnU-Net is in the table where it is installed (``pip install nnunetv2``). ``--parts`` chooses: ``peers`` (on the
study as it is), ``sizes`` (other grids, four sequences), ``curves``, ``candidates``, ``worker``, ``memory``. ``--quick`` measures nothing:
it fails where methods disagree.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from lopsided import runtime  # isort: split

import inference_studies as studies
import numpy as np
import torch
from inference_machine import CONVOLUTION, IN_INTEGERS, describe, limits, peak_memory, seconds
from inference_methods import FLOATING, OURS, OWN_CROP, REFERENCE, TIMED, Bench, Row
from inference_peers import PEERS
from lopsided.architectures import ResidualUNetSizes
from lopsided.candidates import Found, above, find_candidates
from lopsided.model import Model, find_model, load_model
from lopsided.networks import build_network
from lopsided.results import write_candidates
from lopsided.study import Study

NOTHING = "nothing but reading"
PARTS = ("peers", "sizes", "curves", "candidates", "worker", "memory")
AGREE = 0.05  # of a probability: half precision made at most 0.02 of it on real studies
AGREE_IN_INTEGERS = 0.3  # these made 0.09 of it on a real study, 0.21 on the sample


def table(rows: list[Row], columns: list[str]) -> str:
    """Markdown."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return value
        return f"{value:.3g}" if isinstance(value, float) and value < 100 else f"{value:.0f}"

    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(text(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    runtime.keep_memory()  # as the worker does; for all methods alike
    model = _model(options)
    if options.quick:  # small voxels take minutes, and agree no more or less
        model = replace(model, card=model.card.model_copy(update={"scales": (max(model.card.scales),)}))
    if options.alone:
        return _alone(options, model)
    bench = Bench(model, options.device)
    study = studies.read(options.study, 1)
    everything: dict[str, Any] = {"machine": describe(bench.device), "model": model.card.name}
    print(f"{everything['machine']}\n\nModel {model.card.name}, {bench.operations / 1e3:.1f} kFLOP a voxel.\n")
    print("\n".join(bench.missing) + "\n" if bench.missing else "")
    if options.quick:
        return _agreement(bench, study)
    for part in options.parts:
        everything[part] = globals()[f"_{part}"](bench, study, options)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, help="a folder; the sample study where none is given")
    parser.add_argument("--model", help="a model folder or a bundled model's name")
    parser.add_argument("--network", help="sizes as in model.json; random weights, on 1 mm: right for time alone")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="agreement alone, in the largest voxels")
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # one method in a process of its own: its memory
    parser.add_argument("--sequences", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _model(options: argparse.Namespace) -> Model:
    model = load_model(find_model(options.model))
    if not options.network:
        return model
    sizes = ResidualUNetSizes.model_validate_json(options.network)
    torch.manual_seed(0)
    weights = {n: t.numpy() for n, t in build_network(1, sizes).state_dict().items()}
    seen = model.card.input.model_copy(
        update={"spacing_mm": (1.0, 1.0, 1.0), "sequences": model.card.input.sequences[:1]}
    )
    card = model.card.model_copy(update={"name": "random", "architecture": sizes, "input": seen, "scales": (1.0,)})
    return Model(model.folder, card.signed(), weights)


def _agreement(bench: Bench, study: Study) -> int:
    rows = bench.compare(study, [n for n in bench.methods if n != REFERENCE and OWN_CROP not in n], 0, "sample")
    print(table(rows, ["method", "largest difference", "agreement"]))
    allowed = {OURS: AGREE_IN_INTEGERS, FLOATING: AGREE} if FLOATING in bench.methods else {OURS: AGREE}
    wrong = 0
    for row in rows:
        name = row["method"]
        if name in allowed and (row["largest difference"] > allowed[name] or not row["same shown"]):
            print(f"{name} and the whole volume in one piece disagree", file=sys.stderr)
            wrong = 1
    return wrong


def _peers(bench: Bench, study: Study, options: argparse.Namespace) -> Row:
    rows = bench.compare(study, list(bench.methods), options.repetitions, "as it is")
    best = limits(bench.device)
    for row in rows:
        row["times ours"] = row["network"] / rows[0]["suggest"]
    columns = ["method", "network", "suggest", "times ours", "largest difference", "agreement", "GFLOP/s"]
    print(f"## Beside its peers\n\nInput {rows[0]['input']} voxels; seconds.\n\n{table(rows, columns)}\n")
    print(f"## Stages\n\n{table(rows[:1], [*TIMED, 'other', 'suggest'])}\n")
    share = rows[0]["GFLOP/s"] * 1e9 / best[IN_INTEGERS if FLOATING in bench.methods else CONVOLUTION]
    print("; ".join(f"best {name} {rate / 1e9:.0f} GFLOP/s" for name, rate in best.items()) + f"; ours {share:.0%}\n")
    return {"rows": rows, "limits": best}


def _sizes(bench: Bench, study: Study, options: argparse.Namespace) -> list[Row]:
    folder, spacing = options.study, (0.98, 0.98, 0.98)
    rows = []
    small = studies.on_grid(study, (176, 188, 144), spacing)
    for title, one in {"176×188×144": small, "512×512×120 full head": studies.full_head(study)}.items():
        rows += bench.compare(one, list(bench.methods), options.repetitions, title)
    four = Bench(studies.for_sequences(bench.model, 4), str(bench.device))
    rows += four.compare(studies.read(folder), list(four.methods), options.repetitions, "four sequences")
    for row in rows:
        ours = next(r for r in rows if r["study"] == row["study"])
        row["times ours"] = row["network"] / ours["suggest"]
    columns = ["study", "input", "method", "network", "suggest", "times ours", "largest difference", "agreement"]
    print(f"## Other studies\n\n{table(rows, columns)}\n")
    return rows


def _curves(bench: Bench, study: Study, options: argparse.Namespace) -> list[Row]:
    made = {f"field of view ×{n}": studies.in_a_field_of(study, n) for n in (1, 2, 4, 8)}
    made |= {f"brain ×{n}": studies.of_a_brain(study, n) for n in (2, 4, 8)}
    made |= {f"voxels of {mm} mm": studies.with_voxels_of(study, mm) for mm in (0.5, 1.5, 2.0)}
    rows = []
    for title, one in made.items():
        spent = [bench.run(OURS, one)[1] for _ in range(options.repetitions + 1)][1:]
        voxels = "×".join(map(str, one.reference.geometry.size))
        seen = sum(float(np.prod(grid.size, dtype=float)) for grid in bench.grids(one)) / 1e6
        middle = {k: median(s[k] for s in spent) for k in spent[0]}
        rows.append({"study": title, "image": voxels, "network's megavoxels": seen, **middle})
    columns = ["study", "image", "network's megavoxels", *TIMED, "suggest"]
    print(f"## Curves\n\n{table(rows, columns)}\n")
    return rows


def _candidates(bench: Bench, _: Study, options: argparse.Namespace) -> list[Row]:
    """500 spots, with an annotation and without one; and what a threshold moved over what they become takes."""
    cpu, probability, rows = torch.device("cpu"), studies.spots(500), []
    annotated = np.zeros(probability.array.shape, bool)
    for title in ("nothing annotated", "one lesion annotated"):
        spent, filtered, found = [], [], Found((), ())
        for _ in range(options.repetitions):
            kept: list[Found] = []
            find = partial(find_candidates, probability, annotated, bench.model.card.calibration)
            spent.append(seconds(lambda find=find, kept=kept: kept.append(find()), cpu))
            found = kept[0]
            filtered.append(seconds(partial(above, found.missed, 0.5), cpu))
        numbers = {"map": title, "candidates": len(found.missed), "seconds": median(spent)}
        rows.append({**numbers, "threshold moved, ms": 1000 * median(filtered)})
        annotated[70:75, 100:110, 100:110] = True
    print(f"## Candidates\n\n{table(rows, list(rows[0]))}\n")
    return rows


def _worker(bench: Bench, study: Study, options: argparse.Namespace) -> Row:
    """The process that Slicer starts: until it is ready, and two studies, one after the other, as Slicer sends them."""
    import SimpleITK as sitk
    from lopsided.volume import to_sitk

    spent: Row = {}
    if options.network:
        print("The worker is not measured: it takes model folders, not sizes.\n")
        return spent
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image = to_sitk(study.reference.array, study.reference.geometry)
        spent["image to file"] = seconds(
            lambda: sitk.WriteImage(image, str(folder / "t1c.nrrd"), False), torch.device("cpu")
        )
        sitk.WriteImage(image + 1, str(folder / "other.nrrd"), False)
        command = [sys.executable, "-m", "lopsided.worker"]
        began = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout

            def until(key: str) -> dict[str, float]:
                """When the worker first said what it was doing, in seconds since ``began``."""
                told: dict[str, float] = {}
                for line in process.stdout:  # type: ignore[union-attr]
                    message = json.loads(line)
                    if "error" in message:
                        raise RuntimeError(message["error"])
                    if "progress" in message:
                        told.setdefault(message["progress"]["what"], time.perf_counter() - began)
                    if key in message:
                        break
                return told

            until("ready")
            spent["cold start to ready"] = time.perf_counter() - began
            for title, name in (("first study", "t1c"), ("second study", "other")):
                request = {"sequences": {"t1c": str(folder / f"{name}.nrrd")}, "out": str(folder / name)}
                request["model"] = str(bench.model.folder)
                began = time.perf_counter()
                process.stdin.write(json.dumps({"suggest": request}) + "\n")
                process.stdin.flush()
                told = until("done")
                spent[title] = time.perf_counter() - began
            process.stdin.close()
        spent["read"] = seconds(lambda: studies.read(options.study, 1), torch.device("cpu"))
        bench.run(OURS, study)
        found, inside = bench.run(OURS, study)
        spent["write"] = seconds(lambda: write_candidates(found, folder), torch.device("cpu"))
    # from the click to the search, and from the candidates to the list
    after = spent["second study"] - told["Ranking the candidates"] - inside["candidates"]
    spent["transfer"] = spent["image to file"] + told["Preparing the images"] + after
    print(f"## The worker\n\n{table([spent], list(spent))}\n")
    return spent


def _memory(bench: Bench, _: Study, options: argparse.Namespace) -> list[Row]:
    rows = []
    for sequences in (1, 4):
        # no integers are made for the network of four, so that ours is without
        others = (FLOATING, *PEERS[1:]) if sequences == 1 else PEERS[1:]
        for name in [NOTHING, OURS, *(n for n in others if n in bench.methods), REFERENCE]:
            command = [sys.executable, __file__, "--alone", name, "--sequences", str(sequences)]
            for option in ("study", "model", "network", "threads"):
                if value := getattr(options, option):
                    command += [f"--{option}", str(value)]
            command += ["--device", str(bench.device)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"method": name, "sequences": sequences, **json.loads(said.splitlines()[-1])})
    print(f"## Peak memory\n\nGB.\n\n{table(rows, list(rows[0]))}\n")
    return rows


def _alone(options: argparse.Namespace, model: Model) -> int:
    bench = Bench(studies.for_sequences(model, options.sequences), options.device)
    study = studies.read(options.study, options.sequences)
    if options.alone != NOTHING:  # which is what imports, model and images take
        bench.run(options.alone, study)
    print(json.dumps(peak_memory(bench.device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
