"""What is known of a customer: facts as one source tells them, and the customer with his ids
opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

NUMBER, PENDING = "number", "pending"


@dataclass(frozen=True)
class Facts:
    """What one source knows of a person; empty means unknown. `openids` by appid; `pending_id`
    stands for an external_userid that WeCom does not tell yet (contract/wechat B3 95926); `phone` is
    in E.164 (services/phones.py)."""

    external_userid: str = ""
    unionid: str = ""
    openids: Mapping[str, str] = field(default_factory=dict)
    phone: str = ""
    name: str = ""
    pending_id: str = ""

    def ids(self) -> dict[str, str]:
        """kind → value, strongest first."""
        known = {"unionid": self.unionid, "external_userid": self.external_userid}
        known |= {f"openid.{appid}": openid for appid, openid in self.openids.items()}
        known |= {PENDING: self.pending_id}
        return {kind: value for kind, value in known.items() if value}

    def with_ids_of(self, kinds: Collection[str]) -> Facts:
        """The same without the ids of other kinds."""
        ids = {kind: value for kind, value in self.ids().items() if kind in kinds}
        openids = {
            appid: openid for appid, openid in self.openids.items() if f"openid.{appid}" in ids
        }
        return Facts(
            external_userid=ids.get("external_userid", ""),
            unionid=ids.get("unionid", ""),
            openids=openids,
            phone=self.phone,
            name=self.name,
            pending_id=ids.get(PENDING, ""),
        )

    def by_field(self) -> dict[str, str]:
        """The facts that a customer's row keeps, by its fields' names."""
        known = {
            "name": self.name,
            "phone": self.phone,
            "unionid": self.unionid,
            "external_userid": self.external_userid,
        }
        known |= {f"openids.{appid}": openid for appid, openid in self.openids.items()}
        return {name: value for name, value in known.items() if value}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said it (callback, details, login, phone, sync, bank, clerk, convert), and the proof: an
    event's id or a call."""

    source: str = ""
    proof: str = ""


@dataclass(frozen=True)
class Customer:
    """A customer with his ids opened. `cids` are his own id and those of customers merged into him;
    `number` is the bank's."""

    cid: str
    tenant: str
    aliases: tuple[str, ...]
    name: str
    phone: str
    unionid: str
    external_userid: str
    number: str
    openids: Mapping[str, str]
    tags: tuple[str, ...]

    @property
    def cids(self) -> list[str]:
        return [self.cid, *self.aliases]

    def ids(self) -> dict[str, str]:
        """kind → value of every id that he has now, the bank's number among them."""
        facts = Facts(self.external_userid, self.unionid, self.openids)
        return facts.ids() | ({NUMBER: self.number} if self.number else {})

    def by_field(self) -> dict[str, str]:
        """What is known of him, by the names of his row's fields."""
        facts = Facts(self.external_userid, self.unionid, self.openids, self.phone, self.name)
        number = {NUMBER: self.number} if self.number else {}
        return number | facts.by_field()


def field_of(kind: str) -> str:
    """The field of a customer's row that holds an id of this kind."""
    return kind.replace("openid.", "openids.", 1)


def unknown_facts(customer: Customer, facts: Facts) -> Facts:
    """What `facts` say that is not known of the customer yet."""

    def unless_known(told: str, known: str) -> str:
        return "" if told == known else told

    return Facts(
        external_userid=unless_known(facts.external_userid, customer.external_userid),
        unionid=unless_known(facts.unionid, customer.unionid),
        openids={
            appid: openid
            for appid, openid in facts.openids.items()
            if customer.openids.get(appid) != openid
        },
        phone=unless_known(facts.phone, customer.phone),
        name=unless_known(facts.name, customer.name),
    )


def mask_name(name: str) -> str:
    """The family name and a star for every other character."""
    return name[:1] + "*" * (len(name) - 1)


def mask_id(value: str) -> str:
    """The first two and the last four characters; of a short id the last two."""
    return f"{value[:2]}…{value[-4:]}" if len(value) >= 10 else f"…{value[-2:]}" if value else ""
