"""The files of a store with the folder that wraps them all taken off."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hswish.data.stores import Store
from hswish.spec import pictures
from hswish.spec.pictures import is_picture_name

CLASSES_FILE = "classes.txt"


class Tree:
    """Files by their name below the data set's own root, wherever that lies in the store.

    Decodes pictures and masks, with errors that name the real place of the file.
    """

    def __init__(self, store: Store, prefix: str = "") -> None:
        self.store, self.prefix = store, prefix
        cut = len(prefix)
        self.files = {name[cut:]: size for name, size in store.files.items() if name.startswith(prefix)}
        self.folders = frozenset(name[cut:] for name in store.folders if name.startswith(prefix))

    def children(self, folder: str = "") -> list[str]:
        """Names of the folders directly in `folder` ("" or ending in a slash), sorted."""
        cut = len(folder)
        below = (name[cut:] for name in self.folders if name.startswith(folder))
        return sorted(name for name in below if name and "/" not in name)

    def pictures(self) -> Iterator[str]:
        """Names that end like a picture's."""
        return (name for name in self.files if is_picture_name(name))

    def label(self, name: str) -> str:
        """What an error calls the file."""
        return self.store.label(self.prefix + name)

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            PictureError: gone, damaged or far too large.
        """
        return self.store.read(self.prefix + name)

    def picture(self, name: str) -> Image.Image:
        """The picture, 8-bit RGB."""
        return pictures.read_picture(self.read(name), self.label(name))

    def mask(self, name: str) -> NDArray[np.uint8]:
        """The mask, (H, W) class indices."""
        return pictures.read_mask(self.read(name), self.label(name))

    def size(self, name: str) -> tuple[int, int]:
        """(height, width) in pixels, from the header."""
        return pictures.read_size(self.store.source(self.prefix + name), self.label(name))


def unwrap(store: Store, keep: Collection[str]) -> Tree:
    """Take off the folders that wrap everything, as `camvid/` in `camvid/images/...`.

    Args:
        keep: lower-case names with a meaning of their own (splits, images, masks): never a wrapping.
    """
    names = [name for name in store.files if is_picture_name(name) or name.rpartition("/")[2] == CLASSES_FILE]
    prefix = ""
    while True:
        cut = len(prefix)
        tops = {name[cut:].split("/", 1)[0] for name in names}
        if len(tops) != 1:
            return Tree(store, prefix)
        (top,) = tops
        # A folder that holds nothing but pictures is a class, not a wrapping.
        has_folders = any(name.count("/", cut) >= 2 for name in names)
        has_classes = f"{prefix}{top}/{CLASSES_FILE}" in store.files
        if top.lower() in keep or not (has_folders or has_classes):
            return Tree(store, prefix)
        prefix += top + "/"
