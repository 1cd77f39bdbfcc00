"""What a browser does with pgAdmin: opens the page that has the key, and clicks on the first server. Prints what it saw as JSON."""

import html
import http.cookiejar
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

with open(sys.argv[1], encoding="utf-8") as page:
    address = html.unescape(re.search(r'href="([^"]+)"', page.read()).group(1))
base = "http://" + urllib.parse.urlsplit(address).netloc
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))


def ask(path, **more):
    with browser.open(urllib.request.Request(base + path, **more)) as answer:
        return answer.geturl(), answer.read().decode()


arrived, _ = ask(address[len(base):])
_, script = ask("/browser/js/utils.js")
token = re.search(r"csrf_token'\]\s*=\s*'([^']+)'", script).group(1)
headers = {"X-pgA-CSRFToken": token}
nodes = json.loads(ask("/browser/server/nodes/1/", headers=headers)[1])["result"]
first = nodes[0]["_id"]
connected = json.loads(ask("/browser/server/connect/1/" + first, headers=headers, data=b"")[1])["data"]
try:
    # A page that makes its own name resolve to this machine.
    elsewhere = ask("/browser/", headers={"Host": "evil.example"})[0]
except urllib.error.HTTPError as error:
    elsewhere = error.code
print(json.dumps({
    "address": arrived[len(base):],
    "servers": [node["label"] for node in nodes],
    "connected": connected["connected"],
    "user": connected["user"]["name"],
    "database": connected["db"],
    "elsewhere": elsewhere,
}))
