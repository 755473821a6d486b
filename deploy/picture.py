"""The rooms as a picture: what is inside each, and how many imports lead from one to another. Drawn
from the files alone, so the same house gives the same picture."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

ENTRY = "server.py, manage.py"
ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services", "config")
APART = "sandbox"
ORDER = (ENTRY, *ROOMS)
Counts = Mapping[tuple[str, str], int]
COLOURS = {
    ENTRY: "#7d8790",
    "handlers": "#2f78b7",
    "operations": "#7d62bd",
    "campaigns": "#b8508f",
    "rewards": "#bb6a22",
    "customers": "#3f8f51",
    "services": "#268c8c",
    "config": "#8a7a3c",
}
WIDTH, LEFT, RIGHT = 980, 20, 640
CHIPS_LEFT, CHIPS_RIGHT = 168, 628
CHIP, CHIP_GAP = 22, 6
NARROW, WIDE = dict.fromkeys("fijlrt", 4.7), dict.fromkeys("mw", 10.8)
LETTER, DIGIT = 7.3, 7.6
LEAST_ENTRY, LEAST_HEIGHT, BRANCH, OUT, GAP = 40, 62, 19, 24, 14
FIRST_LANE, LANE = 714, 39

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"\
 aria-labelledby="t d"\
 font-family="system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif">
  <title id="t">The rooms of Yinqiao</title>
  <desc id="d">{told}</desc>
  <style>
    .bg {{ fill: #ffffff }} .room {{ fill: #f3f6f9; stroke: #c3ccd5 }}
    .apart {{ fill: none; stroke: #8a929a; stroke-dasharray: 5 4 }}
    .t {{ font-size: 15px; font-weight: 600; fill: #14202c }}
    .s {{ font-size: 11px; fill: #55636f }}
    .chip {{ fill: #ffffff; stroke: #b9c4ce }} .file {{ fill: none; stroke: #ccd4db }}
    .c {{ font-size: 12px; fill: #22303c }} .n {{ fill: #6a7884 }}
    .p {{ font-size: 11px; font-weight: 600; fill: #ffffff }}
    @media (prefers-color-scheme: dark) {{
      .bg {{ fill: #0f151b }} .room {{ fill: #182129; stroke: #3a4753 }}
      .apart {{ stroke: #7a848d }}
      .t {{ fill: #eef3f8 }} .s {{ fill: #a9b6c2 }}
      .chip {{ fill: #22303c; stroke: #46566a }} .file {{ stroke: #3a4753 }}
      .c {{ fill: #dfe7ee }} .n {{ fill: #93a1ae }}
    }}
  </style>
  <rect class="bg" width="{width}" height="{height}" rx="8"/>"""


@dataclass(frozen=True, slots=True)
class Chip:
    """A subpackage with its number of files, or (0) a single file."""

    label: str
    files: int

    @property
    def width(self) -> float:
        letters = sum((NARROW | WIDE).get(letter, LETTER) for letter in self.label)
        number = len(str(self.files)) * DIGIT + 5 if self.files else 0.0
        return round(letters + number + 16, 1)


@dataclass(frozen=True, slots=True)
class Box:
    """A room where it is drawn. `sources` are the rooms that import it, nearest first; `leaves`:
    it imports others."""

    name: str
    top: float
    height: float
    chips: tuple[tuple[float, float, Chip], ...]
    sources: tuple[str, ...]
    leaves: bool

    @property
    def middle(self) -> float:
        return self.top + self.height / 2

    @property
    def exit(self) -> float:
        """The height at which the arrow leaves."""
        return self.top + self.height - OUT / 2 - 1

    @property
    def below(self) -> int:
        """The room that the arrow which leaves takes, below those that arrive."""
        return OUT if self.leaves else 0

    def branch(self, source: str) -> float:
        """The height at which the arrow from `source` arrives."""
        spread = (len(self.sources) - 1) * BRANCH
        first = self.top + (self.height - self.below - spread) / 2
        return first + self.sources.index(source) * BRANCH


def imports(root: Path) -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another: one for each file and module imported."""
    return Counter(
        (source, target.split(".")[0])
        for source, path in _files(root)
        for target in _imported(root, path)
        if target.split(".")[0] in ROOMS and target.split(".")[0] != source
    )


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for name in ENTRY.split(", "):
        if (root / name).exists():
            yield ENTRY, root / name
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            yield room, path


def _imported(root: Path, path: Path) -> set[str]:
    """The modules of this house that a file names in its imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {_module(root, node.module, alias.name) for alias in node.names}
    return found


def _module(root: Path, package: str, name: str) -> str:
    """`package.name` where that is a module, else `package`, from which a name is taken."""
    inner = root.joinpath(*package.split("."), name)
    return f"{package}.{name}" if inner.is_dir() or inner.with_suffix(".py").exists() else package


def chips(folder: Path) -> list[Chip]:
    """What is inside a room: its subpackages, then its own files."""
    inner = sorted(path for path in folder.iterdir() if (path / "__init__.py").exists())
    own = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    packages = [Chip(path.name, _count(path)) for path in inner]
    return packages + [Chip(path.stem, 0) for path in own]


def _count(folder: Path) -> int:
    return sum(path.name != "__init__.py" for path in folder.rglob("*.py"))


def draw(root: Path) -> str:
    """The picture as SVG."""
    counts = imports(root)
    boxes = list(_boxes(root, counts))
    bottom = boxes[-1].top + boxes[-1].height
    apart = _apart_box(root, bottom + 26)
    if apart:
        bottom = apart.top + apart.height
    lines = [
        HEAD.format(width=WIDTH, height=round(bottom + 20), told=escape(_told(counts))),
        *_arrows({box.name: box for box in boxes}, counts),
        *(line for box in boxes for line in _room(box, root)),
        *(_apart(apart, root) if apart else []),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _told(counts: Counts) -> str:
    pairs = sorted(counts, key=lambda pair: (ORDER.index(pair[0]), ORDER.index(pair[1])))
    return "; ".join(_sentence(*pair, counts[pair]) for pair in pairs) + "."


def _sentence(source: str, target: str, count: int) -> str:
    return f"{source} imports {target} {'once' if count == 1 else f'{count} times'}"


def _boxes(root: Path, counts: Counts) -> Iterator[Box]:
    """Every room from top to bottom."""
    top = 20.0
    for name in ORDER:
        box = _box(root, name, top, counts)
        yield box
        top += box.height + GAP


def _box(root: Path, name: str, top: float, counts: Counts) -> Box:
    """A room, as high as its chips and its arrows need."""
    rows = [] if name == ENTRY else list(_rows(chips(root / name)))
    sources = _sources(name, counts)
    leaves = any(source == name for source, _ in counts)
    for_arrows = len(sources) * BRANCH + 6 + (OUT if leaves else 4)
    height = max(LEAST_ENTRY if name == ENTRY else LEAST_HEIGHT, _height_of_chips(rows), for_arrows)
    return Box(name, top, height, tuple(_placed(rows, top, height)), sources, leaves)


def _sources(name: str, counts: Counts) -> tuple[str, ...]:
    """The rooms that import `name`: those above it, nearest first, then those below."""
    place = ORDER.index(name)
    nearest = (*reversed(ORDER[:place]), *ORDER[place + 1 :])
    return tuple(other for other in nearest if counts.get((other, name)))


def _height_of_chips(rows: list[list[Chip]]) -> int:
    return len(rows) * (CHIP + CHIP_GAP) + 14


def _rows(inside: list[Chip]) -> Iterator[list[Chip]]:
    """Chips in lines that are no wider than the room."""
    line: list[Chip] = []
    used = 0.0
    for chip in inside:
        if line and used + chip.width > CHIPS_RIGHT - CHIPS_LEFT:
            yield line
            line, used = [], 0.0
        line.append(chip)
        used += chip.width + CHIP_GAP
    if line:
        yield line


def _placed(
    rows: list[list[Chip]], top: float, height: float
) -> Iterator[tuple[float, float, Chip]]:
    """(x, y, chip); the lines together stand in the middle of the room's height."""
    y = top + (height - len(rows) * (CHIP + CHIP_GAP) + CHIP_GAP) / 2
    for line in rows:
        x = float(CHIPS_LEFT)
        for chip in line:
            yield round(x, 1), round(y, 1), chip
            x += chip.width + CHIP_GAP
        y += CHIP + CHIP_GAP


def _room(box: Box, root: Path) -> Iterator[str]:
    yield _frame(box, "room")
    yield (
        f'  <rect x="{LEFT}" y="{box.top + 8:g}" width="4" height="{box.height - 16:g}" rx="2"'
        f' fill="{COLOURS[box.name]}"/>'
    )
    if box.name == ENTRY:
        yield f'  <text class="t" x="40" y="{box.middle + 5:g}">server.py · manage.py</text>'
    else:
        yield from _inside(box, root)


def _apart(box: Box, root: Path) -> Iterator[str]:
    """The sandbox, which no room imports and which imports none."""
    yield _frame(box, "apart")
    yield from _inside(box, root)
    said = ("plays WeChat and WeCom over HTTP;", "no room imports it, it imports none")
    for line, words in enumerate(said):
        y = box.middle - 2 + line * 15
        yield f'  <text class="s" x="{RIGHT + 18}" y="{y:g}">{words}</text>'


def _apart_box(root: Path, top: float) -> Box | None:
    if not (root / APART).is_dir():
        return None
    rows = list(_rows([chip for chip in chips(root / APART) if chip.files]))
    height = max(LEAST_HEIGHT, _height_of_chips(rows))
    return Box(APART, top, height, tuple(_placed(rows, top, height)), (), False)


def _frame(box: Box, kind: str) -> str:
    return (
        f'  <rect class="{kind}" x="{LEFT}" y="{box.top:g}" width="{RIGHT - LEFT}"'
        f' height="{box.height:g}" rx="7"/>'
    )


def _inside(box: Box, root: Path) -> Iterator[str]:
    yield f'  <text class="t" x="40" y="{box.middle - 2:g}">{box.name}</text>'
    yield f'  <text class="s" x="40" y="{box.middle + 15:g}">{_files_of(root / box.name)}</text>'
    yield from (_chip(*placed) for placed in box.chips)


def _files_of(folder: Path) -> str:
    files = _count(folder)
    return "1 file" if files == 1 else f"{files} files"


def _chip(x: float, y: float, chip: Chip) -> str:
    kind = "chip" if chip.files else "file"
    number = f'<tspan class="n" dx="5">{chip.files}</tspan>' if chip.files else ""
    return (
        f'  <rect class="{kind}" x="{x:g}" y="{y:g}" width="{chip.width:g}"'
        f' height="{CHIP}" rx="5"/>'
        f'<text class="c" x="{x + 8:g}" y="{y + 15:g}">{escape(chip.label)}{number}</text>'
    )


def _arrows(boxes: Mapping[str, Box], counts: Counts) -> Iterator[str]:
    """From each room one line down the right side, with a branch into every room it imports."""
    for source in ORDER:
        targets = [target for target in ROOMS if counts.get((source, target))]
        if targets:
            colour = COLOURS[source]
            yield f'  <g fill="none" stroke="{colour}" stroke-linejoin="round">'
            for target in targets:
                yield _line(boxes[source], boxes[target], counts[source, target])
            yield "  </g>"
            yield f'  <circle cx="{RIGHT}" cy="{boxes[source].exit:g}" r="3.5" fill="{colour}"/>'
            for target in targets:
                yield _label(boxes[target].branch(source), colour, counts[source, target])


def _line(source: Box, target: Box, count: int) -> str:
    """One arrow's line, dashed where it goes against the order of the rooms."""
    place = ORDER.index(source.name)
    lane = FIRST_LANE + (len(ORDER) - 2 - place) * LANE
    way = f"M{RIGHT} {source.exit:g} H{lane} V{target.branch(source.name):g} H{RIGHT + 9}"
    width = round(1 + math.log2(count) / 4, 2)
    dashed = ' stroke-dasharray="4 3"' if ORDER.index(target.name) < place else ""
    title = _sentence(source.name, target.name, count)
    return f'    <path d="{way}" stroke-width="{width}"{dashed}><title>{title}</title></path>'


def _label(y: float, colour: str, count: int) -> str:
    """The head of an arrow and, on its line, how many imports it stands for."""
    width = len(str(count)) * 7 + 10
    x = RIGHT + 18
    head = f"M{RIGHT + 1} {y:g} l9 -4.5 v9z"
    return (
        f'  <path d="{head}" fill="{colour}"/>'
        f'<rect x="{x}" y="{y - 7.5:g}" width="{width}" height="15" rx="7.5" fill="{colour}"/>'
        f'<text class="p" x="{x + width / 2:g}" y="{y + 4:g}" text-anchor="middle">{count}</text>'
    )
