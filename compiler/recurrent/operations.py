"""Pointwise expressions as lines of PyTorch, a tensor operation each, with what PyTorch has fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .equations import Apply, Expr, Name, Number
from .merge import Unsupported, is_one_minus


@dataclass(frozen=True)
class Call:
    """An operation: its text, its operands, and the keyword by which its result is put into memory that exists."""

    text: str
    operands: tuple[Expr, ...]
    out: str | None = "out"
    more: str = ""


_DIRECT = {
    **{f: f"torch.{f}" for f in ("neg", "sigmoid", "tanh", "exp", "log", "sqrt", "abs", "sign", "add", "sub", "mul")},
    "div": "torch.div",
    "max": "torch.maximum",
    "min": "torch.minimum",
    "softplus": "torch._C._nn.softplus",
}


class Operations:
    """Writes lines. definitions: values of names, for patterns that span several of them."""

    def __init__(self, definitions: Mapping[str, Expr], show: Callable[[str], str]) -> None:
        self.lines: list[str] = []
        self.definitions, self.show = definitions, show
        self.count = 0

    def assign(self, variable: str, value: Expr, target: str | None = None) -> None:
        """`variable = value`, in the memory that is called `target`."""
        if not isinstance(value, Apply):
            text = self.atom(value)
            self.lines.append(f"{variable} = {text}" if target is None else f"{variable} = {target}.copy_({text})")
            return
        call = self._call(value)
        operands = ", ".join(self.atom(v) for v in call.operands)
        into = f", {call.out}={target}" if target is not None and call.out else ""
        text = f"{call.text}({operands}{call.more}{into})"
        self.lines.append(f"{variable} = {target}.copy_({text})" if target and not call.out else f"{variable} = {text}")

    def atom(self, value: Expr) -> str:
        """A variable or a number that holds a value."""
        if isinstance(value, Name):
            return self.show(value.text)
        if isinstance(value, Number):
            return f'float("{value.value!r}")' if value.value - value.value else repr(value.value)
        self.count += 1
        variable = f"t{self.count}"
        self.assign(variable, value)
        return variable

    # --- Which operation ----------------------------------------------------------------------------------------

    def _call(self, value: Apply) -> Call:
        f, operands = value.function, value.operands
        if all(isinstance(v, Number) for v in operands):
            raise Unsupported("a number is computed")
        a, b = operands[0], operands[-1]
        fused = {"mul": self._slope, "add": self._sum, "sub": self._difference}.get(f)
        if fused is not None and (found := fused(a, b)) is not None:
            return found
        number = next((v.value for v in operands if isinstance(v, Number)), None)
        if number is not None:
            return _with_number(f, a, b)
        if f == "relu":
            return Call("torch.clamp_min", operands, more=", 0")
        if f == "positive":
            return Call("positive", operands, out=None)
        if f == "above":
            return Call("above", operands, out=None)
        return Call(_DIRECT[f], operands)

    def _slope(self, a: Expr, b: Expr) -> Call | None:
        """adjoint * derivative of what has a kernel of its own."""
        for adjoint, factor in ((a, b), (b, a)):
            if not isinstance(factor, Apply) or isinstance(adjoint, Number):
                continue
            x, y = factor.operands[0], factor.operands[-1]
            if factor.function == "mul" and self._one_minus(y) == x and not isinstance(x, Number):
                return Call("aten.sigmoid_backward", (adjoint, x), "grad_input")
            if factor.function == "sub" and x == Number(1.0) and y == Apply("mul", (_left(y), _left(y))):
                return Call("aten.tanh_backward", (adjoint, _left(y)), "grad_input")
            if factor.function == "positive":
                return Call("aten.threshold_backward", (adjoint, x), "grad_input", ", 0")
        return None

    def _one_minus(self, value: Expr) -> Expr | None:
        if isinstance(value, Name):
            value = self.definitions.get(value.text, value)
        return is_one_minus(value)

    def _sum(self, a: Expr, b: Expr) -> Call | None:
        if (left := _product(a)) and (right := _product(b)):
            for one, other in ((left, right), (right, left)):
                if (found := self._between(one, other)) is not None:
                    return found
        return self._added(a, b) or self._added(b, a)

    def _between(self, one: Apply, other: Apply) -> Call | None:
        """(1 - z) * n + z * h, n being where z is 0."""
        for rest, n in (one.operands, one.operands[::-1]):
            z = self._one_minus(rest)
            if z is None:
                continue
            for same, h in (other.operands, other.operands[::-1]):
                if same == z and not any(isinstance(v, Number) for v in (n, h, z)):
                    return Call("torch.lerp", (n, h, z))
        return None

    def _difference(self, a: Expr, b: Expr) -> Call | None:
        return self._added(a, b, ", value=-1")

    def _added(self, rest: Expr, value: Expr, more: str = "") -> Call | None:
        """rest + a * b."""
        product = _product(value)
        if product is None or any(isinstance(v, Number) for v in (rest, *product.operands)):
            return None
        if self._slope(*product.operands) is not None:
            return None
        return Call("torch.addcmul", (rest, *product.operands), more=more)


def _product(value: Expr) -> Apply | None:
    return value if isinstance(value, Apply) and value.function == "mul" else None


def _left(value: Expr) -> Expr:
    return value.operands[0] if isinstance(value, Apply) else value


def _with_number(f: str, a: Expr, b: Expr) -> Call:
    first = isinstance(a, Number)
    match f:
        case "add" | "mul":
            return Call(_DIRECT[f], (b, a) if first else (a, b))
        case "sub" if first:
            return Call("torch.rsub", (b, a), out=None)
        case "div" if first:
            return Call("inverse", (b, a), out=None)
        case "max":
            return Call("torch.clamp_min", (b, a) if first else (a, b))
        case "min":
            return Call("torch.clamp_max", (b, a) if first else (a, b))
        case "above":
            return Call("above", (a, b), out=None)
    return Call(_DIRECT[f], (a, b))
