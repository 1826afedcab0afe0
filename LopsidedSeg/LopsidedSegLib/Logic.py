"""What the module does, callable with or without its panel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from lopsided.naming import guess_sequences
from lopsided.review import AHEAD
from lopsided.wording import METASTASIS
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from . import Dependencies, Scene
from .Annotation import Annotation, whyNotAnnotation
from .CaseWork import CaseWork
from .Export import Export
from .ExportAll import ExportAll
from .Parameters import Parameters
from .Review import KNOWN_REFERENCE, Review
from .SceneCases import SceneCase, sceneCases
from .Settings import Settings, terminologyName
from .Worker import Callbacks, Worker
from .WorkFiles import besideOf, isSearchedAhead, unwritten

if TYPE_CHECKING:
    from .Marks import Marks  # which needs SimpleITK, and that takes its time to import


class Logic(ScriptedLoadableModuleLogic):
    """Suggests lesions that an annotation does not have, as a new segmentation node.

    Usage example, in Slicer's Python console or a script::

        from LopsidedSeg import LopsidedSegLogic

        logic = LopsidedSegLogic()
        node = logic.suggest(getNode("T1c"), flair=getNode("FLAIR"), annotation=getNode("Lesions"))
        review = logic.review(node)
        for name in review.shown():
            print(name, review.candidates[name]["confidence"], review.candidates[name]["centroid_ras"])
        review.decide("Suggestion_1", "accepted", getNode("Lesions"))
    """

    def __init__(self, worker: Worker | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._worker = worker or Worker()
        self.settings = Settings()
        self._folder: tempfile.TemporaryDirectory | None = None
        self._reviews: dict[str, Review] = {}
        self._ahead = False
        self._aheadFolder: tempfile.TemporaryDirectory | None = None
        self._exporting = False
        self._queued: Callable[[], None] | None = None

    def getParameterNode(self) -> Parameters:
        return Parameters(super().getParameterNode())

    @property
    def busy(self) -> bool:
        """Whether something that the user asked for is under way; a search ahead is not."""
        return bool(self._queued) or (self._worker.busy and not self._ahead)

    @property
    def exporting(self) -> bool:
        """Whether it is an export that is under way."""
        return self.busy and self._exporting

    @staticmethod
    def whyNot(reference: Any, t1: Any = None, t2: Any = None, flair: Any = None, annotation: Any = None) -> str:
        """A sentence that says why these volumes cannot be searched for what the annotation lacks; empty where they can."""
        volumes = [node for node in (reference, t1, t2, flair) if node]
        if not reference:
            return _("Choose the post-contrast T1 volume to search.")
        for node in volumes:
            if not node.GetImageData():
                return _("{name} holds no image; choose another volume.").format(name=node.GetName())
            if volumes.count(node) > 1:
                return _("{name} is chosen twice; choose each volume once.").format(name=node.GetName())
        return whyNotAnnotation(annotation)

    def warmUp(self) -> None:
        """Start the computing process ahead of the first search, if all that it needs is installed. Returns at once."""
        if Dependencies.installed():
            self._worker.start()

    def guessInputs(self) -> dict[str, Any]:
        """Nodes of the scene by parameter name: each where one node's name alone leaves no doubt.

        Empty without a post-contrast T1. The annotation is the scene's only segmentation that we did not make.
        """
        volumes = {node.GetID(): node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
        names = {i: n.GetName() for i, n in volumes.items() if n.GetClassName() == "vtkMRMLScalarVolumeNode"}
        found = {sequence: volumes[identifier] for sequence, identifier in guess_sequences(names).items()}
        if "t1c" not in found:
            return {}
        found["reference"] = found.pop("t1c")
        own = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not whyNotAnnotation(n)]
        return {**found, "annotation": own[0]} if len(own) == 1 else found

    def suggest(self, reference: Any, **inputs: Any) -> Any:
        """As :meth:`begin`, but waits: returns the new segmentation node.

        Raises:
            RuntimeError: One sentence, where there is none.
        """
        nodes: list[Any] = []
        errors: list[str] = []
        quiet = Callbacks(progress=lambda what, part: None, done=nodes.append, error=errors.append)
        self.begin(quiet, reference, **inputs)
        self._worker.wait()
        if errors:
            raise RuntimeError(errors[0])
        return nodes[0]

    def begin(
        self,
        callbacks: Callbacks,
        reference: Any,
        t1: Any = None,
        t2: Any = None,
        flair: Any = None,
        annotation: Any = None,
        model: str | None = None,
        marks: Marks | None = None,
    ) -> None:
        """Start a search and return; ``callbacks.done`` gets the new segmentation node.

        The nodes are read, and none is changed. What ``marks`` mark is not suggested, as little as what is in ``annotation``.
        ``model`` is the path of a model folder; None is the one in the settings.
        """
        sequences = {"t1c": reference, "t1": t1, "t2": t2, "flair": flair}
        sequences = {name: node for name, node in sequences.items() if node}
        sentence = self.whyNot(reference, t1, t2, flair, annotation)
        if sentence:
            callbacks.error(sentence)
            return
        write = partial(self._writeSearch, sequences=sequences, annotation=annotation, model=model, marks=marks)

        def take(reply: dict[str, Any]) -> Any:
            node = self.loadSuggestions(Path(reply["out"]), reference)
            node.SetNodeReferenceID(KNOWN_REFERENCE, annotation and annotation.GetID())
            return node

        self._send(write, take, callbacks)

    def beginExport(self, callbacks: Callbacks, export: Export) -> None:
        """Start the export of a case to a dataset and return; ``callbacks.done`` gets what it is called there, and
        how many lesions it has."""
        sentence = export.whyNot()
        if sentence:
            callbacks.error(sentence)
            return
        self._send(
            partial(export.write, self.settings),
            lambda reply: (reply["case"], reply["lesions"]),
            callbacks,
            exporting=True,
        )

    def beginExportAll(self, callbacks: Callbacks, worklist: Any, dataset: Path, again: bool = False) -> ExportAll:
        """Start the export of all reviewed cases of a worklist, as their reader left them, and return;
        ``callbacks.done`` gets what this returns. :meth:`cancel` ends it; what was exported until then stays."""
        exports = {
            worklist.label(case): Export(
                case.sequences,
                dataset,
                case.patient,
                case.case,
                work=worklist.folder(case),
                reader=worklist.reader,
                again=again,
            )
            for case in worklist.reviewed()
        }
        everything = ExportAll(exports, self.beginExport, callbacks)
        everything.begin()
        return everything

    def _send(
        self,
        write: Callable[[Path], tuple[dict[str, Any], dict[Path, str]]],
        take: Callable[[dict[str, Any]], Any],
        callbacks: Callbacks,
        exporting: bool = False,
    ) -> None:
        """Have the process answer a request. ``write`` puts what it needs into a folder, and gives the request and the
        name of the node that each file was written from; ``take`` makes of the reply what ``callbacks.done`` gets."""
        if self.busy:
            callbacks.error(_("Something else is under way; wait for it, or cancel it."))
            return
        self._exporting = exporting
        try:
            Dependencies.ensureDependencies()
            self._folder = _temporaryFolder()
            request, names = write(Path(self._folder.name))
        except Exception as error:  # whatever it is, the user hears of it, and no image is left in that folder
            logging.exception("LopsidedSeg: it could not be started")
            self._end()
            callbacks.error(unwritten(error, Path(slicer.app.temporaryPath), orAnother=True))
            return

        def done(reply: dict[str, Any]) -> None:
            try:
                result = take(reply)
            except Exception as error:
                logging.exception("LopsidedSeg: the result could not be loaded")
                failed(_("The result could not be loaded: {error}").format(error=error))
                return
            self._end()
            callbacks.done(result)

        def failed(sentence: str) -> None:
            self._end()
            for file, name in names.items():  # the user knows nodes, not our temporary files
                sentence = sentence.replace(str(file), name).replace(file.name, name)
            callbacks.error(sentence)

        def send() -> None:
            self._queued = None
            self._worker.send(request, Callbacks(callbacks.progress, done, failed))

        if self._ahead:  # killed, it would have to start again, and the search would be lost
            callbacks.progress(_("Finishing the search of the next case"), 0.0)
            self._queued = send
        else:
            send()

    def searchAhead(self, case: Any, folder: Path) -> None:
        """Search a case of a worklist before it is opened; what goes wrong is said when it is."""
        from lopsided.dataset.work import is_kept

        if self._worker.busy or not Dependencies.installed():
            return
        try:
            isKept = is_kept(folder) or is_kept(besideOf(folder))
            if isKept or isSearchedAhead(folder, self.settings):
                return
            self._aheadFolder = _temporaryFolder()
            request, _names = self._writeSearch(
                Path(self._aheadFolder.name), case.sequences, case.annotation, labels=case.labels, out=folder / AHEAD
            )
        except (RuntimeError, OSError):
            self._endAhead()
            return

        def end(_result: Any) -> None:
            self._endAhead()
            if self._queued:
                self._queued()

        self._ahead = True
        self._worker.send(request, Callbacks(lambda what, part: None, end, end))

    def openWorklist(self, source: Path | None) -> Any:
        """Cases for the reader in the settings, a :class:`lopsided.worklist.Worklist`: of a CSV or folder, or of the scene
        where ``source`` is None. The work on those is kept beside the scene's file.

        Raises RuntimeError, InputError or OSError, one sentence.
        """
        scene = self.settings.sceneFile
        if source is None and scene is None:
            raise RuntimeError(_("Save the scene first: your work on its cases is kept beside it."))
        Dependencies.ensureDependencies()
        from lopsided.worklist import WORK_FOLDER, Worklist

        reader = self.settings.reader
        if source is None:
            return Worklist(sceneCases(), scene.parent / WORK_FOLDER / scene.stem, reader)
        return Worklist.of(source, reader)

    def caseWork(self, worklist: Any, case: Any) -> CaseWork:
        """What this reader does on a case of a worklist."""
        from .SceneWork import SceneWork  # needs SimpleITK, which takes its time to import

        kind = SceneWork if isinstance(case, SceneCase) else CaseWork
        return kind(case, worklist.folder(case), self.settings)

    def cancel(self) -> None:
        """End a search that runs; its callbacks are not called again."""
        self._worker.stop()
        self._queued = None
        self._endAhead()
        self._end()

    def loadSuggestions(self, folder: Path, reference: Any) -> Any:
        """The new segmentation node of a result folder, from a search here or from the command line."""
        return Scene.loadSuggestions(folder, reference)

    def result(self, suggestions: Any) -> dict[str, Any] | None:
        """What is known of a suggestions node (candidates, model, threshold); None for any other node."""
        return Scene.result(suggestions)

    def review(self, suggestions: Any) -> Review | None:
        """The review of a suggestions node, begun or gone on with; None for any other node.

        The settings say whose it is, and where the log of decisions goes.
        Raises ValueError for a review that cannot be read, OSError for a log that cannot be.
        """
        found = self._reviews.get(suggestions.GetID()) if suggestions else None
        if found and found.node is suggestions:
            return found
        if not self.result(suggestions):
            return None
        parameters = self.getParameterNode()
        chosen = parameters.suggestions is suggestions
        found = Review(suggestions, self.settings, parameters.annotation if chosen else None)
        there = {i: review for i, review in self._reviews.items() if slicer.mrmlScene.IsNodePresent(review.node)}
        self._reviews = {**there, suggestions.GetID(): found}
        if chosen and found.annotation and not parameters.annotation:
            parameters.annotation = found.annotation
        return found

    def terminologies(self, annotation: Any) -> dict[str, str]:
        """What accepted lesions can be called: name by terminology entry, of the default and of what is in use."""
        used = Annotation(annotation).terminologies() if annotation else []
        return {entry: terminologyName(entry) for entry in [METASTASIS, self.settings.terminology, *used]}

    def newAnnotation(self, reference: Any) -> Any:
        """An empty segmentation for lesions, on the grid of ``reference``."""
        return Scene.newAnnotation(reference)

    def jumpTo(self, candidate: dict[str, Any]) -> None:
        """Show a candidate in all slice views."""
        Scene.jumpTo(candidate)

    def marks(self, reference: Any, changed: Callable[[], None] = lambda: None) -> Marks:
        """The coarse marks of lesions on a volume; ``changed`` is called after each change. Close them when done."""
        from .Marks import Marks

        return Marks(reference, self.settings, changed)

    def edit(self, review: Review, candidate: str, reference: Any) -> None:
        """Open Segment Editor on a candidate: on its segment in the annotation once it was accepted."""
        Scene.edit(*review.place(candidate), reference)
        slicer.util.selectModule("SegmentEditor")

    def _writeSearch(
        self,
        folder: Path,
        sequences: dict[str, Any],
        annotation: Any,
        model: str | None = None,
        labels: tuple[str, ...] = (),
        marks: Marks | None = None,
        out: Path | None = None,
    ) -> tuple[dict[str, Any], dict[Path, str]]:
        """``sequences`` and ``annotation`` are nodes, or files already; ``labels`` are of such an annotation."""
        if marks:
            marks.check()
        files, names = Scene.writeVolumes(sequences, folder)
        written = annotation
        if annotation is not None and not isinstance(annotation, Path):
            written = folder / "annotation.nrrd"
            if Scene.writeAnnotation(annotation, written):
                names[written] = annotation.GetName()
            else:
                written = None
        request = {
            "sequences": files,
            "annotation": written and str(written),
            "labels": list(labels),
            "marks": [asdict(item.mark) for item in marks.items()] if marks else [],
            "model": model or self.settings.model,
            "out": str(out or folder / "result"),
        }
        return {"suggest": request}, names

    def _end(self) -> None:
        self._exporting = False
        folder, self._folder = self._folder, None
        if folder:
            folder.cleanup()

    def _endAhead(self) -> None:
        self._ahead = False
        folder, self._aheadFolder = self._aheadFolder, None
        if folder:
            folder.cleanup()


def _temporaryFolder() -> tempfile.TemporaryDirectory:
    Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)  # systems clean it up
    return tempfile.TemporaryDirectory(prefix="LopsidedSeg-", dir=slicer.app.temporaryPath, ignore_cleanup_errors=True)
