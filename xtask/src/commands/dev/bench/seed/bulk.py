"""What opensearch-py does with the documents of a pack: helpers.bulk or helpers.parallel_bulk into an index that is there.

Arguments: bulk or parallel_bulk, the address, the index, the file of documents, the field that is the id, documents of a request, connections.
"""

import collections
import json
import sys
import time

from opensearchpy import OpenSearch, helpers

how, address, index, path, field, batch, connections = sys.argv[1:]
# As many bytes of a request at most as the loader that it is compared with.
sizes = {"chunk_size": int(batch), "max_chunk_bytes": 4 * 1024 * 1024}
client = OpenSearch(address, timeout=60, maxsize=int(connections))


def actions():
    with open(path, encoding="utf-8") as documents:
        for line in documents:
            document = json.loads(line)
            yield {"_op_type": "index", "_index": index, "_id": document[field], "_source": document}


begin = time.perf_counter()
if how == "bulk":
    written, _ = helpers.bulk(client, actions(), stats_only=True, raise_on_error=True, **sizes)
else:
    results = helpers.parallel_bulk(client, actions(), thread_count=int(connections), raise_on_error=True, **sizes)
    counter = collections.Counter(ok for ok, _ in results)
    written = counter[True]
client.indices.refresh(index=index)
print(json.dumps({"written": written, "loading_ms": (time.perf_counter() - begin) * 1e3}))
