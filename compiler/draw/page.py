"""A figure as one HTML page that works offline: zoom, pan, details under the pointer, light and dark."""

from __future__ import annotations

import html
import json
import re
from importlib import resources

from .figure import Figure
from .style import ROLES, THEMES, Theme


def page(figure: Figure, svg: str, theme: Theme) -> str:
    """The page around an SVG that was drawn in `theme`. The light theme follows the reader's colour scheme."""
    template = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg id="figure" role="img"', drawing, count=1)
    details = {
        item.id: {"title": item.text + (f" ×{item.times}" if item.times > 1 else ""), "rows": item.details}
        for item in figure.items.values()
    }
    follows = theme.name == "light"
    parts = {
        "title": html.escape(figure.title),
        "scheme": "light dark" if follows else "dark" if theme.name == "dark" else "light",
        "colours": _variables(theme),
        "dark": f"@media (prefers-color-scheme: dark) {{\n{_variables(THEMES['dark'])}\n{_recolour()}\n}}"
        if follows
        else "",
        "svg": drawing.strip(),
        "details": _script_data(details),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _script_data(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _variables(theme: Theme) -> str:
    return (
        f":root {{ --background: {theme.background}; --text: {theme.text}; --muted: {theme.muted}; "
        f"--border: {theme.border}; --panel: {theme.clusters[0]}; }}"
    )


def _recolour() -> str:
    """Rules that turn the colours of the light theme into those of the dark one."""
    light, dark = THEMES["light"], THEMES["dark"]
    fills = {light.background: dark.background, light.text: dark.text, light.muted: dark.muted}
    fills |= {light.fills[role]: dark.fills[role] for role in ROLES}
    fills |= dict(zip(light.clusters, dark.clusters, strict=True))
    strokes = {light.border: dark.border, light.cluster_border: dark.cluster_border, light.loss: dark.loss}
    lines = {light.lines[kind].colour: dark.lines[kind].colour for kind in light.lines}
    rules = [f'#figure [fill="{old}"] {{ fill: {new}; }}' for old, new in (fills | strokes | lines).items()]
    rules += [f'#figure [stroke="{old}"] {{ stroke: {new}; }}' for old, new in (fills | strokes | lines).items()]
    rules.append(f"#figure text:not([fill]) {{ fill: {dark.text}; }}")
    return "\n".join(rules)
