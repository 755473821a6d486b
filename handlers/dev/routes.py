"""The demo's front page, and the portal's pages with one more way in; none of them is there in
production."""

from __future__ import annotations

from handlers.dev import front
from handlers.h5.routes import below
from handlers.http.auth import PUBLIC
from handlers.http.route import dev_page_route, op

ROUTES = (
    dev_page_route("/", front.Front, get=op(PUBLIC, "The demo's front page")),
    *below("/preview/{appid}", dev_page_route),
)
