"""Autoencoders: what they are judged by, how the bundled ones train, and what claims about latents are tested by."""

from __future__ import annotations

import math
from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from archlang.compiler.analysis.latents import Search
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.task import Task, TaskKind, find_task
from archlang.runtime.audit.results import Outcome
from archlang.runtime.checkpoint import load_weights
from archlang.runtime.data import Preprocessing
from archlang.runtime.data.bundled import digits
from archlang.runtime.metrics import Meter
from archlang.runtime.module import build
from archlang.runtime.predict import evaluate, predict
from archlang.runtime.seeding import seed_all
from archlang.runtime.train import BEST, LAST, RESUME, fit
from emit_harness import compiled
from spec_harness import ROOT
from torch import Tensor, nn
from training_harness import compiled as with_plan
from training_harness import interrupted_at, same_weights

FOLDER = ROOT / "autoencoders"
SMALL = """
network Net(latent: int = 3) {
  input x: [B, 4]
  mean, s = x -> linear(2 * latent) -> split(2, axis=-1)
  sample eps ~ normal(0, 1): [B, latent]
  z = mean + (0.5 * s -> exp) * eps
  output y = z -> linear(4)
  loss squared = (y, x) -> mse(reduction="batchmean")
  loss divergence weight 0.1 = (mean, s) -> kl_standard_normal
}
"""


def psnr(found: Tensor, wanted: Tensor) -> float:
    return -10 * math.log10(float((found - wanted).square().mean()))


# -- what a network without a target is judged by


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ("output y = x -> linear(4)\n loss l = (y, x) -> mse", Task(TaskKind.REGRESSION, reconstructs=True)),
        ("h = x -> linear(2)\n output h\n output h -> linear(4)\n loss l = (x, h -> linear(4)) -> l1",
         Task(TaskKind.REGRESSION, output=1, reconstructs=True)),
        ("output y = x -> linear(4)\n loss l = (y -> flatten, x -> flatten) -> bce_with_logits",
         Task(TaskKind.REGRESSION, reconstructs=True, shares=True, logits=True)),
        ("y = x -> linear(4)\n output y -> sigmoid\n loss l = (y, x) -> bce_with_logits",
         Task(TaskKind.REGRESSION, reconstructs=True, shares=True)),
        ("input z: [B, 2]\n output y = x -> linear(2)\n loss l = (y, z) -> mse",
         Task(TaskKind.REGRESSION, target=1, reconstructs=True)),
        ("output y = x -> linear(2)\n loss l = (y -> linear(4), x) -> mse", Task(TaskKind.NONE)),
        ("output y = x -> linear(4)\n loss l = y -> mean", Task(TaskKind.NONE)),
        ("target t: [B, 4]\n output y = x -> linear(4)\n loss l = (y, x) -> mse\n loss m = (y, t) -> mse",
         Task(TaskKind.REGRESSION)),
    ],
)  # fmt: skip
def test_the_task_of_a_network_that_restores_its_input(body: str, task: Task) -> None:
    assert find_task(compiled(f"network N {{ input x: [B, 4]\n {body} }}")) == task


def test_decibels() -> None:
    torch.manual_seed(0)
    wanted, found = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    task = Task(TaskKind.REGRESSION, reconstructs=True)
    meter = Meter(task, ("psnr", "mse"), torch.device("cpu"), Preprocessing(size=4))
    for i in range(3):  # of the mean squared error of all, not the mean of decibels
        meter.update((found[i : i + 1],), (wanted[i : i + 1],))
    assert meter.compute() == pytest.approx({"psnr": psnr(found, wanted), "mse": 10 ** (-psnr(found, wanted) / 10)})
    free = Meter(task, ("psnr",), torch.device("cpu"), Preprocessing())
    free.update((10 * found,), (10 * wanted,))  # without images the range is that of what was wanted
    span = float(wanted.max() - wanted.min())
    assert free.compute()["psnr"] == pytest.approx(psnr(found, wanted) + 20 * math.log10(span))


@pytest.mark.parametrize(("shape", "axis"), [((5, 2, 3, 3), 1), ((5, 2), 1), ((5, 7, 2), -1)])
def test_what_is_restored_is_measured_in_the_units_of_the_data(shape: tuple[int, ...], axis: int) -> None:
    prep = Preprocessing(mean=(1.0, -2.0), std=(0.5, 4.0), axis=axis)
    raw, guess = torch.randn(shape), torch.randn(shape)
    torch.testing.assert_close(prep.undo(prep.apply(raw)), raw)
    meter = Meter(Task(TaskKind.REGRESSION, reconstructs=True), ("mae",), torch.device("cpu"), prep)
    meter.update((prep.apply(guess),), (prep.apply(raw),))
    assert meter.compute()["mae"] == pytest.approx(float((guess - raw).abs().mean()), rel=1e-5)


def trained(folder: Path, body: str, data: str = "iris", network: str = SMALL, **options):
    program, how = with_plan(network, data, body, folder)
    seed_all(how.seed)
    module = build(program)
    report = fit(program, module, how, out=folder / options.pop("out", "run"), device="cpu", progress=False, **options)
    return program, how, module, report


def test_it_trains_evaluates_and_predicts_without_a_target(tmp_path: Path) -> None:
    program, how, module, report = trained(tmp_path, "epochs 2 metric mse, psnr")
    assert report.metrics["test"].keys() == {"loss", "squared", "divergence", "mse", "psnr"}
    first, again = (evaluate(program, module, how, device="cpu") for _ in range(2))
    assert first == again == pytest.approx(report.metrics["test"])
    prep = Preprocessing.model_validate_json(load_weights(module, tmp_path / "run" / BEST)["preprocessing"])
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], dtype=np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    (one, _), (other, _) = (predict(program, module, tmp_path / "rows.npz", prep, device="cpu") for _ in range(2))
    assert one == other
    assert np.abs(np.array(one["value"]) - rows[0]).max() < 10  # centimetres, not deviations
    with torch.no_grad():
        scaled = prep.apply(torch.from_numpy(rows))
        assert not torch.equal(module(scaled), module(scaled))


def test_metrics_of_what_is_not_restored_are_refused(tmp_path: Path) -> None:
    for metric in ("accuracy", "skill"):
        with pytest.raises(ArchError) as caught:
            with_plan(SMALL, "iris", f"metric {metric}", tmp_path)
        assert caught.value.diagnostics[0].code == "A1006"


def test_inputs_that_a_cross_entropy_restores_are_not_scaled(tmp_path: Path) -> None:
    text = SMALL.replace("(y, x) -> mse", "(y, x) -> bce_with_logits")
    for body, at in (("epochs 1", "iris"), ("normalize standard", "standard")):
        with pytest.raises(ArchError) as caught:
            with_plan(text, "iris", body, tmp_path)
        (found,) = caught.value.diagnostics
        assert (found.code, found.span.text) == ("A1007", at)
    with_plan(text, "iris", "normalize none", tmp_path)


def test_training_that_draws_resumes_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "epochs 3 batch 10 optimizer adam(lr=1e-2)"
    *_, whole, told = trained(tmp_path, body, out="whole")
    with interrupted_at(15, monkeypatch):
        trained(tmp_path, body, out="parts")
    torch.rand(7)
    *_, resumed, again = trained(tmp_path, body, out="parts", resume=True)
    assert same_weights(whole, resumed)
    assert told.history == again.history
    for name in (BEST, LAST, RESUME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


# -- claims


@pytest.mark.parametrize("name", ["vae:VAE", "conv_vae:ConvVAE"])
def test_the_audit_confirms_the_bundled_latents(name: str) -> None:
    file, _, network = name.partition(":")
    results = archlang.verify(str(FOLDER / f"{file}.arch"), name=network)
    assert {r.finding.claim.name for r in results} >= {"smooth_latent", "bottleneck"}
    assert {r.outcome for r in results} == {Outcome.AGREES}
    assert "2,048 draws" in next(r.note for r in results if r.finding.claim.name == "smooth_latent")


CLAIMED = SMALL.replace("  loss squared", "  bias smooth_latent on z\n  loss squared")
FALSE = {
    "twice the deviation": ("(0.5 * s -> exp) * eps", "(s -> exp) * eps"),
    "another mean": ("z = mean + ", "z = mean + (x -> linear(latent)) + "),
    "another variance": ("(mean, s) -> kl", "(mean, 2 * s) -> kl"),
    "no gradient": ("(mean, s) -> kl", "(mean -> stop_gradient, s) -> kl"),
}


def test_made_up_latents_agree_where_they_are_true() -> None:
    (result,) = archlang.verify(CLAIMED)
    assert result.outcome is Outcome.AGREES
    learned = CLAIMED.replace("(mean, s) -> kl_standard_normal", "(mean, s, mean * 0.5, s - 1) -> kl_normal")
    assert [r.outcome for r in archlang.verify(learned)] == [Outcome.AGREES]


@pytest.mark.parametrize("change", FALSE.values(), ids=FALSE)
def test_made_up_proofs_about_latents_are_contradicted(change: tuple[str, str], monkeypatch) -> None:
    text = CLAIMED.replace(*change)
    with pytest.raises(ArchError) as caught:
        archlang.compile(text)
    assert caught.value.diagnostics[0].code == "A1301"
    monkeypatch.setattr(Search, "fits", lambda *_: True)  # a prover that believes everything
    (result,) = archlang.verify(text)
    assert result.outcome is Outcome.CONTRADICTED


def test_the_skips_of_a_u_net_lead_around_its_bottleneck() -> None:
    text = (FOLDER / "unet.arch").read_text(encoding="utf-8").replace("width: int = 16", "width: int = 1")
    text = text.replace("expect shape(restored)", "bias bottleneck(4 * 2 * 2) on restored\n  expect shape(restored)")
    with pytest.raises(ArchError) as caught:
        archlang.compile(text, "DenoisingUNet")
    (found,) = caught.value.diagnostics
    assert found.code == "A1301"
    assert "64 elements pass at the narrowest" in found.message  # where without the skips 16 do
    assert "(skipped, x) -> concat(axis=C)" in text
    without = archlang.compile(text.replace("(skipped, x) -> concat(axis=C)", "x"), "DenoisingUNet")
    assert [str(f.verdict) for f in without.program.findings] == ["proved"]


def test_figures_show_the_noise_and_what_skips_lose() -> None:
    assert "normal(0, 1)" in archlang.render(str(FOLDER / "vae.arch"))
    assert "[H=88..96, W=88..96]" in archlang.render(f"{FOLDER / 'unet.arch'}:UNet")


# -- the bundled ones learn


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and classes of digits to learn from, and those held out."""
    images, classes = digits(8).tensors
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, classes = images[order], classes[order]
    return images[:1400], classes[:1400], images[1400:], classes[1400:]


def taught(module: nn.Module, images: Tensor, steps: int, lr: float = 4e-3) -> nn.Module:
    """A module after so many batches."""
    optimizer = torch.optim.Adam(module.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        _, losses = module.objective(images[torch.randint(len(images), (64,))])
        optimizer.zero_grad()
        weighed(module, losses).backward()
        optimizer.step()
        rate.step()
    return module.eval()


def weighed(module: nn.Module, losses: dict[str, Tensor]) -> Tensor:
    return sum(module.loss_weights[name] * loss for name, loss in losses.items())


def fresh(file: str, name: str, **settings: int) -> nn.Module:
    program = archlang.compile(str(FOLDER / f"{file}.arch"), name, **settings).program
    torch.manual_seed(0)
    return build(program)


def shuffled(images: Tensor, count: int) -> Tensor:
    """Images of which each pixel comes from another one: those of the best model without latents."""
    rows = torch.randint(len(images), (count, 64))
    return images.flatten(1)[rows, torch.arange(64)].reshape(count, 1, 8, 8)


def blended(images: Tensor, classes: Tensor, count: int) -> Tensor:
    """Means of two images of different digits: what lies between digits and is none."""
    one, other = torch.randint(len(images), (2, 2 * count))
    one, other = (rows[classes[one] != classes[other]][:count] for rows in (one, other))
    return (images[one] + images[other]) / 2


class Judge:
    """LeNet-5, taught to tell digits from one another and, as its last class, from what is none."""

    def __init__(self, images: Tensor, classes: Tensor, steps: int = 300) -> None:
        torch.manual_seed(0)
        self.module = build(archlang.compile("lenet5", classes=11).program)
        optimizer = torch.optim.Adam(self.module.parameters())
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(len(images), (48,))
            batch = torch.cat([images[rows], shuffled(images, 12), blended(images, classes, 12)])
            wanted = torch.cat([classes[rows], torch.full((24,), 10)])
            optimizer.zero_grad()
            weighed(self.module, self.module.objective(self.fitted(batch), wanted)[1]).backward()
            optimizer.step()
            rate.step()
        self.module.eval()

    @staticmethod
    def fitted(images: Tensor) -> Tensor:
        """As `digits(size=32)` gives them."""
        return F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The chance of each class, [B, 11]."""
        return self.module(self.fitted(images)).softmax(1)

    def confidence(self, images: Tensor) -> float:
        """How sure it is, on the average, that an image is one of the ten digits, and which."""
        return float(self(images)[:, :10].amax(1).mean())


CELLS = 16  # black or white, that a pixel of the digits counts


def constant(images: Tensor) -> float:
    """What a cross-entropy for each cell leaves out of the binomial log-likelihood of their numbers: log C(16, k), in
    nats for each image."""
    white = (CELLS * images).round()
    found = math.lgamma(CELLS + 1) - torch.lgamma(white + 1) - torch.lgamma(CELLS - white + 1)
    return found.sum().item() / len(images)


@pytest.mark.slow
def test_a_variational_autoencoder_learns_to_draw_digits(data) -> None:
    """The negative evidence lower bound of digits that were held out, and what LeNet-5 makes of generated ones."""
    images, classes, held, labels = data
    module = taught(fresh("vae", "VAE", latent=4, cells=CELLS), images, 1500, lr=1e-2)
    mean = images.mean(0).clamp(1e-4, 1 - 1e-4).expand_as(held)
    independent = CELLS * F.binary_cross_entropy(mean, held, reduction="sum").item() / len(held) - constant(held)
    with torch.no_grad():
        bound = sum(weighed(module, module.objective(held)[1]).item() for _ in range(4)) / 4 - constant(held)
        drawn = module.generate(b=512)
        code, _ = module.encode(held[:2])
        path = module.interpolate(code[:1], code[1:])
    assert independent > 250  # nats, of pixels that know nothing of one another: 253
    assert bound < 125  # found: 117

    assert path.shape == (1, 9, 1, 8, 8)
    torch.testing.assert_close(path[:, 0], module.decode(code[:1]))
    torch.testing.assert_close(path[:, -1], module.decode(code[1:]))

    judge = Judge(images, classes)
    assert (judge(held).argmax(1) == labels).float().mean() > 0.93  # found: 0.95
    assert judge.confidence(held) > 0.88  # 0.90
    assert judge.confidence(drawn) > 0.48  # 0.55
    assert judge.confidence(blended(held, labels, 400)) < 0.2  # 0.11
    assert judge.confidence(shuffled(images, 400)) < 0.1  # 0.06
    assert (judge(drawn).argmax(1).bincount(minlength=11)[:10] >= 3).all()  # of 512: every digit is among them


@pytest.mark.slow
def test_a_denoising_autoencoder_takes_noise_away(data) -> None:
    images, _, held, _ = data
    module = taught(fresh("denoising", "DenoisingAutoencoder"), images, 200)
    torch.manual_seed(1)
    noisy = held + 0.3 * torch.randn(held.shape)
    with torch.no_grad():
        restored = module.denoise(noisy)
    assert psnr(restored, held) > psnr(noisy.clamp(0, 1), held) + 3  # decibels, over what is known without learning
    assert psnr(restored, held) > psnr(noisy, held) + 5
