"""What a frame is made with: one object, prepared as a whole, that never changes."""

from __future__ import annotations

from dataclasses import dataclass

from linknet_ros.classes import ClassTable
from linknet_ros.ground.settings import GroundState
from linknet_ros.node.parameters import Parameters
from linknet_ros.products.products import Products
from linknet_ros.ros.camera import check_tf
from linknet_ros.ros.parameters import check_topic


@dataclass(frozen=True, eq=False)
class State:
    """The classes of the model, the parameters, and what follows from both."""

    classes: ClassTable
    parameters: Parameters
    products: Products
    ground: GroundState

    @classmethod
    def prepare(
        cls, classes: ClassTable, parameters: Parameters, before: State | None = None
    ) -> State:
        """Make everything that the parameters ask for, or nothing.

        :param before: what has not changed is taken from it: moving the opacity opens no file.
        :raises ClassNameError: for a class that the model does not know, and for two masks of the
            same name.
        :raises ParameterError: for a grid that is empty or too large, for ground.use_tf without
            tf2_ros, and for a topic of an impossible name.
        :raises SourceError: for an ego mask that cannot be read.
        """
        for name in ('image_topic', 'camera_info_topic'):
            check_topic(name, getattr(parameters, name))
        check_topic('labels_like', parameters.inference.labels_like)
        check_topic('depth', parameters.cloud.depth)
        products = ground = None
        if before is not None and before.classes == classes:
            earlier = before.parameters
            same_outputs = parameters.outputs == earlier.outputs
            same_drivable = parameters.outputs.drivable_classes == earlier.outputs.drivable_classes
            products = before.products if same_outputs else None
            if same_drivable and parameters.ground == earlier.ground:
                ground = before.ground
        products = products or Products(classes, parameters.outputs)
        if ground is None:
            drivable = parameters.outputs.drivable_classes
            ground = GroundState.prepare(classes, parameters.ground, drivable)
            if parameters.ground.use_tf:
                check_tf()
        return cls(classes, parameters, products, ground)
