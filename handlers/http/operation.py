"""What is for whoever operates the process: he brings the metrics' token, or on a laptop is the
machine itself."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from handlers.http.api import Api
from services.errors import Forbidden, NotSignedIn


class Operation(Api):
    """A route that tells operators more than others."""

    def check_operator(self) -> None:
        """Raises NotSignedIn `metrics_token` without the token, and Forbidden `metrics_closed` where
        none is set and the caller is not this machine."""
        token = self.services.settings.metrics_token.get_secret_value()
        if token:
            scheme, _, given = self.request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                given.strip().encode(), token.encode()
            ):
                raise NotSignedIn("metrics_token", "this needs the metrics token")
        elif self.services.settings.env == "production" or not self._is_here():
            raise Forbidden("metrics_closed", "set YINQIAO_METRICS_TOKEN to open the metrics")

    def is_operator(self) -> bool:
        try:
            self.check_operator()
        except (Forbidden, NotSignedIn):
            return False
        return True

    def _is_here(self) -> bool:
        """Whether the request was made on this machine, and by no proxy for somebody else."""
        if any(
            name in self.request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-Ip")
        ):
            return False
        try:
            return ip_address(self.request.remote_ip or "").is_loopback
        except ValueError:
            return False
