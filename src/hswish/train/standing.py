"""Where a run stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Standing:
    """Where a run stands; all of it goes into the checkpoint."""

    epoch: int = 0
    """epochs that are finished"""
    step: int = 0
    """steps of the running epoch that are done"""
    loss_sum: float = 0.0
    """of the running epoch, over its pictures"""
    pictures: int = 0
    """of the running epoch"""
    seconds: float = 0.0
    """that the steps of the running epoch took, those before a stop too"""
    passed_over: int = 0
    """steps of the running epoch whose loss or gradient was not finite"""
    best: float = -math.inf
    """highest validation score so far"""
    best_epoch: int = 0
    """the epoch that reached it, from 1"""
    bad: dict[str, str] = field(default_factory=dict)
    """training files that cannot be used, with the reason"""
    finished: bool = False
    """nothing is left to do"""

    def begin_epoch(self) -> None:
        """Count the epoch that has ended, and start the next one's sums."""
        self.epoch, self.step, self.passed_over = self.epoch + 1, 0, 0
        self.loss_sum, self.pictures, self.seconds = 0.0, 0, 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
