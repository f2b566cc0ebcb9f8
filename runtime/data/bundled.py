"""Data sets that come with scikit-learn: real, small, and there without a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .base import Column, Data, Preprocessing, side_by_side, split


def digits(size: int) -> Data:
    """Handwritten digits, float [1, size, size] in [0, 1], and int classes 0 to 9."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.float32)[:, None] / 16
    if size != images.shape[-1]:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    labels = np.asarray(bunch.target, dtype=np.int64)
    return Data(
        origin=f"digits(size={size})",
        inputs=(Column("image", (1, size, size), "float"),),
        targets=(Column("digit", (), "int"),),
        size=len(labels),
        tensors=(images, torch.from_numpy(labels)),
        labels=labels,
        preprocessing=Preprocessing(classes=tuple(str(d) for d in range(10)), size=size, grey=True),
    )


def inverted_digits(size: int, shares: tuple[float, float], seed: int) -> Data:
    """Digits v and inverted ones 1 - v, both float [1, size, size] in [0, 1]. In the training part no digit is on both
    sides; in those that `shares` hold out, for validation and the test, every digit stands beside its inverse."""
    whole = digits(size)
    assert whole.labels is not None
    parts = split(whole.size, whole.labels, *shares, seed)
    half = split(len(parts.train), whole.labels[parts.train], 0.0, 0.5, seed)
    first, second = (replace(parts, train=parts.train[rows]) for rows in (half.train, half.test))
    image = whole.inputs[0]
    return Data(
        origin=f"inverted_digits(size={size})",
        inputs=(replace(image, name="digit"), replace(image, name="inverse")),
        targets=(),
        size=whole.size,
        tensors=(whole.tensors[0], 1 - whole.tensors[0]),
        border=whole.size,
        parts=side_by_side(first, second, whole.size),
        preprocessing=Preprocessing(size=size, grey=True),
    )


def table(kind: str) -> Data:
    """iris, wine, breast_cancer (int classes) or diabetes (a float to predict)."""
    from sklearn import datasets

    loaders = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast_cancer": datasets.load_breast_cancer,
        "diabetes": lambda: datasets.load_diabetes(scaled=False),
    }
    bunch: Any = loaders[kind]()
    x = torch.from_numpy(np.asarray(bunch.data, dtype=np.float32))
    classify = kind != "diabetes"
    y = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64 if classify else np.float32))
    names = tuple(str(n) for n in bunch.target_names) if classify else ()
    return Data(
        origin=kind,
        inputs=(Column("features", tuple(x.shape[1:]), "float"),),
        targets=(Column("target", (), "int" if classify else "float"),),
        size=len(x),
        tensors=(x, y),
        labels=y.numpy() if classify else None,
        preprocessing=Preprocessing(classes=names, features=tuple(str(n) for n in bunch.feature_names)),
    )
