"""The WeCom client of one self-built app: `WeComClient`, made of areas of the platform, each in a
file of its own: `client.links.create(…)`, `client.groups.list(…)`.

A method is named after what it does with the area's things: `create`, `get`, `list`, `update`,
`delete`; a docstring names the page of WeCom's documentation. Each sends one request, answers WeCom's JSON object as
it came, and raises PlatformError only; a request over one of WeCom's limits is refused with
BadRequest before it is sent.
"""

from services.wechat.wecom.client import OPEN_BASE, WECOM_BASE, WeComClient

__all__ = ["OPEN_BASE", "WECOM_BASE", "WeComClient"]
