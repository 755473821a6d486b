"""What the browser faces share: templates, language, cookies, the content security policy, and
errors as pages."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, create_model
from tornado import locale
from tornado.escape import xhtml_escape
from tornado.web import HTTPError, StaticFileHandler
from typing_extensions import override

from customers.access.origin import Origin, device_of
from handlers.http import kept_forms, refill
from handlers.http.auth import PUBLIC
from handlers.http.base import Base, Model, Refusal, read_model, refusal_of
from handlers.http.kept_forms import Sent
from handlers.http.route import Op, Route
from operations.events.explain import reason_text
from services import ids
from services.errors import Conflict, NotSignedIn, YinqiaoError
from services.texts import DOMAIN, LOCALES

LANGUAGE_COOKIE = "yq_lang"
_FACE = re.compile(
    r"/(?:(?:sidebar|counter)/[A-Za-z0-9-]{1,31}|(?:preview|h5)/[A-Za-z0-9]{1,64}|console)/"
)
"""Where a face begins."""
DONE_COOKIE = "yq_done"
DONE_SECONDS = 60
OWNER_SECONDS = 7 * 86400
NEXT_SECONDS = 900
WORDS_MARK = "<!--own words-->"
"""Where a layout shows what its sender wrote, when the form that it was in is gone."""
Moment = datetime | str | float
"""A moment: aware, as ISO text, or in seconds since the epoch."""

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
)


def load_locale(directory: Path) -> None:
    """Loads the catalogues into tornado.locale; Chinese is what a visitor gets who has not chosen
    and whose browser asks for neither language."""
    locale.set_default_locale(LOCALES["zh"])
    locale.load_gettext_translations(str(directory), DOMAIN)


def language_of(wanted: str) -> Literal["zh", "en"]:
    """`en` for any English, `zh` for every zh* and for all else."""
    return "en" if wanted.lower().startswith("en") else "zh"


def preferred(accepted: str) -> str:
    """The tag of `Accept-Language` (RFC 9110, 12.5.4) that its browser likes best among Chinese and
    English; empty when it names neither."""
    best, liked = "", 0.0
    for part in accepted.split(",")[:50]:
        tag, _, rest = part.strip().partition(";")
        quality = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", rest)
        weight = float(quality.group(1)) if quality else 0.0 if rest.strip() else 1.0
        if tag.strip().lower().split("-")[0] in LOCALES and weight > liked:
            best, liked = tag.strip(), weight
    return best


_WEB_ADDRESS = re.compile(r"https?://[^\s\"'<>\\]{1,2000}", re.ASCII)


def web_address(address: str) -> str:
    """`address` where a page may lead to it; empty for what is no address of the web, such as a
    script."""
    return address if _WEB_ADDRESS.fullmatch(address) else ""


def _in_zone(at: Moment, tz: tzinfo) -> datetime:
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, tz)
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(tz)


def money(fen: int) -> str:
    """An amount in fen as people read it."""
    return f"¥{fen // 100:,}.{fen % 100:02d}"


class Form(BaseModel):
    """A posted form, or a page's query; every field is a text."""

    model_config = ConfigDict(strict=True)


_ODD = re.compile(r"[\x00-\x20\\\x7f]")


def own_path(wanted: str, below: str) -> str:
    """`wanted` when it is an address of ours below `below`, else `below`: nobody is sent elsewhere
    after signing in."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return below
    path = unquote(parts.path)
    odd = _ODD.search(wanted) or _ODD.search(path) or "//" in path or ".." in path
    foreign = parts.scheme or parts.netloc or not path.startswith(below)
    return below if odd or foreign or parts.fragment else wanted


def _path_of(address: str) -> str:
    """The path and query of an address; empty for what is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query and parts.path else parts.path


class Page(Base):
    """Serves HTML. `folder` holds the face's templates; `ancestors` says who may frame it.

    What somebody wrote is never lost: a form that was refused comes back as it was sent; one whose
    session was over meanwhile is kept sealed, and is back on its page once the same person has
    signed in again. Nothing of it is done until he sends it.
    """

    folder: ClassVar[str] = ""
    ancestors: str = "'none'"
    error_page: ClassVar[str] = "error.html"
    """The template with which this face refuses."""
    keeps: ClassVar[bool] = True
    """False for a form that nobody fills in, such as that of signing out."""
    kept: Sent | None = None

    @override
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self._headers["Referrer-Policy"] = "same-origin"
        self._headers["Vary"] = "Accept-Language, Cookie"
        self.set_policy()

    def set_policy(self) -> None:
        self._headers["Content-Security-Policy"] = CSP.format(ancestors=self.ancestors)

    @property
    def secure(self) -> bool:
        """True when browsers reach us over https: cookies are then Secure and bound to the host."""
        return self.services.settings.secure

    @override
    def prepare(self) -> Awaitable[None] | None:
        if self.query().get("lang"):
            self.set_cookie(
                LANGUAGE_COOKIE, self.lang, expires_days=365, samesite="Lax", secure=self.secure
            )
        return super().prepare()

    @property
    def lang(self) -> Literal["zh", "en"]:
        """What the visitor asks for with `?lang=`, or asked for before; else what his browser
        prefers."""
        chosen = self.query().get("lang") or self.get_cookie(LANGUAGE_COOKIE)
        return language_of(chosen or preferred(self.request.headers.get("Accept-Language", "")))

    @override
    async def _authorise(self, wanted: Op) -> None:
        try:
            await super()._authorise(wanted)
        except NotSignedIn:
            if self.request.method != "GET" or "HX-Request" in self.request.headers:
                raise
            await self.redirect_to_sign_in()
            return
        if self.request.method == "POST" and self.sender() not in ("", self.owner()):
            raise Conflict(
                "form_of_another", "somebody else was signed in when this form was opened"
            )

    @override
    async def authenticate(self, permission: str) -> None:
        await super().authenticate(permission)
        token = kept_forms.owner_token(self.services, self.owner())
        name = self.owner_cookie()
        if self.get_cookie(name) != token:
            self.set_cookie(
                name, token, path="/", httponly=True, samesite="Strict", secure=self.secure, max_age=OWNER_SECONDS
            )  # fmt: skip
        if self.request.method == "GET" and self.query().get("kept"):
            self.kept = await kept_forms.find(self.services, self.owner(), self.query()["kept"])

    def owner(self) -> str:
        """Who is at this page, and may have a kept form of his back; empty for nobody. Each face
        says how its people are told apart."""
        return ""

    def face(self) -> str:
        """The name of this face's session."""
        return self.folder

    def owner_cookie(self) -> str:
        """The cookie that says who was here last: a form of his is his, though his session is
        over."""
        return self.session_cookie(f"for_{self.face()}")

    def sender(self) -> str:
        """For whom the posted form was made; empty when it does not say so."""
        sent = self.request.body_arguments.get("_for", [b""])[-1]
        return kept_forms.owner_of(self.services, sent.decode("ascii", "replace"))

    @override
    def xsrf_form_html(self) -> str:
        made = super().xsrf_form_html()
        if self.actor is None:
            return made
        token = xhtml_escape(kept_forms.owner_token(self.services, self.owner()))
        return f'{made}<input type="hidden" name="_for" value="{token}">'

    def posted(self) -> Sent:
        """The form as it was sent."""
        fields = {
            name: [text.decode("utf-8", "replace").replace("\r\n", "\n") for text in texts]
            for name, texts in self.request.body_arguments.items()
            if name not in kept_forms.TOKENS
        }
        return Sent(self.request.path, fields)

    def came_in(self, field: str, text: bytes) -> None:
        """A field of a form that is read while it comes in: from now on it is posted."""
        for given in (self.request.body_arguments, self.request.arguments):
            given.setdefault(field, []).append(text)

    def form_address(self) -> str:
        """The page that has the posted form."""
        return self.home()

    def keep_posted(self) -> str:
        """Keeps the posted form for whom it was made, or for whoever was here last; the address
        where he gets it back, or nothing when nobody is known."""
        if self.request.method != "POST" or not self.keeps:
            return ""
        owner = self.sender() or kept_forms.owner_of(
            self.services, self.get_cookie(self.owner_cookie()) or ""
        )
        if not owner:
            return ""
        form_id = ids.token()
        self.services.groups.spawn(
            kept_forms.put_away(self.services, owner, self.posted(), form_id)
        )
        try:
            address = self.form_address()
        except YinqiaoError:  # the form does not even say which page it was on
            address = self.home()
        return f"{address}{'&' if '?' in address else '?'}kept={form_id}"

    async def redirect_to_sign_in(self) -> None:
        """Sends a visitor without a session to where he gets one; each face says where."""
        raise NotSignedIn("not_signed_in")

    @override
    def get_user_locale(self) -> locale.Locale:
        return locale.get(LOCALES[self.lang])

    def session_cookie(self, name: str) -> str:
        """The cookie's name: `__Host-` binds it to this host and https (ASVS 3.3)."""
        return f"__Host-yq_{name}" if self.secure else f"yq_{name}"

    def keep_session(self, name: str, token: str, *, samesite: str) -> None:
        """Keeps a session's token in a cookie that no script can read."""
        self.set_cookie(
            self.session_cookie(name), token, path="/", httponly=True, samesite=samesite, secure=self.secure,
            max_age=self.services.sessions.seconds,
        )  # fmt: skip

    def origin(self) -> Origin:
        """Where the visitor comes from."""
        return Origin(self.client_ip(), device_of(self.request.headers.get("User-Agent", "")))

    def forget_session(self, name: str) -> None:
        self.clear_cookie(self.session_cookie(name), path="/", secure=self.secure)
        self.clear_cookie(self.owner_cookie(), path="/", secure=self.secure)

    def remember_next(self) -> str:
        """Remembers which page somebody without a session asked for; its address."""
        uri = self.request.uri or self.home()
        return self.remember_path(own_path(uri, self.home()))

    def remember_path(self, path: str) -> str:
        """Remembers for some minutes where to go after signing in; `path`."""
        self.set_cookie(
            self.session_cookie(f"next_{self.face()}"), quote(path, safe=""), path="/", httponly=True,
            samesite="Lax", secure=self.secure, max_age=NEXT_SECONDS,
        )  # fmt: skip
        return path

    def next_path(self, wanted: str = "") -> str:
        """Where to go after signing in: `wanted`, else what was remembered, else where the face
        begins; never elsewhere."""
        remembered = self.remembered()
        if remembered:
            name = self.session_cookie(f"next_{self.face()}")
            self.clear_cookie(name, path="/", secure=self.secure)
        return own_path(wanted or remembered or self.home(), self.home())

    def remembered(self) -> str:
        """What was remembered of where to go; not to be believed."""
        return unquote(self.get_cookie(self.session_cookie(f"next_{self.face()}")) or "")

    def form(self, model: type[Model]) -> Model:
        """The posted form as `model`; raises InvalidInput."""
        values = {
            name: self.get_body_argument(name, strip=False) for name in self.request.body_arguments
        }
        return read_model(model, values)

    def ticked(self, field: str, one: Any, most: int) -> tuple[str, ...]:
        """The boxes of a form that were ticked, each a `one` (a type of config/bounds.py); raises
        InvalidInput for more than `most`."""
        values = self.get_body_arguments(field)
        listed: Any = Annotated[list[one], Field(max_length=most)]
        fields: Any = {field: (listed, ...)}
        form = create_model("Ticked", __base__=Form, **fields)
        return tuple(getattr(read_model(form, {field: values}), field))

    def asked(self, model: type[Model]) -> Model:
        """The address's query as `model`; raises InvalidInput."""
        return read_model(model, self.query())

    def redirect_to(self, path: str, *, done: str = "", **query: str) -> None:
        """Answers 303: look at `path` now. It says once that `done` was done, and not again when
        somebody comes back to it."""
        if done:
            self.set_cookie(
                DONE_COOKIE, quote(f"{done}@{path}", safe=""), path="/", httponly=True, samesite="Lax",
                secure=self.secure, max_age=DONE_SECONDS,
            )  # fmt: skip
        self.redirect(f"{path}?{urlencode(query)}" if query else path, status=303)

    def take_done(self) -> str:
        """The word for what was just done and is to be said on this page, once."""
        word, _, path = unquote(self.get_cookie(DONE_COOKIE) or "").partition("@")
        if self.request.method != "GET" or path != self.request.path:
            return ""
        self.clear_cookie(DONE_COOKIE, path="/", secure=self.secure)
        return word if self.explain(f"done_{word}") != f"done_{word}" else ""

    @override
    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "lang": self.lang,
            "format_time": self.format_time,
            "last_day": self.last_day,
            "explain": self.explain,
            "web_address": web_address,
            "money": money,
            "in_language": self.in_language,
            "in_other_language": self.in_other_language(),
            "error": None,
            "done": "form_kept" if self.kept is not None else self.take_done(),
        }

    def in_other_language(self) -> str:
        """This page's address in the other language, with all that it was asked for; where the face
        begins for what was refused, or is no page that can be asked for again."""
        path, asked = self.home(), []
        if self.request.method == "GET":
            path = self.request.path
            if self.get_status() == 200:
                asked = parse_qsl(self.request.query)
        rest = [
            (name, value)
            for name, value in asked
            if name != "lang" and self._leads_home(name, value)
        ]
        return f"{path}?{urlencode([*rest, ('lang', self.other_lang)])}"

    def _leads_home(self, name: str, value: str) -> bool:
        """False for a way back (`next`) that is none of this face's."""
        return name != "next" or own_path(value, self.home()) == value

    @property
    def other_lang(self) -> Literal["zh", "en"]:
        return "en" if self.lang == "zh" else "zh"

    def home(self) -> str:
        """Where this face begins."""
        return "/console/" if self.services.settings.env == "production" else "/"

    def render_page(self, template: str, error: YinqiaoError | None = None, **values: Any) -> None:
        """Answers with a template of this face's folder; with `error`, the page says what went
        wrong and has the error's status."""
        if error is not None:
            refusal = refusal_of(error, error.status)
            self.set_status(refusal.status)
            for header, value in refusal.headers().items():
                self.set_header(header, value)
            data = {**error.data}
            if "why" in data:
                data["why"] = reason_text(data["why"], self.explain)
            values["error"] = self.explain(refusal.code, refusal.message, **data)
        name = f"{self.folder}/{template}.html" if self.folder else f"{template}.html"
        page, form = self.render_string(name, **values).decode(), self.kept
        if form is None and error is not None and self.request.method == "POST":
            form = self.posted()
        self.write(page if form is None else self.with_form(page, form))

    def with_form(self, page: str, form: Sent) -> str:
        """The page with the form as it was sent; what its sender wrote himself stands above, when
        the page does not have that form any more."""
        filled = refill.refill(page, form)
        if filled is not None:
            return filled
        written = refill.own_words(form)
        if not written:
            return page
        shown = self.render_string("words.html", written=written).decode()
        return page.replace(WORDS_MARK, shown, 1)

    def in_language(self, names: Mapping[str, str | None]) -> str:
        """The name in the visitor's language, else in whichever there is."""
        return names.get(self.lang) or next((text for text in names.values() if text), "")

    def explain(self, code: str, message: str = "", **data: str) -> str:
        """What a reason code means, in the visitor's language (promise P9), with `data` in its
        {places}; `message` when no text was written for it."""
        text = self.locale.translate(f"code:{code}")
        if text.startswith("code:"):
            return message or code
        return text.format_map(data) if data else text

    def format_time(self, at: Moment) -> str:
        """A moment as the bank's staff and customers read it, in the bank's time, to the minute."""
        return _in_zone(at, self.services.settings.tz).strftime("%Y-%m-%d %H:%M")

    def last_day(self, end: Moment) -> str:
        """The last day before `end`: what ends at midnight ends with the day before."""
        return (_in_zone(end, self.services.settings.tz) - timedelta(seconds=1)).strftime(
            "%Y-%m-%d"
        )

    @override
    def answer_refusal(self, refusal: Refusal) -> None:
        if "HX-Request" in self.request.headers and self.answer_fragment(refusal):
            return
        address = self.keep_posted() if refusal.status != 404 else ""
        if refusal.status == 401 and address and self.answer_sign_in(address):
            return
        text = self.explain(refusal.code, refusal.message)
        mine = self.sender() in ("", self.owner() if self.actor is not None else "")
        written = refill.own_words(self.posted()) if address and mine else []
        values = {"text": text, "home": self.home(), "address": address, "written": written}
        self.write(self.render_string(self.error_page, refusal=refusal, **values))

    def answer_fragment(self, refusal: Refusal) -> bool:
        """Answers a part of a page that asks for itself. The page stays when its session is over,
        since a form on it may hold what somebody writes."""
        if refusal.status != 401:
            return False
        wanted = _path_of(self.request.headers.get("HX-Current-URL", ""))
        if not wanted:
            self.set_header("HX-Redirect", self.home())
            return False
        self.set_header("HX-Reswap", "outerHTML")  # with the part its asking ends
        self.write(self.render_string("signed_out.html", address=own_path(wanted, self.home())))
        return True

    def answer_sign_in(self, address: str) -> bool:
        """Answers with the face's own form for signing in, which leads to `address`; False where
        the face has none."""
        return False


class Refused(Page):
    """A refusal that was decided before the route was asked, as a page."""

    keeps = False

    @override
    def initialize(self, refusal: Refusal, **shared: Any) -> None:  # type: ignore[override]
        super().initialize(**shared)
        self._refusal = refusal
        self.ancestors = getattr(self.route.handler, "ancestors", Page.ancestors)
        self.set_policy()

    @override
    def prepare(self) -> Awaitable[None] | None:
        raise HTTPError(self._refusal.status)

    @override
    def check_xsrf_cookie(self) -> None:
        return

    @override
    def check_trusted_origin(self, origin: str) -> bool:
        return True

    @override
    def home(self) -> str:
        face = _FACE.match(self.request.path)
        return face[0] if face else super().home()

    @override
    def write_error(self, status_code: int, **kwargs: Any) -> None:
        super().write_error(self._refusal.status, refusal=self._refusal)

    @override
    def log_exception(self, *_: object) -> None:
        return


class StaticFiles(StaticFileHandler, Page):
    """Styles, scripts and pictures; kept for years under an address that changes with the file."""

    ROUTE: ClassVar[Route]

    @override
    def initialize(self, **shared: Any) -> None:  # type: ignore[override]
        Page.initialize(self, **shared)
        self.root = self.application.settings["static_path"]
        self.default_filename = None

    @override
    def compute_etag(self) -> str | None:
        return StaticFileHandler.compute_etag(self) if self._status_code < 400 else None

    @override
    def set_extra_headers(self, path: str) -> None:
        if "v" not in self.request.arguments:
            self.set_header("Cache-Control", "no-cache")


_READ = Op(PUBLIC, "Styles, scripts and pictures")
StaticFiles.ROUTE = Route("/static/", StaticFiles, {"GET": _READ, "HEAD": _READ})
