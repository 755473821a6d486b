"""Business errors of both families: HTTP 200, errcode and a text with a request id (contract/wechat
0, D2)."""

from __future__ import annotations

import secrets
from typing import Any

MESSAGES = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest, "
    "could get access_token by getStableAccessToken",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40004: "invalid media type",
    40005: "invalid file type",
    40006: "invalid media size",
    40007: "invalid media_id",
    40008: "invalid message type",
    40013: "invalid appid",
    40014: "invalid access_token",
    40029: "invalid code",
    40035: "invalid parameter",
    40037: "invalid template_id",
    40056: "invalid agentid",
    40058: "invalid request parameter",
    40063: "some parameters are empty",
    40068: "invalid tag id",
    40071: "tag name already exists",
    40072: "invalid tag name length",
    40094: "invalid url",
    40096: "invalid external userid",
    40097: "invalid args",
    40099: "takeover member has too many customers",
    40123: "invalid image format",
    40125: "invalid appsecret",
    40128: "transferred too often",
    40129: "invalid scene",
    40130: "handover and takeover are the same person",
    40159: "invalid length for path, or the data is not json string",
    40163: "code been used",
    40164: "invalid ip, not in whitelist",
    40165: "invalid weapp pagepath",
    40169: "invalid length for scene, or the data is not json string",
    40212: "invalid query",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41005: "media data missing",
    41008: "missing code",
    41030: "invalid page",
    41037: "missing contact way type",
    41038: "missing contact way scene",
    41039: "invalid contact way type",
    41040: "invalid contact way scene",
    41041: "contact way users exceed limit",
    41042: "invalid contact way style",
    41043: "missing config_id",
    41044: "invalid config_id",
    41045: "contact ways exceed limit",
    41046: "missing msgid",
    41047: "invalid msgid",
    41048: "no customer to send to",
    41049: "missing welcome_code",
    41050: "invalid welcome_code or welcome_code expired",
    41051: "welcome message already sent or chat already started",
    41054: "member is not activated",
    41055: "group welcome templates exceed limit",
    41058: "no right to edit this group welcome template",
    41059: "missing moment_id",
    41060: "invalid moment_id",
    41061: "the moment is not this member's",
    41062: "the member has not published the moment",
    41063: "the message is being dispatched, try again later",
    41064: "attachments exceed limit",
    41065: "invalid attachment type",
    41068: "intercept words exceed limit",
    41069: "intercept rules exceed limit",
    41070: "invalid intercept rule_id",
    41071: "intercept rule was deleted",
    41076: "intercept rule applies to too many",
    41077: "intercept rule name is taken",
    41078: "moment jobs under way exceed limit",
    41079: "the moment is being dispatched, try again later",
    41083: "invalid intercept word",
    41084: "invalid intercept semantics",
    41089: "text and attachments are empty",
    41091: "too many groups",
    41093: "the message was cancelled",
    41094: "reminders exceed limit",
    41095: "customer acquisition links exceed limit",
    42001: "access_token expired",
    42003: "code expired",
    42014: "invalid task_id",
    42015: "the app did not send this message",
    42027: "Template_Card.horizontal_content_list.keyname is missing",
    42031: "invalid Template_Card.CardType",
    42033: "Template_Card title is missing",
    42035: "invalid length of Template_Card.horizontal_content_list",
    42036: "invalid length of Template_Card.vertical_content_list",
    42037: "invalid length of Template_Card.option_list",
    42038: "invalid Template_Card.button_list.text",
    42039: "invalid Template_Card.button_list.key",
    42040: "invalid Template_Card.option_list.id",
    42041: "invalid Template_Card.option_list.text",
    42042: "invalid length of Template_Card.jump_list",
    42043: "invalid Template_Card.question_key",
    42044: "invalid Template_Card.card_image.url",
    42045: "invalid Template_Card.card_action",
    42046: "invalid Template_Card.submit_button.key",
    42047: "invalid length of Template_Card.select_list",
    42049: "invalid Template_Card.submit_button.text",
    42052: "msgid expired",
    43001: "require GET method",
    43002: "require POST method",
    43101: "user refuse to accept the msg",
    43108: "concurrent sending to the user",
    43104: "this appid does not have permission for the openid",
    44001: "empty media data",
    44002: "empty post data",
    44004: "empty content",
    45001: "media size out of limit",
    45002: "content size out of limit",
    45008: "article count out of limit",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower",
    45015: "response out of time limit or subscription is canceled",
    45029: "qrcode count out of limit",
    45033: "api concurrent out of limit",
    45047: "out of response count limit",
    45072: "command field must be in [Typing, CancelTyping]",
    45080: "the user has not been in touch lately",
    45081: "the typing status is already set",
    47001: "data format error",
    47003: "argument invalid!",
    48002: "api forbidden",
    48006: "forbid to clear quota because of reaching the limit",
    50001: "redirect_uri does not match the trusted domain",
    60003: "department not found",
    60020: "not allow to access from your ip",
    60111: "userid not found",
    60123: "invalid party id",
    60140: "invalid response_code",
    61010: "code is expired",
    76003: "rid not found",
    76021: "cgi_path not found",
    81011: "no permission to delete or edit the tag",
    81013: "all targets are invalid",
    81017: "exceeds the limit of visible members",
    84061: "not external contact",
    84074: "no permission of external contact",
    85401: "time limit between 1min and 1year",
    87009: "invalid signature",
    87014: "risky content",
    90500: "group owner has not resigned",
    90501: "not a customer group",
    90502: "group owner has resigned",
    90507: "group transfer in progress",
    90508: "group is transferred already",
    90510: "no active user in the last year",
    90509: "not this corp's customer group",
    90511: "invalid opengid",
    301053: "the archive is not open",
    301058: "the answer is too large",
    301059: "not an inner group",
    301060: "too many pairs",
    301061: "userid or exteranalopenid not found",
    610014: "invalid unionid",
    610018: "openid and unionid do not belong to the same open platform account",
}

TOKEN_ERRORS = frozenset({40001, 40014, 42001})
"""Answers that mean "your token", which the token calls themselves never give."""


class ApiError(Exception):
    """A business error that the caller reads from the body."""

    def __init__(self, errcode: int, text: str = "") -> None:
        super().__init__(errcode, text)
        self.errcode = errcode
        self.text = text or MESSAGES.get(errcode, "error")


class Impossible(Exception):
    """The person cannot do that now."""


def wechat_body(error: ApiError, now: float) -> dict[str, Any]:
    """A mini-program error: the text ends with a request id."""
    rid = f"{int(now):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
    return {"errcode": error.errcode, "errmsg": f"{error.text} rid: {rid}"}


def wecom_body(error: ApiError, now: float, ip: str) -> dict[str, Any]:
    """A WeCom error: hint, caller's address and the look-up page."""
    text = "invalid credential, the secret is wrong" if error.errcode == 40001 else error.text
    warning = "Warning: wrong json format. " if error.errcode == 47001 else ""
    hint = f"[{int(now)}_{secrets.randbelow(900) + 100}_{secrets.token_hex(16)}]"
    page = f"https://open.work.weixin.qq.com/devtool/query?e={error.errcode}"
    return {
        "errcode": error.errcode,
        "errmsg": f"{warning}{text}, hint: {hint}, from ip: {ip}, more info at {page}",
    }
