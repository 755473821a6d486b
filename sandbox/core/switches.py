"""Switches for what public sources disagree about, and for how this bank is set up (contract/wechat
F11, F2)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Switches(BaseModel):
    """What `POST /control/switches` sets. The defaults are the official documents' word, or their
    most likely one."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    api_changes_emit_events: bool = False
    """Changes that an app makes through the API call back too (C3)."""
    tag_name_max: int = Field(default=30, ge=1)
    """Most characters of a tag's name; 40072's text says 32 (B4)."""
    broadcast_cap: Literal["days_in_month"] | int = "days_in_month"
    """Broadcasts that one customer receives in a month; 4 in older documents (B8)."""
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
    trusted_ips: list[str] = Field(default_factory=list)
    """Addresses that may call WeCom; others get 60020. Empty trusts all (B1)."""
    ip_whitelist: list[str] = Field(default_factory=list)
    """Addresses that may call the mini-program API; others get 40164. Empty allows all (A1)."""
