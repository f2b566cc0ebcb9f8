"""What places of bundled convolutional networks see, by gradients, equals what is proved: all of it and no more."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from archlang.compiler.analysis.biases import claiming
from archlang.compiler.frontend import Checked, check_source
from archlang.compiler.source import Source
from archlang.runtime.audit.bench import Bench
from archlang.runtime.audit.space import footprint
from archlang.runtime.audit.windows import windows_of

FOLDER = Path(str(resources.files("archlang.specs"))) / "cnn"
CHEAP = [
    "lenet5:LeNet5",
    "resnet_cifar:ResNet20",
    "alexnet:AlexNet",
    "squeezenet:SqueezeNet1_1",
    "mobilenet_v1:MobileNetV1_050_160",
    "vgg:VGG11",
    "resnet:ResNet18",
]
DEAR = [
    "resnet_cifar:ResNet110",
    "googlenet:GoogLeNet",
    "inception_v3:InceptionV3",
    "mobilenet_v1:MobileNetV1_100",
    "mobilenet_v2:MobileNetV2_100",
    "vgg:VGG16BN",
    "vgg:VGG19",
    "resnet:ResNet50",
    "resnet:ResNeXt50_32x4d",
    "densenet:DenseNet121",
    "convnext:ConvNeXtTiny",
]


@cache
def checked(spec: str) -> Checked:
    file = FOLDER / f"{spec}.arch"
    return check_source(Source(file.read_text(encoding="utf-8"), file.name), base=FOLDER)


@pytest.mark.parametrize("target", [*CHEAP, *(pytest.param(t, marks=pytest.mark.slow) for t in DEAR)])
def test_footprints_equal_the_proved_windows(target):
    spec, _, name = target.partition(":")
    program = checked(spec).programs[name]
    graphs = [graph for graph in claiming(program) for _ in graph.claims]
    local = [
        (graph, finding)
        for graph, finding in zip(graphs, program.findings, strict=True)
        if finding.claim.name == "locality"
    ]
    assert local
    for graph, finding in local:
        bench = Bench(program, graph, (finding.ref,))
        for window in windows_of(bench, finding):
            found = next((m for seed in range(3) if (m := footprint(bench, window, seed)).tight), None)
            assert found is not None
            first, last = found.figures[f"footprint {window.axis}"]
            assert last - first + 1 == window.width
            assert found.figures[f"positions {window.axis}"] == window.width
