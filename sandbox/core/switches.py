"""Switches for what public sources disagree about, and for how this bank is set up (contract/wechat
F11, F2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Switches(BaseModel):
    """What `POST /control/switches` sets. The defaults are the official documents' word, or their
    most likely one."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, use_attribute_docstrings=True
    )

    api_changes_emit_events: bool = False
    """Changes that an app makes through the API call back too (C3)."""
    tag_name_max: int = Field(default=30, ge=1)
    """Most characters of a tag's name; 40072's text says 32 (B4)."""
    broadcast_cap: (
        Literal["month_days", "week7", "day1", "month4"] | Annotated[int, Field(ge=0)]
    ) = "month_days"
    """Broadcasts that one customer or group receives: as many a month as it has days, or as the
    administrator set it, 7 a week or 1 a day; 4 a month in older documents; or a number a month
    (B8)."""
    dispatch_seconds: int = Field(default=0, ge=0)
    """How long a new broadcast or moment answers 41063 or 41079, being handed out (B8)."""
    groupmsg_task_sent_value: int = 2
    """The status of a broadcast task that was sent; 1 in some samples (B8)."""
    image_max_mb: int = Field(default=10, ge=1)
    """The largest picture; 5 in an older text (B10)."""
    sensitive_member_fields: bool = False
    """Whether apps get a member's mobile, gender, email and the like; apps made since 2022 do not
    (B2)."""
    jscode_errcode_field: bool = False
    """Whether a mini-program login carries `errcode` and `expires_in`, as old ones did (A2)."""
    countryCode_type: Literal["number", "string"] = "number"
    """How a phone number's country code is written (A3)."""
    acquisition_methods: Literal["both", "official", "swapped"] = "both"
    """The methods of quota and statistic: both accepted; GET and POST; or POST and GET (B6)."""
    moment_result_method: Literal["both", "get", "post"] = "both"
    """The method of get_moment_task_result (B8)."""
    medical: bool = False
    """The corp is of the medical industry, which alone may make temporary contact ways (B5)."""
    contact_ways_most: int = Field(default=500_000, ge=1)
    """Contact ways and join ways of the corp together (B5)."""
    temporary_ways_a_day: int = Field(default=100_000, ge=1)
    """Temporary contact ways that the corp makes in a day; one more draws 41045, since no code of
    its own is published (B5)."""
    acquisition_links_most: int = Field(default=10_000, ge=1)
    """Acquisition links of the corp; the real figure is not published (B6)."""
    customers_most: int = Field(default=20_000, ge=1)
    """Customers of one member; who has as many takes no more over (B9, 40099)."""
    group_size: int = Field(default=500, ge=2)
    """People in a customer group; 200 while the corp is not verified (B7)."""
    system_secret_may_call: bool = False
    """WeCom's own customer-contact secret may call the customer-contact API, as it may in corps
    made before 2023-12-01; in others it gets 48002 (B)."""
    app_unused: bool = False
    """WeCom took the apps' rights away because nobody used them for long: 48006 from every
    customer-contact API, until an administrator gives them back (D2)."""
    unionid_conversion: bool = False
    """A self-built app may ask for the external_userid of a unionid; else 48002 (B3)."""
    expired_token_code: Literal[42001, 40014] = 42001
    """What an expired access token meets (A1, B1)."""
    getuserid_wrong_percent: int = Field(default=20, ge=0, le=100)
    """Wrong guesses at members' numbers and addresses, in hundredths of the corp's members, after
    which the call is closed for a day (B2)."""
    visit_needed: bool = True
    """Risk ranks and content checks want a visit to the mini-program within two hours, and a login
    through the API is none (61010, A6)."""
    phone_quota: int | None = Field(default=None, ge=0)
    """How often the phone button, which is paid, may still be pressed; without quota the client
    gets errno 1400001 and the server hears nothing (A3)."""
    templates_at_once: Literal[3, 5] = 5
    """Templates of one prompt for subscribe messages; 3 in older documents (A4)."""
    subscribe_ms: int = Field(default=5, ge=0, le=60_000)
    """How long WeChat takes over a subscribe message; another one to the same openid meanwhile
    meets 43108 (A4)."""
    link_opens_a_day: Literal[3_000_000, 6_000_000] = 6_000_000
    """How often a mini-program's links and schemes may be opened in a day; 3 million before
    (A5)."""
    marketing_acquisition: bool = False
    """The apps are for marketing with acquisition links, which alone may set `mark_source`
    (B6)."""
    one_sided: bool = True
    """A customer who deletes a member stays on the member's list, and the API goes on working for
    the two; else he is off it at once (84061, D2)."""
    group_lag_seconds: int = Field(default=0, ge=0)
    """How long `groupchat/get` still answers a group as it was before its last change (B7)."""
    group_transfers_busy: bool = False
    """Groups are being handed over just now: 90507 for each (B9)."""
    groups_unused: bool = False
    """No active user in a year: 90510 from the calls that hand groups over (B9)."""
    idle_members: list[str] = Field(default_factory=list)
    """Members who have not logged in for a year: they cannot send a welcome (41051) and neither
    give nor take customers (40098, since no code of its own is published) (B8, B9)."""
    archive_days: int = Field(default=5, ge=1)
    """For how many days the message archive hands a message out; 3 on an old page (B10)."""
    archive_answer_bytes: int = Field(default=0, ge=0)
    """The largest answer of the message archive, 301058 above; 0 is no limit (B10)."""
    trusted_ips: list[str] = Field(default_factory=list)
    """Addresses that may call WeCom; others get 60020. Empty trusts all (B1)."""
    ip_whitelist: list[str] = Field(default_factory=list)
    """Addresses that may call the mini-program API; others get 40164. Empty allows all (A1)."""
