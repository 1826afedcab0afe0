"""Speaks the worker's protocol without a network. Its argument says how: done, slow, patient, error, crash, hang, garbage, or old."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from lopsided import __version__
from lopsided.model import find_model, load_card
from lopsided.results import SuggestionsRecord
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import geometry_of

CENTRES_KJI = ((5, 6, 7), (12, 10, 9))


def say(**message: object) -> None:
    """One reply."""
    print(json.dumps(message), flush=True)


def suggest(sequences: dict[str, str], annotation: str | None, model: str | None, out: str, **_: object) -> None:
    """Two cubes of 3 x 3 x 3 voxels, on the reference's grid."""
    reference = sitk.ReadImage(sequences["t1c"])
    assert model is None
    if annotation:
        assert sitk.GetArrayFromImage(sitk.ReadImage(annotation)).any()
    geometry = geometry_of(reference)
    labels = np.zeros(geometry.shape, np.uint8)
    candidates = []
    for rank, centre in enumerate(CENTRES_KJI, 1):
        labels[tuple(slice(n - 1, n + 2) for n in centre)] = rank
        lps = geometry.physical(np.array(centre)).tolist()
        sizes = {"volume_mm3": 27 * geometry.voxel_volume, "longest_diameter_mm": 5.25}
        places = {"centroid_lps": lps, "centroid_ras": [-lps[0], -lps[1], lps[2]], "distance_to_annotated_mm": None}
        sizes["peak_probability"] = 0.9
        candidates.append({"rank": rank, "label": rank, "confidence": 1 - 0.2 * rank, **places, **sizes})
    Path(out).mkdir(parents=True)
    segments = [Segment(f"Suggestion_{n}", f"Suggestion {n}", n, (1, 0.5, 0)) for n in (1, 2)]
    sitk.WriteImage(segmentation_image(labels, geometry, segments), str(Path(out) / "suggestions.seg.nrrd"))
    points = [{"confidence": c, "false_positives_per_scan": f, "sensitivity": 0.5} for c, f in ((0.1, 8), (0.5, 2))]
    digest = load_card(find_model(None)).digest  # as searched ahead by the model that is installed
    model = {"name": "fake", "digest": digest, "threshold": 0.5, "operating_points": points}
    record = SuggestionsRecord.model_validate(
        {
            "software": "fake",
            "notice": "fake",
            "created": "2026-01-01T00:00:00+00:00",
            "sequences": dict.fromkeys(sequences, "fake"),
            "reference_grid": geometry.__dict__,
            "annotation": {},
            "annotation_left_out": [],
            "recognised": [],
            "model": model,
            "threshold": 0.0,
            "margin_mm": 2.0,
            "candidates": candidates,
        }
    )
    (Path(out) / "candidates.json").write_text(record.model_dump_json(), encoding="utf-8")


def main(behaviour: str) -> None:
    """Answer until stdin closes."""
    say(ready={"version": "0" if behaviour == "old" else __version__, "pid": os.getpid()})
    for line in sys.stdin:
        [(kind, request)] = json.loads(line).items()
        say(progress={"what": "Searching for lesions" if kind == "suggest" else "Writing the dataset", "part": 0.42})
        time.sleep({"hang": 60, "slow": 0.3}.get(behaviour, 0))
        for _ in range(8 if behaviour == "patient" else 0):
            time.sleep(0.2)
            say(alive={})
        if behaviour == "crash":
            print("out of memory", file=sys.stderr)
            os.abort()
        if behaviour == "error":
            say(error=f"{request['sequences']['t1c']}: every voxel is 0, there is no image in it")
            continue
        if kind == "export":
            assert Path(request["work"], "work.json").exists()
            assert all(Path(file).exists() for file in request["sequences"].values())
            say(done={"case": f"C{request['case']}", "lesions": 1})
            continue
        suggest(**request)
        if behaviour == "garbage":
            Path(request["out"], "suggestions.seg.nrrd").write_bytes(b"NRRD0004\n")
        say(done={"out": request["out"]})


if __name__ == "__main__":
    main(sys.argv[1])
