"""What the compiled part is asked about the processor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hswish.runtime.native import library


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        ([("generic", True), ("avx2", True), ("avxvnni", False), ("avx512vnni", False)], False),
        ([("generic", True), ("avx2", True), ("avx512", True), ("avx512vnni", False)], False),
        ([("generic", True), ("avx2", True), ("avxvnni", True), ("avx512vnni", False)], True),
        ([("generic", True), ("avx2", True), ("avx512", True), ("avx512vnni", True)], True),
        ([("generic", True), ("neon", True)], True),
    ],
)
def test_vnni_is_asked_of_x86_alone(
    levels: list[tuple[str, bool]], found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "library", lambda purpose: SimpleNamespace(levels=lambda: levels))
    assert library.has_vnni() is found
