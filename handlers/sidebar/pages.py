"""The relationship manager's side panel in WeCom: his customers, and one customer's timeline. Signed
in through WeCom's OAuth."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote, unquote, urlencode

from pydantic import Field
from typing_extensions import override

from campaigns import live
from config.bounds import IdempotencyKey, OAuthCode, Reason, ShortText, Text, Word
from customers.access import panel, rm, withdrawal
from customers.actors import StaffActor
from customers.banks import staff
from customers.banks.bank import open_bank
from customers.fields import editing
from customers.rfm import viewing as rfm
from customers.timeline import Entry
from handlers.http import rates
from handlers.http.pages import Form, Page, own_path
from rewards import allowance, catalogue, holdings
from rewards.points import statement
from services import ids
from services.errors import Conflict, InvalidInput, NotFound, NotSignedIn, Unavailable, YinqiaoError
from services.wechat.core.errors import PlatformError

STATE_SECONDS = 600


class NotesForm(Form):
    remark: ShortText = ""
    description: Text = ""


class TagForm(Form):
    """One corp tag's id, to add or to remove."""

    add: Word = ""
    remove: Word = ""


class WithdrawalForm(Form):
    """`sure` is the tick that says so."""

    reason: Reason = ""
    sure: Word = ""


class FieldForm(Form):
    """What the RM says of one field; nothing takes a value back."""

    value: ShortText = ""


class OfferForm(Form):
    """A reward's id, and why the customer gets it."""

    reward: Word = ""
    reason: Reason = ""
    key: IdempotencyKey


class Returned(Form):
    """What WeCom's OAuth page sends back."""

    code: OAuthCode | Literal[""] = ""
    state: Word = ""


class Sidebar(Page):
    """WeCom may frame it (contract/jssdk 5); nobody else may."""

    folder: ClassVar[str] = "sidebar"
    ancestors: str = "https://work.weixin.qq.com https://*.work.weixin.qq.com"
    actor: StaffActor

    @property
    def tenant(self) -> str:
        return self.path_kwargs["tenant"]

    @override
    def home(self) -> str:
        return f"/sidebar/{self.tenant}/"

    @override
    def face(self) -> str:
        return f"rm_{self.tenant}"

    @override
    def owner(self) -> str:
        return f"rm|{self.actor.tenant}|{self.actor.userid}"

    @override
    async def identify(self, permission: str) -> StaffActor:
        token = self.get_cookie(self.session_cookie(f"rm_{self.tenant}")) or ""
        return await rm.actor_of(await open_bank(self.services, self.tenant), token)

    @override
    async def redirect_to_sign_in(self) -> None:
        await self.ask_wecom(own_path(self.request.uri or "", self.home()))

    async def ask_wecom(self, wanted: str) -> None:
        """To WeCom's OAuth page; a cookie remembers the state and where the visitor wanted to
        go."""
        state = secrets.token_hex(16)
        back = f"{self.services.settings.url}/sidebar/{self.tenant}/oauth"
        url = await rm.authorize_url(await open_bank(self.services, self.tenant), back, state)
        self.set_cookie(
            self.session_cookie(f"state_{self.tenant}"), f"{state}|{quote(wanted, safe='')}", path="/", httponly=True,
            samesite="Lax", secure=self.secure, max_age=STATE_SECONDS,
        )  # fmt: skip
        self.redirect(url, status=302)

    async def names(self) -> dict[str, Any]:
        member = await staff.staff_member(self.bank, self.actor.userid)
        return {
            "bank": self.bank.name,
            "rm": member.name,
            "branch": self.bank.branches.get(member.branch, member.branch),
            "base": f"/sidebar/{self.tenant}",
            "programs": {appid: program.name for appid, program in self.bank.miniprograms.items()},
        }


class OAuth(Sidebar):
    """Where WeCom sends the RM back to, with `code` and the `state` that we gave."""

    @override
    async def get(self, tenant: str) -> None:
        wanted = self.expected_path()
        bank = await open_bank(self.services, tenant)
        code, limits = self.asked(Returned).code, rates.logins(self.client_ip(), tenant)
        async with self.services.tries.trying(limits, NotSignedIn):
            actor = await rm.staff_login(bank, code, self.origin())
        before = self.get_cookie(self.session_cookie(f"rm_{tenant}")) or ""
        await self.services.sessions.end(rm.SESSION, before)
        token = await rm.open_session(bank, actor)
        self.clear_cookie(self.session_cookie(f"state_{tenant}"), path="/", secure=self.secure)
        self.keep_session(f"rm_{tenant}", token, samesite="Lax")
        self.redirect(wanted, status=302)

    def expected_path(self) -> str:
        """Where the RM wanted to go; raises NotSignedIn when the state is not the one that this
        browser was given."""
        kept = self.get_cookie(self.session_cookie(f"state_{self.tenant}")) or ""
        state, _, path = kept.partition("|")
        given = self.asked(Returned).state
        if not state or not hmac.compare_digest(state.encode(), given.encode()):
            raise NotSignedIn(
                "oauth_state",
                "the sign-in was not started in this browser; open the side panel again",
            )
        return own_path(unquote(path), self.home())


class Beside(Form):
    """In whose chat the panel was opened, as the client says."""

    external_userid: Word = ""


class Chat(Sidebar):
    """What WeCom's chat toolbar opens. WeCom is asked anew who is there, whoever was signed in
    before, and the panel goes to the customer whose chat it is."""

    @override
    async def get(self, tenant: str) -> None:
        hint = self.asked(Beside).external_userid
        query = f"?{urlencode({'external_userid': hint})}" if hint else ""
        await self.ask_wecom(f"/sidebar/{tenant}/contact{query}")


class Contact(Sidebar):
    """The customer whose chat it is: named in the address, else asked of WeCom's client."""

    @override
    async def get(self, tenant: str) -> None:
        hint = self.asked(Beside).external_userid
        try:
            if hint:
                cid = await panel.customer_of_chat(self.bank, self.actor, hint)
                self.redirect_to(f"/sidebar/{tenant}/customers/{cid}")
                return
            url = self.services.settings.url.rstrip("/") + (self.request.uri or "")
            signed = await panel.sign(self.bank, url)
        except (NotFound, Unavailable, PlatformError) as error:
            rows = await rm.list_customers(self.bank, self.actor)
            self.render_page("customers", error, **await self.names(), rows=rows)
            return
        self.render_page("contact", **await self.names(), signed=signed)


class Customers(Sidebar):
    @override
    async def get(self, tenant: str) -> None:
        rows = await rm.list_customers(self.bank, self.actor)
        self.render_page("customers", **await self.names(), rows=rows)


class Customer(Sidebar):
    @override
    async def get(self, tenant: str, cid: str) -> None:
        try:
            await self.show(cid)
        except NotFound:  # an alarm, or a page of before, leads to somebody who is a friend no more
            ended = await rm.ended_card(self.bank, self.actor, cid)
            self.render_page("ended", **await self.names(), card=ended)

    async def show(self, cid: str, error: YinqiaoError | None = None) -> None:
        """The customer's page, with what went wrong at the top of it."""
        card = await rm.customer_card(self.bank, self.actor, cid)
        names = await self.names()
        called = {**names["programs"], **await self.titles(), **card["people"]}
        offered = await rm.corp_tags(self.bank, self.actor)
        values = {
            **names,
            "card": card,
            "called": called,
            "offered": offered,
            "offerable": await allowance.list_offerable(self.bank, self.actor),
            "holds": await holdings.of(self.bank, card["cid"]),
            "new_key": ids.token,
            "fields": await editing.of_friend(self.bank, self.actor, card["cid"]),
            "fifths": await rfm.of_friend(self.bank, self.actor, card["cid"]),
            "may_write": editing.may_write,
            "choices": editing.choices,
            "consents": await withdrawal.list_consents(self.bank, card["cid"]),
            "points": await statement.view(self.bank, card["cid"], self.lang, limit=5),
            "happened": self.happened,
            "details": self.details,
        }
        self.render_page("customer", error, **values)

    async def titles(self) -> dict[str, str]:
        """What campaigns and rewards are called, by id."""
        campaigns = await live.campaign_rows(self.bank)
        rewards = await catalogue.all_rewards(self.bank)
        named = {campaign: row["name"] for campaign, row in campaigns.items()}
        named |= {reward: row["title"] for reward, row in rewards.items()}
        return {known: str(name.get(self.lang) or name["zh"]) for known, name in named.items()}

    def happened(self, entry: Entry) -> tuple[str, dict[str, Any]]:
        """What happened, and what is to be said of it besides; of an event of the bank's own
        systems what the bank calls it."""
        if entry["kind"] != "bank.event":
            return self.kind_text(entry["kind"]), entry["data"]
        name = entry["data"]["event"]
        declared = self.bank.events.get(name)
        return name if declared is None else str(getattr(declared.label, self.lang)), {}

    def kind_text(self, kind: str) -> str:
        """What happened, in the RM's language; a kind that has no text yet is shown as it is."""
        text = self.locale.translate(f"kind:{kind}")
        return kind if text.startswith("kind:") else text

    def details(self, data: dict[str, Any], called: dict[str, str]) -> list[tuple[str, str]]:
        """What a row of the timeline carries besides, as label and value; reasons are explained, and what has
        a name is named."""
        plain = [
            (name, str(value))
            for name, value in data.items()
            if isinstance(value, str | int) and value != "" and not ids.is_row_id(str(value))
        ]
        labels = [
            (self.locale.translate(f"data:{name}").removeprefix("data:"), value)
            for name, value in plain
        ]
        return [(label, called.get(value) or self.explain(value, value)) for label, value in labels]


class Change(Customer):
    """A change by the RM: done, and the page shows it; refused, and the page says why."""

    done: ClassVar[str] = ""

    async def change(self, cid: str) -> str | None:
        """The one use-case; the word for what was done, if it is not `done`."""
        raise NotImplementedError

    @override
    def form_address(self) -> str:
        return f"/sidebar/{self.tenant}/customers/{self.path_kwargs['cid']}"

    @override
    async def post(self, tenant: str, cid: str, **_: str) -> None:
        try:
            said = await self.change(cid)
        except (InvalidInput, Conflict, Unavailable, PlatformError) as error:
            await self.show(cid, error)
            return
        self.redirect_to(f"/sidebar/{tenant}/customers/{cid}", done=said or self.done)


class Notes(Change):
    done = "notes_saved"

    @override
    async def change(self, cid: str) -> None:
        form = self.form(NotesForm)
        await rm.note_customer(
            self.bank,
            self.actor,
            cid,
            form.remark.strip(),
            form.description.strip(),
        )


class WriteField(Change):
    done = "field_saved"

    @override
    async def change(self, cid: str) -> None:
        value = self.form(FieldForm).value
        await editing.write(self.bank, self.actor, cid, self.path_kwargs["field"], value)


class FieldHistory(Sidebar):
    """What one field of a customer holds and held."""

    @override
    async def get(self, tenant: str, cid: str, field: str) -> None:
        told = await editing.history(self.bank, self.actor, cid, field)
        names = await staff.names_of(self.bank, sorted({one.by for one in told if one.by}))
        declared = self.bank.fields[field]
        values: dict[str, Any] = {"cid": cid, "declared": declared, "lines": told, "by": names}
        self.render_page("field", **await self.names(), systems=self.bank.systems, **values)


class Tags(Change):
    @override
    async def change(self, cid: str) -> str:
        form = self.form(TagForm)
        await rm.tag_customer(
            self.bank,
            self.actor,
            cid,
            add=form.add,
            remove=form.remove,
        )
        return "tag_added" if form.add else "tag_removed"


class Offer(Change):
    done = "reward_offered"

    @override
    async def change(self, cid: str) -> None:
        form = self.form(OfferForm)
        await allowance.offer(self.bank, self.actor, cid, form.reward, form.reason, form.key)


class Month(Form):
    """A month of offers, as `202611`; this one without."""

    month: (
        Literal[""] | Annotated[str, Field(pattern=r"^20[0-9]{2}(0[1-9]|1[0-2])$", max_length=6)]
    ) = ""


class Offers(Sidebar):
    """What the RM offered in a month, what came of it and what it costs; the head of a branch sees
    all of his branch."""

    @override
    async def get(self, tenant: str) -> None:
        month = self.asked(Month).month or allowance.month_of(self.bank)
        members = await allowance.colleagues(self.bank, self.actor)
        given = await allowance.list_given(self.bank, members, month)
        values: dict[str, Any] = {
            "month": month,
            "before": _month_before(month),
            "given": given,
            "sums": allowance.sums(given, members),
            "people": await staff.names_of(self.bank, members),
            "offerable": await allowance.list_offerable(self.bank, self.actor),
        }
        self.render_page("offers", **await self.names(), **values)


def _month_before(month: str) -> str:
    year, number = int(month[:4]), int(month[4:])
    return f"{year - (number == 1)}{(number - 2) % 12 + 1:02d}"


class WithdrawConsent(Change):
    done = "consent_withdrawn"

    @override
    async def change(self, cid: str) -> None:
        form, purpose = self.form(WithdrawalForm), self.path_kwargs["purpose"]
        if not form.sure:
            raise InvalidInput("not_confirmed", "tick that he said so")
        await withdrawal.withdraw_of_friend(self.bank, self.actor, cid, purpose, form.reason)


class Logout(Sidebar):
    keeps = False

    @override
    async def post(self, tenant: str) -> None:
        token = self.get_cookie(self.session_cookie(f"rm_{tenant}")) or ""
        await rm.sign_out(self.bank, token, self.origin())
        self.forget_session(f"rm_{tenant}")
        self.render_page("goodbye", base=f"/sidebar/{tenant}")
