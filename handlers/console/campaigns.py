"""The console's pages of campaigns, from draft to live."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from typing_extensions import override

from campaigns import stats
from campaigns.publishing import versions
from config.bounds import Document, Reason, RowId, Word
from handlers.console.base import Console, Decision, RejectForm
from handlers.http.pages import Form
from services.errors import Conflict, InvalidInput, Unavailable, YinqiaoError


class CampaignForm(Form):
    """`campaign` is the one that is edited, empty for a new one; `base` its newest version when the
    clerk began, `over` the newer one that he was shown since; `seen` the digest of the notices that
    were shown, and `confirmed` that the clerk lets them pass."""

    text: Document = ""
    campaign: RowId | Literal[""] = ""
    base: Word = ""
    over: Word = ""
    seen: Word = ""
    confirmed: Word = ""


class ApproveForm(Form):
    reason: Reason = ""


class PauseForm(Form):
    greet: Literal["plain", "none"] = "none"


class Campaigns(Console):
    @override
    async def get(self) -> None:
        self.render_page(
            "campaigns",
            rows=await versions.list_campaigns(self.bank, self.actor),
        )


class NewCampaign(Console):
    @override
    async def get(self) -> None:
        self.render_page("edit", campaign="", text="", base="", refused=None)


class Submit(Console):
    """Takes a document; a wrong one comes back with its problems beside it, and not a character of
    it lost, and one that a person must look at with its notices."""

    @override
    def form_address(self) -> str:
        campaign = self.form(CampaignForm).campaign
        known = re.fullmatch(r"[a-z0-9_-]{1,64}", campaign)
        return f"/console/campaigns/{campaign}/edit" if known else "/console/campaigns/new"

    @override
    async def post(self) -> None:
        form = self.form(CampaignForm)
        text = form.text.replace("\r\n", "\n")
        seen, base = form.seen if form.confirmed else "", _newest(form.base, form.over)
        try:
            submitted = await versions.submit(
                self.bank, self.actor, text, of=form.campaign, seen=seen, base=base
            )
        except (InvalidInput, Conflict, Unavailable) as error:
            shown = {"campaign": form.campaign, "text": text, "base": form.base}
            self.render_page("edit", error, **shown, refused=error)
            return
        self.redirect_to(f"/console/campaigns/{submitted['campaign']}", done="submitted")


def _newest(*versions_seen: str) -> int | None:
    """The newest of the versions that a form says were seen; None when it says nothing."""
    return max((int(one) for one in versions_seen if re.fullmatch("[0-9]{1,9}", one)), default=None)


class Campaign(Decision):
    """One campaign: its funnel, its codes, its versions, and the one that waits."""

    @property
    def campaign(self) -> str:
        return self.path_kwargs["campaign"]

    @override
    async def get(self, campaign: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await versions.get_campaign(self.bank, self.actor, self.campaign)
        funnel = await stats.funnel(self.bank, self.actor, self.campaign)
        self.render_page("campaign", error, campaign=view, funnel=funnel)

    @override
    def address(self) -> str:
        return f"/console/campaigns/{self.campaign}"


class Funnel(Console):
    """The part of a campaign's page that htmx fetches again and again."""

    @override
    async def get(self, campaign: str) -> None:
        self.render_page(
            "funnel",
            funnel=await stats.funnel(self.bank, self.actor, campaign),
        )


class Edit(Console):
    @override
    async def get(self, campaign: str) -> None:
        view = await versions.get_campaign(self.bank, self.actor, campaign)
        base = next((one["version"] for one in view["versions"]), 0)
        self.render_page("edit", campaign=view["id"], text=view["text"], base=base, refused=None)


class Approve(Campaign):
    done = "approved"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(ApproveForm).reason
        await versions.approve(self.bank, self.actor, self.campaign, version, reason)


class Reject(Campaign):
    done = "rejected"

    @override
    async def decide(self) -> None:
        version, reason = int(self.path_kwargs["version"]), self.form(RejectForm).reason.strip()
        await versions.reject(self.bank, self.actor, self.campaign, version, reason)


class _Switch(Campaign):
    """Says what pausing or resuming will do, and asks."""

    template: ClassVar[str]

    @override
    async def get(self, campaign: str) -> None:
        reach = await versions.reach(self.bank, self.actor, campaign)
        self.render_page(self.template, reach=reach)


class Pause(_Switch):
    done = "paused"
    template = "campaign_pause"

    @override
    async def decide(self) -> None:
        await versions.pause(self.bank, self.actor, self.campaign, self.form(PauseForm).greet)


class Resume(_Switch):
    done = "resumed"
    template = "campaign_resume"

    @override
    async def decide(self) -> None:
        await versions.resume(self.bank, self.actor, self.campaign)
