"""Draws textures, sprites and meshes onto a canvas.

A canvas is uint8 (H, W, 4): blue, green, red and class id, so that colours and labels agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.simulation.cars import Mesh
from linknet_ros.simulation.facade import TEXELS
from linknet_ros.simulation.figures import Bytes, Floats, Sprite, Texture

Doubles = NDArray[np.float64]
#: Projects points in the vehicle frame, (n, 3) [m], to (n, 3) of column, row [px] and depth [m].
Project = Callable[[NDArray[np.floating]], Doubles]

#: Nearest and furthest distance that is drawn [m].
NEAR_M = 0.8
FAR_M = 128.0
#: Levels of detail of a texture: how many texels are merged along and across the street.
_LEVELS = ((1, 1), (4, 1), (16, 2), (48, 4))


@dataclass(frozen=True)
class Band:
    """A rectangle of the canvas and the texture that it shows, at one level of detail.

    :param box: rows and columns of the canvas.
    :param u: texture column that each pixel sees at the start of the drive.
    :param v: texture row that each pixel sees.
    :param texels_per_m: texture columns per metre of the drive.
    :param texture: the texture at this level of detail.
    """

    box: tuple[slice, slice]
    u: Floats
    v: Floats
    texels_per_m: float
    texture: Texture


def bands_of(
    texture: Texture, along: Doubles, across: Doubles, width: float, axis: int
) -> list[Band]:
    """Cut what a frame shows of a texture into one rectangle per level of detail.

    :param along: distance along the street of what each pixel sees, (H, W) [m].
    :param across: distance of it from row 0 of the texture, (H, W) [m].
    :param width: width of the texture across the street [m].
    :param axis: axis of the frame along which the distance changes most.
    """
    seen = (along < FAR_M) & (across >= 0) & (across < width)
    # The coarsest level that still has about one texel per pixel.
    texels = np.abs(np.gradient(along, axis=axis)) * TEXELS
    texels = np.where(seen, texels, 0).max(1 - axis, keepdims=True)
    needed = sum((texels > 0.7 * merge_u).astype(int) for merge_u, _ in _LEVELS[1:])
    bands = []
    for level, (merge_u, merge_v) in enumerate(_LEVELS):
        part = seen & (needed == level)
        if not part.any():
            continue
        rows, cols = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        # Coordinates far outside the texture are see-through.
        u = np.where(part, along * (TEXELS / merge_u) - 0.5, -(2**14))[box].astype(np.float32)
        v = np.where(part, across * (TEXELS / merge_v) - 0.5, -9)[box].astype(np.float32)
        merged = _merged(texture, merge_u, merge_v)
        bands.append(Band(box, u, v, TEXELS / merge_u, merged))
    return bands


def _merged(texture: Texture, merge_u: int, merge_v: int) -> Texture:
    """A coarser level of a texture, with its start repeated at its end for looking ahead."""
    rows, cols = texture.labels.shape
    bgr = cv2.resize(
        texture.bgr, (cols // merge_u, -(-rows // merge_v)), interpolation=cv2.INTER_AREA
    )
    labels = texture.labels[:, merge_u // 2 :: merge_u][merge_v // 2 :: merge_v]
    again = math.ceil((FAR_M + 2) * TEXELS / merge_u)
    return Texture(np.hstack([bgr, bgr[:, :again]]), np.hstack([labels, labels[:, :again]]))


def draw_band(canvas: Bytes, band: Band, travelled: float) -> None:
    """Draw a band after a distance from the start of the drive [m]."""
    u = band.u + np.float32(travelled * band.texels_per_m)
    outside = (UNLABELED,)
    labels = cv2.remap(
        band.texture.labels, u, band.v, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, outside
    )
    colors = cv2.remap(band.texture.bgr, u, band.v, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    _paint(canvas[band.box], colors, labels)


def _paint(patch: Bytes, colors: cv2.typing.MatLike, labels: cv2.typing.MatLike) -> None:
    """Paint colours and labels onto a patch of the canvas, where the label is not see-through."""
    _, opaque = cv2.threshold(labels, UNLABELED - 1, 255, cv2.THRESH_BINARY_INV)
    cv2.copyTo(cv2.merge([colors, labels]), opaque, patch)


def draw_sprite(canvas: Bytes, sprite: Sprite, foot: Sequence[float], focal: float) -> None:
    """Draw an upright sprite.

    :param foot: column, row [px] and depth [m] of its foot.
    :param focal: focal length of the camera [px].
    """
    column, row, depth = foot
    scale = focal / depth
    left, top = column - scale * sprite.width / 2, row - scale * sprite.height
    first_col, first_row = max(0, math.ceil(left)), max(0, math.ceil(top))
    patch = canvas[
        first_row : max(first_row, math.floor(row) + 1),
        first_col : max(first_col, math.floor(column + scale * sprite.width / 2) + 1),
    ]
    if patch.size == 0:
        return
    texels = sprite.levels[0].labels.shape[0] / sprite.height
    level = min(max(0, round(math.log2(texels / scale))), len(sprite.levels) - 1)
    texture = sprite.levels[level]
    step = texels / 2**level / scale
    matrix = np.array(
        [
            (step, 0, (first_col - left) * step - 0.5),
            (0, step, (first_row - top) * step - 0.5),
        ]
    )
    size, nearest = (patch.shape[1], patch.shape[0]), cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    linear, edge = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    labels = cv2.warpAffine(texture.labels, matrix, size, None, nearest, edge)
    colors = cv2.warpAffine(texture.bgr, matrix, size, None, linear, edge)
    _paint(patch, colors, labels)


def draw_mesh(canvas: Bytes, mesh: Mesh, x: float, y: float, project: Project) -> None:
    """Draw a mesh whose origin is at x, y in the vehicle frame [m]."""
    corners = mesh.corners + np.array((x, y, 0), np.float32)
    if corners[:, 0].max() <= NEAR_M:
        return
    # The sides of a car run along the street, so moving corners up to the near plane cuts them
    # there; whatever else it distorts is outside the image.
    corners[:, 0] = np.maximum(corners[:, 0], NEAR_M)
    pixels = project(corners)[:, :2]
    following = np.arange(1, len(pixels) + 1)
    following[np.append(mesh.starts[1:], len(pixels)) - 1] = mesh.starts
    ends = pixels[following]
    cross = pixels[:, 0] * ends[:, 1] - pixels[:, 1] * ends[:, 0]
    # Twice the area of each face in the image; negative if its back is seen.
    areas = np.add.reduceat(cross, mesh.starts).tolist()
    points = (pixels * 16).round().astype(np.int32)
    bounds = pairwise([*mesh.starts.tolist(), len(points)])
    for (start, end), area, color in zip(bounds, areas, mesh.colors.tolist(), strict=True):
        if area > 1:
            cv2.fillPoly(canvas, [points[start:end]], color, cv2.LINE_8, 4)
