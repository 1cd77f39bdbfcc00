"""Makes a user of an Invenio application in one process, or finds the one that is there.

Run by `ecosystem app user` with the application's Python and settings. What is wanted is one JSON object in its environment: `mail`,
`password` (null: the present one stays, or one is made), `admin` and `token` (whether they are wanted). Answers with one on its
standard output; everything that the application prints goes to standard error.
"""

import json
import os
import secrets
import sys

out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

wanted = json.loads(os.environ.pop("ECOSYSTEM_USER"))

from flask_security.utils import hash_password  # noqa: E402
from invenio_accounts.proxies import current_datastore  # noqa: E402
from invenio_app.factory import create_app  # noqa: E402
from invenio_db import db  # noqa: E402

app = create_app()
with app.app_context():
    user = current_datastore.get_user(wanted["mail"])
    answer = {"created": user is None, "password": None, "token": None}
    password = wanted["password"]
    if user is None:
        if password is None:
            password = answer["password"] = secrets.token_urlsafe(12)
        user = current_datastore.create_user(email=wanted["mail"], password=hash_password(password), active=True)
    elif password is not None:
        user.password = hash_password(password)
    # A user of fixtures may have been made without being let in.
    user.active = True
    if user.confirmed_at is None:
        from flask_security.confirmable import confirm_user

        confirm_user(user)
    if wanted["admin"]:
        role = current_datastore.find_role("admin")
        if role is None:
            sys.exit("there is no role `admin`: set the application up first")
        current_datastore.add_role_to_user(user, role)
    current_datastore.commit()
    try:
        # Otherwise the next search for users does not find it until a worker has come around.
        from invenio_users_resources.services.users.tasks import reindex_users

        reindex_users([user.id])
    except ImportError:
        pass
    if wanted["token"]:
        from invenio_oauth2server.models import Token

        # Scopes of a person's own token: every one that the application has.
        from invenio_oauth2server.proxies import current_oauth2server

        # One is enough: the last one holds.
        for known in Token.query.filter_by(user_id=user.id, is_personal=True, is_internal=False):
            if known.client.name == "ecosystem":
                db.session.delete(known.client)
        db.session.commit()
        scopes = [scope for scope, _ in current_oauth2server.scope_choices()]
        token = Token.create_personal("ecosystem", user.id, scopes=scopes)
        db.session.commit()
        answer["token"] = token.access_token
    print(json.dumps(answer), file=out)
