"""A person with a token: searches, uploads a file into a draft, publishes it and finds it. Prints what came of it as JSON."""

import hashlib
import json
import os
import sys
import time

import requests

base, authority, token = sys.argv[1:]
session = requests.Session()
# Else a bundle that the machine names in its environment would stand in the place of the authority.
session.trust_env = False
session.verify = authority
session.headers["Authorization"] = f"Bearer {token}"


def call(method, url, **what):
    answer = session.request(method, url if url.startswith("https:") else base + url, timeout=60, **what)
    assert answer.ok, (method, url, answer.status_code, answer.text[:300])
    return answer


seeded = call("GET", "/api/records?q=*&size=1").json()["hits"]["total"]
draft = call(
    "POST",
    "/api/records",
    json={
        "access": {"record": "public", "files": "public"},
        "files": {"enabled": True},
        "metadata": {
            "title": "Zyxwvut of a test",
            "publication_date": "2020-06-01",
            "resource_type": {"id": "image-photo"},
            "creators": [{"person_or_org": {"type": "personal", "family_name": "Brown", "given_name": "Troy"}}],
        },
    },
).json()
content = os.urandom(2 << 20)
call("POST", draft["links"]["files"], json=[{"key": "a b.bin"}])
file = f"/api/records/{draft['id']}/draft/files/a b.bin"
call("PUT", f"{file}/content", data=content, headers={"Content-Type": "application/octet-stream"})
call("POST", f"{file}/commit")
call("POST", f"/api/records/{draft['id']}/draft/actions/publish")

# It answers with status 200 and the address of the file in the bucket, where a redirect is meant.
there = call("GET", f"/api/records/{draft['id']}/files/a b.bin/content", allow_redirects=False)
stored = requests.get(there.headers["Location"], timeout=60).content

begun, found = time.monotonic(), 0
while not found and time.monotonic() - begun < 30:
    found = call("GET", "/api/records?q=zyxwvut").json()["hits"]["total"]
print(
    json.dumps(
        {
            "seeded": seeded,
            "found": found,
            "bucket": there.headers["Location"].split("?")[0].split("/")[3],
            "same": hashlib.sha256(stored).digest() == hashlib.sha256(content).digest(),
        }
    )
)
