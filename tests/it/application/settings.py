"""What the application has made of its environment: every `INVENIO_` variable against its configuration, and what still leads elsewhere."""

import ast
import json
import os

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from invenio_app.factory import create_app  # noqa: E402

app = create_app()


def literal(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


missed = {}
for name, text in os.environ.items():
    # Read before there is a configuration.
    if not name.startswith("INVENIO_") or name == "INVENIO_INSTANCE_PATH":
        continue
    key, wanted = name[len("INVENIO_") :], literal(text)
    if app.config.get(key) != wanted:
        missed[key] = repr(app.config.get(key))
if str(app.instance_path) != os.environ["INVENIO_INSTANCE_PATH"]:
    missed["INSTANCE_PATH"] = str(app.instance_path)

# Ports and words of an application that nobody has told anything.
untold = (":6379", ":5672", ":9200", ":5432", "CHANGE_ME", "changeme")
elsewhere = {key: repr(value) for key, value in app.config.items() if any(word in repr(value) for word in untold)}
print(json.dumps({"missed": missed, "elsewhere": elsewhere}), file=out)
