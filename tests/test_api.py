"""The Python functions: check, compile, load, render, and what a notebook shows."""

from __future__ import annotations

from pathlib import Path

import archlang
import networkx
import pytest
from cli_harness import NET, needs_dot


def test_everything_that_is_promised_is_there():
    for name in archlang.__all__:
        assert getattr(archlang, name) is not None, name
    assert set(archlang.__all__) <= set(dir(archlang))
    with pytest.raises(AttributeError):
        archlang.nothing  # noqa: B018


def test_check_gives_a_report_and_raises_nothing(tmp_path):
    right = archlang.check(NET)
    assert right
    assert (len(right), right.networks, str(right)) == (0, ("Net",), "<text>: ok")
    wrong = archlang.check(NET.replace("linear(width)", "lineer(width)"))
    assert not wrong
    assert [d.code for d in wrong] == ["A0208"]
    assert "did you mean `linear`?" in str(wrong)
    with pytest.raises(archlang.ArchError):
        wrong.raise_if_failed()
    assert not archlang.check("nothing.arch")
    assert not archlang.check(tmp_path)
    (tmp_path / "net.arch").write_text(NET)
    assert archlang.check(tmp_path / "net.arch").networks == ("Net",)


def test_compile_takes_settings_and_counts():
    program = archlang.compile(NET, classes=5)
    assert program.name == "Net"
    assert program.parameters == {"classes": 5, "width": 8}
    assert program.count() == 4 * 8 + 8 + 8 * 5 + 5
    assert program.state == {"fc.weight": (8, 4), "fc.bias": (8,), "head.weight": (5, 8), "head.bias": (5,)}
    assert isinstance(program.graph, networkx.MultiDiGraph)
    assert archlang.compile(NET, parameters={"classes": 5}).state == program.state
    assert "linear(8)" in program.summary()
    assert "Net(classes=5, width=8), 85 parameters" in repr(program)


def test_python_is_the_module(tmp_path):
    import torch

    model = archlang.load(NET, classes=5)
    assert isinstance(model, torch.nn.Module)
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == archlang.compile(NET, classes=5).state
    namespace: dict = {}
    exec(archlang.compile(NET, classes=5).python(), namespace)
    twin = namespace["Net"]()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(3, 4)
    assert torch.equal(twin(x), model(x))


def test_weights_are_loaded(tmp_path):
    import torch
    from archlang.runtime.checkpoint import save_weights

    first = archlang.load(NET)
    save_weights(first, tmp_path / "w.safetensors")
    second = archlang.load(NET, weights=tmp_path / "w.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    with pytest.raises(archlang.ArchError):
        archlang.load(NET, weights=tmp_path / "w.safetensors", classes=7)
    with pytest.raises(archlang.ArchError):
        archlang.load(NET, weights=tmp_path / "none.safetensors")


def test_wrong_settings_are_messages():
    for settings in ({"clases": 3}, {"classes": "three"}, {"classes": -1}):
        with pytest.raises(archlang.ArchError):
            archlang.compile(NET, **settings)
    with pytest.raises(archlang.ArchError):
        archlang.compile(NET, "Other")
    with pytest.raises(archlang.ArchError):
        archlang.compile("no-such-spec")


def test_bundled_specs_by_name():
    assert archlang.compile("lenet5").count() == 61_706
    assert archlang.compile("LENET5", classes=26).count() == 61_706 + 16 * 85
    assert archlang.compile("resnet_cifar", "ResNet20").count() == 272_474
    assert archlang.compile("resnet_cifar:ResNet20").name == "ResNet20"


@needs_dot
def test_render_writes_and_returns(tmp_path):
    figure = archlang.render(NET, tmp_path / "net.svg", depth=1, theme="dark")
    assert isinstance(figure, str)
    assert (tmp_path / "net.svg").read_text() == figure
    assert archlang.compile(NET).render(format="png")[:4] == b"\x89PNG"
    with pytest.raises(archlang.ArchError):
        archlang.render(NET, tmp_path / "net.docx")


@needs_dot
def test_a_notebook_shows_the_figure():
    bundle = archlang.compile(NET)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "text/html"}
    assert "<svg" in bundle["image/svg+xml"]
    assert bundle["text/html"].startswith("<div")
    assert set(archlang.compile(NET)._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}


def test_a_notebook_without_graphviz_shows_text(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert set(archlang.compile(NET)._repr_mimebundle_()) == {"text/plain"}


def test_fit_evaluate_and_predict(tmp_path):
    program = archlang.compile("mlp", "IrisMLP")
    report = program.fit(tmp_path / "run", epochs=2, progress=False, device="cpu")
    assert report.epochs == 2
    found = program.evaluate(tmp_path / "run", device="cpu")
    assert found["accuracy"] == pytest.approx(report.metrics["test"]["accuracy"])
    table = tmp_path / "new.csv"
    names = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)"
    table.write_text(f"{names}\n5.1,3.5,1.4,0.2\n6.3,2.9,5.6,1.8\n")
    rows = program.predict(table, tmp_path / "run", device="cpu")
    assert len(rows) == 2
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-5 for row in rows)
    with pytest.raises(archlang.ArchError) as failure:
        archlang.compile(NET).fit(tmp_path / "x")
    assert failure.value.diagnostics[0].code == "A1216"


def test_typing_is_shipped():
    assert Path(archlang.__file__).with_name("py.typed").exists()
