"""Answers' memory is used again, and never while somebody holds any part of it."""

from __future__ import annotations

import gc
import threading

import numpy as np

from hswish.runtime.native.answers import Answers

LARGE = (2, 3, 300, 400)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_when_the_answer_is_gone() -> None:
    answers = Answers()
    first = answers.array(LARGE)
    place = address(first)
    assert first.shape == LARGE
    assert first.dtype == np.float32
    assert first.flags.writeable
    assert first.flags.c_contiguous
    assert place % 64 == 0
    del first
    assert address(answers.array(LARGE)) == place


def test_a_view_keeps_it() -> None:
    answers = Answers()
    first = answers.array(LARGE)
    first[:] = 1
    part = first[1, :, ::2][..., 5:].T
    del first
    gc.collect()
    second = answers.array(LARGE)
    second[:] = 2
    assert not np.shares_memory(part, second)
    assert (part == 1).all()


def test_another_size_gets_other_memory() -> None:
    answers = Answers()
    answers.array(LARGE)  # comes back at once
    larger = answers.array((2, *LARGE))
    larger[:] = 3
    assert larger.shape == (2, *LARGE)
    assert address(larger) % 64 == 0


def test_small_ones_are_plain_arrays() -> None:
    small = Answers().array((1, 1000))
    assert small.shape == (1, 1000)
    assert small.flags.owndata


def test_an_answer_outlives_its_maker() -> None:
    answers = Answers()
    held = answers.array(LARGE)
    held[:] = 4
    del answers
    gc.collect()
    assert (held == 4).all()


def test_threads_never_share_one() -> None:
    answers, wrong = Answers(), []

    def work(number: int) -> None:
        for _ in range(30):
            mine = answers.array(LARGE)
            mine[:] = number
            wrong.append((mine != number).any())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert not any(wrong)
