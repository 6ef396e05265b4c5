"""ncnn: runs `.param` files, with `.bin` (weights) and `.json` (description) beside them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hswish.runtime.exported import ExportedEngine, Operator, not_importable, refused
from hswish.spec.artifact import METADATA_KEY
from hswish.spec.errors import ModelFileError
from hswish.spec.interface import INTERFACE_KEY, read_documents

_MAGIC = "7767517"


class NcnnEngine(ExportedEngine):
    """Runs a net on the processor, in float32 whatever shorter types the processor has."""

    name = "ncnn"
    suffixes = (".param",)
    _net: Any

    @classmethod
    def open(cls, path: Path, threads: int | None = None) -> NcnnEngine:
        """See `ExportedEngine.open`."""
        try:
            import ncnn
        except ImportError as error:
            raise not_importable(error, "ncnn", "ncnn", f"opening {path}") from error
        weights, sidecar = path.with_suffix(".bin"), path.with_suffix(".json")
        for file in (weights, sidecar):
            if not file.is_file():
                raise ModelFileError(f"{path}: {file.name} is missing beside it; copy or export all three files")
        # ncnn reads what it is told to without looking: a damaged file would end the process.
        _check(path, weights)
        documents = read_documents(*_documents(sidecar), str(sidecar))
        for kind in _kinds(path):
            if ncnn.layer_to_index(kind) < 0:
                raise refused(path, "ncnn", LookupError(kind), r"(.+)", "")
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            if hasattr(net.opt, f"use_{name}"):
                setattr(net.opt, f"use_{name}", False)
        if threads is not None:
            net.opt.num_threads = threads
        if net.load_param(str(path)) or net.load_model(str(weights)):
            raise ModelFileError(f"{path}: not an ncnn model, or a damaged one; export it again")
        engine = cls(path, *documents)
        engine._net = net
        return engine

    def _infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        import ncnn

        extractor = self._net.create_extractor()
        if self.interface.takes == "pixels":
            height, width, _ = batch[0].shape
            given = ncnn.Mat.from_pixels(batch[0], ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        else:
            given = ncnn.Mat(np.ascontiguousarray(batch[0])).clone()
        extractor.input("input", given)
        status, answer = extractor.extract("output")
        if status:
            del answer, given, extractor  # the error would keep them beyond the net, of which ncnn complains aloud
            raise RuntimeError(f"status {status}")
        made = np.array(answer)
        return made if self.interface.gives == "mask" else made[None]  # a mask is one channel of floats

    def operators(self) -> tuple[Operator, ...]:
        """The net's layers, all of them in ncnn's own kernels; which are vectorised, it does not tell."""
        kinds = Counter(_kinds(self.path))
        return tuple(
            Operator(kind=kind, dtype="float32", count=count, accelerated=None)
            for kind, count in kinds.most_common()
            if kind not in ("Input", "Split")
        )


def _kinds(path: Path) -> list[str]:
    """Names of the layers of a `.param`, in its order."""
    return [line.split()[0] for line in path.read_text(encoding="ascii").splitlines()[2:]]


def _check(path: Path, weights: Path) -> None:
    """Compare the layers' own count of weights with the file of them."""
    try:
        magic, counts, *lines = path.read_text(encoding="ascii").splitlines()
        layers, _ = map(int, counts.split())
        good = magic.strip() == _MAGIC and layers == len(lines)
        size = sum(_weight_bytes(line.split()) for line in lines) if good else 0
        half = sum(_weight_bytes(line.split(), half=True) for line in lines) if good else 0
    except (ValueError, LookupError, OSError) as error:
        raise ModelFileError(f"{path}: not an ncnn model, or a damaged one; export it again") from error
    if not good or weights.stat().st_size not in (size, half):
        raise ModelFileError(f"{path}: does not fit {weights.name}; one of them is damaged, export the model again")


def _weight_bytes(parts: list[str], half: bool = False) -> int:
    """Bytes in the `.bin` of one layer: a tag, the weights, the bias."""
    kind, inputs, outputs = parts[0], int(parts[2]), int(parts[3])
    values = dict(part.split("=") for part in parts[4 + inputs + outputs :])
    if kind in ("Convolution", "ConvolutionDepthWise"):
        weights = int(values["6"])
    elif kind == "InnerProduct":
        weights = int(values["2"])
    elif kind == "Scale":
        return 4 * int(values["0"]) * (1 + int(values["1"]))
    else:
        return 0
    return 4 + -(-(2 if half else 4) * weights // 4) * 4 + 4 * int(values["0"])


def _documents(sidecar: Path) -> tuple[str | None, str | None]:
    try:
        stored = json.loads(sidecar.read_text(encoding="utf-8"))
        return tuple(json.dumps(stored[key]) for key in (METADATA_KEY, INTERFACE_KEY))  # type: ignore[return-value]
    except (ValueError, LookupError, TypeError, OSError):
        return None, None
