"""What the user chose, kept in the scene."""

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class Parameters:
    """The module's parameter node.

    reference - The post-contrast T1 volume, whose grid the suggestions are on.
    t1, t2, flair - Further sequences of the same patient, where there are any.
    annotation - The lesions that are known already; every segment of it counts as one. It is only read.
    suggestions - The suggestions that the table lists.
    """

    reference: vtkMRMLScalarVolumeNode
    t1: vtkMRMLScalarVolumeNode
    t2: vtkMRMLScalarVolumeNode
    flair: vtkMRMLScalarVolumeNode
    annotation: vtkMRMLSegmentationNode
    suggestions: vtkMRMLSegmentationNode
