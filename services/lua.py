"""Redis scripts: each is a `.lua` file in the folder `scripts` of the package that runs it."""

from __future__ import annotations

from importlib.resources import files


def script(package: str, name: str, **constants: float | str) -> str:
    """The text of `package/scripts/name.lua`, with the constants as Lua locals before it."""
    text = files(package).joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
    return "".join(f"local {key} = {_literal(value)}\n" for key, value in constants.items()) + text


def _literal(value: float | str) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
