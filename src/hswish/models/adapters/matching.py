"""Which network a checkpoint is: by the names and shapes of its tensors, exactly or not at all.

Nothing is built for this but modules on torch's meta device, which have shapes and no memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from hswish.models.adapters.base import Adapter, Network, Pair, listed
from hswish.models.adapters.files import Checkpoint
from hswish.models.adapters.registry import ADAPTERS, get_adapter
from hswish.models.factory import build
from hswish.spec.architecture import Architecture, resolve
from hswish.spec.errors import ModelFileError, OptionError

Shapes = Mapping[str, tuple[int, ...]]

COUNTER = "num_batches_tracked"
"""batches that a batch norm has seen in training; answers do not depend on it, and some libraries have none"""

PROBES = {
    "num_classes": (("head.classifier.weight", 0), ("head.project_high.weight", 0)),
    "in_channels": (("backbone.stem.conv.weight", 1),),
    "head_channels": (("head.hidden.weight", 0), ("head.features.conv.weight", 0)),
}
"""option -> (tensor of ours, axis) whose size it is; the first tensor that the network has counts"""


@dataclass(frozen=True, kw_only=True)
class Match:
    """A network whose every tensor is in the checkpoint, and nothing else."""

    network: Network
    options: dict[str, Any]
    """all options of ours that make this network"""

    @property
    def architecture(self) -> Architecture:
        """The resolved network."""
        return resolve(self.network.model, **self.options)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What stands between a checkpoint and a network."""

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    shapes: tuple[str, ...]
    """`name is (8,), not (16,)`"""

    @property
    def size(self) -> int:
        """Tensors concerned; 0 is a fit."""
        return len(self.missing) + len(self.unknown) + len(self.shapes)

    def __str__(self) -> str:
        parts = [
            f"{len(names)} tensor{'s' if len(names) > 1 else ''} {what} ({listed(names)})"
            for names, what in ((self.missing, "missing"), (self.unknown, "left over"))
            if names
        ]
        if self.shapes:
            more = f" and {len(self.shapes) - 3} more" if len(self.shapes) > 3 else ""
            parts.append(f"{len(self.shapes)} of another shape ({'; '.join(self.shapes[:3])}{more})")
        return ", ".join(parts)


def find_match(adapter: Adapter, checkpoint: Checkpoint, name: str | None, given: dict[str, Any]) -> Match:
    """The network that `checkpoint` holds.

    Args:
        name: the library's name of it; None: whichever fits.
        given: options that the user states, of those in `Network.choices`; the others are found.

    Raises:
        ModelFileError: none fits, or more than one; says what is missing, left over or of another
            shape, and which network of which library it looks like.
        OptionError: unknown network, or an option that it does not have.
    """
    networks = _with_choices(adapter, [adapter.network(name)] if name else list(adapter.networks), given)
    for network in networks:
        resolve(network.model, **{**network.options, **given})  # a value out of range is the user's, not the file's
    shapes = checkpoint.shapes
    fits = (next(matches(adapter, network, shapes, given), None) for network in networks)
    found = {match.network.name: match for match in fits if match}
    if not found:
        raise ModelFileError(f"{checkpoint.path}: {_why_not(adapter, networks, checkpoint, given)}")
    claimed = _claimed(adapter, checkpoint)
    if claimed and name and claimed.lower() != name.lower():
        raise ModelFileError(f"{checkpoint.path}: is {adapter.library}:{claimed} by its own account; name that network")
    if claimed in found:
        return found[claimed]
    if len(found) > 1:
        rivals = " or ".join(f"{adapter.library}:{key}" for key in sorted(found))
        raise ModelFileError(f"{checkpoint.path}: its tensors fit more than one network; say which: {rivals}")
    return next(iter(found.values()))


def matches(adapter: Adapter, network: Network, shapes: Shapes, given: dict[str, Any]) -> Iterator[Match]:
    """Every set of options under which `network` has exactly these tensors, the usual ones first."""
    if not (given or _has_names(adapter, network, shapes)):
        return
    for options in _candidates(adapter, network, shapes, given):
        if not difference(adapter, network, options, shapes).size:
            yield Match(network=network, options=options)


def difference(adapter: Adapter, network: Network, options: dict[str, Any], shapes: Shapes) -> Difference:
    """What is missing in `shapes`, left over, or of another shape than the network's."""
    expected = expected_shapes(adapter, resolve(network.model, **options))
    without_counters = not any(name.endswith(COUNTER) for name in shapes)
    missing = [name for name in expected if name not in shapes]
    return Difference(
        missing=tuple(name for name in missing if not (without_counters and name.endswith(COUNTER))),
        unknown=tuple(name for name in shapes if name not in expected),
        shapes=tuple(
            f"{name!r:.80} is {shapes[name]!s:.40}, not {shape}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ),
    )


@cache
def expected_shapes(adapter: Adapter, arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor that the library's checkpoint of `arch` has."""
    with torch.device("meta"):
        ours = build(arch).state_dict()
    pairs = adapter.pairs(arch)
    _check_complete(adapter, pairs, ours)
    return {pair.theirs: tuple(pair.layout.to_theirs(ours[pair.ours]).shape) for pair in pairs}


def looks_like(shapes: Shapes) -> list[str]:
    """`LIBRARY:NETWORK` of every network with exactly these tensors."""
    return [
        f"{adapter.library}:{network.name}"
        for adapter in map(get_adapter, ADAPTERS)
        for network in adapter.networks
        if any(True for _ in matches(adapter, network, shapes, {}))
    ]


def _claimed(adapter: Adapter, checkpoint: Checkpoint) -> str | None:
    """The network that the file is by its SHA-256, or that it says it is; None if neither tells."""
    for network in adapter.networks:
        if network.recognise(checkpoint.sha256):
            return network.name
    return checkpoint.network if checkpoint.network in {network.name for network in adapter.networks} else None


# --- Options that the tensors tell ----------------------------------------------------------


def _candidates(adapter: Adapter, network: Network, shapes: Shapes, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    fixed = {**network.options, **_probed(adapter, network, shapes), **given}
    open_choices = {name: tried for name, tried in network.choices.items() if tried and name not in given}
    for values in itertools.product(*open_choices.values()):
        options = {**fixed, **dict(zip(open_choices, values, strict=True))}
        try:
            resolve(network.model, **options)
        except OptionError:  # a size in the file that no network can have
            continue
        yield options


def _probed(adapter: Adapter, network: Network, shapes: Shapes) -> dict[str, int]:
    """Options that are the size of a tensor's axis."""
    wanted = ["num_classes", *(name for name, tried in network.choices.items() if not tried)]
    pairs = {pair.ours: pair for pair in _default_pairs(adapter, network.name)}
    found = {}
    for option in wanted:
        for ours, axis in PROBES[option]:
            pair = pairs.get(ours)
            if pair is None or pair.theirs not in shapes:
                continue
            with torch.device("meta"):
                tensor = torch.empty(shapes[pair.theirs])
            try:
                found[option] = pair.layout.to_ours(tensor).shape[axis]
            except (RuntimeError, IndexError):  # not even the right number of axes
                continue
            break
    return found


@cache
def _default_pairs(adapter: Adapter, network: str) -> tuple[Pair, ...]:
    found = adapter.network(network)
    return tuple(adapter.pairs(resolve(found.model, **found.options)))


def _has_names(adapter: Adapter, network: Network, shapes: Shapes) -> bool:
    """Names do not depend on the usual widths, so that one look at them rules most networks out."""
    names = {pair.theirs for pair in _default_pairs(adapter, network.name)}
    needed = {name for name in names if not name.endswith(COUNTER)}
    return needed <= shapes.keys() <= names


def _with_choices(adapter: Adapter, networks: list[Network], given: dict[str, Any]) -> list[Network]:
    """Those of `networks` whose users may set the options `given`."""
    able = [network for network in networks if given.keys() <= network.choices.keys()]
    if able:
        return able
    asked = f"{adapter.library}:{networks[0].name}" if len(networks) == 1 else f"{adapter.library}'s networks"
    raise OptionError(f"{asked}: {' and '.join(given)} cannot be chosen there; leave it out")


def _check_complete(adapter: Adapter, pairs: list[Pair], ours: Mapping[str, Any]) -> None:
    """An adapter that forgets a tensor is a fault of ours, and must not pass for a fit."""
    forgotten = ours.keys() - {pair.ours for pair in pairs}
    assert all(name.endswith(COUNTER) for name in forgotten), f"{adapter.library}: no pair for {sorted(forgotten)[:3]}"


# --- Words for what does not fit ------------------------------------------------------------


def _why_not(adapter: Adapter, networks: list[Network], checkpoint: Checkpoint, given: dict[str, Any]) -> str:
    """Why no network was found: the options, the network or the library are wrong, or the file is."""
    wanted = f"{adapter.library}:{networks[0].name}" if len(networks) == 1 else f"any network of {adapter.library}"
    stated = f" with {', '.join(f'{name} {value}' for name, value in given.items())}" if given else ""
    alike = looks_like(checkpoint.shapes)
    own = {f"{adapter.library}:{network.name}" for network in networks}
    if alike and not own & set(alike):
        return f"does not fit {wanted}{stated}; this looks like {' or '.join(alike)}"
    return f"does not fit {wanted}{stated}: {_nearest(adapter, networks, checkpoint.shapes, given)}"


def _nearest(adapter: Adapter, networks: list[Network], shapes: Shapes, given: dict[str, Any]) -> str:
    """The smallest difference to any of `networks`, in words."""
    best: tuple[int, str] | None = None
    for network in networks:
        for options in _candidates(adapter, network, shapes, given):
            found = difference(adapter, network, options, shapes)
            if best is None or found.size < best[0]:
                whose = f"compared with {network.name}, " if len(networks) > 1 else ""
                other_width = 4 * len(found.shapes) > len(shapes) and "width_mult" in network.choices.keys() - given
                hint = "; of another width? say which with --width-mult" if other_width else ""
                best = found.size, f"{whose}{found}{hint}"
    return best[1] if best else "no network of such a size"
