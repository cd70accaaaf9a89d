"""Asks a ragmesh a real question: puts a document in, waits for it, asks, wants the answer with its citation, and takes
the document out again. Standard library only; exit code 1 with one sentence when it fails."""

import json
import os
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

URL = os.environ["RAGMESH_TEST_URL"]
KEY = Path("/etc/ragmesh/key/key").read_text(encoding="utf-8").strip()
GIVE_UP_AT = time.monotonic() + float(os.environ["RAGMESH_TEST_SECONDS"])
WORD = f"kestrel{secrets.token_hex(3)}"
FACT = f"The lighthouse of {WORD} was built in 1874 by the engineer Amalia Brandt."

# A public certificate names the public host, not the Service; what is tried here is the answer.
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


def call(method, path, body=None):
    """Status and JSON; asks again while nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    while True:
        request = urllib.request.Request(URL + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=TLS) as reply:
                return reply.status, json.loads(reply.read() or b"{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code != 503 or time.monotonic() > GIVE_UP_AT:
                return error.code, {"detail": text}
        except OSError as error:
            if time.monotonic() > GIVE_UP_AT:
                sys.exit(f"nobody answers at {URL}: {error}")
        time.sleep(1)


def want(done, what):
    status, reply = done
    if not 200 <= status < 300:
        sys.exit(f"{what}: HTTP {status}: {reply}")
    return reply


def main():
    collection = f"helm-test-{secrets.token_hex(4)}"
    want(call("POST", "/v1/collections", {"collectionId": collection}), "making a collection")
    try:
        document = {"documentId": "lighthouse.md", "text": FACT}
        want(call("POST", f"/v1/collections/{collection}/documents", document), "sending a document")
        while True:
            state = want(call("GET", f"/v1/collections/{collection}/documents/lighthouse.md"), "looking at it")
            if time.monotonic() > GIVE_UP_AT:
                sys.exit(f"the document was not ready in time: {state}")
            time.sleep(0.5)
            question = {"question": f"Who built the lighthouse of {WORD}?"}
            answer = want(call("POST", f"/v1/collections/{collection}:ask", question), "asking")
            if "Brandt" in answer.get("answer", "") and answer.get("citations"):
                break
        print(f"asked: {question['question']}\nanswered: {answer['answer']}")
    finally:
        want(call("DELETE", f"/v1/collections/{collection}"), "deleting the collection")


main()
