"""What every runtime must hold: a new engine inherits these tests and adds only what is its own."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hswish.export.formats import writer
from hswish.export.pipeline import ExportOptions, make_job
from hswish.runtime import Mirrored, Predictor, Windowed, open_engine, run_lent
from hswish.spec.errors import MissingPackageError, ModelFileError, OptionError
from tests.contract.foreign import with_foreign_operator
from tests.contract.networks import CLASSES, SIZE, network, pictures


def written(format: str, folder: Path, name: str, embed: tuple[str, ...] = (), **options: Any) -> Path:
    """A network's file, not yet proved equal."""
    made = writer(format)
    job = make_job(network(name, **options), ExportOptions(embed=embed))
    made.check(job)
    path = folder / f"{name}{'.'.join(embed)}{made.suffix}"
    made.write(job, path)
    return path


OPENED_AND_GONE = """
import signal, sys
from hswish.runtime import open_engine
signal.signal(signal.SIGINT, lambda *about: print("caught"))
engines = [open_engine(sys.argv[1], sys.argv[2], threads=1) for _ in range(2)]
while engines:
    del engines[0]
signal.raise_signal(signal.SIGINT)
"""


class RuntimeContract:
    """Tests of one engine on files of one format."""

    format: ClassVar[str]
    engine: ClassVar[str]
    package: ClassVar[str]
    """what must be installed for the engine"""
    extra: ClassVar[str]
    classifier: ClassVar[str] = "mobilenet_v3_small"
    segmenter: ClassVar[str] = "lraspp_mobilenet_v3_small"

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(self.format)

    @pytest.fixture(scope="class")
    def labels(self, folder: Path) -> Path:
        return written(self.format, folder, self.classifier)

    @pytest.fixture(scope="class")
    def masks(self, folder: Path) -> Path:
        return written(self.format, folder, self.segmenter)

    def test_the_file_says_what_it_is(self, labels: Path) -> None:
        engine = open_engine(labels, self.engine, threads=1)
        assert engine.description == network(self.classifier).description
        assert engine.interface.size == SIZE
        assert engine.name == self.engine

    def test_logits_are_the_networks(self, labels: Path, masks: Path) -> None:
        for path, name in ((labels, self.classifier), (masks, self.segmenter)):
            model = network(name)
            batch = np.stack([model.preprocess(picture) for picture in pictures(3)])
            with torch.inference_mode():
                wanted = model(torch.from_numpy(batch)).numpy()
            found = open_engine(path, self.engine, threads=1).run(batch)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
            assert np.abs(wanted).max() > 0.05, "an answer of zeros would prove nothing"
            assert not np.allclose(wanted[0], wanted[1], atol=1e-3), "nor would one that ignores the picture"

    def test_signals_are_caught_when_engines_are_gone(self, labels: Path) -> None:
        """A runtime may change the stack that a process handles signals on, and leave it unmapped behind."""
        arguments = [sys.executable, "-c", OPENED_AND_GONE, str(labels), self.engine]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "caught"), done.stderr

    def test_an_answer_is_not_overwritten_by_the_next(self, labels: Path) -> None:
        model, engine = network(self.classifier), open_engine(labels, self.engine, threads=1)
        one, two = (model.preprocess(picture)[None] for picture in pictures(2))
        first = engine.run(one)
        kept = first.copy()
        engine.run(two)
        np.testing.assert_array_equal(first, kept)

    def test_an_answer_that_is_lent_is_the_answer(self, labels: Path, masks: Path) -> None:
        for path, name in ((labels, self.classifier), (masks, self.segmenter)):
            engine = open_engine(path, self.engine, threads=1)
            batch = np.stack([network(name).preprocess(picture) for picture in pictures(3)])
            kept = engine.run(batch)
            for picture, answer in zip(batch, kept, strict=True):
                np.testing.assert_array_equal(run_lent(engine, picture[None])[0], answer)
            several = run_lent(engine, batch)  # they may not overwrite one another
            np.testing.assert_array_equal(several, kept)
            del engine  # whoever holds an answer holds its memory
            np.testing.assert_array_equal(several, kept)

    def test_results_are_the_networks(self, labels: Path, masks: Path) -> None:
        from hswish.models.engine import TorchEngine

        for path, name in ((labels, self.classifier), (masks, self.segmenter)):
            ours = Predictor(path, self.engine)(pictures(4))
            theirs = Predictor(TorchEngine(network(name)))(pictures(4))
            assert [result.label for result in ours] == [result.label for result in theirs]
            if name == self.segmenter:
                same = [np.mean(one.mask == other.mask) for one, other in zip(ours, theirs, strict=True)]
                assert min(same) >= 0.9999

    def test_threads_may_share_a_predictor(self, labels: Path) -> None:
        self._shared(labels, "probabilities")

    def test_threads_may_share_a_segmenter(self, masks: Path) -> None:
        self._shared(masks, "mask")

    def _shared(self, path: Path, what: str) -> None:
        predictor = Predictor(path, self.engine, threads=1)
        given = [picture.resize((67, 53)) for picture in pictures(6)]
        alone = [getattr(predictor(picture), what) for picture in given]
        with ThreadPoolExecutor(4) as pool:
            together = [getattr(result, what) for result in pool.map(predictor, given * 5)]
        np.testing.assert_array_equal(together, alone * 5)

    def test_other_pictures_are_refused(self, labels: Path) -> None:
        engine = open_engine(labels, self.engine)
        with pytest.raises(OptionError, match=r"48x64 pixels only, not 64x48; export it with"):
            engine.run(np.zeros((1, 3, 64, 48), np.float32))
        for batch in (
            np.zeros((1, 3, *SIZE)),
            np.zeros((1, 1, *SIZE), np.float32),
            np.zeros((0, 3, *SIZE), np.float32),
        ):
            with pytest.raises(OptionError, match="takes float32 pictures"):
                engine.run(batch)

    def test_operators_are_listed(self, labels: Path) -> None:
        engine = open_engine(labels, self.engine)
        operators = engine.operators()
        assert sum(operator.count for operator in operators) >= 1
        assert not [operator.kind for operator in operators if operator.accelerated is False]

    @pytest.mark.parametrize("damage", ["text", "empty", "cut", "holes"])
    def test_damaged_files_are_named(self, labels: Path, tmp_path: Path, damage: str) -> None:
        for file in labels.parent.glob(f"{labels.stem}.*"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        path = tmp_path / labels.name
        content = path.read_bytes()
        if damage == "text":
            path.write_text("no model\n")
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "cut":
            path.write_bytes(content[: len(content) // 3])
        else:
            path.write_bytes(content[:2] + bytes(60) + content[62:])
        with pytest.raises(ModelFileError, match=path.name.replace(".", r"\.")):
            open_engine(path, self.engine)

    def test_an_operator_that_the_runtime_lacks_is_named(self, folder: Path, tmp_path: Path) -> None:
        file = written(self.format, folder, self.segmenter, embed=("argmax",))
        path = with_foreign_operator(file, tmp_path)
        with pytest.raises(
            ModelFileError, match=r": needs (the operator \w+, which|an operator that) the installed [\w-]+ lacks; pip"
        ):
            open_engine(path, self.engine)

    def test_mirrored_and_windowed(self, masks: Path) -> None:
        """The mean with the mirror image, and windows that slide; both against the engine called by hand."""
        model, engine = network(self.segmenter), open_engine(masks, self.engine, threads=1)
        picture = pictures(1)[0]
        batch = model.preprocess(picture)[None]
        flipped = engine.run(np.ascontiguousarray(batch[..., ::-1]))[..., ::-1]
        found = Mirrored(engine).run(batch)
        np.testing.assert_array_equal(found, (engine.run(batch) + flipped) / 2)
        wide = np.concatenate([batch, batch], 3)  # twice the window, without overlap: two windows side by side
        twice = Windowed(engine, overlap=0.0).run(wide)
        np.testing.assert_array_equal(twice, np.concatenate([engine.run(batch)] * 2, 3))
        result = Predictor(masks, self.engine, windows=True, mirror=True)(picture)
        assert result.mask.shape == (picture.height, picture.width)

    def test_a_missing_package_names_the_extra(self, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in [name for name in sys.modules if name.split(".")[0] == self.package] or [self.package]:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingPackageError, match=rf"hswish\[{self.extra}\]"):
            open_engine(labels, self.engine)

    def test_classes_of_the_file(self, labels: Path) -> None:
        assert Predictor(labels, self.engine).classes == CLASSES
