"""The WeCom client of one self-built app: `WeComClient`, whose methods are in one file for each
area of the platform.

A method is named as the path below /cgi-bin, without `externalcontact/` and with "_" for "/"; where
that leaves a bare verb, it keeps the prefix. Each sends one request, answers WeCom's JSON object as
it came, and raises PlatformError only; a request over one of WeCom's limits is refused with
BadRequest before it is sent.
"""

from services.wechat.wecom.client import OPEN_BASE, WECOM_BASE, WeComClient

__all__ = ["OPEN_BASE", "WECOM_BASE", "WeComClient"]
