"""Damaging files at random, the same way every time; and an alarm for what never ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import classifier, elsewhere, hswish_cli, made, one_thread  # noqa: F401 - fixtures

ALARM_S = 120


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Ends a test that hangs."""

    def ring(number: int, frame: object) -> None:
        pytest.fail(f"still running after {ALARM_S} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(ALARM_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def truncate(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    return data[: random.integers(1, len(data))]


def flip(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    for _ in range(random.integers(1, 20)):
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    return data


def edit_header(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    for _ in range(random.integers(1, 6)):
        data[random.integers(min(reach, len(data)))] = int(random.choice([0, 1, 127, 128, 255, random.integers(256)]))
    return data


def splice(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    start, end = sorted(random.integers(0, len(data), 2))
    place = random.integers(len(data))
    return data[:place] + data[start:end] + data[place:]


def cut_out(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    start = random.integers(1, len(data))
    return data[:start] + data[start + random.integers(1, 64) :]


def overwrite(data: bytearray, random: np.random.Generator, reach: int) -> bytearray:
    start = random.integers(len(data))
    part = random.bytes(int(random.integers(1, 64)))
    return data[:start] + part + data[start + len(part) :]


MUTATIONS: tuple[Callable[..., bytearray], ...] = (truncate, flip, edit_header, splice, cut_out, overwrite)


def mutate(data: bytes, random: np.random.Generator, reach: int) -> bytes:
    """`data` damaged once or twice; `reach` is how many bytes count as its header."""
    damaged = bytearray(data)
    for _ in range(random.integers(1, 3)):
        damaged = MUTATIONS[random.integers(len(MUTATIONS))](damaged, random, reach)
    return bytes(damaged)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
