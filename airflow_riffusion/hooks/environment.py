"""What ``requests`` takes from environment variables: which certificates to trust, and which proxy to use."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

_HASHED_CERTIFICATE = re.compile(r"[0-9a-f]{8}\.\d+")


def unusable_file(url: str) -> str | None:
    """Say which variable names an unusable file, and why; None if TLS can begin."""
    if not _counts_for(url):
        return None
    if variable := authorities_variable(url):
        bundle = os.environ[variable]
        if reason := _why_no_certificates(bundle):
            return f"{variable} names {bundle!r}, from which no certificate can be read ({reason})"
    if path := os.environ.get("SSLKEYLOGFILE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = path
        except OSError as error:
            return f"SSLKEYLOGFILE names {path!r}, which can't be written ({error.strerror})"
    return None


def authorities_variable(url: str) -> str | None:
    """Return which variable names the authorities to trust; None if none does."""
    # requests takes the first that is set.
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if _counts_for(url) else ()
    return next((variable for variable in variables if os.environ.get(variable)), None)


def proxy_variable(url: str) -> str | None:
    """Return the variable that sets the proxy for an address; None without a proxy."""
    proxy = select_proxy(url, get_environ_proxies(url)) if _counts_for(url) else None
    if not proxy:
        return None
    for name in ("https_proxy", "all_proxy"):
        for variable in (name, *os.environ):
            if variable.lower() == name and os.environ.get(variable) == proxy:
                return variable
    return "the system's settings"  # of macOS or Windows


def _counts_for(url: str) -> bool:
    # For plain http the session reads no variable at all.
    return urlsplit(url).scheme == "https"


def _why_no_certificates(path: str) -> str | None:
    try:
        if not Path(path).is_dir():
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        elif not any(_HASHED_CERTIFICATE.fullmatch(file.name) for file in Path(path).iterdir()):
            return "no file in it is named by its certificate's hash, as c_rehash does"
    except ssl.SSLError:
        return "none is in it"
    except OSError as error:
        return str(error.strerror)
    return None
