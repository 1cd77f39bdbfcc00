"""Sets an Invenio application up in one process: what its own nine commands do, without starting Python nine times.

Run by `ecosystem app setup` with the application's Python and settings. Arguments: the location of files, then the names of the
long steps that are wanted (`fixtures`, `demo`). Tells on its standard output, one JSON object a line, what it does; everything
that the application prints goes to standard error.

Every step can be done again. The two long ones leave a receipt in the schema `ecosystem` of the database, because nothing else
tells whether all of their tasks were handed out.
"""

import json
import os
import sys
import time

out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def tell(**what):
    print(json.dumps(what), file=out)


tell(step="boot", state="begun")
began = time.monotonic()

import click  # noqa: E402
from celery import current_app as current_celery_app  # noqa: E402
from flask.cli import ScriptInfo  # noqa: E402
from invenio_app.cli import cli  # noqa: E402
from invenio_app.factory import create_app  # noqa: E402
from invenio_db import db  # noqa: E402

app = create_app()
tell(step="boot", state="done", seconds=round(time.monotonic() - began, 3))
runner = app.test_cli_runner()


def has(*words):
    """Whether the application has this command; ILS and OARepo lack some of InvenioRDM's."""
    command = cli
    for word in words:
        context = click.Context(command, obj=ScriptInfo(create_app=lambda: app))
        command = command.get_command(context, word) if isinstance(command, click.MultiCommand) else None
    return command is not None


def run(*words):
    """One of the application's own commands, in this process."""
    result = runner.invoke(cli, list(words))
    sys.stderr.write(result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code != 0:
        lines = result.output.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit status {result.exit_code}")


def sql(text, **values):
    from sqlalchemy import text as statement

    return db.session.execute(statement(text), values)


def database():
    fresh = sql("SELECT to_regclass('public.alembic_version') IS NULL").scalar()
    if fresh:
        # Whoever finds this knows that not all of it is there.
        begun("set up")
        mark("set up", False)
    run("db", "init", "create")
    return "done" if fresh else "kept"


def location():
    run("files", "location", "create", "--default", "default-location", sys.argv[1])


def roles():
    from invenio_accounts.proxies import current_datastore

    if current_datastore.find_role("admin") is not None:
        return "kept"
    run("roles", "create", "admin")


def access():
    run("access", "allow", "superuser-access", "role", "admin")


def indices():
    """What `index init` does, but for what is there already: an index has a number of its own, and is known by its alias."""
    from invenio_search import current_search, current_search_client
    from invenio_search.utils import build_alias_name, build_index_name

    for put in ("put_templates", "put_component_templates", "put_index_templates"):
        for _name, _answer in getattr(current_search, put)():
            pass
    behind = {}
    for index, found in current_search_client.indices.get(build_alias_name("*"), expand_wildcards="all").items():
        for alias in found["aliases"]:
            behind.setdefault(alias, set()).add(index)
        if not found["aliases"]:
            behind.setdefault(index, set()).add(index)
    made = False
    for name in current_search.mappings:
        if build_alias_name(name) not in behind and build_index_name(name) not in behind:
            (index, _), (alias, _) = current_search.create_index(name)
            behind[alias or index] = {index}
            made = True

    def groups(tree, group=None):
        for name, below in tree.items():
            if isinstance(below, dict):
                yield from groups(below, name)
        if group:
            yield build_alias_name(group), [build_alias_name(name) for name in current_search._get_indices(tree)]

    for group, members in groups(current_search.active_aliases):
        lacking = set().union(*(behind.get(member, ()) for member in members)) - behind.get(group, set())
        if lacking:
            current_search_client.indices.put_alias(index=sorted(lacking), name=group)
            made = True
    return "done" if made else "kept"


def queues():
    run("queues", "declare")


def begun(step):
    """The state of a long step: None where it was never begun."""
    sql("CREATE SCHEMA IF NOT EXISTS ecosystem")
    sql("CREATE TABLE IF NOT EXISTS ecosystem.step (name text PRIMARY KEY, done boolean NOT NULL)")
    state = sql("SELECT done FROM ecosystem.step WHERE name = :name", name=step).scalar()
    db.session.commit()
    return state


def mark(step, done):
    sql(
        "INSERT INTO ecosystem.step VALUES (:name, :done) ON CONFLICT (name) DO UPDATE SET done = excluded.done",
        name=step,
        done=done,
    )
    db.session.commit()


def hasten():
    """What makes handing out fifteen thousand tasks take a third of the time, and changes none of them."""
    import yaml

    if hasattr(yaml, "CSafeLoader"):
        # The same language, read by the library in C. Half of the time went into reading it.
        yaml.SafeLoader = yaml.CSafeLoader
    backend = current_celery_app.backend
    if hasattr(backend, "on_task_call"):
        # It would subscribe to the result of each, for which nobody waits here.
        backend.on_task_call = lambda *_args, **_options: None


def long(step, filled, command):
    """Hands out tasks, and counts them."""
    state = begun(step)
    # Whoever filled it otherwise, such as a pack, has done it.
    if state or (state is None and filled()):
        return "kept"
    from celery.signals import after_task_publish

    count = 0

    def published(**_):
        nonlocal count
        count += 1
        if count % 200 == 0:
            tell(step=step, state="progress", count=count)

    hasten()
    after_task_publish.connect(published)
    try:
        mark(step, False)
        run(*command)
        mark(step, True)
    finally:
        after_task_publish.disconnect(published)
    tell(step=step, state="progress", count=count)


def fixtures():
    filled = lambda: sql("SELECT EXISTS (SELECT 1 FROM vocabularies_metadata)").scalar()  # noqa: E731
    return long("fixtures", filled, ["rdm-records", "fixtures"])


def demo():
    filled = lambda: sql("SELECT EXISTS (SELECT 1 FROM rdm_records_metadata)").scalar()  # noqa: E731
    return long("demo", filled, ["rdm-records", "demo"])


def pages():
    try:
        run("rdm", "fixtures")
    except Exception as error:  # noqa: BLE001
        # It stops at the first thing that is there, and has no other way to tell.
        if not type(error).__name__.endswith("AlreadyExistsError"):
            raise
        db.session.rollback()
        return "kept"


def fields(group):
    return lambda: run(group, "custom-fields", "init")


STEPS = [
    ("database", database, ("db", "create")),
    ("location", location, ("files", "location", "create")),
    ("roles", roles, ("roles", "create")),
    ("access", access, ("access", "allow")),
    ("indices", indices, ("index", "init")),
    ("record fields", fields("rdm-records"), ("rdm-records", "custom-fields", "init")),
    ("community fields", fields("communities"), ("communities", "custom-fields", "init")),
    ("pages", pages, ("rdm", "fixtures")),
    ("queues", queues, ("queues", "declare")),
    ("fixtures", fixtures, ("rdm-records", "fixtures")),
    ("demo", demo, ("rdm-records", "demo")),
]
LONG = {"fixtures", "demo"}

for name, step, command in STEPS:
    if name in LONG and name not in sys.argv[2:]:
        continue
    if not has(*command):
        tell(step=name, state="absent")
        continue
    tell(step=name, state="begun")
    started = time.monotonic()
    try:
        with app.app_context():
            state = step() or "done"
            db.session.remove()
    except Exception as error:  # noqa: BLE001  (whatever it is, a person has to read it)
        import traceback

        traceback.print_exc()
        said = str(error).strip().splitlines()
        tell(step=name, state="failed", reason=f"{type(error).__name__}: {said[0] if said else ''}")
        sys.exit(1)
    tell(step=name, state=state, seconds=round(time.monotonic() - started, 3))

with app.app_context():
    begun("set up")
    mark("set up", True)
