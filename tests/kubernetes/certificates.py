"""The certificate of the mesh, out of a Secret: replaced while it is used, and one that has expired."""

from __future__ import annotations

import json
import tempfile
import time
from functools import cache
from pathlib import Path

from kubernetes import cluster
from kubernetes.harm import Harm
from kubernetes.house import COMPONENTS, RELEASE, House
from reliability.judge import Gate
from support.certificates import Authority

SECRET = "mesh-tls"
CHANGES = {"tls.mesh.enabled": "true", "tls.mesh.secretName": SECRET}
SEEN_SECONDS = 120.0
"""The kubelet brings a changed Secret within its own period, a minute by default, and some."""


@cache
def authority() -> Authority:
    return Authority(Path(tempfile.mkdtemp(prefix="ca-")), "mesh")


def put(*, seconds: float = 86400.0, begins: float = -60.0) -> None:
    """A certificate for all services into the Secret."""
    names = [f"ragmesh-{component}.{RELEASE}.svc.cluster.local" for component in COMPONENTS]
    certificate, key = authority().leaf(*names, seconds=seconds, begins=begins)
    data = {"tls.crt": certificate, "tls.key": key, "ca.crt": authority().certificate}
    cluster.secret_of(RELEASE, SECRET, {name: text.decode() for name, text in data.items()})


def first(house: House) -> None:
    put()


def logged(house: House, event: str, since: float) -> dict[str, str]:
    """Pod -> its line with this event since then (CLOCK_MONOTONIC), of those that have one."""
    found = {}
    for component in COMPONENTS:
        for name, lines in house.logs(component, time.monotonic() - since + 1).items():
            for line in lines:
                if event in line:
                    found[name] = line
    return found


def rotate(harm: Harm) -> None:
    """Another certificate, and wait until every pod says that it uses it."""
    house = harm.house
    time.sleep(3)

    def replaced() -> None:
        began = time.monotonic()
        put(seconds=2 * 86400.0)
        everyone = {str(pod["metadata"]["name"]) for pod in house.pods()}
        cluster.wait_for(
            "every pod to take it",
            lambda: everyone <= set(logged(house, "tls.reloaded", began)),
            SEEN_SECONDS,
            every=4.0,
        )

    fault = harm.noted("mesh", "certificate replaced", replaced)
    harm.notes.append(
        f"all pods use the new one {fault.gone - fault.at:.0f} s after the Secret changed, none restarted"
    )


def expired(harm: Harm) -> list[Gate]:
    """A certificate that has expired is not taken and says so; the mesh goes on with the one before."""
    house = harm.house
    began = time.monotonic()
    put(seconds=-3600.0, begins=-7200.0)
    everyone = {str(pod["metadata"]["name"]) for pod in house.pods()}
    cluster.wait_for(
        "every pod to refuse it", lambda: everyone <= set(logged(house, "tls.rejected", began)), SEEN_SECONDS, every=4.0
    )
    line = next(iter(logged(house, "tls.rejected", began).values()))
    with house.load("expired", 5.0, 10.0) as loaded:
        pass
    bad = [o for o in loaded.operations if o.code != "OK"]
    put()
    return [
        Gate("an expired certificate is refused by every pod, and named", "expired" in line, f"`{_short(line)}`"),
        Gate("the mesh goes on with the one before", not bad, f"{len(bad)} of {len(loaded.operations)} failed"),
    ]


def _short(line: str) -> str:
    """The event and what it says, without what every line has."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line[:200]
    return ", ".join(f"{name}={fields[name]}" for name in ("event", "certificate", "cause", "detail") if name in fields)
