"""The text of equations: what it says, what it refuses."""

import pytest
from archlang.compiler.recurrent.equations import Apply, Name, Number, Product, read, show
from recurrent_cells import TEXTS

HEAD = "input x: 2\nstate h: 3\nweight w: 6 5\nweight b: 6\n"


@pytest.mark.parametrize("name", TEXTS)
def test_text_and_back(name):
    text = TEXTS[name]
    assert str(read(text)) == text and read(str(read(text))) == read(text)


def test_expressions_keep_their_order():
    a, b, c = map(Name, "abc")
    for value in (
        Apply("sub", (a, Apply("sub", (b, c)))),
        Apply("mul", (Apply("add", (a, b)), Apply("neg", (c,)))),
        Apply("div", (a, Apply("mul", (b, Number(-0.5))))),
        Apply("max", (Number(1e-30), Apply("above", (a, Number(float("inf")))))),
    ):
        (step,) = read(f"input a: 1\ninput b: 1\ninput c: 1\nv = {show(value)}\noutput v").steps
        assert step.value == value


def test_rows_of_a_product():
    eq = read(HEAD + "a = linear(h, x; w, b)[1:4]\nnext h = a\noutput a")
    assert eq.steps == (Product("a", ("h", "x"), "w", "b", (1, 4)),) and eq.widths["a"] == 3


WRONG = {
    "a = linear(h, x; w, b)[4:7]\nnext h = h": "no rows 4:7",
    "a = linear(h; w)\nnext h = h": "does not fit",
    "a = linear(h, x; w, w)\nnext h = h": "must be",
    "a = linear(h, x; w)\nnext h = a": "`h` has 3 elements",
    "a = h + x\nnext h = h": "vectors of 2 and 3 elements",
    "a = h\na = x\nnext h = h": "assigned twice",
    "a = y\nnext h = h": "nothing before is called `y`",
    "a = h": "every state needs one next value",
    "a = sin(h)\nnext h = h": "`sin` is no function",
    "a = tanh(h, x)\nnext h = h": "takes 1 operands, has 2",
    "a = h +\nnext h = h": "can't read",
    "a = h h\nnext h = h": "can't read `h h` at `h`",
    "what is this\nnext h = h": "can't read `what is this`",
    "input h: 3\nnext h = h": "two values have one name",
}


@pytest.mark.parametrize("body", WRONG)
def test_what_does_not_fit_together(body):
    with pytest.raises(ValueError, match=WRONG[body].replace("[", r"\[").replace("+", r"\+")):
        read(HEAD + body)
