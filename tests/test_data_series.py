"""Time series: windows, scaling, gaps and parts, beside the same computed with pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from archlang.runtime.data import load
from archlang.runtime.module import build
from archlang.runtime.predict import evaluate
from archlang.runtime.train import fit
from sequence_harness import batches, forecaster, written
from training_harness import compiled, refused


def frame(rows: int = 200) -> pd.DataFrame:
    draw = np.random.RandomState(0)
    t = np.arange(rows)
    days = pd.date_range("2020-01-01", periods=rows).strftime("%Y-%m-%d")
    return pd.DataFrame(
        {
            "day": days,
            "a": 20 + 5 * np.sin(t / 4) + draw.normal(0, 0.3, rows),
            "b": t * 0.5,
            "c": draw.normal(0, 1, rows),
        }
    )


def read(network, data, body, folder):
    program, plan = compiled(network, data, body, folder)
    return load(program, plan)


def by_hand(table: np.ndarray, answers: np.ndarray, window: int, horizon: int, begin: int, end: int):
    """Every window whose targets lie in [begin, end)."""
    firsts = [t for t in range(begin, end - horizon + 1) if t >= window]
    x = np.stack([table[t - window : t] for t in firsts])
    y = np.stack([answers[t : t + horizon] for t in firsts])
    return x, y


@pytest.mark.parametrize("normalize", ["", "normalize none"])
def test_windows_and_scaling_are_pandas(normalize, tmp_path):
    table = frame()
    table.to_csv(tmp_path / "s.csv", index=False)
    source = 'series("s.csv", columns=["a", "b"], targets=["b", "c"], time="day")'
    data, parts, _ = read(forecaster(12, 3, 2, 2), source, normalize, tmp_path)
    past = table.iloc[:140]
    if not normalize:
        table = (table[["a", "b", "c"]] - past[["a", "b", "c"]].mean()) / past[["a", "b", "c"]].std(ddof=0)
    for part, begin, end in (("train", 0, 140), ("validation", 140, 160), ("test", 160, 200)):
        x, y = by_hand(table[["a", "b"]].to_numpy(float), table[["b", "c"]].to_numpy(float), 12, 3, begin, end)
        seen, wanted = (torch.cat(c).numpy() for c in zip(*batches(data, parts, 7, part), strict=True))
        assert seen.shape == x.shape
        assert np.allclose(seen, x, atol=1e-5)
        assert np.allclose(wanted, y, atol=1e-5)
    if not normalize:
        assert data.preprocessing.mean == pytest.approx(past[["a", "b"]].mean().tolist())
        assert data.preprocessing.answer_std == pytest.approx(past[["b", "c"]].std(ddof=0).tolist())
        new = torch.tensor(past[["a", "b"]].to_numpy(np.float32))[None]
        scaled = table[["a", "b"]].iloc[:140].to_numpy()
        assert np.allclose(data.preprocessing.apply(new)[0].numpy(), scaled, atol=1e-5)


def test_one_column_needs_no_axis_of_its_own(tmp_path):
    frame().to_csv(tmp_path / "s.csv", index=False)
    data, parts, _ = read(forecaster(10, 4), 'series("s.csv", ["a"], stride=5)', "", tmp_path)
    x, y = batches(data, parts, 100)[0]
    assert (x.shape[1:], y.shape[1:]) == ((10,), (4,))
    assert np.array_equal(np.diff(parts.train), np.full(len(parts.train) - 1, 5))
    single = """network Net { input values: [B, 10, 1]  target future: [B]
      out = values -> flatten -> linear(1) -> rearrange("b 1 -> b")  output out  loss fit = (out, future) -> mse }"""
    data, parts, _ = read(single, 'series("s.csv", ["a"])', "", tmp_path)
    x, y = batches(data, parts, 5)[0]
    assert (x.shape, y.shape) == ((5, 10, 1), (5,))


@pytest.mark.parametrize("how", ["previous", "interpolate"])
def test_gaps_are_filled_from_no_later_part(how, tmp_path):
    table = frame()
    gaps = [5, 6, 7, 50, 138, 139, 140, 158, 159, 199]
    table.loc[gaps, "a"] = np.nan
    table.to_csv(tmp_path / "s.csv", index=False)
    source = f'series("s.csv", ["a"], window=4, horizon=1, missing="{how}")'
    data, parts, _ = read(forecaster(4, 1), source, "normalize none", tmp_path)
    pieces, done = [], 0
    for end in (140, 160, 200):  # what fills a gap is known by the end of its part
        known = table["a"].iloc[:end]
        full = known.ffill() if how == "previous" else known.interpolate(limit_area="inside").ffill()
        pieces.append(full.iloc[done:])
        done = end
    expected = pd.concat(pieces).to_numpy(np.float32)
    x = torch.cat(
        [torch.cat([b[0] for b in batches(data, parts, 64, p)])[:, 0] for p in ("train", "validation", "test")]
    )
    assert np.allclose(x.numpy(), expected[: len(x)], atol=1e-6)


SKILL = "epochs 4 batch 16 optimizer adam(lr=1e-2) metric mae, rmse, skill, r2"


def test_metrics_are_in_the_units_of_the_file(tmp_path):
    table = frame()
    table.to_csv(tmp_path / "s.csv", index=False)
    network = forecaster(12, 3, 2, 2)
    source = 'series("s.csv", ["a", "b"], season=5)'
    program, plan = compiled(network, source, SKILL, tmp_path)
    made = []

    def make():
        made.append(build(program))
        return made[-1]

    report = fit(program, make, plan, out=tmp_path / "run", device="cpu", progress=False)
    data, parts, _ = load(program, plan)
    x = torch.cat([batch[0] for batch in batches(data, parts, 50, "test")])
    with torch.no_grad():
        guess = made[0].eval()(x)
    prep = data.preprocessing
    ours = (guess * torch.tensor(prep.answer_std) + torch.tensor(prep.answer_mean)).numpy()
    raw = table[["a", "b"]].to_numpy()
    _, truth = by_hand(raw, raw, 12, 3, 160, 200)
    naive = np.stack([np.stack([raw[t - 5 + j % 5] for j in range(3)]) for t in range(160, 198)])
    found = report.metrics["test"]
    assert found["mae"] == pytest.approx(np.abs(ours - truth).mean(), rel=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt(((ours - truth) ** 2).mean()), rel=1e-4)
    assert found["skill"] == pytest.approx(1 - np.abs(ours - truth).mean() / np.abs(naive - truth).mean(), rel=1e-4)
    assert evaluate(program, made[0], plan, device="cpu") == pytest.approx(found, rel=1e-5)


def test_sunspots_and_co2(tmp_path):
    datasets = pytest.importorskip("statsmodels.datasets")
    data, parts, _ = read(forecaster(33, 11), "sunspots(season=11)", "normalize none", tmp_path)
    spots = datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    x, y = by_hand(spots, spots, 33, 11, 0, 309 - round(30.9) - round(61.8))
    seen, wanted = batches(data, parts, 1000)[0]
    assert np.allclose(seen.numpy(), x)
    assert np.allclose(wanted.numpy(), y)
    program, plan = compiled(forecaster(52, 4), "co2(season=52)", "epochs 2 metric skill", tmp_path)
    report = fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    assert report.metrics["test"]["skill"] < 1
    (found,) = refused(lambda: read(forecaster(52, 4), 'co2(missing="refuse")', "", tmp_path))
    assert (found.code, "row 7" in found.message, "59 such" in found.message) == ("A1018", True, True)


def test_the_adding_problem(tmp_path):
    network = """network Net { input x: [B, 30, 2]  target y: [B]
      out = x -> flatten -> linear(1) -> rearrange("b 1 -> b")  output out  loss fit = (out, y) -> mse }"""
    data, parts, _ = read(network, "adding_problem(examples=500)", "", tmp_path)
    x, y = (t.numpy() for t in data.tensors)
    assert x.shape == (500, 30, 2)
    assert (len(parts.train), len(parts.test)) == (350, 100)
    assert set(np.unique(x[:, :, 1])) == {0.0, 1.0}
    marked = x[:, :, 1] == 1
    assert (marked[:, :15].sum(1) == 1).all()
    assert (marked[:, 15:].sum(1) == 1).all()
    assert 0 <= x[:, :, 0].min() < 0.01
    assert 0.99 < x[:, :, 0].max() <= 1
    assert np.allclose(y, (x[:, :, 0] * marked).sum(1), atol=1e-6)
    assert abs(((y - 1) ** 2).mean() - 1 / 6) < 0.03
    again, _, _ = read(network, "adding_problem(examples=500)", "seed 5", tmp_path)
    other, _, _ = read(network, "adding_problem(examples=500)", "split_seed 5", tmp_path)
    assert torch.equal(again.tensors[0], data.tensors[0])
    assert not torch.equal(other.tensors[0], data.tensors[0])


def test_a_table_with_other_separators_and_dates(tmp_path):
    rows = "".join(f"{i // 12 + 1990}-{i % 12 + 1:02};{i},\n".replace(",", "") for i in range(80))
    written(tmp_path, "s.csv", "month;v\n" + rows)
    source = 'series("s.csv", ["v"], window=6, horizon=2, separator=";", time="month")'
    data, _, _ = read(forecaster(6, 2), source, "", tmp_path)
    assert data.origin == 'series("s.csv")'
