"""What a customer holds: his vouchers as he reads them, and the one that he shows at a counter."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import segno

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.item import Item
from rewards.pools.codes import codes_of
from rewards.rows import Grant, Reward
from rewards.vouchers import codes, gifts, issuing, life, qr, redeem
from rewards.vouchers.rows import EXPIRED, OPEN, VOUCHERS, Voucher
from services.cache import Slot, TtlCache
from services.documents.parts import Text
from services.errors import NotFound
from services.store.mongo import Doc

MOST = 1_000


@dataclass(frozen=True, slots=True)
class _Alike:
    """What fresh vouchers of the `reward` that are good until `ends` say, as one of them does."""

    reward: Reward
    ends: datetime
    view: dict[str, Any]


_ALIKE: Slot[TtlCache[tuple[str, str, str], _Alike]] = Slot("vouchers", lambda: TtlCache(2_000))
_ALL = {
    "branches": {"zh": "全部网点", "en": "all branches"},
    "merchants": {"zh": "全部合作商户", "en": "all partner shops"},
}


async def of_customer(
    bank: Bank, cids: Sequence[str], grants: Sequence[Grant] = ()
) -> list[Voucher]:
    """The vouchers of a customer, newest first; `cids` are his and those of whom he was before a
    merge. Of `grants` that have no voucher yet it is made."""
    theirs = {"cid": {"$in": list(cids)}}
    newest_first = [("at", -1), ("_id", -1)]
    found = await bank.db[VOUCHERS].find(theirs, sort=newest_first, limit=MOST)
    rows = {row["_id"]: cast("Voucher", row) for row in found}
    missing = [grant for grant in grants if grant["_id"] not in rows]
    made = await issuing.ensure(bank, missing) if missing else {}
    rows |= {one: row for one, row in made.items() if row["cid"] in cids}
    return sorted(rows.values(), key=lambda row: (row["at"], row["_id"]), reverse=True)


def state_of(bank: Bank, row: Voucher) -> str:
    """The voucher's state as people read it: one that is over is expired, told or not."""
    return _state_at(row, bank.utc())


def _state_at(row: Voucher, now: datetime) -> str:
    return EXPIRED if row["state"] in OPEN and life.is_over(row, now) else row["state"]


async def pool_codes(bank: Bank, rows: Sequence[Voucher]) -> dict[str, str]:
    """The codes of those vouchers that were given one out of a pool, by the vouchers' ids."""
    return await codes_of(bank, cast("Sequence[Grant]", rows))


def view(
    bank: Bank, row: Voucher, reward: Reward, lang: str, pooled: Mapping[str, str]
) -> dict[str, Any]:
    """The voucher as its customer reads it; `pooled` are codes that came out of pools, by the
    vouchers' ids."""
    own = codes.shown(codes.code_of(bank.vault, row["_id"], row["nth"]))
    item = issuing.item_of(reward)
    now = bank.utc()
    ends = row["expires"]
    return {
        "id": row["_id"].split(":", 1)[1],
        "reward": row["reward"],
        "instead_of": row.get("asked_for"),
        "title": text(reward["title"], lang),
        "code": pooled.get(row["_id"]) or own,
        "points": None,
        "at": row["at"].isoformat(),
        "state": _state_at(row, now),
        "kind": row["kind"],
        "expires": None if ends is None else ends.isoformat(),
        "uses": row["uses"],
        "uses_per": row["uses_per"],
        "uses_left": life.left(bank, row, now),
        "how": _worded(item.how or item.text, lang),
        "where": where(bank, item, lang),
        "face_value": redeem.face_value(item),
        "transferable": item.transferable,
    }


def of_grant(
    bank: Bank, grant: Grant, reward: Reward, lang: str, pooled: Mapping[str, str]
) -> dict[str, Any]:
    """The voucher of a grant as its customer reads it when it is made; its row is not looked for.
    What all vouchers of the reward say alike is worked out once for each reading of its row."""
    if "code" in grant or "instead_of" in grant:
        return view(bank, issuing.to_show(bank, reward, grant), reward, lang, pooled)
    now = bank.utc()
    ends = issuing.expires(bank, reward, issuing.item_of(reward), grant["at"])
    known = bank.services.cache.of(_ALIKE)
    key = (bank.id, reward["reward"], lang)
    alike = known.get(key, bank.now())
    if alike is None or alike.reward is not reward or alike.ends != ends or ends <= now:
        row = issuing.to_show(bank, reward, grant)
        alike = _Alike(reward, ends, view(bank, row, reward, lang, pooled))
        known.put(key, alike, bank.now() + catalogue.CACHE_SECONDS)
    own = codes.code_of(bank.vault, grant["_id"], 0)
    return {
        **alike.view,
        "id": grant["_id"].split(":", 1)[1],
        "code": codes.shown(own),
        "at": grant["at"].isoformat(),
    }


def text(texts: Doc, lang: str) -> str:
    return texts.get(lang) or texts.get("zh") or ""


def _worded(words: Text, lang: str) -> str:
    return (words.en if lang == "en" else "") or words.zh


def where(bank: Bank, item: Item, lang: str) -> list[str]:
    """The names of the places where it may be used; none where it may be used everywhere."""
    if item.use_at is None:
        return []
    names: list[str] = []
    branches, merchants = item.use_at.branches, item.use_at.merchants
    if branches == "all":
        names.append(_ALL["branches"][lang])
    else:
        names += [bank.branches.get(one, one) for one in branches]
    if merchants == "all":
        names.append(_ALL["merchants"][lang])
    else:
        names += [bank.merchants.get(one, one) for one in merchants]
    return names


async def shown(bank: Bank, cids: Sequence[str], voucher: str, lang: str) -> dict[str, Any]:
    """The voucher that its customer opens, with the QR code of this moment where it can be used:
    its text, the picture, and for how many seconds it is good. Raises NotFound `voucher_unknown`
    for one that is not his."""
    row = await issuing.of_grant_id(bank, f"{bank.id}:{voucher}")
    if row is None or row["cid"] not in cids:
        raise NotFound("voucher_unknown", "no such voucher")
    if state_of(bank, row) != EXPIRED:
        row = await life.opened(bank, row["_id"])
    reward = await catalogue.find(bank, row["reward"])
    said = view(bank, row, reward, lang, await pool_codes(bank, [row]))
    usable = row["state"] in OPEN and said["uses_left"] > 0
    ends = row["expires"]
    left = None if ends is None else max(0, int((ends - bank.utc()).total_seconds()))
    gift = gifts.offered(bank, row)
    return {
        **said,
        "seconds_left": left,
        "qr": _qr(bank, row) if usable else None,
        "gift": None if gift is None else {"code": gift.code, "until": gift.until.isoformat()},
    }


def _qr(bank: Bank, row: Voucher) -> dict[str, Any]:
    said = qr.text(bank, row)
    return {"text": said, "svg": picture(said), "seconds": qr.SECONDS}


def picture(said: str) -> str:
    """A QR code as an SVG element."""
    out = io.BytesIO()
    code = segno.make(said, error="m", micro=False)
    code.save(out, kind="svg", scale=4, border=2, xmldecl=False, svgns=True, omitsize=True)
    return out.getvalue().decode().strip()
