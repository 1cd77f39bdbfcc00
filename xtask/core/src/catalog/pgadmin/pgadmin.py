"""Runs pgAdmin as this project wants it: its settings and servers from settings.json beside this file, and a key at its door.

pgAdmin reads settings from a module beside its own files, and those are shared by all projects: here that module exists in memory alone.
"""

import builtins
import hashlib
import hmac
import json
import os
import sys
import types
from html import escape
from urllib.parse import parse_qs, urlencode

from werkzeug.http import parse_cookie

HERE = os.path.dirname(os.path.abspath(__file__))
# Which of its servers are ours, so that those that a person has added stay as they are.
MARK = "ecosystem:"

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>pgAdmin</title>
<body style="font-family:sans-serif;margin:3em"><h1>This browser does not have the key yet</h1>
<p>Type <code>ecosystem open {service}</code>, or <code>cargo xtask open {service}</code>.</p>
<form method="post" action="/"><p>Or enter it: it is what <code>{service}</code> is in <code>secrets.toml</code> of the state folder.
<input type="password" name="key" autocomplete="off" aria-label="key"> <button>Open</button></p></form>
"""


class Door:
    """Lets in who has the key: everything behind it acts as the user of the database."""

    def __init__(self, app, settings):
        self.app = app
        self.settings = settings
        self.key = settings["key"].encode()
        self.names = [settings["cookie"], settings["cookie"] + "_https"]
        self.proof = hmac.new(self.key, b"cookie", hashlib.sha256).hexdigest()

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "/")
        # It says PING, to anybody.
        if path == "/misc/ping" or self.has_proof(environ):
            return self.app(environ, start_response)
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        asked = query.pop("key", None) or self.typed(environ)
        if asked and hmac.compare_digest(asked[0].encode(), self.key):
            # The key stays in no address, and no history.
            query = urlencode(query, doseq=True)
            target = path if path.startswith("/") and path[1:2] not in ("/", "\\") else "/"
            cookie = "=" + self.proof + "; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000"
            # Browsers let no page without HTTPS change a cookie of one with it.
            https = environ.get("HTTP_X_FORWARDED_PROTO") == "https"
            cookie = self.names[1] + cookie + "; Secure" if https else self.names[0] + cookie
            headers = [("Location", target + ("?" + query if query else "")), ("Set-Cookie", cookie)]
            return self.answer(start_response, "303 See Other", headers, "")
        page = PAGE.format(service=escape(self.settings["service"]))
        return self.answer(start_response, "401 Unauthorized", [], page)

    def has_proof(self, environ):
        # Other servers of this machine set cookies as well, and not all of them well.
        cookies = parse_cookie(environ)
        found = [cookies[name].encode() for name in self.names if name in cookies]
        return any(hmac.compare_digest(value, self.proof.encode()) for value in found)

    @staticmethod
    def typed(environ):
        form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
        if environ.get("REQUEST_METHOD") != "POST" or not form:
            return None
        try:
            length = min(int(environ.get("CONTENT_LENGTH") or 0), 4096)
        except ValueError:
            return None
        return parse_qs(environ["wsgi.input"].read(length).decode("utf-8", "replace")).get("key")

    @staticmethod
    def answer(start_response, status, headers, page):
        fixed = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page.encode()))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", POLICY),
        ]
        start_response(status, fixed + headers)
        return [page.encode()]


def register(app, servers, user):
    """Has exactly these servers among those that a person has added."""
    from pgadmin.model import Server, ServerGroup, User, db

    with app.app_context():
        owner = User.query.filter_by(email=user).first()
        group = ServerGroup.query.filter_by(user_id=owner.id).order_by("id").first()
        old = Server.query.filter_by(user_id=owner.id).filter(Server.discovery_id.startswith(MARK))
        known = {server.discovery_id: server for server in old}
        for name, wanted in servers.items():
            server = known.pop(MARK + name, None)
            if server is None:
                server = Server(user_id=owner.id, servergroup_id=group.id, discovery_id=MARK + name)
                server.save_password = server.use_ssh_tunnel = 0
                db.session.add(server)
            server.name = name
            for key in ("host", "port", "maintenance_db", "username"):
                setattr(server, key, wanted[key])
            link = {"sslmode": "prefer", "connect_timeout": 10, "passfile": wanted["passfile"]}
            if hasattr(Server, "connection_params"):
                server.connection_params = link
            else:
                server.ssl_mode, server.sslcompression = link["sslmode"], 0
                server.connect_timeout, server.passfile = link["connect_timeout"], link["passfile"]
        for gone in known.values():
            db.session.delete(gone)
        db.session.commit()


def show_own_database():
    """Databases that are made before a server first runs have low numbers, and later versions hide those as the system's own."""
    from pgadmin.browser.server_groups.servers.databases import DatabaseView

    if hasattr(DatabaseView, "_DATABASE_LAST_SYSTEM_OID"):
        DatabaseView._DATABASE_LAST_SYSTEM_OID = 5


def main():
    with open(os.path.join(HERE, "settings.json"), encoding="utf-8") as file:
        settings = json.load(file)
    builtins.SERVER_MODE = False
    os.environ["PGADMIN_SERVER_MODE"] = "OFF"
    own = types.ModuleType("config_local")
    vars(own).update(settings["config"])
    sys.modules["config_local"] = own
    sys.path.insert(0, settings["package"])

    import pgAdmin4
    from werkzeug.middleware.proxy_fix import ProxyFix

    app = pgAdmin4.app
    show_own_database()
    register(app, settings["servers"], pgAdmin4.config.DESKTOP_USER)
    # The front tells whether a browser came by HTTPS; nothing else that it says is needed.
    app.wsgi_app = Door(ProxyFix(app.wsgi_app, x_for=0, x_proto=1), settings)
    pgAdmin4.main()


main()
