"""Generated source: how it reads, that ruff likes it, that nothing of a spec becomes code, that it is deterministic."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest
import torch
from archlang.compiler.emit.layout import statement
from archlang.compiler.emit.python import emit, emit_python
from archlang.compiler.emit.split import split
from archlang.compiler.graph import Kind, Node
from archlang.compiler.ops.base import Check
from archlang.compiler.sizes import symbol
from archlang.runtime.module import build
from by_hand import LENET, RESNET
from emit_harness import HOLES, MANY, TIED, Builder, compiled, lint, saved, span

HERE = Path(__file__).parent

HEADER = "Gradient-based learning applied to document recognition (LeCun et al., 1998)."


def body(text: str, klass: str, method: str) -> list[str]:
    """The statements of a method, comments left out."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.name == klass:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == method:
                    return [ast.unparse(s) for s in item.body]
    raise AssertionError(f"no {klass}.{method} in\n{text}")


def classes(text: str) -> list[str]:
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]


def test_lenet_reads_as_a_person_writes_it():
    text = emit_python(compiled(LENET))
    assert text.startswith("# LeNet5 of net.arch, sha256 ")
    assert ast.get_docstring(ast.parse(text)) == HEADER
    assert body(text, "LeNet5", "__init__") == [
        "super().__init__()",
        "self.c1 = nn.Conv2d(1, 6, kernel_size=5)",
        "self.s2 = nn.AvgPool2d(2)",
        "self.c3 = nn.Conv2d(6, 16, kernel_size=5)",
        "self.s4 = nn.AvgPool2d(2)",
        "self.f5 = nn.Linear(400, 120)",
        "self.f6 = nn.Linear(120, 84)",
        "self.out = nn.Linear(84, 10)",
    ]
    assert body(text, "LeNet5", "forward") == [
        "x = self.c3(self.s2(torch.tanh(self.c1(image))))",
        "features = self.s4(torch.tanh(x))",
        "x = self.f6(torch.tanh(self.f5(features.flatten(1))))",
        "return self.out(torch.tanh(x))",
    ]
    assert body(text, "LeNet5", "objective") == [
        "logits = self(image)",
        "nll = F.cross_entropy(logits, digit)",
        "return (logits, {'nll': nll})",
    ]
    assert "# [B, 16, 5, 5]  L8\n" in text


def test_blocks_that_differ_in_numbers_share_a_class():
    text = emit_python(compiled(RESNET))
    assert classes(text) == ["Basic", "Basic2", "SmallResNet"]
    made = body(text, "SmallResNet", "__init__")
    assert made[3:6] == [
        "self.layer1 = nn.Sequential(Basic(16), Basic(16))",
        "self.layer2 = nn.Sequential(Basic2(16, 32), Basic(32))",
        "self.layer3 = nn.Sequential(Basic2(32, 64), Basic(64))",
    ]
    assert "self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1, bias=False)" in body(
        text, "Basic2", "__init__"
    )
    assert body(text, "SmallResNet", "forward")[1] == "x = self.layer3(self.layer2(self.layer1(x)))"


def test_equal_blocks_become_a_comprehension_and_a_loop():
    text = emit_python(compiled(MANY))
    assert "self.films = nn.ModuleList([Film() for _ in range(3)])" in body(text, "Many", "__init__")
    assert "for film in self.films:\n    x = film(x, t)" in body(text, "Many", "forward")
    assert "def forward(self, x: Tensor, net: nn.Module) -> Tensor:" in text
    many = emit_python(compiled(RESNET.replace("[2, 2, 2]", "[9, 2, 2]")))
    assert "self.layer1 = nn.Sequential(*[Basic(16) for _ in range(9)])" in body(many, "SmallResNet", "__init__")


DENSE = """
block Grow { input x: [B, C, H, W]  output x -> relu -> conv(8, kernel=1) }
network Dense {
  input x: [B, C=4, H, W]
  for i in 1..5 { x = x -> skip by concat { `body.grow{i}`: Grow } }
  for i in 0..2 { x = x -> skip by concat { `tail.grow{i}`: Grow } }
  output x -> last: conv(2, kernel=1)
}
"""


def test_blocks_that_step_evenly_become_a_comprehension_and_joins_a_loop():
    program = compiled(DENSE)
    text = emit_python(program)
    assert "self.body = nn.ModuleDict({f'grow{i}': Grow(-4 + 8 * i) for i in range(1, 5)})" in [
        s.replace("8 * i - 4", "-4 + 8 * i") for s in body(text, "Dense", "__init__")
    ]
    forward = body(text, "Dense", "forward")
    assert forward[0].startswith("for grow in self.body.values():\n    x = torch.cat([x, grow(x)], dim=1)")
    assert len(forward) == 4 and lint(text) == ""
    net = build(program)
    assert set(net.state_dict()) == set(saved(program))
    x = y = torch.randn(2, 4, 3, 3)
    for grow in (*net.body.values(), *net.tail.values()):
        y = torch.cat([y, grow(y)], dim=1)
    torch.testing.assert_close(net(x), net.last(y))


def test_an_objective_computes_only_what_the_outputs_lack():
    statements = body(emit_python(compiled(MANY)), "Many", "objective")
    assert statements[0] == "both, pooled = self(x, t)"
    assert not any("films" in s for s in statements)
    shared = "network N {\n input x: [B, 4]\n h = x -> a: linear(4) -> relu\n output h -> b: linear(2)\n"
    shared += " loss near = (h, x) -> mse\n}"
    text = emit_python(compiled(shared))
    assert body(text, "N", "objective")[0] == "y, h = self._forward(x)" and text.count("self.a(") == 1
    assert body(text, "N", "forward") == ["return self._forward(x)[0]"]
    assert lint(text) == ""


def test_numbers_of_forward_become_arguments_named_after_what_they_are():
    text = emit_python(compiled(HOLES))
    assert classes(text) == ["Attn", "Mixed", "Holes"]
    assert "def __init__(self, dim: int, heads: int, drop: float) -> None:" in text
    assert "self.a = Attn(12, 2, drop=0.1)" in body(text, "Holes", "__init__")
    forward = body(text, "Attn", "forward")
    assert "scores = q @ k.mT / (self.dim // self.heads) ** 0.5" in forward
    assert any("F.dropout(F.softmax(scores, dim=-1), self.drop, self.training)" in s for s in forward)


def test_a_block_reads_the_sizes_of_its_own_input():
    text = emit_python(compiled(HOLES))
    assert body(text, "Mixed", "forward")[0] == "_, _, h, w = x.shape"
    assert "self.mixed3 = Mixed(7, 9)" in body(text, "Holes", "__init__")  # where H is half of the image's


def test_ruff_is_content():
    assert lint(*(emit_python(compiled(text)) for text in (LENET, RESNET, MANY, TIED, HOLES))) == ""


def test_imports_only_torch_and_what_is_used():
    for text in (LENET, RESNET, MANY, TIED, HOLES):
        tree = ast.parse(emit_python(compiled(text)))
        imported = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        modules = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imported}
        assert modules <= {"torch", "torch.nn", "math"}


def test_lines_point_back_at_the_spec():
    emitted = emit(compiled(LENET))
    lines = emitted.text.splitlines()
    for number, origins in emitted.lines.items():
        _, mark, line = lines[number - 1].rpartition("L")
        if mark and line.isdigit():
            assert origins[-1].span.line == int(line)
    conv = next(n for n, line in enumerate(lines, 1) if "self.c1 = " in line)
    assert emitted.lines[conv][0].span.text == "conv(6, kernel=5)"


@pytest.mark.slow
def test_the_same_bytes_under_any_hash_seed():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from emit_harness import compiled\n"
        "from archlang.compiler.emit.python import emit_python\n"
        "for text in sys.argv[2:]: print(emit_python(compiled(text)))\n"
    )
    seen = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(HERE), LENET, RESNET, MANY, TIED, HOLES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1 and "class LeNet5" in seen.pop()


# -- data stays data

HOSTILE = [
    'ends """ early\nimport os\nos.system("x")\n"""',
    '"quoted"',
    'ends in a quote "',
    "ends in a backslash \\",
    "\\N{BULLET} \\x41 \\",
    "\u202e right to left \u2028 line \x00 nul \ud800 alone",
    "wide 文字 and é and \U0001f600 " * 8,
    "x" * 300,
    "a\r\nb\n\nc",
    "'''",
    " ",
]


def test_a_docstring_can_not_break_out():
    texts = [emit_python(replace(compiled(LENET), doc=doc)) for doc in HOSTILE]
    for text in texts:
        kinds = [type(n).__name__ for n in ast.parse(text).body if not isinstance(n, ast.Expr)]
        assert kinds == ["Import", "ImportFrom", "ImportFrom", "ClassDef"]
    assert lint(*texts) == ""


def hostile(name: str) -> str:
    """A network that calls everything by one name."""
    b = Builder(name)
    x = b.input(name, "B D=4")
    h = b.op("linear", x, name=name, path="a", out=4)
    b.graph.values[name] = h
    b.graph.values["f" + name] = h = b.op("relu", h, name="f" + name)
    h = b.op("linear", h, path="b", out=4)
    b.output(h)
    loss = b.op("mse", h, h)
    b.graph.add(Node(Kind.LOSS, (b.graph.type(loss),), name=name), [loss])
    return emit_python(b.program(source_name=name, source_text=name))


def test_names_can_not_break_out():
    texts = [hostile(name) for name in HOSTILE]
    for text in texts:
        tree = ast.parse(text)
        assert {type(n).__name__ for n in tree.body} <= {"Import", "ImportFrom", "ClassDef", "Expr"}
        calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        assert calls == {"super", "super().__init__", "nn.Linear", "self", "self.a", "self.b", "F.relu", "F.mse_loss"}
    assert lint(*texts) == ""


def test_names_that_python_or_the_file_needs_are_bent():
    texts = []
    for name in ["self", "torch", "nn", "F", "class", "l", "O", "print", "Tensor", "None", "x__", "_", "math"]:
        b = Builder("Net")
        x = b.input(name, "B D=4")
        h = b.op("linear", x, path="a", out=4)
        b.graph.values[name] = h
        b.output(b.op("relu", h))
        texts.append(emit_python(b.program()))
        scope: dict = {}
        exec(compile(texts[-1], "<test>", "exec"), scope)
        net, v = scope["Net"](), torch.randn(2, 4)
        torch.testing.assert_close(net(v), torch.relu(net.a(v)))
    assert lint(*texts) == ""


def test_long_names_and_lines_are_laid_out_as_ruff_does():
    long = "a_name_that_goes_on_and_on_and_on_"
    b = Builder("N" + long)
    x = b.input(long + "in", "B D=4")
    y = b.input(long + "other", "B D=4")
    for i in range(4):
        a = b.op("linear", x, path=f"{long}level.{long}{i}", out=4)
        s = b.op("add", a, y)
        b.graph.values[f"{long}{i}"] = s
        x = b.op("mul", b.op("sub", s, x), s)
    b.output(x)
    b.output(s)
    b.output(a)
    program = b.program(doc=long * 3)
    text = emit_python(program)
    assert lint(text) == ""
    assert set(saved(program)) == {k for k in saved(program) if k.startswith(long)}


def test_a_check_with_a_long_message_is_laid_out_as_ruff_does():
    texts = []
    for length in range(20, 200, 7):
        b = Builder("Net")
        x = b.input("x", "B T")
        b.output(b.op("relu", x))
        message = " ".join(["word"] * (length // 5)) + "." * (length % 5)
        b.graph.checks.append((Check("divides", symbol("T"), 2, message), span("T")))
        b.graph.checks.append((Check("at_least", symbol("T") - symbol("B"), 3, "“" * length), span("T", "a" * length)))
        texts.append(emit_python(b.program()))
    assert lint(*texts) == ""


def random_call(draw: Random, depth: int) -> str:
    """A call such as ops write, with names of any length."""

    def word(most: int) -> str:
        return "".join(draw.choice("bcghjkmq") for _ in range(draw.randint(1, most)))

    def operand(depth: int) -> str:
        kind = draw.random()
        if depth > 0 and kind < 0.4:
            return random_call(draw, depth)
        if depth > 0 and kind < 0.55:
            return f"({operand(depth - 1)} {draw.choice('+*-/<')} {operand(depth - 1)})"
        return draw.choice(
            [word(30), f"self.{word(9)}.{word(20)}", str(draw.randint(0, 9999)), f'"{word(9)} {word(9)}"']
        )

    functions = [f"self.{word(25)}", f"torch.{word(20)}", f"self.{word(9)}[{draw.randint(0, 9)}]", f"{word(9)}.reshape"]
    arguments = [operand(depth - 1) for _ in range(draw.randint(1, 3))]
    arguments += [f"{word(8)}k={operand(0)}" for _ in range(draw.choice([0, 0, 1, 2]))]
    return f"{draw.choice(functions)}({', '.join(arguments)})"


def test_any_statement_is_laid_out_as_ruff_does():
    draw = Random(0)
    lines = ["class Net:"]
    for i in range(600):
        target = draw.choice(["x = ", "a_longer_name_for_it = ", "self.some_layer = ", "return ", ""])
        value = ast.parse(random_call(draw, draw.randint(0, 3)), mode="eval").body
        parts = (f"part{n}" for n in count())
        before, value = split(value, 8, target, parts.__next__)
        lines += [f"    def method{i}(self):"]
        for variable, part in before:
            lines += statement(part, 8, f"{variable} = ")
        lines += [*statement(value, 8, target), ""]
    text = "\n".join(lines[:-1]) + "\n"
    said = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", "--line-length", "88", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
