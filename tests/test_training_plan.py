"""What a `train` block may say, and what it is told when it says something else."""

from __future__ import annotations

import pytest
from archlang.compiler.diagnostics import suggest
from archlang.compiler.training import OPTIMIZERS, SCHEDULES, settings
from training_harness import classifier, compiled, refused, regressor


def test_everything_said(tmp_path):
    body = """
      optimizer sgd(0.1, momentum=0.9, nesterov=true)   schedule cosine(warmup=2, floor=0.01)
      epochs 7   batch 2 ** 5   accumulate 2   validation 0.25   test 0.1   seed 3   split_seed 4
      metric f1, accuracy   early_stop patience=3, metric=loss   clip 1.0   precision bf16
      augment shift(2), flip
      workers 0   shuffle false   normalize none   init "w.safetensors" except linear2, `linear1.bias`
    """
    _, plan = compiled(classifier(), "iris", body, tmp_path)
    told = plan.as_dict()
    stated = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0, "decay_norms": True, "kind": "sgd"}
    assert told["optimizer"] == stated
    assert told["schedule"] == {"warmup": 2, "floor": 0.01, "kind": "cosine"}
    assert (plan.epochs, plan.batch, plan.accumulate, plan.validation, plan.test) == (7, 32, 2, 0.25, 0.1)
    assert (plan.seed, plan.split_seed, plan.metric, plan.clip) == (3, 4, ("f1", "accuracy"), 1.0)
    assert told["early_stop"] == {"patience": 3, "metric": "loss", "least": 0.0}
    assert (plan.precision, plan.workers, plan.shuffle, plan.normalize) == ("bf16", 0, False, "none")
    assert told["augment"] == ({"pixels": 2, "kind": "shift"}, {"kind": "flip"})
    assert told["init"] == {"file": "w.safetensors", "excepted": ("linear2", "linear1.bias")}


def test_defaults_come_from_the_task(tmp_path):
    assert compiled(classifier(), "iris", "", tmp_path)[1].metric == ("accuracy",)
    assert compiled(regressor(), "diabetes", "", tmp_path)[1].metric == ("mse",)


def test_one_phase_is_the_block_itself(tmp_path):
    _, plan = compiled(classifier(), "iris", "batch 8 phase only { epochs 3 optimizer adamw(lr=1e-2) }", tmp_path)
    assert (plan.batch, plan.epochs, plan.optimizer.kind, plan.optimizer.lr) == (8, 3, "adamw", 1e-2)


def test_phases_add_to_the_block(tmp_path):
    body = """
      optimizer adamw(lr=1e-4, decay_norms=false)  batch 8  freeze linear1.bias
      phase head { freeze all except linear2  epochs 2  optimizer sgd(0.1) }
      phase all  { lr linear1=1e-5, `linear2.bias`=1e-3  epochs 3 }
    """
    _, plan = compiled(classifier(), "iris", body, tmp_path)
    head, rest = plan.stages
    assert (head.name, head.epochs, head.batch, head.optimizer.kind) == ("head", 2, 8, "sgd")
    assert head.freeze.as_dict() == {"paths": (), "all": True, "excepted": ("linear2",)}
    assert [head.freeze.covers(key) for key in ("linear1.weight", "linear2.bias")] == [True, False]
    assert (rest.name, rest.epochs, rest.optimizer.decay_norms) == ("all", 3, False)
    assert rest.freeze.paths == ("linear1.bias",)
    assert rest.lr == (("linear1", 1e-5), ("linear2.bias", 1e-3))
    assert plan.epochs == 5


WRONG = [
    ("epoch 3", "A1001", "epoch", "epochs"),
    ("epochs 3 epochs 4", "A1002", "epochs", "twice"),
    ("batch 0", "A1003", "0", "greater than or equal to 1"),
    ("batch 2.5", "A1003", "2.5", "integer"),
    ("epochs true", "A1003", "true", "integer"),
    ("validation 1.5", "A1003", "1.5", "less than 1"),
    ("clip -1", "A1003", "-1", "greater than 0"),
    ("batch 3, 4", "A1003", "batch 3, 4", "one value"),
    ("batch size=3", "A1003", "batch size=3", "batch 1"),
    ("batch 3 except linear1", "A1003", "linear1", "except"),
    ("init 3", "A1003", "3", "quotes"),
    ("optimizer adamm(lr=1e-3)", "A1004", "adamm", "adam"),
    ("optimizer 3", "A1004", "3", "optimizer"),
    ("precision fp8", "A1004", "fp8", "fp32"),
    ("metric acuracy", "A1004", "acuracy", "accuracy"),
    ("schedule cosin", "A1004", "cosin", "cosine"),
    ("optimizer adam(rate=1e-3)", "A1005", "rate=1e-3", "lr"),
    ("optimizer adam(lr=-1)", "A1005", "-1", "greater than 0"),
    ("optimizer adam(betas=[0.9])", "A1005", "[0.9]", "betas"),
    ("optimizer adam(lr=1, lr=2)", "A1005", "lr=2", "twice"),
    ("optimizer rmsprop(1, 0, 1, 0, 0, true, 7)", "A1005", "7", "6 settings"),
    ("schedule step", "A1005", "step", "every"),
    ("augment flop", "A1004", "flop", "flip"),
    ("augment shift", "A1005", "shift", "pixels"),
    ("early_stop patience=0", "A1005", "0", "greater than or equal to 1"),
    ("early_stop true", "A1003", "true", "1 or more"),
    ("metric r2", "A1006", "r2", "accuracy"),
    ("early_stop metric=mse", "A1006", "early_stop metric=mse", "regression"),
    ("validation 0.5 test 0.5", "A1007", "0.5", "nothing is left"),
    ("validation 0 early_stop 3", "A1007", "3", "validation"),
    ("validation 0 schedule plateau", "A1007", "plateau", "validation"),
    ("epochs foo", "A0201", "foo", "foo"),
    ("set resolution=8", "A0911", "set", "set"),
    ("fade alpha=2", "A0912", "alpha=2", "no input `alpha`"),
    ("freeze all except linear3", "A1008", "linear3", "linear2"),
    ("freeze liner1", "A1008", "liner1", "linear1"),
    ("freeze linear1.wieght", "A1008", "linear1.wieght", "linear1.weight"),
    ('init "w.safetensors" except fc', "A1008", "fc", "`Net` has `linear1`, `linear2`"),
    ("freeze all", "A1009", "all", "nothing is left"),
    ("freeze linear1, linear2", "A1009", "linear1", "nothing is left"),
    ("freeze linear1 except linear2", "A1009", "linear2", "exception"),
    ("freeze all, linear1", "A1003", "all", "alone"),
    ("freeze none except linear1", "A1003", "linear1", "except"),
    ("freeze 3", "A1003", "3", "layer4.0"),
    ("lr 1e-3", "A1003", "lr 1e-3", "optimizer"),
    ("lr linear9=1e-3", "A1008", "linear9", "linear"),
    ("lr linear1.weigth = 1e-3", "A1008", "linear1.weigth", "linear1.weight"),
    ("lr linear1=-1", "A1003", "-1", "above 0"),
    ("lr linear1=1, linear1=2", "A1002", "linear1", "two"),
    ("freeze linear1 lr linear1.bias=1", "A1007", "linear1.bias=1", "frozen"),
    ("phase a { epochs 1 } phase a { epochs 2 }", "A1032", "a", "two phases"),
    ("phase a { epochs 1 } phase b { batch 2 }", "A1033", "b", "epochs"),
    ("phase a { epochs 1 seed 2 } phase b { epochs 2 }", "A1034", "seed", "before"),
    ("phase a { epochs 1 freeze fc } phase b { epochs 2 }", "A1008", "fc", "linear1"),
    ("epochs 1 phase a { batch 0 } phase b { batch 2 }", "A1003", "0", "greater than or equal to 1"),
    ("class_weights [1, 2]", "A1035", "[1, 2]", "3 classes"),
    ("class_weights [0, 0, 0]", "A1035", "[0, 0, 0]", "nothing is left"),
    ("class_weights [1, -2, 1]", "A1003", "[1, -2, 1]", "greater than"),
    ("class_weights even", "A1004", "even", "balanced"),
    ("sampler even", "A1004", "even", "balanced"),
    ("frozen_stats drop", "A1004", "drop", "keep"),
    ("augment color_jitter", "A1005", "color_jitter", "brightness"),
    ("augment random_resized_crop(scale=[0.9, 0.1])", "A1005", "random_resized_crop(scale=[0.9, 0.1])", "greater"),
    ("augment rotate(200)", "A1005", "200", "180"),
]


@pytest.mark.parametrize(("body", "code", "place", "says"), WRONG, ids=[w[0] for w in WRONG])
def test_wrong_settings(body, code, place, says, tmp_path):
    (found,) = refused(lambda: compiled(classifier(), "iris", body, tmp_path))
    assert (found.code, found.span.text) == (code, place)
    assert says in f"{found.message} {found.help}"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("iriss", "iriss"),
        ("digits(sizes=3)", "sizes=3"),
        ("digits(size=1)", "1"),
        ('csv("a.csv")', 'csv("a.csv")'),
        ('csv("a.csv", target="y", features=["a", 3])', '["a", 3]'),
        ("iris(3)", "3"),
    ],
)
def test_wrong_data_sources(data, place, tmp_path):
    (found,) = refused(lambda: compiled(classifier(), data, "", tmp_path))
    assert found.code in ("A1004", "A1005")
    assert found.span.text == place


def test_all_mistakes_at_once(tmp_path):
    found = refused(lambda: compiled(classifier(), "iriss", "epoch 3\nbatch 0\noptimizer adamm", tmp_path))
    assert [d.code for d in found] == ["A1004", "A1001", "A1003", "A1004"]


def test_regression_refuses_accuracy(tmp_path):
    (found,) = refused(lambda: compiled(regressor(), "diabetes", "metric accuracy", tmp_path))
    assert found.code == "A1006"
    assert "`mse`" in found.help


def test_every_setting_is_described():
    from archlang.compiler.training_plan import TrainPlan

    parts = [*OPTIMIZERS.values(), *SCHEDULES.values(), TrainPlan]
    blank = [f"{p.__name__}.{n}" for p in parts for n, f in p.model_fields.items() if n != "kind" and not f.description]
    assert blank == []
    assert suggest("epoch", settings()) == "epochs"
