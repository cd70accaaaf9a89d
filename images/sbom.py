"""The software bill of materials of an image, as CycloneDX 1.6: every Python distribution in it, with the SHA-256 of
the wheel that was installed. What the base image holds is the base image's to list.

The time and the serial number are made from the contents, so the same image has the same document.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import Any


def third_party(entry: dict[str, Any]) -> dict[str, Any]:
    """A component of one entry of pip's installation report (packaging.python.org: installation report, version 1)."""
    hashes = entry["download_info"]["archive_info"]["hashes"]
    return _component(entry["metadata"], hashes["sha256"])


def member(wheel: Path) -> dict[str, Any]:
    """A component of a wheel that was built here."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(name).decode())
    metadata = {key: fields[header] for key, header in _HEADERS.items() if fields[header]}
    return _component(metadata, hashlib.sha256(wheel.read_bytes()).hexdigest())


def document(name: str, components: list[dict[str, Any]], epoch: int) -> dict[str, Any]:
    """The whole document of the image `name`. epoch: seconds, the time that it carries."""
    ordered = sorted(components, key=lambda component: str(component["purl"]))
    contents = json.dumps(ordered, sort_keys=True)
    root = next(c for c in ordered if c["name"] == name)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}",
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**root, "type": "application", "bom-ref": f"image:{name}"},
        },
        "components": ordered,
    }


_HEADERS = {"name": "Name", "version": "Version", "license_expression": "License-Expression", "summary": "Summary"}


def _component(metadata: dict[str, Any], sha256: str) -> dict[str, Any]:
    name, version = metadata["name"].lower().replace("_", "-").replace(".", "-"), metadata["version"]
    purl = f"pkg:pypi/{name}@{version}"
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    }
    if metadata.get("summary"):
        component["description"] = metadata["summary"]
    if metadata.get("license_expression"):
        component["licenses"] = [{"expression": metadata["license_expression"]}]
    return component
