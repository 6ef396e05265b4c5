"""timm: its `mobilenetv3_*` and `tf_mobilenetv3_*` networks.

Facts from huggingface/pytorch-image-models 1.0.31: `timm/models/mobilenetv3.py`,
`_efficientnet_builder.py` (depth scaling), `_efficientnet_blocks.py`, and the pretrained configs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from hswish.models.adapters.base import LINEAR_AS_CONV, Adapter, Network, Pair, Weights, conv_norm, weight_bias
from hswish.models.adapters.files import Checkpoint
from hswish.spec.architecture import TABLES, Architecture, Block, ClassifierHead
from hswish.spec.errors import OptionError
from hswish.spec.preprocess import Preprocess

# timm scales the shorter side to floor(size / crop_pct): to 256 for 224 / 0.875, to 235 for 224 / 0.95.
BICUBIC = Preprocess(height=224, width=224, resize="crop", crop_fraction=224 / 256, interpolation="bicubic")
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
INCEPTION = replace(BICUBIC, interpolation="bilinear", **HALF)  # type: ignore[arg-type]
RA4 = replace(BICUBIC, crop_fraction=224 / 235, **HALF)  # type: ignore[arg-type]
RA4_256 = replace(INCEPTION, height=256, width=256, crop_fraction=256 / 269)
MIIL = replace(BICUBIC, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

PLAIN: dict[str, Any] = {"width_rule": "timm", "bn_eps": 1e-5, "bn_momentum": 0.1}
"""torch's batch norm and symmetric padding"""
TF: dict[str, Any] = {**PLAIN, "bn_eps": 1e-3, "padding": "same"}
"""weights of the authors, from TensorFlow"""


def _network(
    name: str, model: str, width: float, options: dict[str, Any], preprocess: Preprocess, *weights: Weights, **more: Any
) -> Network:
    return Network(
        name=name,
        model=f"mobilenet_v3_{model}",
        options={**options, "width_mult": width, **more},
        choices={"in_channels": ()},
        preprocess=preprocess,
        weights=weights,
    )


def _in1k(tag: str, sha256: str) -> Weights:
    return Weights(tag=tag, sha256=sha256)


# fmt: off
NETWORKS = (
    _network("mobilenetv3_large_100", "large", 1.0, PLAIN, BICUBIC,
             _in1k("ra_in1k", "f55367f5"),
             Weights(tag="ra4_e3600_r224_in1k", preprocess=RA4),
             Weights(tag="miil_in21k_ft_in1k", sha256="66471c13", preprocess=MIIL),
             Weights(tag="miil_in21k", sha256="d71cc17b", preprocess=MIIL, labels=None)),
    _network("mobilenetv3_large_075", "large", 0.75, PLAIN, BICUBIC),
    _network("mobilenetv3_large_150d", "large", 1.5, PLAIN, RA4_256,
             Weights(tag="ra4_e3600_r256_in1k"), depth_mult=1.2),
    _network("mobilenetv3_small_100", "small", 1.0, PLAIN, BICUBIC, _in1k("lamb_in1k", "266a294c")),
    _network("mobilenetv3_small_075", "small", 0.75, PLAIN, BICUBIC, _in1k("lamb_in1k", "384766db")),
    _network("mobilenetv3_small_050", "small", 0.5, PLAIN, BICUBIC, _in1k("lamb_in1k", "4b7bbe87")),
    _network("mobilenetv3_rw", "large", 1.0, PLAIN, BICUBIC, _in1k("rmsp_in1k", "35495452"),
             bn_eps=1e-3, block_rule="timm_rw"),
    _network("tf_mobilenetv3_large_100", "large", 1.0, TF, INCEPTION, _in1k("in1k", "427764d5")),
    _network("tf_mobilenetv3_large_075", "large", 0.75, TF, INCEPTION, _in1k("in1k", "150ee8b0")),
    _network("tf_mobilenetv3_large_minimal_100", "large_minimal", 1.0, TF, INCEPTION, _in1k("in1k", "8596ae28")),
    _network("tf_mobilenetv3_small_100", "small", 1.0, TF, INCEPTION, _in1k("in1k", "37f49e2b")),
    _network("tf_mobilenetv3_small_075", "small", 0.75, TF, INCEPTION, _in1k("in1k", "da427f52")),
    _network("tf_mobilenetv3_small_minimal_100", "small_minimal", 1.0, TF, INCEPTION, _in1k("in1k", "922a7843")),
)
# fmt: on


class Timm(Adapter):
    """huggingface/pytorch-image-models."""

    library: ClassVar[str] = "timm"

    @property
    def networks(self) -> tuple[Network, ...]:
        return NETWORKS

    def read(self, path: Path, *, ema: bool = True) -> Checkpoint:
        """The tensors, and what a `config.json` beside them says (the hub keeps them together)."""
        checkpoint = super().read(path, ema=ema)
        config = _config_beside(path)
        if config is None:
            return checkpoint
        return replace(checkpoint, network=config["architecture"], about=config)

    def adjust(self, checkpoint: Checkpoint, network: Network, changes: dict[str, Any]) -> dict[str, Any]:
        """Preprocessing and class names of a `config.json`, or the settings of timm's training script."""
        about = checkpoint.about
        settings = about.get("pretrained_cfg", about)
        settings = settings if isinstance(settings, dict) else {}
        changes = {**changes, "preprocess": _with_settings(changes["preprocess"], settings)}
        names = about.get("label_names") or settings.get("label_names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            changes["classes"] = tuple(names)
        return changes

    def pairs(self, arch: Architecture) -> list[Pair]:
        net = arch.backbone
        pairs = conv_norm("backbone.stem", "conv_stem", "bn1")
        stage = -1
        for index, (stage, place) in enumerate(_places(arch)):
            pairs += _block(net.blocks[index], f"backbone.blocks.{index}", f"blocks.{stage}.{place}")
        for place in range(net.last_convs):
            ours = "backbone.last" if net.last_convs == 1 else f"backbone.last.{place}"
            theirs = f"blocks.{stage + 1}.{place}"
            pairs += conv_norm(ours, f"{theirs}.conv", f"{theirs}.bn1")
        assert isinstance(arch.head, ClassifierHead)
        pairs += weight_bias("head.hidden", "conv_head", LINEAR_AS_CONV, bias=arch.head.hidden_bias)
        return pairs + weight_bias("head.classifier", "classifier")


def _config_beside(path: Path) -> dict[str, Any] | None:
    """The `config.json` that the hub keeps beside timm's weights, if it is one of timm's."""
    try:
        config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) and isinstance(config.get("architecture"), str) else None


def _with_settings(preprocess: Preprocess, settings: dict[str, Any]) -> Preprocess:
    """`preprocess`, changed by what timm's own settings state; those of somebody's own making are passed over."""
    changes = {key: settings[key] for key in ("mean", "std", "interpolation") if settings.get(key)}
    try:
        height, width = preprocess.height, preprocess.width
        if settings.get("input_size"):
            height, width = settings["input_size"][-2:]
        elif settings.get("img_size"):
            height = width = settings["img_size"]
        crop = settings.get("crop_pct") or preprocess.crop_fraction
        fraction = min(1.0, height / math.floor(height / crop + 1e-6))
        return replace(preprocess, height=height, width=width, crop_fraction=fraction, **changes)
    except (OptionError, TypeError, ValueError, ArithmeticError):
        return preprocess


def _places(arch: Architecture) -> Iterator[tuple[int, int]]:
    """(stage, place in it) of each block. A stage is a run of rows of one width in the paper's table,
    where neighbours differ; scaled to half, two stages of Small have the same."""
    rows = TABLES[arch.name].rows
    for stage, (_, run) in enumerate(groupby(rows, key=lambda row: row.out)):
        blocks = math.ceil(len(list(run)) * arch.options.depth_mult)
        yield from ((stage, place) for place in range(blocks))


def _block(block: Block, ours: str, theirs: str) -> list[Pair]:
    """Convolutions and batch norms are numbered apart, and named by what they are."""
    if block.has_expand:
        pairs = conv_norm(f"{ours}.expand", f"{theirs}.conv_pw", f"{theirs}.bn1")
        depthwise, project = "bn2", ("conv_pwl", "bn3")
    else:
        pairs, depthwise, project = [], "bn1", ("conv_pw", "bn2")
    pairs += conv_norm(f"{ours}.depthwise", f"{theirs}.conv_dw", f"{theirs}.{depthwise}")
    if block.se_channels:
        pairs += weight_bias(f"{ours}.se.reduce", f"{theirs}.se.conv_reduce")
        pairs += weight_bias(f"{ours}.se.expand", f"{theirs}.se.conv_expand")
    return pairs + conv_norm(f"{ours}.project", f"{theirs}.{project[0]}", f"{theirs}.{project[1]}")
