"""TFLite's own metadata: what MediaPipe Tasks reads input scaling and class names from.

A flatbuffer of type `ModelMetadata` stored in the model, and the class names as a text file in a
zip archive at the model's end (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata).
The tables below are written field by field: (slot, value) pairs in the order of its schema.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

from hswish.spec.architecture import Task
from hswish.spec.artifact import Description
from hswish.spec.interface import Interface
from hswish.spec.preprocess import Preprocess

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

_UNKNOWN, _RGB, _GRAYSCALE = 0, 1, 2  # ColorSpaceType, which has no BGR
_COLOURS = {"RGB": _RGB, "BGR": _UNKNOWN, "L": _GRAYSCALE}
_IMAGE_PROPERTIES = 2  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_AXIS_LABELS = 2  # AssociatedFileType
_PARSER_VERSION = "1.0.0"


def metadata(builder: Any, description: Description, interface: Interface, size: tuple[int, int]) -> bytes:
    """The finished flatbuffer.

    Args:
        builder: an empty `flatbuffers.Builder`.
        size: (height, width) of the input in pixels.
    """
    write = _Tables(builder)
    normalised = interface.takes == "normalised"
    # Pixels are RGB, whatever the network makes of them.
    colours = _COLOURS[description.preprocess.channels] if normalised else _RGB
    about = [(0, write.text("image")), (3, _content(write, colours, size))]
    if normalised:
        options = write.table(  # in units of 0 to 255, unlike ours
            (0, write.floats([255 * value for value in description.preprocess.mean])),
            (1, write.floats([255 * value for value in description.preprocess.std])),
        )
        unit = write.table((0, write.byte(_NORMALIZATION)), (1, options))
        about.append((4, write.offsets([unit])))
    entry = write.table(*about)
    labels = write.table((0, write.text(LABELS_FILE)), (2, write.byte(_AXIS_LABELS)))
    answer = write.table((0, write.text(_answer_name(description.task))), (6, write.offsets([labels])))
    graph = write.table((2, write.offsets([entry])), (3, write.offsets([answer])))
    root = write.table(
        (0, write.text(description.model)),
        (1, write.text(f"{description.task} with {len(description.classes)} classes, written by hswish")),
        (3, write.offsets([graph])),
        (5, write.text(str(description.provenance.get("licence", "")))),
        (7, write.text(_PARSER_VERSION)),
    )
    builder.Finish(root.value, file_identifier=b"M001")
    return bytes(builder.Output())


def suits_mediapipe(preprocess: Preprocess) -> bool:
    """Whether MediaPipe Tasks make what the network takes: red, green and blue, all scaled alike.

    They refuse other floats: more than one mean or deviation, or another space of colours.
    """
    return preprocess.channels == "RGB" and len(set(preprocess.mean)) == len(set(preprocess.std)) == 1


def with_labels(model: bytes, classes: tuple[str, ...]) -> bytes:
    """`model` with the class names, one a line, in an archive after its end.

    A zip file is read from its end, so both the model and the archive stay readable.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        entry = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))  # the same model, the same bytes
        file.writestr(entry, "\n".join(" ".join(name.split()) or "-" for name in classes) + "\n")
    return model + archive.getvalue()


def _content(write: _Tables, colours: int, size: tuple[int, int]) -> _Field:
    height, width = size
    place = write.table((0, write.uint(width)), (1, write.uint(height)))
    image = write.table((0, write.byte(colours)), (1, place))
    return write.table((0, write.byte(_IMAGE_PROPERTIES)), (1, image))


def _answer_name(task: Task) -> str:
    return "segmentation_masks" if task == "segmentation" else "score"


class _Field:
    """A value that is to stand in a table: how it is added, and what."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind, self.value = kind, value


class _Tables:
    """Flatbuffer tables by slot number; children come before their parents."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def text(self, value: str) -> _Field:
        return _Field("offset", self.builder.CreateString(value))

    def byte(self, value: int) -> _Field:
        return _Field("byte", value)

    def uint(self, value: int) -> _Field:
        return _Field("uint", value)

    def floats(self, values: list[float]) -> _Field:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return _Field("offset", self.builder.EndVector())

    def offsets(self, tables: list[_Field]) -> _Field:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table.value)
        return _Field("offset", self.builder.EndVector())

    def table(self, *fields: tuple[int, _Field]) -> _Field:
        self.builder.StartObject(max(slot for slot, _ in fields) + 1)
        for slot, field in fields:
            if field.kind == "offset":
                self.builder.PrependUOffsetTRelativeSlot(slot, field.value, 0)
            elif field.kind == "byte":
                self.builder.PrependInt8Slot(slot, field.value, 0)
            else:
                self.builder.PrependUint32Slot(slot, field.value, 0)
        return _Field("offset", self.builder.EndObject())
