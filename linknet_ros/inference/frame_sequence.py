"""What the frames of one camera say of each other, in their order.

The node and recordings take frames through here between the network and the products.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from linknet_ros.classes import UNLABELED
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.scene_check import Look, SceneCheck
from linknet_ros.inference.segmenter import Inferred
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.inference.temporal_filter import TemporalFilter

#: Good frames in a row after which a camera that had a fault is believed again. A fault acts at
#: once, but a check that sees four of five bad frames would let a robot drive on the fifth: five
#: that are missed in a row are one in 3000.
RECOVERY = 5

FROZEN = 'frozen: the same picture again and again, with new stamps'


class FrameSequence:
    """The frames of one camera; for one thread at a time.

    :param alone: the frames are pictures that have nothing to do with each other, so nothing is
        filtered.
    :ivar fault: why the newest frame is not believed; '' if it is.
    :ivar faults: number of frames that were not believed.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self.faults = 0
        #: A queue of one, since diagnostics take it in another thread.
        self._recent: deque[str] = deque(maxlen=1)
        self._model: ModelFile | None = None
        self._forget()

    def take(
        self,
        model: ModelFile,
        look: Look | None,
        inferred: Inferred,
        stamp: int,
        settings: InferenceSettings,
    ) -> str:
        """Take the next frame of the camera.

        :param model: that the labels are of; another one starts everything over.
        :param look: at the frame; None where scene_check is off.
        :param inferred: its labels become 255 and its confidence 0 where the frame is not
            believed and the settings say so; else they are filtered, where these say so.
        :param stamp: of the frame [ns]; 0 for none.
        :returns: why it is not believed; '' if it is.
        """
        if model is not self._model:
            self._model, self._check = model, SceneCheck(model.scene)
            self._filter = TemporalFilter(model.classes.drivable)
            self._forget()
        fault = self._checked(look, inferred, stamp, settings)
        if fault and settings.scene_check == 'unlabel':
            inferred.labels[:] = UNLABELED
            inferred.confidence[:] = 0
        if not settings.temporal_filter or fault or self._alone:
            self._filter.reset()
        else:
            self._filter.apply(inferred.labels, inferred.confidence, stamp)
        return fault

    def values(self) -> dict[str, str]:
        """What diagnostics say."""
        return {'scene': self.fault or 'good', 'scene, frames with faults': str(self.faults)}

    def recent_fault(self) -> str:
        """The last fault since this was asked before; '' for none."""
        try:
            return self._recent.pop()
        except IndexError:
            return ''

    def _forget(self) -> None:
        self.fault = ''
        self._good = RECOVERY
        self._repeats = 0
        self._before: Look | None = None
        self._stamp = 0

    def _checked(
        self, look: Look | None, inferred: Inferred, stamp: int, settings: InferenceSettings
    ) -> str:
        """The fault of a frame by itself, among the others, or '' for none."""
        if look is None or settings.scene_check == 'off':
            self._forget()
            return ''
        fault = self._check.fault(look, inferred)
        if not self._alone:
            fault = self._followed(fault or self._frozen(look, stamp, settings.frozen_frames))
        self.fault = fault
        if fault:
            self.faults += 1
            self._recent.append(fault)
        return fault

    def _frozen(self, look: Look, stamp: int, most: int) -> str:
        """FROZEN after so many repetitions of a picture."""
        before = self._before
        if before is None or not np.array_equal(before.luma, look.luma):
            self._repeats = 0
        elif stamp != self._stamp or not stamp:
            # The same message again says nothing of the camera.
            self._repeats += 1
        self._before, self._stamp = look, stamp
        return FROZEN if most and self._repeats >= most else ''

    def _followed(self, fault: str) -> str:
        """The fault of a frame, or the one before that it has not recovered from."""
        self._good = 0 if fault else self._good + 1
        return fault or (self.fault if self._good < RECOVERY else '')
