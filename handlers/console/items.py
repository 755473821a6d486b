"""The console's pages of the catalogue: what the bank's campaigns may give. A change takes two clerks.

The form is made of the item's model: a field that the model gets is on the form.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, create_model
from typing_extensions import override

from config.bounds import GivenReason, LongText, Reason, RowId, Word
from handlers.console.base import REFUSALS, Console, Decision, RejectForm
from handlers.http.pages import Form
from rewards.item import Item
from rewards.items import live, versions
from services.documents.problems import Problem
from services.errors import NotFound, YinqiaoError

VOUCHERS = ("code", "code_pool", "right")
KINDS_OF: Mapping[str, tuple[str, ...]] = {
    "points": ("points",),
    "pool": ("code_pool",),
    "how": VOUCHERS,
    "uses": VOUCHERS,
    "uses_per": VOUCHERS,
    "valid_days": VOUCHERS,
    "valid_until": VOUCHERS,
    "transferable": VOUCHERS,
    "use_at": VOUCHERS,
    "remind_days": VOUCHERS,
}
"""The kinds that have a field; all others are of every kind."""
KINDS: tuple[str, ...] = get_args(Item.model_fields["kind"].annotation)


@dataclass(frozen=True, slots=True)
class Field:
    """One input: its `name` in the form, its `place` in the item, what it takes (`text`, `number`,
    `day`, `switch`, `choice`, `list`), and whether it must be filled in."""

    name: str
    place: tuple[str, ...]
    takes: str
    required: bool
    choices: tuple[str, ...] = ()
    default: Any = None


def fields_of(kind: str) -> list[Field]:
    """The inputs of an item of that kind, in the order of the model."""
    return [
        one
        for one in _fields(Item, (), required=True)
        if kind in KINDS_OF.get(one.place[0], KINDS) and one.place[0] != "kind"
    ]


def _fields(model: type[BaseModel], place: tuple[str, ...], *, required: bool) -> Iterator[Field]:
    for name, info in model.model_fields.items():
        here = (*place, name)
        takes, choices, inner = _takes(info.annotation)
        needed = required and info.is_required()
        if inner is not None:
            yield from _fields(inner, here, required=needed)
            continue
        default = info.get_default(call_default_factory=True) if not info.is_required() else None
        yield Field("__".join(here), here, takes, needed, choices, default)


def _takes(annotation: Any) -> tuple[str, tuple[str, ...], type[BaseModel] | None]:
    """What an input for values of this type takes, its choices, and the model that is in it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _takes(inner[0])
    if origin is Literal:
        return "choice", tuple(map(str, inner)), None
    if origin in (Union, types.UnionType):
        kinds = [_takes(one) for one in inner if one is not type(None)]
        listed = next((one for one in kinds if one[0] == "list"), None)
        return listed or kinds[0]
    if origin in (list, tuple):
        return "list", (), None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "part", (), annotation
    plain = {bool: "switch", int: "number", date: "day"}
    return plain.get(annotation, "text"), (), None


def _posted(kind: str) -> type[Form]:
    """The form for an item of that kind."""
    texts: dict[str, Any] = {one.name: (LongText, "") for one in fields_of(kind)}
    return create_model("ItemFields", __base__=Form, **texts)


def read_form(kind: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The item that a form says, as its model reads it: what was left empty is left out."""
    said: dict[str, Any] = {"kind": kind}
    for one in fields_of(kind):
        text = values.get(one.name, "").replace("\r\n", "\n").strip()
        value = _value(one, text)
        if value is None:
            continue
        part = said
        for name in one.place[:-1]:
            part = part.setdefault(name, {})
        part[one.place[-1]] = value
    return said


def _value(one: Field, text: str) -> Any:
    """What an input says; None for nothing."""
    if one.takes == "switch":
        return True if text else None
    if not text:
        return None
    if one.takes == "number":
        return int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else text
    if one.takes == "list":
        return text if text == "all" else re.split(r"[\s,，、;；]+", text.strip(",，、;； \n"))
    return text


def shown_form(kind: str, item: Item | None) -> dict[str, str]:
    """The inputs' values for an item; the defaults for a new one."""
    content = {} if item is None else item.model_dump(mode="json")
    return {one.name: _text(_at(content, one)) for one in fields_of(kind)}


def _at(content: Mapping[str, Any], one: Field) -> Any:
    value: Any = content
    for name in one.place:
        if not isinstance(value, Mapping) or name not in value:
            return one.default
        value = value[name]
    return value


def _text(value: Any) -> str:
    if value is None or value is False:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "on" if value is True else str(value)


class ItemForm(Form):
    """`item` is the key; `edited` says that it is there already, `base` its newest version when the
    clerk began."""

    item: Word = ""
    kind: Word = ""
    edited: RowId | Literal[""] = ""
    base: Word = ""


class RetireForm(Form):
    reason: GivenReason


class ApproveForm(Form):
    reason: Reason = ""


class Asked(Form):
    kind: Word = ""


class Items(Console):
    """The catalogue; POST submits an item."""

    @override
    async def get(self) -> None:
        await self.show()

    async def show(self, error: YinqiaoError | None = None) -> None:
        rows = await versions.list_items(self.bank, self.actor)
        self.render_page("items", error, rows=rows)

    @override
    def form_address(self) -> str:
        form = self.form(ItemForm)
        if re.fullmatch(r"[a-z0-9_-]{1,40}", form.edited):
            return f"/console/items/{form.edited}/edit"
        return f"/console/items/new?kind={form.kind if form.kind in KINDS else KINDS[0]}"

    @override
    async def post(self) -> None:
        form = self.form(ItemForm)
        kind = form.kind if form.kind in KINDS else KINDS[0]
        values = self.form(_posted(kind)).model_dump()
        key = form.edited or form.item.strip()
        base = int(form.base) if re.fullmatch("[0-9]{1,9}", form.base) else None
        try:
            item = versions.read(key, read_form(kind, values))
            seen = base if form.edited else 0
            await versions.submit(self.bank, self.actor, key, item, base=seen)
        except REFUSALS as error:
            shown = FormPage(form.edited, kind, form.base, key, values)
            self.show_form(shown, error)
            return
        self.redirect_to(f"/console/items/{key}", done="item_submitted")

    def show_form(self, page: FormPage, error: YinqiaoError | None = None) -> None:
        """The form, with what is wrong at each field."""
        faults = getattr(error, "faults", [])
        wrong: dict[str, list[str]] = {}
        for place, code, data in faults:
            name = "__".join(
                str(part) for part in place if isinstance(part, str) and "[" not in part
            )
            wrong.setdefault(name, []).append(Problem(0, code, data).say(self.lang))
        fields = fields_of(page.kind)
        names = {one.name for one in fields} | {"key"}
        apart = [said for name, each in wrong.items() if name not in names for said in each]
        self.render_page(
            "item_edit", error, page=page, fields=fields, wrong=wrong, apart=apart, words=live.WORDS
        )


@dataclass(frozen=True, slots=True)
class FormPage:
    """What the form shows: the item that is `edited` (empty for a new one), its `kind`, the newest
    version `base`, the `key`, and the inputs' values."""

    edited: str
    kind: str
    base: str
    key: str
    values: Mapping[str, str]


class NewItem(Items):
    """The form for an item of `?kind=`; without one, which kinds there are."""

    @override
    async def get(self) -> None:
        kind = self.asked(Asked).kind
        if kind not in KINDS:
            self.render_page("item_kinds", kinds=KINDS)
            return
        self.show_form(FormPage("", kind, "", "", shown_form(kind, None)))


class EditItem(Items):
    @override
    async def get(self, item: str = "") -> None:
        view = await versions.get_item(self.bank, self.actor, item)
        if view["newest"] is None:
            raise NotFound("item_unknown", "this item has no version")
        thing: Item = view["newest"]
        values = shown_form(thing.kind, thing)
        self.show_form(FormPage(item, thing.kind, str(view["base"]), item, values))


class ItemPage(Decision):
    """One item: what it is, which campaigns give it, its versions, and the one that waits."""

    @property
    def item(self) -> str:
        return self.path_kwargs["item"]

    @override
    async def get(self, item: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await versions.get_item(self.bank, self.actor, self.item)
        soft = [Problem(0, code, data).say(self.lang) for _, code, data in view["soft"]]
        shown = {"view": view, "said": self.said, "field_label": self.field_label, "soft": soft}
        self.render_page("item", error, **shown)

    @override
    def address(self) -> str:
        return f"/console/items/{self.item}"

    def field_label(self, name: str) -> str:
        """What a field of an item is called."""
        return self.explain(f"item_{name}", name)

    def said(self, name: str, value: Any) -> str:
        """A field's value as a person reads it."""
        if value in (None, "", [], {}):
            return "–"
        if name in MONEY and isinstance(value, int):
            return f"¥{value // 100:,}.{value % 100:02d}"
        if isinstance(value, Mapping):
            parts = [(key, each) for key, each in value.items() if each not in ("", None, [])]
            return " · ".join(
                f"{self.field_label(key)} {self.reading(each)}" for key, each in parts
            )
        if isinstance(value, str):
            return self.explain(f"item_{name}_{value}", value)
        return self.reading(value)


MONEY = ("cost", "face_value")


class Retire(ItemPage):
    done = "item_submitted"

    @override
    async def decide(self) -> None:
        await versions.retire(self.bank, self.actor, self.item, self.form(RetireForm).reason)


class Approve(ItemPage):
    done = "item_approved"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(ApproveForm).reason
        await versions.approve(self.bank, self.actor, self.item, version, reason)


class Reject(ItemPage):
    done = "item_rejected"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(RejectForm).reason
        await versions.reject(self.bank, self.actor, self.item, version, reason)
