"""The picture of the rooms counts what the files import, and comes out the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from deploy import picture
from deploy.processes import ROOT


def house(root: Path) -> Path:
    for room in picture.ROOMS:
        (root / room).mkdir()
    files = {
        "server.py": "from handlers import routes\n",
        "handlers/routes.py": "import customers.inner.names\nfrom config import settings, nothing\n",
        "customers/inner/__init__.py": "",
        "customers/inner/names.py": "from services.errors import Conflict, Invalid\nimport json\n",
        "services/errors.py": "from __future__ import annotations\n",
        "config/settings.py": "import handlers.routes\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_imports_are_counted_by_file_and_module(tmp_path: Path) -> None:
    assert picture.imports(house(tmp_path)) == {
        (picture.ENTRY, "handlers"): 1,
        ("handlers", "customers"): 1,
        ("handlers", "config"): 2,
        ("customers", "services"): 1,
        ("config", "handlers"): 1,
    }


def test_a_room_shows_its_subpackages_before_its_files(tmp_path: Path) -> None:
    root = house(tmp_path)
    (root / "customers/alone.py").write_text("", encoding="utf-8")
    assert picture.chips(root / "customers") == [picture.Chip("inner", 1), picture.Chip("alone", 0)]


def test_an_import_against_the_arrow_is_dashed(tmp_path: Path) -> None:
    drawn = picture.draw(house(tmp_path)).splitlines()
    dashed = [line for line in drawn if "stroke-dasharray=" in line]
    assert ["config imports handlers once" in line for line in dashed] == [True]


def test_the_picture_is_an_image_that_tells_itself_in_words() -> None:
    drawn = picture.draw(ROOT)
    assert drawn == picture.draw(ROOT)
    root = ElementTree.fromstring(drawn)  # noqa: S314
    titles = [element.text for element in root.iter() if element.tag.endswith(("}title", "}desc"))]
    assert titles[0] == "The rooms of Yinqiao"
    assert "campaigns imports rewards" in (titles[1] or "")
