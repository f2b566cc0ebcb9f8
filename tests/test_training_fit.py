"""Training itself: it learns, it is reproducible, it can be interrupted, and what it writes can be trusted."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from archlang.runtime import train as training
from archlang.runtime import workplace
from archlang.runtime.checkpoint import load_weights
from archlang.runtime.data import Preprocessing
from archlang.runtime.predict import evaluate, predict
from archlang.runtime.seeding import seed_all
from archlang.runtime.train import BEST, LAST, RESUME, fit
from processes import finished
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from training_harness import (
    PICTURES,
    Hand,
    classifier,
    compiled,
    interrupted_at,
    lenet,
    mlp,
    picture_folder,
    refused,
    regressor,
    same_weights,
    values,
)

DIGITS = """network Net { input x: [B, 1, 32, 32]  target y: int[B]
  out = x -> flatten -> linear(10)  output out  loss fit = (out, y) -> cross_entropy }"""


def quick(folder, body="epochs 2", network=None, data="iris", make=mlp, out="run", **options):
    """A short silent run: the module and the report."""
    program, plan = compiled(network or classifier(), data, body, folder)
    seed_all(options.get("seed") or plan.seed)
    module = make()
    report = fit(program, module, plan, out=folder / out, device="cpu", progress=False, **options)
    return module, report


@pytest.fixture
def written() -> None:
    """For tests that look at every file."""


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    """Drawing takes longer than most of these runs; the tests of what is written keep it."""
    if "written" not in request.fixturenames:
        monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


# ------------------------------------------------------------------ it learns


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lenet_reads_digits(seed, tmp_path):
    body = "optimizer adam(lr=1e-3) epochs 20 batch 64 augment shift(2) validation 0 metric accuracy"
    program, plan = compiled(DIGITS, "digits(size=32)", body, tmp_path)
    report = fit(program, lenet, plan, out=tmp_path / "run", device="cpu", progress=False, seed=seed)
    assert report.examples == {"train": 1438, "test": 359}
    assert report.parameters == 61_706
    assert report.metrics["test"]["accuracy"] >= 0.97


@pytest.mark.parametrize(
    ("data", "features", "classes", "least"),
    [("iris", 4, 3, 0.9), ("wine", 13, 3, 0.94), ("breast_cancer", 30, 2, 0.93)],
)
def test_tables_are_learned(data, features, classes, least, tmp_path):
    _, report = quick(
        tmp_path,
        "epochs 40 batch 16 optimizer adam(lr=1e-2) metric accuracy, f1, auroc",
        classifier(features, classes),
        data,
        lambda: mlp(features, classes),
    )
    assert report.metrics["test"]["accuracy"] >= least
    assert report.metrics["test"]["auroc"] >= 0.97


def test_diabetes_is_predicted(tmp_path):
    body = "epochs 60 batch 32 optimizer adam(lr=3e-2) metric r2, rmse, mae"
    _, report = quick(tmp_path, body, regressor(), "diabetes", values)
    told = report.metrics["test"]
    assert told["r2"] > 0.3  # a linear model reaches 0.4 to 0.5
    assert told["rmse"] == pytest.approx(told["loss"] ** 0.5, rel=1e-4)


def test_images_are_learned(tmp_path):
    picture_folder(tmp_path / "pics")

    def make():
        return Hand(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), F.cross_entropy)

    _, report = quick(tmp_path, "epochs 3 batch 4 workers 1", PICTURES, 'images("pics/")', make)
    assert report.metrics["test"]["accuracy"] == 1.0


def test_metrics_are_scikit_learns(tmp_path):
    from archlang.runtime.data import load
    from sklearn import metrics as sk

    body = "epochs 2 optimizer adam(lr=1e-2) metric accuracy, top5, f1, precision, recall, auroc"
    program, plan = compiled(classifier(13, 3), "wine", body, tmp_path)
    module = mlp(13, 3)
    report = fit(program, module, plan, out=tmp_path / "run", device="cpu", progress=False)
    data, parts, _ = load(program, plan)
    x, y = (t[torch.from_numpy(parts.test)] for t in data.tensors)
    with torch.no_grad():
        share = module.eval()(x).softmax(-1).numpy()
    guess, y = share.argmax(-1), y.numpy()
    expected = {
        "accuracy": sk.accuracy_score(y, guess),
        "top5": 1.0,
        "f1": sk.f1_score(y, guess, average="macro"),
        "precision": sk.precision_score(y, guess, average="macro", zero_division=0),
        "recall": sk.recall_score(y, guess, average="macro"),
        "auroc": sk.roc_auc_score(y, share, multi_class="ovr", average="macro"),
        "loss": sk.log_loss(y, share),
    }
    assert report.metrics["test"] == pytest.approx(expected, abs=1e-5)
    assert evaluate(program, module, plan, device="cpu") == pytest.approx(expected, abs=1e-5)


def test_the_loop_is_the_plain_loop(tmp_path):
    """The same weights as ten lines of PyTorch."""
    from archlang.runtime.data import load
    from archlang.runtime.data.feed import Feed

    body = "epochs 3 batch 16 validation 0 optimizer sgd(0.05, momentum=0.9) clip 0.5 accumulate 2"
    program, plan = compiled(classifier(), "iris", body, tmp_path)
    torch.manual_seed(0)
    ours, plain = mlp(), mlp()
    plain.load_state_dict(ours.state_dict())
    fit(program, ours, plan, out=tmp_path / "run", device="cpu", progress=False)
    data, parts, _ = load(program, plan)
    feed = Feed(data, parts.train, 16, torch.device("cpu"), shuffle=True, seed=0, even=True)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        batches = list(feed.epoch(epoch))
        for start in range(0, len(batches), 2):
            group = batches[start : start + 2]
            for x, y in group:
                (F.cross_entropy(plain.body(x), y) / len(group)).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_loss_weights_count(tmp_path):
    _, whole = quick(tmp_path, "epochs 1", out="a")
    _, half = quick(tmp_path, "epochs 1", make=lambda: Hand(mlp().body, F.cross_entropy, 0.5), out="b")
    assert half.history[0]["loss"] < 0.7 * whole.history[0]["loss"]


def test_bf16_trains(tmp_path):
    _, report = quick(tmp_path, "epochs 5 precision bf16 optimizer adam(lr=1e-2)")
    assert report.history[-1]["loss"] < report.history[0]["loss"]
    assert refused(lambda: quick(tmp_path, "precision fp16"))[0].code == "A1042"


def test_compiled_generated_module(tmp_path):
    from archlang.runtime.module import build

    body = "epochs 20 batch 16 optimizer adam(lr=1e-2)"
    program, plan = compiled(classifier(), "iris", body, tmp_path)
    report = fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    assert report.metrics["test"]["accuracy"] > 0.85
    assert sorted(load_file(tmp_path / "run" / BEST)) == sorted(build(program).state_dict())


# ------------------------------------------------------------------ it is reproducible


def test_same_seed_same_bits(tmp_path):
    def make():
        return mlp(drop=0.3)

    first, told = quick(tmp_path, "epochs 3 batch 16", make=make, out="a")
    second, again = quick(tmp_path, "epochs 3 batch 16", make=make, out="b")
    other, _ = quick(tmp_path, "epochs 3 batch 16", make=make, out="c", seed=1)
    assert same_weights(first, second)
    assert told.history == again.history
    assert not same_weights(first, other)
    for name in (BEST, LAST, RESUME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


SETTINGS = {
    "adam": "optimizer adam(lr=1e-2)",
    "momentum and cosine": "optimizer sgd(0.1, momentum=0.9, nesterov=true) schedule cosine(warmup=1)",
    "plateau": "optimizer rmsprop(1e-2) schedule plateau(patience=1)",
    "accumulation": "optimizer adamw accumulate 3 schedule onecycle clip 1.0",
    "early stop": "optimizer adam(lr=0.1) early_stop patience=2, metric=loss",
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("at", [4, 13], ids=["first epoch", "second epoch"])
def test_a_resumed_run_is_the_same_run(settings, at, tmp_path, monkeypatch):
    def make():
        return mlp(drop=0.3)

    body = f"epochs 5 batch 10 {settings}"
    whole, told = quick(tmp_path, body, make=make, out="whole")
    with interrupted_at(at, monkeypatch) as caught:
        quick(tmp_path, body, make=make, out="parts")
    assert caught.value.exit_code == 130
    assert caught.value.diagnostics[0].code == "A1045"
    torch.rand(7)  # resuming must not depend on the noise drawn meanwhile
    resumed, again = quick(tmp_path, body, make=make, out="parts", resume=True)
    assert same_weights(whole, resumed)
    assert told.history == again.history
    assert told.metrics == again.metrics
    for name in (BEST, LAST, RESUME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_augmentation_resumes_too(tmp_path, monkeypatch):
    picture_folder(tmp_path / "pics")

    def make():
        return Hand(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), F.cross_entropy)

    body = "epochs 3 batch 4 workers 0 augment shift(2), flip"
    whole, _ = quick(tmp_path, body, PICTURES, 'images("pics/")', make, out="whole")
    plain, _ = quick(tmp_path, "epochs 3 batch 4 workers 0", PICTURES, 'images("pics/")', make, out="plain")
    measure, calls = workplace.measure, [0]

    def interrupted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(training.Interrupted):
        patch.setattr(workplace, "measure", interrupted)
        quick(tmp_path, body, PICTURES, 'images("pics/")', make, out="parts")
    resumed, _ = quick(tmp_path, body, PICTURES, 'images("pics/")', make, out="parts", resume=True)
    assert same_weights(whole, resumed)
    assert not same_weights(whole, plain)


def test_a_finished_run_can_go_on(tmp_path):
    longer, _ = quick(tmp_path, "epochs 4", out="a")
    quick(tmp_path, "epochs 2", out="b")
    resumed, report = quick(tmp_path, "epochs 4", out="b", resume=True)
    assert report.epochs == 4
    assert same_weights(longer, resumed)


def test_resuming_with_other_settings_is_refused(tmp_path):
    quick(tmp_path, "epochs 1")
    (found,) = refused(lambda: quick(tmp_path, "epochs 1 batch 7", resume=True))
    assert (found.code, found.span.text) == ("A1106", "7")
    (found,) = refused(lambda: quick(tmp_path, "epochs 1", out="nothing", resume=True))
    assert found.code == "A1105"
    (tmp_path / "run" / RESUME).write_bytes((tmp_path / "run" / LAST).read_bytes())
    assert refused(lambda: quick(tmp_path, "epochs 1", resume=True))[0].code == "A1105"
    (tmp_path / "run" / RESUME).write_bytes(b"junk" * 100)
    assert refused(lambda: quick(tmp_path, "epochs 1", resume=True))[0].code == "A1102"


# ------------------------------------------------------------------ it ends well


def test_divergence_is_named_and_the_last_good_weights_stay(tmp_path):
    calls = [0]

    def loss(out, y):
        calls[0] += 1
        return F.cross_entropy(out, y) * (float("nan") if calls[0] == 18 else 1.0)

    # 105 training rows in batches of 10: 11 steps and a validation batch an epoch; call 18 is batch 6 of the second
    (found,) = refused(lambda: quick(tmp_path, "epochs 3 batch 10", make=lambda: Hand(mlp().body, loss)))
    assert found.code == "A1040"
    assert "epoch 2, batch 6" in found.message
    assert LAST in found.help
    kept = mlp()
    load_weights(kept, tmp_path / "run" / LAST)
    assert all(bool(torch.isfinite(p).all()) for p in kept.parameters())


def test_infinite_weights_are_caught(tmp_path):
    (found,) = refused(lambda: quick(tmp_path, "epochs 1 optimizer sgd(1e38)"))
    assert found.code == "A1040"


def test_a_folder_that_is_closed(tmp_path):
    (tmp_path / "run").write_text("a file")
    (found,) = refused(lambda: quick(tmp_path))
    assert found.code == "A1104"


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    quick(tmp_path, "epochs 1")
    before = (tmp_path / "run" / LAST).read_bytes()
    import safetensors.torch

    write = safetensors.torch.save_file

    def half(tensors, path, metadata=None):
        write(tensors, path, metadata)
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    (found,) = refused(lambda: quick(tmp_path, "epochs 2", resume=True))
    assert (found.code, "no space left" in found.message) == ("A1104", True)
    assert (tmp_path / "run" / LAST).read_bytes() == before
    assert [p for p in (tmp_path / "run").iterdir() if p.suffix == ".part"] == []


def test_early_stop_keeps_the_best(tmp_path):
    module, report = quick(tmp_path, "epochs 200 batch 8 optimizer adam(lr=0.05) early_stop patience=3, metric=loss")
    assert report.stopped_early
    assert report.epochs < 200
    best = load_file(tmp_path / "run" / BEST)
    assert all(torch.equal(v, best[k]) for k, v in module.state_dict().items())
    ranks = [(-row["validation accuracy"], row["validation loss"]) for row in report.history]
    assert report.best_epoch == ranks.index(min(ranks)) + 1


def test_a_device_that_is_not_there(tmp_path):
    program, plan = compiled(classifier(), "iris", "", tmp_path)
    for device in ("tpu", "cuda:99", "cuda:x"):
        assert refused(lambda d=device: fit(program, mlp, plan, out=tmp_path / "r", device=d))[0].code == "A1042"


# ------------------------------------------------------------------ what it writes and says


@pytest.mark.usefixtures("written")
def test_files_and_report(tmp_path):
    _, report = quick(tmp_path, "epochs 2 metric accuracy", metadata={"spec_hash": "abc"})
    names = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert names == [BEST, "curves.png", LAST, "logs", "report.json", RESUME]
    assert (tmp_path / "run" / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert told["metrics"]["test"]["accuracy"] == report.metrics["test"]["accuracy"]
    assert [row["epoch"] for row in told["history"]] == [1, 2]
    metadata = load_weights(mlp(), tmp_path / "run" / BEST)
    assert (metadata["program"], metadata["spec_hash"], metadata["seed"]) == ("Net", "abc", "0")
    assert Preprocessing.model_validate_json(metadata["preprocessing"]).classes == ("setosa", "versicolor", "virginica")


def test_tensorboard_has_the_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, report = quick(tmp_path, "epochs 3")
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    logged = [e.value for e in events.Scalars("validation/loss")]
    assert logged == pytest.approx([row["validation loss"] for row in report.history], rel=1e-6)


def test_plain_lines_and_table(tmp_path, capsys):
    program, plan = compiled(classifier(), "iris", "epochs 2", tmp_path)
    fit(program, mlp, plan, out=tmp_path / "run", device="cpu", console=Console(width=100))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/2  loss ")
    assert "validation loss" in lines[0]
    assert any(line.split()[:2] == ["test", "30"] for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_live_bar_in_a_terminal(tmp_path):
    import io

    screen = io.StringIO()
    program, plan = compiled(classifier(), "iris", "epochs 2", tmp_path)
    console = Console(file=screen, force_terminal=True, width=100)
    fit(program, mlp, plan, out=tmp_path / "run", device="cpu", console=console)
    assert "\x1b[" in screen.getvalue()
    assert "epoch 2/2" in screen.getvalue()


# ------------------------------------------------------------------ prediction


def test_rows_of_a_table(tmp_path):
    import pandas as pd
    from sklearn.datasets import load_iris

    bunch = load_iris()
    frame = pd.DataFrame(bunch.data, columns=bunch.feature_names)
    frame[::-1].iloc[:, ::-1].to_csv(tmp_path / "new.csv", index=False)  # other order of rows and columns
    module, _ = quick(tmp_path, "epochs 40 optimizer adam(lr=1e-2) batch 16")
    program, _ = compiled(classifier(), "iris", "", tmp_path)
    prep = Preprocessing.model_validate_json(load_weights(module, tmp_path / "run" / BEST)["preprocessing"])
    rows = predict(program, module, tmp_path / "new.csv", prep, device="cpu")
    assert rows[0]["input"] == "new.csv:2"
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    right = [row["class"] == bunch.target_names[t] for row, t in zip(rows, bunch.target[::-1], strict=True)]
    assert np.mean(right) > 0.9


def test_pictures_and_arrays(tmp_path):
    picture_folder(tmp_path / "pics")

    def make():
        return Hand(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), F.cross_entropy)

    module, _ = quick(tmp_path, "epochs 3 batch 4 workers 0", PICTURES, 'images("pics/")', make)
    program, _ = compiled(PICTURES, 'images("pics/")', "", tmp_path)
    prep = Preprocessing.model_validate_json(load_weights(module, tmp_path / "run" / BEST)["preprocessing"])
    rows = predict(program, module, [tmp_path / "pics" / "dark" / "00.png", tmp_path / "pics" / "light"], prep)
    assert [row["class"] for row in rows] == ["dark"] + ["light"] * 12
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 3, 16, 16), np.float32))
    assert len(predict(program, module, tmp_path / "a.npz")) == 3


def test_a_number_for_every_row(tmp_path):
    (tmp_path / "new.csv").write_text("a,b\n1,2\n3,4\n")
    program, _ = compiled(regressor(2), "diabetes", "", tmp_path)
    module = values(2)
    with torch.no_grad():
        expected = module(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    rows = predict(program, module, tmp_path / "new.csv", device="cpu")
    assert [row["value"] for row in rows] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("gone.csv", None, "A1010"),
        ("a.csv", "a,b\n1,2\n", "A1023"),
        ("a.csv", "a,b,c,d\n1,2,3,x\n", "A1019"),
        ("a.npz", "x", "A1020"),
        ("a.png", "x", "A1015"),
    ],
)
def test_inputs_that_do_not_fit(name, content, code, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    program, _ = compiled(classifier(), "iris", "", tmp_path)
    assert refused(lambda: predict(program, mlp(), tmp_path / name, device="cpu"))[0].code == code


# ------------------------------------------------------------------ several processes


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    body = "epochs 3 batch 10 accumulate 2 validation 0.2 optimizer sgd(0.1, momentum=0.9) metric accuracy, auroc"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from training_harness import compiled, classifier, mlp
        from archlang.runtime.train import fit
        folder = Path({str(tmp_path)!r})
        program, plan = compiled(classifier(), "iris", {body!r}, folder)
        fit(program, mlp, plan, out=folder / "run2", device="cpu", processes=2, progress=False)
        """)
    )
    done = finished([sys.executable, str(script)], timeout=240)
    assert done.returncode == 0, done.stderr
    program, plan = compiled(classifier(), "iris", body, tmp_path)
    fit(program, mlp, plan, out=tmp_path / "run1", device="cpu", progress=False)
    one, two = (json.loads((tmp_path / f"run{n}" / "report.json").read_text()) for n in (1, 2))
    left, right = (load_file(tmp_path / f"run{n}" / LAST) for n in (1, 2))
    for key in left:
        assert torch.allclose(left[key], right[key], atol=1e-5), key
    for part in ("train", "validation", "test"):
        assert one["metrics"][part] == pytest.approx(two["metrics"][part], abs=1e-5)
