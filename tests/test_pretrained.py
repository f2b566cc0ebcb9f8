"""Published weights: where they come from, how their keys are renamed, and what is refused on the way."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import getclosurevars
from pathlib import Path
from random import Random
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

import archlang
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.key_names import BadTemplate, KeyRule, KeyTable, read_template
from archlang.runtime import download
from archlang.runtime.checkpoint import load_weights, read_tensors, save_tensors
from archlang.runtime.sources import find_weights
from emit_harness import compiled
from oracles import ORACLES, library
from processes import finished
from safetensors.torch import load_file, save_file

NET = """
network Net(classes: int = 3) {
  input x: [B, 4]
  y = x -> `blocks.0`: linear(4) -> `blocks.1`: linear(4)
  output y -> fc: linear(classes)
  names "old" {
    "unit{i}.norm.{n}.{w}" = "units.{i}.norm{n}.{w}"
    "layer{i}.lin.{w}" = "blocks.{i}.{w}"
    "head.weight" = "fc.weight" transposed
    "head.bias" = "fc.bias"
  }
  %s
}
"""


def state(classes: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    shapes = {"blocks.0": (4, 4), "blocks.1": (4, 4), "fc": (classes, 4)}
    return {
        f"{path}.{name}": torch.randn(shape if name == "weight" else shape[:1])
        for path, shape in shapes.items()
        for name in ("weight", "bias")
    }


def old(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as another implementation would have saved them."""
    renamed = {}
    for key, value in tensors.items():
        theirs = key.replace("blocks.", "layer").replace("fc.", "head.")
        theirs = theirs.replace(".weight", ".lin.weight").replace(".bias", ".lin.bias") if "layer" in theirs else theirs
        renamed[theirs] = value.T.contiguous() if theirs == "head.weight" else value
    return renamed


def same(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    found = module.state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], value) for key, value in tensors.items())


def refused(code: str, call, *args, **kwargs) -> str:
    with pytest.raises(ArchError) as caught:
        call(*args, **kwargs)
    (found,) = caught.value.diagnostics
    assert found.code == code, found
    return f"{found.message}\n{found.help or ''}"


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- names


def table(*rules: tuple[str, str]) -> KeyTable:
    return KeyTable("t", tuple(KeyRule(read_template(a), read_template(b)) for a, b in rules))


def test_wildcards_stand_for_characters_between_dots() -> None:
    names = table(
        ("features.denseblock{b}.denselayer{l}.norm.{n}.{w}", "features.denseblock{b}.denselayer{l}.norm{n}.{w}"),
        ("{i}.same.{i}", "twice.{i}"),
        ("pre{x}post.w", "{x}.w"),
        ("exact.key", "other"),
    )
    for theirs, ours in {
        "features.denseblock1.denselayer12.norm.2.running_mean": "features.denseblock1.denselayer12.norm2.running_mean",
        "features.denseblock1.denselayer.norm.2.weight": "features.denseblock1.denselayer.norm.2.weight",
        "features.denseblock1.x.denselayer1.norm.2.weight": "features.denseblock1.x.denselayer1.norm.2.weight",
        "a.same.a": "twice.a",
        "a.same.b": "a.same.b",
        "pre1post.w": "1.w",
        "prepost.w": "prepost.w",
        "prpost.w": "prpost.w",
        "exact.key": "other",
        "exact.key.more": "exact.key.more",
    }.items():
        assert names.rename(theirs).key == ours


def test_templates_match_what_a_regular_expression_matches() -> None:
    random = Random(0)
    matched = 0
    for _ in range(3000):
        texts = [
            random.choice(("", "a", "ab")) + random.choice(("{i}", "{j}", "x")) + random.choice(("", "b"))
            for _ in "123"
        ]
        text = ".".join(texts[: random.randint(1, 3)])
        key = ".".join("".join(random.choices("abx", k=random.randint(1, 4))) for _ in range(text.count(".") + 1))
        seen: set[str] = set()

        def group(hole: re.Match[str], seen: set[str] = seen) -> str:
            name = hole[1]
            pattern = f"(?P={name})" if name in seen else f"(?P<{name}>[^.]+)"
            seen.add(name)
            return pattern

        expected = re.fullmatch(re.sub(r"\\\{(\w)\\\}", group, re.escape(text)), key)
        found = read_template(text).match(key.split("."))
        assert found == (None if expected is None else expected.groupdict()), (text, key)
        matched += found is not None
    assert matched > 100


def test_the_first_rule_that_matches_decides() -> None:
    assert table(("a.{x}", "first.{x}"), ("a.b", "second")).rename("a.b").key == "first.b"


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a{}", "{a}{b}", "a}", "{a-b}", "x" * 401])
def test_templates_that_are_none(text: str) -> None:
    with pytest.raises(BadTemplate):
        read_template(text)


def test_hostile_keys_take_no_time() -> None:
    names = table(*((f"{'a' * i}{{x}}{'a' * i}.{{y}}", "{x}.{y}") for i in range(1, 40)))
    for key in ("a" * 100_000 + "." + "a" * 100_000, "." * 100_000, "a." * 50_000):
        assert names.rename(key) is not None  # a second would already fail the suite's limit many times over


@pytest.mark.parametrize("keys", ["ours", "theirs"])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_keys_as_they_are_or_by_the_table_that_fits(keys: str, ending: str, tmp_path: Path) -> None:
    tensors = state() if keys == "ours" else old(state())
    path = tmp_path / f"w.{ending}"
    torch.save(tensors, path) if ending == "pth" else save_file(tensors, path)
    same(archlang.load(NET % "", weights=path), state())


def test_a_named_table_is_used_even_if_the_keys_fit_as_they_are(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    module = archlang.compile(NET % "").module()
    swapped = {"old": table(("blocks.0.{w}", "blocks.1.{w}"), ("blocks.1.{w}", "blocks.0.{w}"))}
    load_weights(module, tmp_path / "w.safetensors", tables=swapped, table="old")
    assert torch.equal(module.get_parameter("blocks.0.weight"), state()["blocks.1.weight"])


def test_two_keys_that_become_one(tmp_path: Path) -> None:
    tensors = {**old(state()), "fc.bias": torch.zeros(3)}
    save_file(tensors, tmp_path / "w.safetensors")
    said = refused("A1103", archlang.load, NET % "", weights=tmp_path / "w.safetensors")
    assert 'renamed by `names "old"`' in said and "doubled (1): " in said and "head.bias" in said


def test_keys_of_a_file_can_not_write_to_the_terminal(tmp_path: Path) -> None:
    save_file({**state(), "\x1b[2Jx": torch.zeros(1), "y" * 1000: torch.zeros(1)}, tmp_path / "w.safetensors")
    said = refused("A1103", archlang.load, NET % "", weights=tmp_path / "w.safetensors")
    assert "\x1b" not in said and "[2Jx" in said and len(said) < 1000


def test_a_header_may_have_any_length(tmp_path: Path) -> None:
    """The first bytes count it, and may happen to be those that a pickle or an archive begins with."""
    path = tmp_path / "a.safetensors"
    for size in (0x0280, 0x4B50):
        save_file({"a": torch.zeros(2)}, path, {"note": ""})
        short = int.from_bytes(path.read_bytes()[:8], "little")
        save_file({"a": torch.zeros(2)}, path, {"note": "x" * (size - short)})
        assert int.from_bytes(path.read_bytes()[:8], "little") == size
        tensors, metadata = read_tensors(path)
        assert (list(tensors), len(metadata["note"])) == (["a"], size - short)


def test_older_files_lack_the_count_of_batches(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2))
    torch.save({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, tmp_path / "w.pth")
    text = "network N { input x: [B, 2, H=2, W=2]  output x -> `0`: conv(2, kernel=1) -> `1`: batchnorm }"
    module = archlang.load(text, weights=tmp_path / "w.pth")
    assert module.state_dict()["1.num_batches_tracked"] == 0


def test_a_head_of_another_size(tmp_path: Path) -> None:
    save_file(state(3), tmp_path / "w.safetensors")
    said = refused("A1103", archlang.load, NET % "", weights=tmp_path / "w.safetensors", classes=7)
    assert "of another shape (2): fc.weight: [3, 4] in the file, [7, 4] in the network" in said
    assert "--init-except fc" in said
    net = archlang.load(NET % "", weights=tmp_path / "w.safetensors", classes=7, weights_except=["fc"])
    assert torch.equal(net.get_parameter("blocks.0.weight"), state()["blocks.0.weight"])
    assert net.get_parameter("fc.weight").shape == (7, 4)


# ---------------------------------------------------------------- links


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A folder behind https://files.test, and what has been asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            path = folder / self.path.lstrip("/")
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", self.path.replace("moved", "net"))
                self.end_headers()
            elif path.is_file():
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + (9 if "cut" in self.path else 0)))
                self.end_headers()
                self.wfile.write(content)
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def open_plain(link: str):
        assert link.startswith("https://files.test/")
        return urlopen(link.replace("https://files.test", f"http://127.0.0.1:{server.server_port}"), timeout=10)

    monkeypatch.setattr(download, "open_link", open_plain)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder, asked
    server.shutdown()
    thread.join()
    server.server_close()


def kept(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())


def test_a_published_link_is_fetched_once(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, asked = served
    torch.save(old(state()), folder / "net.pth")
    digest = sha(folder / "net.pth")[:8].upper()
    spec = NET % f'pretrained web = url("https://files.test/net.pth", sha256="{digest}", names="old")'
    for _ in range(2):
        same(archlang.load(spec, weights="web"), state())
    assert asked == ["/net.pth"]
    (name,) = kept(tmp_path)
    assert name.endswith("-net.pth")
    next((tmp_path / "cache").rglob("*.pth")).write_bytes(b"damaged since")
    same(archlang.load(spec, weights="web"), state())
    assert asked == ["/net.pth"] * 2


def test_another_checksum_is_refused_and_nothing_kept(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    save_file(state(), served[0] / "net.safetensors")
    spec = NET % 'pretrained web = url("https://files.test/net.safetensors", sha256="0123456789")'
    said = refused("A1109", archlang.load, spec, weights="web")
    assert "https://files.test/net.safetensors" in said and "not 0123456789" in said
    assert kept(tmp_path) == []


def test_a_link_of_the_user_is_checked_if_its_name_says_how(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    save_file(state(), served[0] / "net.safetensors")
    same(archlang.load(NET % "", weights="https://files.test/net.safetensors"), state())
    same(archlang.load(NET % "", weights="https://files.test/moved.safetensors"), state())
    digest = sha(served[0] / "net.safetensors")[:8]
    for name in (f"net-{digest}.safetensors", "net-00000000.safetensors"):
        (served[0] / name).write_bytes((served[0] / "net.safetensors").read_bytes())
    same(archlang.load(NET % "", weights=f"https://files.test/net-{digest}.safetensors"), state())
    refused("A1109", archlang.load, NET % "", weights="https://files.test/net-00000000.safetensors")
    assert not [name for name in kept(tmp_path) if "00000000" in name]


def test_what_can_not_be_fetched(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    (served[0] / "cut.safetensors").write_bytes(b"x" * 100)
    said = refused("A1108", archlang.load, NET % "", weights="https://files.test/none.safetensors")
    assert "404" in said and "give its path" in said
    refused("A1108", archlang.load, NET % "", weights="https://files.test/cut.safetensors")
    assert kept(tmp_path) == []
    for limit in (10, 99):
        refused("A1109", download.fetch, "https://files.test/cut.safetensors", None, limit=limit)
    assert kept(tmp_path) == []


def test_only_https_is_opened(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    for link in (f"file://{tmp_path}/w", "http://127.0.0.1:9/w", "ftp://127.0.0.1/w", "data:,x"):
        with pytest.raises(URLError):
            download.open_link(link)
        if "://" in link:
            refused("A1101", archlang.load, NET % "", weights=link)
    request = download.Request("https://files.test/w")
    with pytest.raises(URLError, match="only https"):
        download._OnlyHttps().redirect_request(request, None, 302, "", {}, "http://127.0.0.1/w")


def test_a_source_that_is_nothing(tmp_path: Path) -> None:
    spec = NET % 'pretrained web = url("https://files.test/net.pth", sha256="01234567")'
    assert "did you mean `web`?" in refused("A1101", archlang.load, spec, weights="webb")
    assert "`Net` publishes `web`" in refused("A1101", archlang.load, spec, weights=tmp_path / "none.pth")
    for text in ("hub:net", "hub:org/name", "hub:org/name/../../x", "hub:../name/x"):
        refused("A1101", archlang.load, spec, weights=text)


def test_a_run_folder_stands_for_its_best_weights(tmp_path: Path) -> None:
    save_tensors(state(), tmp_path / "best.safetensors")
    assert find_weights(compiled(NET % ""), tmp_path).path == tmp_path / "best.safetensors"


# ---------------------------------------------------------------- the hub

HUB = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import getclosurevars
from pathlib import Path
from random import Random
from threading import Thread
import hashlib, json, os

CONTENT = Path(sys.argv[1]).read_bytes()
COMMIT = "a" * 40
asked = []

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        asked.append(self.command)
        if "/org/net/resolve/" not in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"' + hashlib.sha256(CONTENT).hexdigest() + '"')
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if body:
            self.wfile.write(CONTENT)
    def do_HEAD(self): self.answer(False)
    def do_GET(self): self.answer(True)
    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import archlang
from archlang.compiler.diagnostics import ArchError

def attempt(text, weights):
    try:
        return archlang.load(text, weights=weights).state_dict()["fc.bias"].tolist()
    except ArchError as failure:
        return [(d.code, d.message) for d in failure.diagnostics]

def spec(digest):
    return sys.argv[2] % f'pretrained there = hub("org/net", file="a/w.safetensors", sha256="{digest}")'

found = [attempt(spec(hashlib.sha256(CONTENT).hexdigest()), "there")]
before = len(asked)
found.append(attempt(spec(hashlib.sha256(CONTENT).hexdigest()), "there"))
found.append(len(asked) - before)
found.append(attempt(spec("00000000"), "hub:org/net/a/w.safetensors"))
found.append(attempt(spec("00000000"), "there"))
found.append(attempt(spec("00000000"), "hub:org/missing/w.safetensors"))
server.shutdown()
server.server_close()
sys.modules["huggingface_hub"] = None
found.append(attempt(spec("00000000"), "there"))
print(json.dumps(found))
"""


def test_the_hub(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = finished([sys.executable, "-c", HUB, str(tmp_path / "w.safetensors"), NET], env=environment)
    assert done.returncode == 0, done.stderr
    first, again, requests, plain, wrong, missing, without = json.loads(done.stdout.splitlines()[-1])
    assert first == again == plain == state()["fc.bias"].tolist()
    assert requests == 0  # what is known by its checksum is taken from the cache
    assert wrong[0][0] == "A1109"
    assert missing[0][0] == "A1108"
    assert without[0][0] == "A1108" and "not installed" in without[0][1]


# ---------------------------------------------------------------- what the bundled specs publish


@pytest.mark.parametrize("name", [name for name, oracle in ORACLES.items() if oracle.source == "torchvision"])
def test_published_links_are_those_of_the_reference(name: str) -> None:
    made = getclosurevars(ORACLES[name].make).nonlocals
    if "width_mult" in made["settings"]:
        pytest.skip("not published")
    weights = library("torchvision").models.get_model_weights(made["name"])
    theirs = {w.name.lower(): w.url for w in weights if re.fullmatch(r"IMAGENET1K_V\d", w.name)}
    places = archlang.compile(name).program.pretrained
    assert {name: str(place) for name, place in places.items()} == theirs
    assert all(len(place.checksum) >= 8 and place.checksum in str(place) for place in places.values())


def test_the_table_of_a_network_lists_them(run) -> None:
    link = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert f"\npretrained imagenet1k_v1  {link}\n" in run("show", "resnet:ResNet18").out
    assert json.loads(run("show", "resnet:ResNet18", "--json").out)["pretrained"] == {"imagenet1k_v1": link}


def test_the_keys_of_the_first_densenets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = library("torchvision").models.densenet121(weights=None).state_dict()
    first = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in tensors.items()
        if "num_batches" not in key
    }
    assert "features.denseblock4.denselayer16.norm.2.running_var" in first
    torch.save(first, tmp_path / "w.pth")
    same(archlang.load("cnn/densenet:DenseNet121", weights=tmp_path / "w.pth"), tensors)
    del first["features.denseblock4.denselayer16.norm.2.running_var"]
    torch.save(first, tmp_path / "w.pth")
    said = refused("A1103", archlang.load, "cnn/densenet:DenseNet121", weights=tmp_path / "w.pth")
    assert 'renamed by `names "torchvision"`' in said  # the table that comes closest
    assert "missing (1): features.denseblock4.denselayer16.norm2.running_var" in said


# ---------------------------------------------------------------- training

TRAINED = """
network Net(classes: int = 3) {
  input x: [B, 4]
  target y: int[B]
  logits = x -> body: linear(8) -> relu -> fc: linear(classes)
  output logits
  loss nll = (logits, y) -> cross_entropy
  names "old" { "trunk.{w}" = "body.{w}" }
}
train Net on iris { epochs 1  optimizer sgd(lr=1e-30)  %s }
"""


def saved(folder: Path, classes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    tensors = {"trunk.weight": torch.randn(8, 4), "trunk.bias": torch.randn(8), "fc.weight": torch.randn(classes, 8)}
    tensors["fc.bias"] = torch.randn(classes)
    save_file(tensors, folder / "w.safetensors")
    return tensors


@pytest.mark.parametrize("where", ["in the spec", "by the caller", "by both"])
def test_training_starts_from_weights_but_for_a_new_head(where: str, tmp_path: Path) -> None:
    tensors = saved(tmp_path, classes=5)
    said = {"in the spec": 'init "w.safetensors" except fc', "by both": 'init "none.pth" except fc'}.get(where, "")
    (tmp_path / "net.arch").write_text(TRAINED % said)
    given = {} if where == "in the spec" else {"init": tmp_path / "w.safetensors"}
    given |= {"init_except": ["fc"]} if where == "by the caller" else {}
    net = archlang.compile(tmp_path / "net.arch")
    net.fit(tmp_path / "run", device="cpu", progress=False, **given)
    found = load_file(tmp_path / "run" / "last.safetensors")
    assert torch.equal(found["body.weight"], tensors["trunk.weight"])
    assert found["fc.weight"].shape == (3, 8)


def test_training_from_a_published_name(served: tuple[Path, list[str]], tmp_path: Path) -> None:
    tensors = saved(served[0], classes=3)
    place = f'pretrained web = url("https://files.test/w.safetensors", sha256="{sha(served[0] / "w.safetensors")}")'
    text = (TRAINED % 'init "web"').replace("  names", f"  {place}\n  names")
    archlang.compile(text).fit(tmp_path / "run", device="cpu", progress=False)
    assert torch.equal(load_file(tmp_path / "run" / "last.safetensors")["fc.bias"], tensors["fc.bias"])


def test_a_spec_starts_from_nothing_unpublished(tmp_path: Path) -> None:
    for place in ("https://files.test/w.pth", "hub:org/net/w.pth"):
        said = refused("A1101", archlang.compile(TRAINED % f'init "{place}"').fit, tmp_path / "run", progress=False)
        assert "pretrained NAME" in said
    place = 'pretrained web = url("https://files.test/net-01234567.pth")'
    text = (TRAINED % 'init "wev"').replace("  names", f"  {place}\n  names")
    assert "did you mean `web`?" in refused("A1101", archlang.compile(text).fit, tmp_path / "run", progress=False)
