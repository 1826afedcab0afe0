"""What Slicer loads: the module's name and help, and the classes that Slicer looks for by name."""

import hashlib
from pathlib import Path

import slicer
import vtk
from LopsidedSegLib.Logic import Logic
from LopsidedSegLib.Widget import Widget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

RESOURCES = Path(__file__).parent / "Resources"


class LopsidedSeg(ScriptedLoadableModule):
    """The module, as Slicer lists it."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "LopsidedSeg"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["LopsidedSeg contributors"]
        parent.helpText = _(
            "Suggests brain lesions that an annotation does not have, for a human to look at. "
            "Research tool, not for clinical use. "
            'See <a href="https://github.com/LopsidedSeg/SlicerLopsidedSeg">the documentation</a>.'
        )
        parent.acknowledgementText = _(
            "The bundled network can be trained again, with the lopsided bootstrap loss of Yi et al. (MIDL 2020) too."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """The bundled study in Slicer's Sample Data module; it is read from the extension's own files."""
    import SampleData

    study = RESOURCES / "SampleStudy"
    files = ("t1c.nii.gz", "t1.nii.gz", "t2.nii.gz", "flair.nii.gz", "annotation.seg.nrrd")
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="LopsidedSeg",
        sampleName="LopsidedSegSimulatedMetastases",
        thumbnailFileName=str(RESOURCES / "Icons" / "LopsidedSeg.png"),
        uris=[(study / file).as_uri() for file in files],
        fileNames=[f"LopsidedSeg-{file}" for file in files],
        # by which Slicer sees that what it keeps of an earlier version is not the same
        checksums=[f"SHA256:{hashlib.sha256((study / file).read_bytes()).hexdigest()}" for file in files],
        nodeNames=["Sample T1c", "Sample T1", "Sample T2", "Sample FLAIR", "Sample annotation"],
        loadFileTypes=["VolumeFile"] * 4 + ["SegmentationFile"],
    )


class LopsidedSegLogic(Logic):
    """See :class:`LopsidedSegLib.Logic.Logic`."""


class LopsidedSegWidget(Widget):
    """See :class:`LopsidedSegLib.Widget.Widget`."""

    def __init__(self, parent=None, logic: Logic | None = None) -> None:
        super().__init__(parent, logic or LopsidedSegLogic())


class LopsidedSegTest(ScriptedLoadableModuleTest):
    """Runs the installed model on the sample study; fails where either, or the computing process, is missing."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        self.setUp()
        self.test_SuggestOnSampleStudy()

    def test_SuggestOnSampleStudy(self) -> None:
        """A lesion that the annotation misses is found, and the annotation is left alone until one is accepted."""
        study = RESOURCES / "SampleStudy"
        files = {"reference": "t1c", "t1": "t1", "t2": "t2", "flair": "flair"}
        volumes = {name: slicer.util.loadVolume(str(study / f"{file}.nii.gz")) for name, file in files.items()}
        annotation = slicer.util.loadSegmentation(str(study / "annotation.seg.nrrd"))
        annotated = annotation.GetSegmentation().GetMTime()

        logic = LopsidedSegLogic()
        try:
            suggestions = logic.suggest(annotation=annotation, **volumes)
        finally:
            logic.cancel()

        result = logic.result(suggestions)
        self.assertTrue(result["model"]["digest"])
        self.assertEqual(suggestions.GetSegmentation().GetNumberOfSegments(), len(result["candidates"]))
        self.assertEqual(annotation.GetSegmentation().GetMTime(), annotated)
        truth = slicer.util.loadLabelVolume(str(study / "truth.nii.gz"))
        rasToIJK = vtk.vtkMatrix4x4()
        truth.GetRASToIJKMatrix(rasToIJK)
        review = logic.review(suggestions)
        places = [review.candidates[name]["centroid_ras"] for name in review.shown()]
        centres = [rasToIJK.MultiplyPoint([*place, 1])[:3] for place in places]
        lesions = [slicer.util.arrayFromVolume(truth)[round(k), round(j), round(i)] for i, j, k in centres]
        self.assertTrue(any(lesions), "none of the suggestions is a lesion of the sample study")

        before = annotation.GetSegmentation().GetNumberOfSegments()
        review.decide(review.shown()[0], "accepted", annotation)
        self.assertEqual(annotation.GetSegmentation().GetNumberOfSegments(), before + 1)
        review.undo()
        self.assertEqual(annotation.GetSegmentation().GetNumberOfSegments(), before)
