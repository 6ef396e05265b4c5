"""`hswish info`: layers, drawing, published rows and notes, for people and for programs."""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hswish
from hswish.cli import info_drawing
from hswish.cli.info import parse_setting
from hswish.cli.info_drawing import bar, draws_blocks
from hswish.spec.architecture import MODEL_NAMES
from tests.cli.conftest import command, environment

ANSI_CODE = re.compile(r"\x1b\[[0-9;]*m")
BLOCKS = "▏▎▍▌▋▊▉█"


def told(hswish_cli: Any, *arguments: object) -> dict[str, Any]:
    values = json.loads(hswish_cli("info", *arguments, "--json").success().out)
    assert isinstance(values, dict)
    return values


def at_width(columns: int, *arguments: str, **environ: str) -> list[str]:
    """The lines that a terminal of so many columns shows."""
    code = f"""
import io, sys
from hswish.cli import run
class Terminal(io.TextIOWrapper):
    def isatty(self): return True
sys.stdout = Terminal(sys.stdout.buffer, encoding="utf-8", write_through=True)
sys.exit(run({["info", *arguments]!r}))
"""
    env = {**environment(), "COLUMNS": str(columns), "NO_COLOR": "1", **environ}
    done = subprocess.run([command()[0], "-c", code], capture_output=True, text=True, env=env, check=True, timeout=60)
    return [ANSI_CODE.sub("", line) for line in done.stdout.splitlines()]


# --- Budget --------------------------------------------------------------------------------


def test_json_accounts_for_everything(hswish_cli) -> None:
    values = told(hswish_cli, "mobilenet_v3_large")
    assert (values["parameters"], values["input"]) == (5_483_032, [3, 224, 224])
    for rows in (values["layers"], values["blocks"]):
        for key in ("parameters", "multiply_adds"):
            assert sum(row[key] for row in rows) == values[key]
            assert sum(row[f"{key}_share"] for row in rows) == pytest.approx(1)
            assert all(row[f"{key}_share"] == pytest.approx(row[key] / values[key]) for row in rows)
    names = [row["name"] for row in values["blocks"]]
    assert names[:2] == ["backbone.stem", "backbone.blocks.0"]
    assert names[-4:] == ["backbone.blocks.14", "backbone.last", "head.hidden", "head.classifier"]
    assert values["blocks"][-4]["output"] == [160, 7, 7]  # of the block's last layer


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_table_lists_every_layer(name: str, hswish_cli) -> None:
    values = told(hswish_cli, name)
    lines = hswish_cli("info", name).success().out.splitlines()
    for layer in values["layers"]:
        short = layer["name"].removeprefix("backbone.")
        (line,) = [line for line in lines if line.split(" ")[0] == short and " x " in line]
        assert " x ".join(map(str, layer["output"])) in line
        assert f" {layer['parameters']:,} " in line
        assert f" {layer['multiply_adds'] / 1e6:,.2f} " in line
        shares = re.findall(r"(\d+\.\d) %", line)
        assert shares == [f"{100 * layer[key]:.1f}" for key in ("parameters_share", "multiply_adds_share")]
    (total,) = [line for line in lines if line.startswith("total ")]
    assert f" {values['parameters']:,} " in total


def test_no_layers(hswish_cli) -> None:
    out = hswish_cli("info", "mobilenet_v3_small", "--no-layers").success().out
    assert "blocks.0.depthwise" not in out
    assert "blocks.0 " in out


# --- Drawing -------------------------------------------------------------------------------


def test_the_drawing_is_to_scale(hswish_cli) -> None:
    values = told(hswish_cli, "mobilenet_v3_small")
    out = hswish_cli("info", "mobilenet_v3_small", "--no-layers").success().out.splitlines()
    drawn = {line.split(" ")[0]: line for line in out if re.match(r"\S+ +\d+\.\d %", line)}
    assert list(drawn) == [row["name"].removeprefix("backbone.") for row in values["blocks"]]
    lengths: list[tuple[float, float]] = []
    for row in values["blocks"]:
        line = drawn[row["name"].removeprefix("backbone.")]
        found = re.fullmatch(rf"\S+ +(\d+\.\d) % ([{BLOCKS} ]*) +(\d+\.\d) %( [{BLOCKS}]+)?", line)
        assert found, line
        for share, percent, cells in (
            (row["parameters_share"], found[1], found[2]),
            (row["multiply_adds_share"], found[3], found[4] or ""),
        ):
            assert percent == f"{100 * share:.1f}"
            lengths.append((share, sum((BLOCKS.index(cell) + 1) / 8 for cell in cells.strip())))
    scale = max(length for _, length in lengths) / max(share for share, _ in lengths)
    assert scale * max(share for share, _ in lengths) > 15
    for share, length in lengths:
        assert length == pytest.approx(scale * share, abs=1 / 15)  # half an eighth, and rounding


def test_bars() -> None:
    assert bar(1, 6, fine=False) == "######"
    assert bar(0, 6, fine=False) == bar(0, 6, fine=True) == ""
    assert bar(1, 6, fine=True) == "██████"
    assert bar(0.5, 5, fine=True) == "██▌"
    assert bar(0.02, 6, fine=True) == "▏"


@pytest.mark.parametrize("language", ["ja_JP.UTF-8", "zh_CN.UTF-8", "ko_KR"])
def test_east_asian_terminals_get_plain_bars(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block characters are two columns wide in many of their fonts, which unicode calls ambiguous."""
    assert {unicodedata.east_asian_width(block) for block in info_drawing._EIGHTHS} == {"A"}
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_CTYPE", raising=False)
    monkeypatch.setenv("LANG", language)
    assert not draws_blocks()


def test_plain_bars_where_blocks_cannot_be_written(tmp_path: Path) -> None:
    env = {**environment(), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("info", "mobilenet_v3_small"), capture_output=True, cwd=tmp_path, env=env, check=True, timeout=60
    )
    assert b"##########" in done.stdout
    assert b"\\u" not in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(name: str, columns: int) -> None:
    lines = at_width(columns, name)
    assert max(map(len, lines)) <= columns
    assert max(map(len, lines)) > 0.8 * min(columns, 100)  # and uses it


def test_a_pipe_gets_eighty_columns(hswish_cli) -> None:
    for arguments in (("mobilenet_v3_small",), ("lraspp_mobilenet_v3_large", "--head", "fastseg")):
        assert max(map(len, hswish_cli("info", *arguments).success().out.splitlines())) <= 80


# --- Published rows ------------------------------------------------------------------------


def test_the_papers_row_stands_beside_ours(hswish_cli) -> None:
    out = hswish_cli("info", "mobilenet_v3_large").success().out
    assert re.search(r"^ +ours +ICCV 2019, Table 3 +difference", out, re.MULTILINE)
    assert re.search(r"^parameters +5,483,032 +5\.4M +\+1\.5 %", out, re.MULTILINE)
    assert re.search(r"^multiply-adds +216\.59M +219M +-1\.1 %", out, re.MULTILINE)
    assert re.search(r"^top-1, ImageNet +- +75\.2 %", out, re.MULTILINE)
    assert re.search(r"^torchvision, IMAGENET1K_V2 +5,483,032 +0\.217G +75\.274 %", out, re.MULTILINE)
    assert "- multiply-adds of Large: 219M (ICCV) against 217M" in out


def test_a_width_shows_its_own_row(hswish_cli) -> None:
    out = hswish_cli("info", "mobilenet_v3_small", "--width-mult", "0.75").success().out
    assert re.search(r"^parameters +2,041,872 +2\.4M +-14\.9 %", out, re.MULTILINE)
    assert re.search(r"^top-1, ImageNet +- +65\.4 %", out, re.MULTILINE)
    assert "--head-channels 1280 gives the paper's count" in out
    (row, *_) = told(hswish_cli, "mobilenet_v3_small", "--width-mult", "0.75", "--head-channels", "1280")["published"]
    assert (row["source"], row["top1"]) == ("ICCV 2019, Table 3", 65.4)
    assert row["difference"] == {"parameters": 0, "multiply_adds": 0}
    assert row["printed"] == {"parameters": "2.4M", "multiply_adds": "44M"}
    assert (row["parameters"], row["multiply_adds"]) == (2_400_000, 44_000_000)


@pytest.mark.parametrize(
    ("arguments", "source", "miou", "figures"),
    [
        ((), "ICCV 2019, Table 7, row 8", 72.36, r"parameters +1,507,198 +1\.51M +same"),
        (("--head-channels", "256"), "ICCV 2019, Table 7, row 7", 72.37, r"parameters +1,632,894 +1\.63M +same"),
        (("--head", "official"), "ICCV 2019, Table 7, row 8", 72.36, r"multiply-adds +9\.368B +9\.74B +-3\.8 %"),
        (("--head", "raspp"), "ICCV 2019, Table 7, row 6", 71.91, r"parameters +1,762,435 +1\.76M +same"),
        (("--head", "raspp", "--full-tail"), "ICCV 2019, Table 7, row 5", 72.64, r"parameters +3,600,963 +3\.60M"),
        (("--output-stride", "32"), "ICCV 2019, Table 8", 72.0, r"multiply-adds +7\.446B +7\.74B"),
    ],
)
def test_segmentation_rows(arguments: tuple[str, ...], source: str, miou: float, figures: str, hswish_cli) -> None:
    values = told(hswish_cli, "lraspp_mobilenet_v3_large", *arguments)
    row = values["published"][0]
    assert (row["source"], row["miou"], values["input"]) == (source, miou, [3, 1024, 2048])
    assert re.search(figures, hswish_cli("info", "lraspp_mobilenet_v3_large", *arguments).success().out)


def test_other_code_bases_networks_come_at_their_own_size(hswish_cli) -> None:
    values = told(hswish_cli, "lraspp_mobilenet_v3_large", "--head", "torchvision")
    assert values["input"] == [3, 520, 520]
    assert values["published"][0]["difference"] == {"parameters": 0, "multiply_adds": 0}
    out = hswish_cli("info", "lraspp_mobilenet_v3_large", "--head", "torchvision").success().out
    assert "no row of the paper is about this network" in out
    assert "57.9 %" in out


@pytest.mark.parametrize(
    "arguments",
    [("--width-mult", "0.6"), ("--num-classes", "10"), ("--set", "in_channels=1"), ("--reduced-tail",)],
)
def test_a_custom_network_has_no_row(arguments: tuple[str, ...], hswish_cli) -> None:
    outcome = hswish_cli("info", "mobilenet_v3_large", *arguments).success()
    assert "no published row is about this network" in outcome.out
    assert "ICCV 2019, Table 3" not in outcome.out
    assert told(hswish_cli, "mobilenet_v3_large", *arguments)["published"] == []


def test_another_size_has_no_row_and_says_which_have(hswish_cli) -> None:
    out = hswish_cli("info", "mobilenet_v3_large", "--size", "300").success().out
    assert "no published row is about this input size" in out
    assert "96x96" in out
    assert "256x256" in out
    assert "early arXiv, Table 9" in hswish_cli("info", "mobilenet_v3_large", "--size", "256").success().out


def test_no_torch_for_a_name(tmp_path: Path) -> None:
    code = (
        "import sys; from hswish.cli import run; run(['info', 'mobilenet_v3_small']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([command()[0], "-c", code], capture_output=True, env=environment(), cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr


# --- Files and options ---------------------------------------------------------------------


def test_a_file_tells_what_it_knows_and_what_is_published(tmp_path: Path, hswish_cli) -> None:
    model = hswish.create_model("mobilenet_v3_small")
    names = tuple(f"class {number}" for number in range(1000))
    model.describe(classes=names, metrics={"val": {"top1": 0.5}}, provenance={"data": "pictures"})
    hswish.save(model, tmp_path / "small.safetensors")
    out = hswish_cli("info", tmp_path / "small.safetensors").success().out
    assert re.search(r"^classes +class 0, class 1, ", out, re.MULTILINE)
    assert re.search(r"^val +top1 0\.5000$", out, re.MULTILINE)
    assert re.search(r"^data +pictures$", out, re.MULTILINE)
    assert re.search(r"^parameters +2,542,856 +2\.9M +-12\.3 %", out, re.MULTILINE)
    values = told(hswish_cli, tmp_path / "small.safetensors")
    assert values["classes"] == list(names)
    assert {"model", "task", "options", "input", "parameters", "multiply_adds", "source", "layers"} < values.keys()

    small = replace(model.preprocess, height=32, width=32)
    model.describe(classes=names, preprocess=small)
    hswish.save(model, tmp_path / "small.safetensors")
    assert told(hswish_cli, tmp_path / "small.safetensors")["input"] == [3, 32, 32]


def test_options_in_use_are_named(hswish_cli) -> None:
    out = hswish_cli("info", "mobilenet_v3_small", "--width-mult", "0.35", "--width-rule", "timm").success().out
    assert re.search(r"^options +width_mult 0\.35, width_rule timm$", out, re.MULTILINE)
    assert "1,358,808" in out
    assert not re.search("^options", hswish_cli("info", "mobilenet_v3_small").success().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=-1", -1),
        ("a=1.5", 1.5),
        ("a=1e-3", 0.001),
        ("a=true", True),
        ("a=False", False),
        ("a=none", None),
        ("a=same", "same"),
        ("a=", ""),
        ("a=b=c", "b=c"),
    ],
)
def test_settings(text: str, value: object) -> None:
    name, parsed = parse_setting(text)
    assert (name, parsed, type(parsed)) == ("a", value, type(value))


def test_any_option_can_be_set(hswish_cli) -> None:
    settings = ("width_mult=1.5", "depth_mult=1.2", "width_rule=timm", "padding=same", "bn_eps=1e-5")
    arguments = [word for setting in settings for word in ("--set", setting)]
    values = told(hswish_cli, "mobilenet_v3_large", *arguments)
    assert values["parameters"] == 14_622_320
    assert (values["options"]["padding"], values["options"]["bn_eps"]) == ("same", 1e-5)
    assert values["published"][0]["source"] == "timm, 150d.ra4_e3600_r256_in1k"
    assert values["input"] == [3, 256, 256]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "widthmult=1"), "unknown option 'widthmult'; did you mean width_mult"),
        (("--set", "width_mult"), "--set takes NAME=VALUE, as in --set in_channels=1, not 'width_mult'"),
        (("--set", "width_mult=wide"), "width_mult: above 0"),
        (("--set", "bn_eps=nan"), "bn_eps: above 0"),
        (("--width-mult", "1", "--set", "width_mult=2"), "width_mult is given twice"),
        (("--set", "width_mult=1", "--set", "width_mult=2"), "width_mult is given twice"),
        (("--width-rule", "caffe"), "width_rule: tensorflow, torchvision, timm, keras"),
        (("--head", "lraspp"), "head: only the lraspp_ models have one to choose"),
        (("--set", "head=[1]"), "head: only the lraspp_ models"),
        (("--head-channels", "0"), "head_channels must be 1 to 65536"),
    ],
)
def test_bad_options(arguments: tuple[str, ...], words: str, hswish_cli) -> None:
    outcome = hswish_cli("info", "mobilenet_v3_small", *arguments)
    outcome.error(words)
    assert not outcome.out


def test_an_unknown_head_offers_the_nearest(hswish_cli) -> None:
    hswish_cli("info", "lraspp_mobilenet_v3_small", "--head", "raspp2").error(
        "unknown head 'raspp2'; did you mean raspp"
    )
    hswish_cli("info", "lraspp_mobilenet_v3_small", "--set", "head=3").error("unknown head '3'")


def test_a_folder_of_its_name_hides_no_network(hswish_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here/mobilenet_v3_small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert "2,542,856" in hswish_cli("info", "mobilenet_v3_small").success().out
