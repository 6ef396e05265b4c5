"""Whether a library can express a network of ours, and as which of its own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hswish.models.adapters.base import Adapter, Network
from hswish.spec.architecture import Architecture, Options, resolve
from hswish.spec.errors import OptionError

WITHOUT_EFFECT = ("dropout", "bn_momentum")
"""options of training only: the weights answer the same with any"""
BESIDE_LAYERS = ("padding", "bn_eps")
"""options that change the answers and no number of a layer"""


def express(adapter: Adapter, arch: Architecture) -> Network:
    """The network of `adapter`'s library that is `arch`: the same layers, numbers and rules.

    Raises:
        OptionError: there is none; says in what the nearest differs.
    """
    named = [network for network in adapter.networks if network.model == arch.name]
    if not named:
        known = sorted({network.model for network in adapter.networks})
        raise OptionError(f"{adapter.library} has no {arch.name}; it has {', '.join(known)}")
    differences = {network.name: _differences(_closest(network, arch), arch) for network in named}
    nearest = min(named, key=lambda network: len(differences[network.name]))
    found = differences[nearest.name]
    if found:
        raise OptionError(f"{adapter.library} cannot express this network: its {nearest.name} has {', '.join(found)}")
    return nearest


def _closest(network: Network, arch: Architecture) -> Architecture:
    """Their network, with every option as here that their users may set."""
    free = ("num_classes", *network.choices, *WITHOUT_EFFECT)
    wanted: dict[str, Any] = {name: getattr(arch.options, name) for name in free}
    return resolve(network.model, **{**network.options, **wanted})


def _differences(theirs: Architecture, ours: Architecture) -> list[str]:
    """The options that make two networks of one name differ; empty if they are the same network."""
    if _same(theirs, ours):
        return []
    found = []
    for name in (field.name for field in fields(Options)):
        value, wanted = getattr(theirs.options, name), getattr(ours.options, name)
        changed = {**theirs.options_dict(), name: wanted}
        if value != wanted and not _same(resolve(theirs.name, **changed), theirs):
            found.append(f"{name} {value}, not {wanted}")
    return found or ["another combination of options"]


def _same(one: Architecture, other: Architecture) -> bool:
    beside = all(getattr(one.options, name) == getattr(other.options, name) for name in BESIDE_LAYERS)
    return one.backbone == other.backbone and one.head == other.head and beside
