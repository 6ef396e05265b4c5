"""What an adapter is: one library's networks, and a map between its tensors and ours.

An adapter file holds a table of `Network`s and one function, `pairs`, that lists every tensor
of a resolved architecture in the library's order, beside the name it has there:

    Pair("head.hidden.weight", "conv_head.weight", LINEAR_AS_CONV)

Both directions read the same list, and both are strict: reading (`matching.py`) and writing
(`conversion.py`) know no other names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from hswish.models.adapters.files import Checkpoint, read_torch_checkpoint, write_torch_checkpoint
from hswish.spec.architecture import Architecture
from hswish.spec.errors import OptionError, unknown_name
from hswish.spec.preprocess import Preprocess

# --- Tensors -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one tensor's axes lie here and there; `to_theirs(to_ours(x))` is `x`."""

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


SAME = Layout(to_ours=lambda x: x, to_theirs=lambda x: x)
"""as it is"""
LINEAR_AS_CONV = Layout(to_ours=lambda x: x.flatten(1), to_theirs=lambda x: x[:, :, None, None])
"""our Linear (O, I), their 1x1 convolution (O, I, 1, 1)"""


@dataclass(frozen=True)
class Pair:
    """One tensor under both names."""

    ours: str
    theirs: str
    layout: Layout = SAME


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""tensors of a torch batch norm, in its order"""


def conv_norm(ours: str, conv: str, norm: str) -> list[Pair]:
    """A `ConvNormAct` of ours, and the names of its convolution and its batch norm there."""
    return [
        Pair(f"{ours}.conv.weight", f"{conv}.weight"),
        *(Pair(f"{ours}.norm.{name}", f"{norm}.{name}") for name in NORM),
    ]


def weight_bias(ours: str, theirs: str, layout: Layout = SAME, *, bias: bool = True) -> list[Pair]:
    """A convolution or linear layer; `layout` is the weight's."""
    pairs = [Pair(f"{ours}.weight", f"{theirs}.weight", layout)]
    return [*pairs, Pair(f"{ours}.bias", f"{theirs}.bias")] if bias else pairs


# --- Networks ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A published weight file of a network, where it differs from the network's own defaults."""

    tag: str
    """the library's name of these weights: `SOURCE:NETWORK.TAG`"""
    sha256: str = ""
    """first digits of the file's SHA-256, by which it is recognised; empty: it cannot be"""
    preprocess: Preprocess | None = None
    """None: the network's"""
    labels: str | None = "imagenet1k"
    """label set, see `hswish.spec.labels`"""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a library, and which one it is here."""

    name: str
    """the name that the library's users know"""
    model: str
    """the name it has here, one of `MODEL_NAMES`"""
    options: dict[str, Any] = field(default_factory=dict)
    """options that make ours the same network"""
    choices: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """options that the library's user may set, and what is tried where the user here sets none;
    empty: read from the tensors (`in_channels`, `head_channels`). `num_classes` always is."""
    preprocess: Preprocess
    labels: str | None = "imagenet1k"
    """label set to use where it has as many names as the file has classes"""
    weights: tuple[Weights, ...] = ()

    def published(self, tag: str) -> Weights:
        """The weights called `tag`.

        Raises:
            OptionError: there are none of that name; the nearest are offered.
        """
        for weights in self.weights:
            if weights.tag.lower() == tag.lower():
                return weights
        raise unknown_name(f"weights of {self.name}", tag, [weights.tag for weights in self.weights])

    def recognise(self, sha256: str) -> Weights | None:
        """The published weights that a file with this SHA-256 is."""
        found = (weights for weights in self.weights if weights.sha256 and sha256.startswith(weights.sha256))
        return next(found, None)


# --- Adapters ------------------------------------------------------------------------------


class Adapter(ABC):
    """One library: its networks, its names, its files."""

    library: ClassVar[str]
    """as users write it before the colon"""
    kinds: ClassVar[tuple[str, ...]] = ("torch", "safetensors")
    """what its files may be, as `files.kind_of` calls them"""
    suffixes: ClassVar[tuple[str, ...]] = (".pth", ".pt", ".bin", ".safetensors")
    """endings of the files that `write` makes"""

    @property
    @abstractmethod
    def networks(self) -> Sequence[Network]:
        """All that can be converted."""

    @abstractmethod
    def pairs(self, arch: Architecture) -> list[Pair]:
        """Every tensor of `arch`, in the library's order."""

    def read(self, path: Path, *, ema: bool = True) -> Checkpoint:
        """The tensors in a file, under the library's names.

        Args:
            ema: prefer averaged weights where the file has both.

        Raises:
            ModelFileError: missing, damaged, or not a file of weights.
        """
        return read_torch_checkpoint(path, ema=ema)

    def write(self, path: Path, state: dict[str, Tensor]) -> None:
        """Write what `export_state` gives as a file that the library reads.

        Raises:
            SaveError: the disk is full or the folder not writable.
        """
        write_torch_checkpoint(path, state)

    def adjust(self, checkpoint: Checkpoint, network: Network, changes: dict[str, Any]) -> dict[str, Any]:
        """What the file itself says of `preprocess` and `classes`; `changes` are those found so far."""
        return changes

    def network(self, name: str) -> Network:
        """The network called `name`.

        Raises:
            OptionError: there is none; the nearest names are offered.
        """
        for network in self.networks:
            if network.name.lower() == name.lower():
                return network
        raise unknown_name(f"network of {self.library}", name, [network.name for network in self.networks])

    def check_suffix(self, path: Path) -> None:
        """Refuse a name that the library would read as something else.

        Raises:
            OptionError: the ending is none of `suffixes`.
        """
        if path.suffix.lower() not in self.suffixes:
            raise OptionError(f"{path}: a file for {self.library} ends in {' or '.join(self.suffixes)}")


def listed(names: Iterable[str], shown: int = 3) -> str:
    """The first names, and how many more: names from a stranger's file are quoted and cut."""
    names = list(names)
    text = ", ".join(f"{name!r:.80}" for name in names[:shown])
    return f"{text} and {len(names) - shown} more" if len(names) > shown else text
