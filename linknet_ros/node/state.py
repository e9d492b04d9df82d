"""What a frame is made with: one object, prepared as a whole, that never changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.ground.contacts import kind_table
from linknet_ros.ground.projection import GroundOptions, load_ego_mask
from linknet_ros.node.parameters import Ground, Parameters
from linknet_ros.products.products import Products
from linknet_ros.ros.camera import check_tf


@dataclass(frozen=True, eq=False)
class GroundState:
    """What the ground is projected with.

    :param table: (256,) uint8, see kind_table.
    :param ego_mask: (H, W) uint8, see GroundProjection.
    """

    parameters: Ground
    options: GroundOptions
    table: NDArray[np.uint8]
    ego_mask: NDArray[np.uint8] | None

    @classmethod
    def prepare(cls, classes: ClassTable, parameters: Parameters) -> GroundState:
        """Look up classes and read the ego mask; see State.prepare."""
        ground = parameters.ground
        sky = tuple(name for name in classes.names if name == 'sky')
        drivable = parameters.outputs.drivable_classes or classes.drivable_names
        table = kind_table(
            len(classes),
            drivable=classes.ids(drivable),
            unsure=classes.ids(ground.unknown_classes or sky),
            overhanging=classes.ids(ground.overhanging_classes),
        )
        options = ground.options()
        ego_mask = load_ego_mask(ground.ego_mask) if ground.ego_mask else None
        if ground.use_tf:
            check_tf()
        return cls(ground, options, table, ego_mask)


@dataclass(frozen=True, eq=False)
class State:
    """The parameters, and what follows from them."""

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
        :raises ParameterError: for a grid that is empty or too large, and for ground.use_tf
            without tf2_ros.
        :raises SourceError: for an ego mask that cannot be read.
        """
        products = ground = None
        if before is not None:
            earlier = before.parameters
            same_outputs = parameters.outputs == earlier.outputs
            same_drivable = parameters.outputs.drivable_classes == earlier.outputs.drivable_classes
            products = before.products if same_outputs else None
            if same_drivable and parameters.ground == earlier.ground:
                ground = before.ground
        return cls(
            parameters,
            products or Products(classes, parameters.outputs),
            ground or GroundState.prepare(classes, parameters),
        )
