"""What the browser faces share: templates, language, cookies, the content security policy, and
errors as pages."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, create_model
from tornado import locale
from tornado.web import HTTPError, StaticFileHandler
from typing_extensions import override

from customers.access.origin import Origin, device_of
from handlers.http.auth import PUBLIC
from handlers.http.base import Base, Model, Refusal, read_model, refusal_of
from handlers.http.route import Op, Route
from services.errors import NotSignedIn, YinqiaoError
from services.texts import DOMAIN, LOCALES

LANGUAGE_COOKIE = "yq_lang"
_PANEL = re.compile(r"/sidebar/[A-Za-z0-9-]{1,31}/")
Moment = datetime | str | float
"""A moment: aware, as ISO text, or in seconds since the epoch."""

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
)


def load_locale(directory: Path) -> None:
    """Loads the catalogues into tornado.locale; Chinese is what a visitor gets who has not
    chosen."""
    locale.set_default_locale(LOCALES["zh"])
    locale.load_gettext_translations(str(directory), DOMAIN)


def language_of(wanted: str) -> Literal["zh", "en"]:
    """`en` for any English, `zh` for every zh* and for all else."""
    return "en" if wanted.lower().startswith("en") else "zh"


def _in_zone(at: Moment, tz: tzinfo) -> datetime:
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, tz)
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(tz)


class Form(BaseModel):
    """A posted form, or a page's query; every field is a text."""

    model_config = ConfigDict(strict=True)


class Page(Base):
    """Serves HTML. `folder` holds the face's templates; `ancestors` says who may frame it."""

    folder: ClassVar[str] = ""
    ancestors: str = "'none'"

    @override
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self._headers["Referrer-Policy"] = "same-origin"
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
        """What the visitor asks for with `?lang=`, or asked for before."""
        return language_of(self.query().get("lang") or self.get_cookie(LANGUAGE_COOKIE) or "")

    @override
    async def _authorise(self, wanted: Op) -> None:
        try:
            await super()._authorise(wanted)
        except NotSignedIn:
            if self.request.method != "GET" or "HX-Request" in self.request.headers:
                raise
            await self.redirect_to_sign_in()

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

    def redirect_to(self, path: str, **query: str) -> None:
        """Answers 303: look at `path` now."""
        self.redirect(f"{path}?{urlencode(query)}" if query else path, status=303)

    @override
    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "lang": self.lang,
            "format_time": self.format_time,
            "last_day": self.last_day,
            "explain": self.explain,
            "here": self.request.path if self.request.method == "GET" else self.home(),
            "error": None,
        }

    def home(self) -> str:
        """Where this face begins."""
        return "/console/" if self.services.settings.env == "production" else "/"

    def render_page(self, template: str, error: YinqiaoError | None = None, **values: Any) -> None:
        """Answers with a template of this face's folder; with `error`, the page says what went
        wrong and has the error's status."""
        if error is not None:
            refusal = refusal_of(error, error.status)
            self.set_status(refusal.status)
            values["error"] = self.explain(refusal.code, refusal.message, **error.data)
        name = f"{self.folder}/{template}.html" if self.folder else f"{template}.html"
        self.write(self.render_string(name, **values))

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
        if refusal.status == 401 and "HX-Request" in self.request.headers:
            self.set_header("HX-Redirect", self.home())
        text = self.explain(refusal.code, refusal.message)
        self.write(self.render_string("error.html", refusal=refusal, text=text, home=self.home()))


class Refused(Page):
    """A refusal that was decided before the route was asked, as a page."""

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
        panel = _PANEL.match(self.request.path)
        return panel[0] if panel else super().home()

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
