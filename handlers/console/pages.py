"""The operations console: signing in, and the campaigns from draft to live. Every right is checked
on the server."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from campaigns import stats
from campaigns.document.reading import DocumentError
from campaigns.publishing import versions
from customers.access import history
from customers.actors import ClerkActor
from customers.banks import clerks
from handlers.http.auth import check_granted
from handlers.http.pages import Page
from services.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotSignedIn,
    TooMany,
    Unavailable,
    YinqiaoError,
)

TRIES, TRY_SECONDS = 30, 300


class _Form(BaseModel):
    model_config = ConfigDict(strict=True)


class SignInForm(_Form):
    bank: str = Field("", max_length=64)
    name: str = Field("", max_length=64)
    password: str = Field("", max_length=256, repr=False)


class CampaignForm(_Form):
    text: str = ""
    campaign: str = Field("", max_length=128)


class RejectForm(_Form):
    reason: str = Field(min_length=1, max_length=500)


class Console(Page):
    """A clerk's session, kept on the server and rotated at every sign-in."""

    folder: ClassVar[str] = "console"
    actor: ClerkActor

    @override
    def home(self) -> str:
        return "/console/"

    @property
    def token(self) -> str:
        return self.get_cookie(self.session_cookie("console")) or ""

    @override
    async def identify(self, permission: str) -> ClerkActor:
        session = await self.services.sessions.read("clerk", self.token) if self.token else None
        if session is None:
            raise NotSignedIn("not_signed_in", "sign in to the console")
        permissions = frozenset(session["permissions"])
        actor = ClerkActor(session["tenant"], session["login"], session["name"], permissions)
        check_granted(actor, permission)
        return actor

    @override
    async def invite(self) -> None:
        self.see("/console/login")

    @override
    def get_template_namespace(self) -> dict[str, Any]:
        actor: ClerkActor | None = getattr(self, "actor", None)
        may = frozenset() if actor is None else actor.permissions
        return {
            **super().get_template_namespace(),
            "actor": actor,
            "bank": getattr(self, "bank", None),
            "may": may,
        }

    async def show_campaign(self, campaign: str, error: YinqiaoError | None = None) -> None:
        """The campaign's page, with what went wrong at the top of it."""
        view = await versions.get_campaign(self.bank, self.actor, campaign)
        funnel = await stats.funnel(self.bank, self.actor, campaign)
        if error is None:
            self.page("campaign", campaign=view, funnel=funnel)
        else:
            self.refused(error, "campaign", campaign=view, funnel=funnel)


class SignIn(Console):
    @override
    async def get(self) -> None:
        self.page("login", bank_id=self.get_query_argument("bank", ""), name="")

    @override
    async def post(self) -> None:
        form = self.form(SignInForm)
        bank, name = form.bank.strip(), form.name.strip()
        try:
            await self.services.sessions.count_attempt(
                f"ip|{self.client_ip()}", limit=TRIES, seconds=TRY_SECONDS
            )
            clerk = await clerks.check_clerk(self.services, bank, name, form.password)
        except (NotSignedIn, TooMany) as error:
            self.refused(error, "login", bank_id=bank, name=name)
            return
        await self.services.sessions.end("clerk", self.token)
        session = {
            "tenant": bank,
            "login": clerk.login,
            "name": clerk.name,
            "permissions": sorted(clerk.permissions),
        }
        self.keep_session(
            "console", await self.services.sessions.open("clerk", session), samesite="Strict"
        )
        self.see(self.home())


class SignOut(Console):
    @override
    async def post(self) -> None:
        await self.services.sessions.end("clerk", self.token)
        self.forget_session("console")
        self.see("/console/login")


class Campaigns(Console):
    @override
    async def get(self) -> None:
        self.page(
            "campaigns",
            rows=await versions.list_campaigns(self.bank, self.actor),
        )


class NewCampaign(Console):
    @override
    async def get(self) -> None:
        self.page("edit", campaign="", text="", problems=[])


class Submit(Console):
    """Takes a document; a wrong one comes back with its problems beside it, and not a character of
    it lost."""

    @override
    async def post(self) -> None:
        form = self.form(CampaignForm)
        text = form.text.replace("\r\n", "\n")
        try:
            submitted = await versions.submit(self.bank, self.actor, text)
        except (InvalidInput, Conflict, Unavailable) as error:
            problems = error.problems if isinstance(error, DocumentError) else []
            self.refused(error, "edit", campaign=form.campaign, text=text, problems=problems)
            return
        self.see(f"/console/campaigns/{submitted['campaign']}", done="submitted")


class Campaign(Console):
    @override
    async def get(self, campaign: str) -> None:
        await self.show_campaign(campaign)


class Funnel(Console):
    """The part of a campaign's page that htmx fetches again and again."""

    @override
    async def get(self, campaign: str) -> None:
        self.page(
            "funnel",
            funnel=await stats.funnel(self.bank, self.actor, campaign),
        )


class Edit(Console):
    @override
    async def get(self, campaign: str) -> None:
        view = await versions.get_campaign(self.bank, self.actor, campaign)
        self.page("edit", campaign=view["id"], text=view["text"], problems=[])


class Decision(Console):
    """A change of state: done, and the page shows it; refused by the server, and the page says
    why."""

    done: ClassVar[str]

    async def decide(self, campaign: str, version: str) -> None:
        """The one use-case."""
        raise NotImplementedError

    @override
    async def post(self, campaign: str, version: str = "") -> None:
        try:
            await self.decide(campaign, version)
        except (Conflict, Forbidden, InvalidInput, Unavailable) as error:
            await self.show_campaign(campaign, error)
            return
        self.see(f"/console/campaigns/{campaign}", done=self.done)


class Approve(Decision):
    done = "approved"

    @override
    async def decide(self, campaign: str, version: str) -> None:
        await versions.approve(self.bank, self.actor, campaign, int(version))


class Reject(Decision):
    done = "rejected"

    @override
    async def decide(self, campaign: str, version: str) -> None:
        form = self.form(RejectForm)
        await versions.reject(
            self.bank,
            self.actor,
            campaign,
            int(version),
            form.reason.strip(),
        )


class Pause(Decision):
    done = "paused"

    @override
    async def decide(self, campaign: str, version: str) -> None:
        await versions.pause(self.bank, self.actor, campaign)


class Resume(Decision):
    done = "resumed"

    @override
    async def decide(self, campaign: str, version: str) -> None:
        await versions.resume(self.bank, self.actor, campaign)


class Audit(Console):
    @override
    async def get(self) -> None:
        self.page(
            "audit",
            rows=await history.audit_rows(self.bank, self.actor),
        )
