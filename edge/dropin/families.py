"""Widely used model files that bring no metadata and are known by their tensors' names and shapes.

Promises: a file counts as one of a family only when names and shapes agree to the last number.
Leaves out: models that shapes alone explain (`shapes`).
Thread: any; pure.
"""

from __future__ import annotations

from edge.contract.manifest import Color, Detect, DetectFormat, Normalize
from edge.contract.messages import InputKind
from edge.dropin.found import Candidate, Draft, Facts, Task

__all__ = ["read_families"]

# Ultra-Light-Fast-Generic-Face-Detector-1MB: input height and width -> anchors.
_ULTRAFACE_ANCHORS = {(240, 320): 4420, (480, 640): 17640}


def read_families(candidate: Candidate, draft: Draft) -> None:
    """Learn what the makers of a well-known file wrote beside it."""
    inputs, outputs = candidate.report.inputs, candidate.report.outputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:  # noqa: PLR2004 - a picture's tensor
        return
    anchors = _ULTRAFACE_ANCHORS.get((inputs[0].shape[2], inputs[0].shape[3]))
    shapes = {spec.name: spec.shape for spec in outputs}
    if anchors is not None and shapes == {"scores": (1, anchors, 2), "boxes": (1, anchors, 4)}:
        detect = Detect(
            format=DetectFormat.SCORES_BOXES, scores="scores", boxes="boxes", background=0, iou=0.3, threshold=0.7
        )
        known = Facts(
            kind=InputKind.IMAGE,
            color=Color.RGB,
            normalization=(Normalize(mean=(127.0,), std=(128.0,)),),
            task=Task.DETECT,
            detect=detect,
            threshold=detect.threshold,
            labels=("background", "face"),
        )
        draft.learn(known, "UltraFace, known by its names and shapes")
