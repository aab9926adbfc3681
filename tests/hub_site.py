"""A server on this machine that speaks the protocol of the Hugging Face hub: download, new repositories, commits."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class HubSite(BaseHTTPRequestHandler):
    """Serves repositories. Class attributes hold the state, because each request has an object of its own.

    `repositories` maps ``models/org/name`` to a folder; `gated` and `revisions` name what is refused or known beside
    main; `requested` lists the files that were asked for; `posted` lists what was posted, as (path, content).
    """

    repositories: dict[str, Path]
    gated: set[str]
    revisions: dict[str, str]
    requested: list[str]
    posted: list[tuple[str, Any]]
    token: str | None
    created: dict[str, bool]
    uploads: Path

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(self.path).split("?")[0]
        if path == "/":
            return self.send(b"")
        if path == "/api/whoami-v2":
            return self.send_json({"name": "me", "orgs": []}) if self.allowed() else self.refuse(401)
        if "/resolve/" in path:
            name, _, rest = path.lstrip("/").partition("/resolve/")
            name = name if name.startswith("datasets/") else f"models/{name}"
            revision, _, file = rest.partition("/")
            return self.send_file(name, revision, file)
        name, revision, what = self.parts(path)
        if self.known(name, revision):
            self.describe(name, revision, what)

    def parts(self, path: str) -> tuple[str, str, str]:
        """Return the repository, the revision and what is asked of /api/models/org/name/WHAT/REVISION."""
        words = path.removeprefix("/api/").split("/")
        name, rest = "/".join(words[:3]), words[3:]
        return name, "/".join(rest[1:2]) or "main", rest[0] if rest else ""

    def known(self, name: str, revision: str) -> bool:
        kind, _, short = name.partition("/")
        if name in self.gated:
            self.refuse(403, "GatedRepo")
        elif name not in self.repositories:
            self.refuse(401 if self.token else 404, "RepoNotFound")
        elif self.commit_of(revision) is None:
            self.refuse(404, "RevisionNotFound")
        else:
            return bool(kind and short)
        return False

    def commit_of(self, revision: str) -> str | None:
        return {"main": COMMIT, COMMIT: COMMIT, **self.revisions}.get(revision) or (
            revision if revision in self.revisions.values() else None
        )

    def describe(self, name: str, revision: str, what: str) -> None:
        files = self.files(name)
        entries = [{"type": "file", "path": file, **self.identity(name, file)} for file in files]
        if what == "tree":
            return self.send_json(entries)
        siblings = [{"rfilename": entry["path"], "blobId": entry["oid"], **entry} for entry in entries]
        facts = {"id": name.partition("/")[2], "sha": self.commit_of(revision), "siblings": siblings, "private": True}
        self.send_json(facts)

    def files(self, name: str) -> list[str]:
        root = self.repositories[name]
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def identity(self, name: str, file: str) -> dict[str, Any]:
        content = (self.repositories[name] / file).read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        facts: dict[str, Any] = {"oid": blob, "size": len(content)}
        if file.endswith((".safetensors", ".h5", ".onnx")):
            digest = hashlib.sha256(content).hexdigest()
            facts["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 130}
        return facts

    def send_file(self, name: str, revision: str, file: str) -> None:
        self.requested.append(file)
        if not self.known(name, revision):
            return
        path = self.repositories[name] / file
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        content = path.read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        self.send(content, {"ETag": f'"{etag}"', "X-Repo-Commit": str(self.commit_of(revision))})

    def do_POST(self) -> None:
        path = unquote(self.path).split("?")[0]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return self.refuse(401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            block = json.loads(body)["content"]
            named = re.search(r"^base_model: (.*)$", block, re.MULTILINE)
            wrong = named and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", named[1])
            errors = (
                [{"message": '"base_model" is not valid. Use a model id from https://hf.co/models.'}] if wrong else []
            )
            return self.send_json({"errors": errors, "warnings": []}, 400 if wrong else 200)
        if path.endswith("/info/lfs/objects/batch"):
            return self.lfs(json.loads(body))
        name, _, what = self.parts(path)
        if not self.known(name, "main"):
            return
        if what == "preupload":
            files = json.loads(body)["files"]
            large = (".safetensors", ".h5", ".onnx")
            self.send_json(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                            "shouldIgnore": False,
                        }
                        for file in files
                    ]
                }
            )
        elif what == "commit":
            self.commit(name, [json.loads(line) for line in body.decode().splitlines() if line])

    def create(self, wanted: dict[str, Any]) -> None:
        self.posted.append(("create", wanted))
        owner = f"{wanted['organization']}/" if wanted.get("organization") else "me/"
        name = f"models/{owner}{wanted['name']}"
        if name in self.repositories:
            return self.send_json({"error": "exists"}, 409)
        folder = self.uploads / wanted["name"]
        folder.mkdir(parents=True)
        self.repositories[name] = folder
        self.created[name] = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self.send_json({"url": f"{self.base()}/{owner}{wanted['name']}", "name": f"{owner}{wanted['name']}"})

    def lfs(self, wanted: dict[str, Any]) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.base()}/put/{item['oid']}"}},
            }
            for item in wanted["objects"]
        ]
        self.send_json({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        oid = self.path.rpartition("/")[2]
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == oid
        (self.uploads / ".lfs").mkdir(exist_ok=True)
        (self.uploads / ".lfs" / oid).write_bytes(content)
        self.send(b"")

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        self.posted.append(("commit", lines))
        for line in lines[1:]:
            value = line["value"]
            target = self.repositories[name] / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            stored = self.uploads / ".lfs" / str(value.get("oid"))
            target.write_bytes(base64.b64decode(value["content"]) if line["key"] == "file" else stored.read_bytes())
        url = f"{self.base()}/{name.partition('/')[2]}"
        self.send_json({"commitUrl": f"{url}/commit/{NEXT_COMMIT}", "commitOid": NEXT_COMMIT, "success": True})

    def allowed(self) -> bool:
        return self.token is None or self.headers.get("Authorization") == f"Bearer {self.token}"

    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]

    def refuse(self, status: int, code: str = "") -> None:
        self.send(b'{"error": "refused"}', {"X-Error-Code": code} if code else {}, status)

    def send_json(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, status)

    def send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[type[HubSite], str]]:
    """Serve until the end of the block. Yield the handler, whose attributes can be changed, and the address."""
    state = {"repositories": {}, "gated": set(), "revisions": {}, "requested": [], "posted": [], "created": {}}
    handler = type("Handler", (HubSite,), {**state, "token": None, "uploads": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def point_client_at(address: str, cache: Path, monkeypatch: Any) -> None:
    """Let the client of the hub use an address and an empty cache, without the token of the user."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # the newer protocol of large files needs another server
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
