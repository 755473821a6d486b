"""The client of one mini-program: `MiniProgramClient`, whose methods are in one file for each area
of the platform.

Each sends one request, answers WeChat's JSON object as it came (or what its docstring says), and
raises PlatformError only; a request over one of WeChat's limits is refused with BadRequest before
it is sent.
"""

from services.wechat.miniprogram.client import WECHAT_BASE, MiniProgramClient
from services.wechat.miniprogram.login import LoginSession, PhoneNumber

__all__ = ["WECHAT_BASE", "LoginSession", "MiniProgramClient", "PhoneNumber"]
