"""train, eval and predict: a whole round, and what they say when something is wrong."""

from __future__ import annotations

import csv
import json

import pytest

IRIS = """\
network Iris(hidden: int = 8) {
  input x: [B, 4]
  target species: int[B]
  logits = x -> a: linear(hidden) -> relu -> b: linear(3)
  output logits
  loss nll = (logits, species) -> cross_entropy
}

train Iris on iris {
  optimizer adam(lr=1e-2)
  epochs 3
  batch 32
  metric accuracy
}
"""
FLOWERS = """\
sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)
5.1,3.5,1.4,0.2
6.3,2.9,5.6,1.8
"""


@pytest.fixture(autouse=True)
def specs(tmp_path):
    (tmp_path / "iris.arch").write_text(IRIS)
    (tmp_path / "bare.arch").write_text(IRIS.partition("train")[0])
    (tmp_path / "flowers.csv").write_text(FLOWERS)


def test_a_whole_round(run, tmp_path):
    done = run("train", "iris.arch", "-o", "run", "--device", "cpu")
    assert done.code == 0, done.err
    assert "epoch 3/3" in done.out
    assert "test" in done.out and "accuracy" in done.out
    assert done.out.endswith("weights  run/best.safetensors\nreport   run/report.json\ncurves   run/curves.png\n")
    report = json.loads((tmp_path / "run" / "report.json").read_text())

    done = run("eval", "iris.arch", "-w", "run", "--json", "--device", "cpu")
    found = json.loads(done.out)
    assert found["network"] == "Iris"
    assert found["metrics"]["accuracy"] == pytest.approx(report["metrics"]["test"]["accuracy"])
    shown = run("eval", "iris.arch", "-w", "run/best.safetensors", "--split", "train").out
    assert shown.startswith("Iris, train part of iris\n")

    rows = json.loads(run("predict", "iris.arch", "flowers.csv", "-w", "run", "--json").out)
    assert [sorted(row) for row in rows] == [["class", "input", "probabilities", "probability"]] * 2
    assert run("predict", "iris.arch", "flowers.csv", "-w", "run", "-o", "out.csv").code == 0
    with (tmp_path / "out.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["class"] for row in table] == [row["class"] for row in rows]
    text = run("predict", "iris.arch", "flowers.csv", "-w", "run").out
    assert text.splitlines()[0].split()[1] == rows[0]["class"]


def test_a_run_from_the_weights_of_another(run):
    assert run("train", "iris.arch", "-o", "first", "--epochs", "1", "--quiet").code == 0
    done = run("train", "iris.arch", "-o", "second", "-p", "hidden=4", "--init", "first", "--quiet")
    assert done.code == 1
    assert "A1103" in done.err and "--init-except a --init-except b" in done.err
    again = ("--init", "first", "--init-except", "b", "--epochs", "1", "--quiet")
    assert run("train", "iris.arch", "-o", "second", *again).code == 0
    assert "--init SOURCE" in run("train", "iris.arch", "--init-except", "b").err
    assert "`Iris` publishes" not in run("eval", "iris.arch", "-w", "nothing").err


def test_json_is_all_that_is_printed(run):
    done = run("train", "iris.arch", "-o", "run", "--json", "--epochs", "1")
    report = json.loads(done.out)
    assert (report["network"], report["epochs"]) == ("Iris", 1)


def test_a_run_goes_into_a_folder_of_its_own(run, tmp_path):
    for _ in range(2):
        assert run("train", "iris.arch", "--epochs", "1", "--quiet").code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["iris", "iris-2"]


def test_the_seed_decides_the_weights(run, tmp_path):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert (
            run("train", "iris.arch", "-o", folder, "--seed", seed, "--epochs", "1", "-q", "--device", "cpu").code == 0
        )
    a, b, c = ((tmp_path / folder / "best.safetensors").read_bytes() for folder in "abc")
    assert a[-400:] == b[-400:]
    assert a[-400:] != c[-400:]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "bare.arch"], 1, "error[A1216]"),
        (["train", "iris.arch", "--on", "wine"], 2, "error[A1217]"),
        (["train", "iris.arch", "--resume"], 2, "needs the folder"),
        (["train", "iris.arch", "--epochs", "0"], 2, "--epochs"),
        (["train", "iris.arch", "--device", "abacus"], 1, "error[A1042]"),
        (["train", "iris.arch", "-o", "run", "--data", "nothing.csv"], 1, "error[A10"),
        (["train", "iris.arch", "--resume", "-o", "empty"], 1, "error[A11"),
        (["train", "iris.arch", "-o", "flowers.csv"], 1, "error[A1104]"),
        (["eval", "iris.arch"], 2, "Missing option"),
        (["eval", "iris.arch", "-w", "nothing.safetensors"], 1, "error[A1101]"),
        (["eval", "iris.arch", "-w", "flowers.csv"], 1, "error[A1102]"),
        (["predict", "iris.arch", "flowers.csv", "-w", "flowers.csv"], 1, "error[A1102]"),
        (["predict", "iris.arch", "-w", "run"], 2, "Missing argument"),
        (["predict", "iris.arch", "flowers.csv", "-w", "run", "-o", "out.doc"], 2, ".csv or .json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said(run, arguments, code, said):
    done = run(*arguments)
    assert (done.code, "Traceback" in done.err) == (code, False), done.err
    assert said in done.err


@pytest.mark.parametrize(
    ("more", "on", "code", "said"),
    [
        (("iris",), (), 1, "`Iris` has 2 `train` blocks on `iris`, which `--on iris` does not tell apart"),
        (("iris",), ("--on", "iris"), 1, "`Iris` has 2 `train` blocks on `iris`"),
        (("iris", "wine"), (), 2, "they are on `iris`, `iris`, `wine`: say which, as in `--on wine`"),
    ],
)
def test_blocks_on_the_same_data(run, tmp_path, more, on, code, said):
    blocks = "".join(f"train Iris on {data} {{ epochs 1 }}\n" for data in more)
    (tmp_path / "iris.arch").write_text(IRIS + blocks)
    done = run("train", "iris.arch", *on)
    assert done.code == code
    assert "error[A1217]" in done.err
    assert said in done.err


def test_another_architecture_does_not_load(run):
    assert run("train", "iris.arch", "-o", "run", "--epochs", "1", "--quiet").code == 0
    done = run("eval", "iris.arch", "-p", "hidden=9", "-w", "run")
    assert done.code == 1
    assert "error[A1103]" in done.err
    assert "a.weight" in done.err


def test_weights_say_with_which_parameters_they_were_trained(run):
    assert run("train", "iris.arch", "-o", "run", "--epochs", "1", "--quiet", "-p", "hidden=9").code == 0
    done = run("predict", "iris.arch", "flowers.csv", "-w", "run")
    assert done.code == 1
    assert "else it was trained with `-p hidden=9`: repeat that" in " ".join(done.err.split())
    assert run("predict", "iris.arch", "flowers.csv", "-w", "run", "-p", "hidden=9").code == 0


def test_what_torch_refuses_is_told_at_its_place(run, tmp_path):
    text = """network V {
  input x: [B, 4]
  output y = x -> linear(4) -> sigmoid
  loss f = (y, x) -> bce
}
train V on iris { normalize none  epochs 1 }
"""
    (tmp_path / "v.arch").write_text(text)
    done = run("train", "v.arch", "-o", "run", "-q")
    assert done.code == 1
    assert "error[A1084]: this can't be computed: all elements of target should be between 0 and 1" in done.err
    assert "v.arch:4:22" in done.err
