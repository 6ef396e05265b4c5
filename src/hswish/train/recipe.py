"""A recipe: everything that decides how a network is trained, as one frozen record.

The files in `recipes/` each make one; flags of `hswish train` override single fields.
"""

from __future__ import annotations

import typing
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from hswish.data import Augment, WeightRule
from hswish.spec.errors import OptionError, unknown_name
from hswish.train.recipe_groups import (
    Distillation,
    FineTuning,
    Loss,
    check_choices,
    check_number,
    check_types,
    parse_value,
)

OptimizerName = Literal["sgd", "rmsprop", "adamw"]
ScheduleName = Literal["cosine", "poly", "step", "constant"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Raises:
        OptionError: a value is out of range, or of another type.
    """

    epochs: int = 60
    """passes over the training pictures"""
    patience: int = 0
    """stop after so many epochs without a better validation; 0: never"""
    validate_epochs: int = 1
    """validate after every so many epochs, and after the last"""
    batch_size: int = 64
    """pictures that the network sees at once (of all processes together, where there are several)"""
    accumulate: int = 1
    """batches whose gradients make one step; batch norm still sees one batch at a time"""
    height: int | None = None
    """input height in pixels; alone: the shorter side; None: chosen from the data"""
    width: int | None = None
    """input width in pixels; alone: the shorter side"""
    model_options: dict[str, Any] = field(default_factory=dict)
    """options of the architecture that belong to the recipe, such as `keep_size`; flags win"""

    optimizer: OptimizerName = "adamw"
    """sgd (Nesterov), rmsprop (the paper's, in TensorFlow's form) or adamw"""
    lr: float = 2e-3
    """highest learning rate"""
    weight_decay: float = 0.02
    """of convolution and linear weights; norms and biases have none"""
    momentum: float = 0.9
    """of sgd and rmsprop"""
    rmsprop_eps: float = 1e-3
    """of rmsprop, inside the root as in TensorFlow"""
    schedule: ScheduleName = "cosine"
    """course of the learning rate after the warm-up: down to 0 by cosine or poly, by steps, or constant"""
    step_factor: float = 0.99
    """of schedule step: the learning rate is multiplied by it ..."""
    step_epochs: float = 3.0
    """... every so many epochs"""
    warmup_epochs: float = 2.0
    """linear rise from 0 to `lr`"""
    clip_norm: float = 5.0
    """gradients are scaled down to this norm; 0: never"""

    loss: Loss = field(default_factory=Loss)
    """beyond cross-entropy: `loss.pixel`, `loss.region`, `loss.auxiliary`"""
    label_smoothing: float = 0.1
    """share of the target spread over all classes, in [0, 1)"""
    class_weights: WeightRule = "none"
    """weight of rare classes in the loss: inverse_log (ENet) or median (frequency)"""
    distill: Distillation = field(default_factory=Distillation)
    """teachers' answers beside the labels: `distill.teacher`"""

    ema_decay: float = 0.998
    """of the averaged weights, which are the ones measured and kept; 0: no average"""
    bn_momentum: float = 0.1
    """share of a batch in batch norm's running statistics (the paper's long runs: 0.01)"""
    bn_batches: int = 0
    """at the end the best network's batch norms are measured anew over so many batches, and kept if that is better"""
    dropout: float | None = None
    """rate before the last layer; None: the network's own default"""
    drop_path: float = 0.0
    """rate at which the last residual block is left out; the earlier ones less, in proportion (arXiv 1603.09382)"""
    augment: Augment = field(default_factory=Augment)
    """what happens to a training picture"""
    held: bool = False
    """each picture is decoded once and held on the device, which augments it: for data that fits a GPU's memory"""
    mixup: float = 0.0
    """two pictures blend and so do their labels: a of the share's Beta(a, a); 0: never (arXiv 1710.09412)"""
    cutmix: float = 0.0
    """a box of one picture, and of its mask, in another: a of the area's Beta(a, a); 0: never (arXiv 1905.04899)"""
    mix_probability: float = 1.0
    """of mixing a batch, where `mixup` or `cutmix` is set"""
    finetune: FineTuning = field(default_factory=FineTuning)
    """care for trained weights: `finetune.freeze_epochs`, `finetune.backbone_lr`"""

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """arithmetic, in Lightning's names"""
    compiled: bool = False
    """by torch.compile: slow to start, faster on a GPU"""
    kernels: Literal["auto", "torch"] = "auto"
    """auto takes ours for depthwise layers and norms, where the install has them: the native engine's on a CPU, on a
    GPU Triton's, and records the step"""
    on_nan: Literal["stop", "skip"] = "stop"
    """what a loss or gradient that is not finite does: stop, or skip the step (ten an epoch at most)"""
    seed: int = 0
    """of weights, order, augmentation, dropout and splits"""
    licence: str = ""
    """of the trained network, as its file and its exports will state it (`apache-2.0`); empty: not stated"""

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("accumulate", 1),
            ("patience", 0),
            ("bn_batches", 0),
            ("validate_epochs", 1),
        ):
            check_number(self, name, least=least, whole=True)
        check_number(self, "seed", least=0, whole=True)
        if self.seed >= 2**32:
            raise OptionError(f"seed must be below {2**32}, not {self.seed}")
        for name in ("lr", "weight_decay", "momentum", "warmup_epochs", "clip_norm", "rmsprop_eps", "mixup", "cutmix"):
            check_number(self, name, least=0)
        for name in ("step_factor", "mix_probability"):
            check_number(self, name, least=0, most=1)
        check_number(self, "step_epochs", least=1e-3)
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                check_number(self, name, least=8, whole=True)
        check_types(self)
        for name in ("label_smoothing", "ema_decay", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} must be in [0, 1), not {getattr(self, name)!r}")
        if not 0 < self.bn_momentum <= 1:
            raise OptionError(f"bn_momentum must be in (0, 1], not {self.bn_momentum!r}")
        check_choices(self)

    def with_changes(self, changes: dict[str, Any]) -> Recipe:
        """A copy with some fields set; those of a part are reached as in `augment.scale`.

        Raises:
            OptionError: an unknown field (nearest names offered) or a value out of range.
        """
        known = field_names()
        own: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for name, value in changes.items():
            if name not in known:
                raise unknown_name("recipe field", name, known)
            part, _, entry = name.rpartition(".")
            (inner[part] if part else own)[entry] = value
        try:
            parts = {part: replace(getattr(self, part), **values) for part, values in inner.items()}
            return replace(self, **own, **parts)
        except TypeError as error:
            raise OptionError(f"recipe: a value has the wrong type ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The reverse of `to_dict`, as read from a run's `config.json`.

        Raises:
            OptionError: an unknown field or a value out of range.
        """
        flat: dict[str, Any] = {}
        for name, value in values.items():
            entries = {f"{name}.{inner}": entry for inner, entry in value.items()} if name in PARTS else {name: value}
            flat |= {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in entries.items()}
        return cls().with_changes(flat)


PARTS: dict[str, type] = {"augment": Augment, "loss": Loss, "distill": Distillation, "finetune": FineTuning}
"""Records inside a recipe; their fields are named `PART.FIELD`."""


def field_names() -> list[str]:
    """Fields that `with_changes` takes."""
    own = [item.name for item in fields(Recipe) if item.name not in PARTS]
    return own + [f"{part}.{item.name}" for part, record in PARTS.items() for item in fields(record)]


def parse_change(text: str) -> tuple[str, Any]:
    """`name=value` from a command line, the value read as the field's type.

    Raises:
        OptionError: no `=`, an unknown field, or a value of another type.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"--set takes name=value, not {text!r}")
    if name not in field_names():
        raise unknown_name("recipe field", name, field_names())
    part, _, entry = name.rpartition(".")
    hint = typing.get_type_hints(PARTS[part] if part else Recipe)[entry]
    try:
        return name, parse_value(value, hint)
    except ValueError as error:
        raise OptionError(f"--set {name}: {value!r} is not of the right type") from error
