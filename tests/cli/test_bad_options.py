"""Names and values that do not exist: the nearest ones are offered, the range is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import QUICK

TRAIN = ("train", "{data}", "-m", "mobilenet_v3_small", "-o", "{out}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "{data}", "-m", "mobilenet_v3_smal"),
            "unknown model 'mobilenet_v3_smal'; did you mean mobilenet_v3_small",
        ),
        (("info", "mobilenet_v3_smal"), "unknown model 'mobilenet_v3_smal'; did you mean mobilenet_v3_small"),
        ((*TRAIN, "--epoch", "3"), "No such option: --epoch (Possible options: --epochs"),
        (("predict", "{model}", "{data}", "--jsn"), "No such option: --jsn (Possible options: --json"),
        (("trian",), "No such command 'trian'. Did you mean 'train'?"),
        ((*TRAIN, "--recipe", "clasify"), "unknown recipe 'clasify'; did you mean classify?"),
        ((*TRAIN, "--recipe", "mine.py"), "unknown recipe 'mine.py'; choose from camvid"),
        ((*TRAIN, "--set", "epohcs=1"), "unknown recipe field 'epohcs'; did you mean epochs"),
        ((*TRAIN, "--set", "augment.mirorr=1"), "unknown recipe field 'augment.mirorr'; did you mean augment.mirror"),
        ((*TRAIN, "--set", "epochs"), "--set takes name=value, not 'epochs'"),
        ((*TRAIN, "--set", "epochs=many"), "--set epochs: 'many' is not of the right type"),
        ((*TRAIN, "--set", "optimizer=adamv"), "unknown optimizer 'adamv'; did you mean adamw?"),
        ((*TRAIN, "--num-classes", "7"), "num_classes is 7, but {data} has 2 classes (cat, dog); leave it out"),
        ((*TRAIN, "--epochs", "-1"), "epochs must be a whole number, 1 or more, not -1"),
        ((*TRAIN, "--epochs", "two"), "Invalid value for '--epochs'"),
        ((*TRAIN, "--batch-size", "0"), "batch_size must be a whole number, 1 or more, not 0"),
        ((*TRAIN, "--batch-size", "large"), "--batch-size takes a number or auto, not 'large'"),
        ((*TRAIN, "--on-nan", "sikp"), "unknown on_nan 'sikp'; did you mean skip or stop?"),
        ((*TRAIN, "--teacher", "none.safetensors"), "none.safetensors"),
        ((*TRAIN, "--set", "mixup=-1"), "mixup must be 0 or more, not -1.0"),
        ((*TRAIN, "--set", "loss.region=dice"), "loss.region=dice is for masks; leave it out"),
        ((*TRAIN, "--set", "finetune.freeze_epochs=1"), "freeze_epochs is for trained weights; give some by --weights"),
        ((*TRAIN, "--lr", "nan"), "lr must be 0 or more, not nan"),
        ((*TRAIN, "--size", "4"), "height must be a whole number, 8 or more, not 4"),
        ((*TRAIN, "--size", "big"), "--size takes 224 or 360x480 (height x width), not 'big'"),
        ((*TRAIN, "--seed", "-1"), "Invalid value for '--seed'"),
        ((*TRAIN, "--seed", str(10**30)), "Invalid value for '--seed'"),
        ((*TRAIN, "--workers", "-1"), "workers must be 0 to 256, not -1"),
        ((*TRAIN, "--width-mult", "-1"), "width_mult: above 0"),
        ((*TRAIN, "--output-stride", "7"), "output_stride must be 8, 16 or 32"),
        ((*TRAIN, "--in-channels", "5"), "in_channels is 5, but pictures have 3 channels (or 1, as grey)"),
        (("train",), "train needs DATA and --model, as in: hswish train digits --model mobilenet_v3_small"),
        (("train", "{data}"), "train needs DATA and --model"),
        (
            ("train", "{data}", "--resume", "{out}"),
            "--resume takes everything from the run; only --workers, --on-nan, --tensorboard and --json go with it",
        ),
        (("eval", "{model}", "{data}", "--split", "vall"), "has no split 'vall'; it has train, val"),
        (("eval", "{model}", "{data}", "--engine", "torhc"), "unknown engine 'torhc'; did you mean torch"),
        (("predict", "{model}", "{data}", "--engine", "torhc"), "unknown engine 'torhc'; did you mean torch"),
        (("predict", "{model}", "{data}", "--threads", "99999999"), "Invalid value for '--threads'"),
        (("predict", "{model}", "{data}", "--top", "0"), "Invalid value for '--top'"),
        (("predict", "{model}", "{data}", "--batch-size", "-3"), "Invalid value for '--batch-size'"),
        (("predict", "{model}"), "Missing argument 'sources'"),
        (("predict", "{model}", "~nosuchuser/x.png"), "~nosuchuser/x.png: no such file"),
        (("eval", "{model}", "~nosuchuser/x"), "~nosuchuser/x: no such folder or zip"),
        (("export", "{model}", "--weight-bits", "7"), "--weight-bits belong to --int8; add it"),
        (
            ("export", "{model}", "--int8", "--int8-weights", "--calibrate", "{data}"),
            "--int8-weights and --int8 are two types of one weight",
        ),
        (("info", "mobilenet_v3_small", "--size", "0"), "--size takes 224 or 360x480"),
        (("info", "mobilenet_v3_small", "--num-classes", "-1"), "num_classes must be 1 to 1048576"),
        (("info", "{model}", "--width-mult", "1"), "a file has its options fixed; leave width_mult out"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_refused(
    arguments: tuple[str, ...], words: str, made: Path, classifier: Path, tmp_path: Path, hswish_cli
) -> None:
    names = {"data": made / "pictures", "model": classifier, "out": tmp_path / "run"}
    hswish_cli(*[text.format(**names) for text in arguments]).error(words.format(**names))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RECIPE = 3", "it must set RECIPE = Recipe(...)"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("RECIPE =", "invalid syntax"),
        (
            "from hswish.train.recipe import Recipe\nRECIPE = Recipe(epochs=0)",
            "epochs must be a whole number, 1 or more",
        ),
        ("from hswish.train.recipe import Recipe\nRECIPE = Recipe(epoch=1)", "unexpected keyword argument 'epoch'"),
    ],
)
def test_a_recipe_file_that_is_none(text: str, words: str, pictures: Path, tmp_path: Path, hswish_cli) -> None:
    (tmp_path / "mine.py").write_text(text)
    arguments = ("train", pictures, "-m", "mobilenet_v3_small", *QUICK, "-o", tmp_path / "run")
    hswish_cli(*arguments, "--recipe", tmp_path / "mine.py").error(words)


def test_weights_of_another_network(
    pictures: Path, segmenter: Path, classifier: Path, tmp_path: Path, hswish_cli
) -> None:
    arguments = ("train", pictures, "-m", "mobilenet_v3_small", "--epochs", 1, "-o", tmp_path / "run", "--weights")
    hswish_cli(*arguments, segmenter).error(segmenter, "use --model lraspp_mobilenet_v3_small")
    other_width = (*arguments, classifier, "--width-mult", 0.5)  # without it, the weights' own is taken
    hswish_cli(*other_width).error(classifier, "has another shape; give the same options (--width-mult, ...)")
    hswish_cli(*arguments, tmp_path / "gone").error(tmp_path / "gone", "no such model file")


def test_a_model_for_the_other_task(made: Path, classifier: Path, segmenter: Path, hswish_cli) -> None:
    hswish_cli("eval", classifier, made / "scenes").error(made / "scenes", "segmentation, not classification")
    hswish_cli("eval", segmenter, made / "pictures").error(made / "pictures", "needs images/ and masks/")
    hswish_cli("eval", classifier, "digit-scenes").error("digit-scenes: is for segmentation", "use digits")
