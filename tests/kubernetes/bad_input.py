"""Upgrades that cannot work: Helm says no, something names the cause, and the release that runs goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubernetes import cluster
from kubernetes.cluster import kubectl
from kubernetes.house import RELEASE, House
from reliability.judge import Gate

GIVE_UP_SECONDS = 75.0
BLOBS = "/var/lib/ragmesh/blobs"


def refused(house: House, changes: Mapping[str, str], names: str, look: Callable[[], str]) -> list[Gate]:
    """Try the upgrade. `look` collects what the cluster says; in it `names` must be found."""
    before = running(house)
    try:
        house.upgrade(changes, seconds=GIVE_UP_SECONDS)
        failed, said = False, ""
    except cluster.Refused as error:
        failed, said = True, str(error)
    told = look()
    after = running(house)
    served = answers(house)
    back_to_good(house, failed=failed)
    line = next((line.strip() for line in f"{told}\n{said}".splitlines() if names in line), told[-300:])
    return [
        Gate("`helm upgrade` fails", failed, f"`{shortened(said.partition('Error: ')[2])}`" if said else "it did not"),
        Gate("what is wrong is named", names in told or names in said, f"`{shortened(line)}`"),
        Gate("the pods that served still run", before <= after, f"{len(before & after)} of {len(before)}"),
        Gate("and answer", served == "", served or "20 questions"),
    ]


def shortened(line: str) -> str:
    clean = " ".join(line.split()).replace("|", "/").replace("`", "'")
    return clean if len(clean) <= 220 else f"{clean[:217]}..."


def running(house: House) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in house.pods() if cluster.ready(pod)}


def back_to_good(house: House, *, failed: bool) -> None:
    """As it was: the next case begins with a release that is whole. After an upgrade that failed by a rollback: another
    upgrade is a change from the last release that was whole, and leaves what the failed one added."""
    kubectl("delete", "job", "-n", RELEASE, "ragmesh-migrate", "--ignore-not-found")
    if failed:
        house.undo()
    else:
        house.upgrade()
    house.all_ready()


def answers(house: House) -> str:
    """Ask through the Service; empty when every question was answered well."""
    with house.load("after", 2.0, 10.0) as loaded:
        pass
    bad = [f"{o.ask} {o.code} {o.reason} {o.detail[:80]}" for o in loaded.operations if o.code != "OK"]
    return "; ".join(bad[:3]) or ("" if loaded.operations else "nothing was asked")


def events() -> str:
    """Reason and message of each event of the release."""
    items = cluster.get("events", "-n", RELEASE)["items"]
    return "\n".join(f"{e.get('reason')}: {e.get('message')}" for e in items)


def job_says() -> str:
    """The end of the migration's log, and the events."""
    return f"{_or_nothing('logs', '-n', RELEASE, 'job/ragmesh-migrate', '--tail=20')}\n{events()}"


def _or_nothing(*arguments: str) -> str:
    try:
        return kubectl(*arguments)
    except cluster.Refused:
        return ""


def missing_secret(house: House) -> list[Gate]:
    changes = {"secrets.name": "not-there", "migrations.activeDeadlineSeconds": "60"}
    return refused(house, changes, 'secret "not-there" not found', events)


def wrong_store(house: House) -> list[Gate]:
    changes = {
        "stores.records.url": "bolt://nowhere.ragmesh-test-stores.svc.cluster.local:7687",
        "migrations.backoffLimit": "0",
    }
    return refused(house, changes, "records", job_says)


def absent_image(house: House) -> list[Gate]:
    return refused(
        house, {"retriever.image.tag": "not-built"}, 'Failed to pull image "ragmesh-retriever:not-built"', events
    )


def wrong_setting(house: House) -> list[Gate]:
    """The new pod's process ends at once; its last words are in its log."""

    def look() -> str:
        said = []
        for pod in house.pods("retriever"):
            if not cluster.ready(pod):
                name = str(pod["metadata"]["name"])
                said.append(_or_nothing("logs", "-n", RELEASE, name, "--previous"))
                said.append(_or_nothing("logs", "-n", RELEASE, name))
        return "\n".join(said)

    return refused(house, {"retriever.env.RAGMESH_CATALOGUE_SECONDS": "-1"}, "RAGMESH_CATALOGUE_SECONDS", look)


def full_volume(house: House) -> list[Gate]:
    """The originals of a collection on 16 MiB, which are filled to the last byte."""
    listed = f"import pathlib; print(max(pathlib.Path('{BLOBS}').glob('*/'), key=lambda f: len(list(f.iterdir()))))"
    folder = kubectl("exec", "-n", RELEASE, "deployment/ragmesh-ingestor", "--", "python", "-c", listed).strip()
    changes = {
        "ingestor.extraVolumes[0].name": "small",
        "ingestor.extraVolumes[0].emptyDir.medium": "Memory",
        "ingestor.extraVolumes[0].emptyDir.sizeLimit": "16Mi",
        "ingestor.extraVolumeMounts[0].name": "small",
        "ingestor.extraVolumeMounts[0].mountPath": folder,
    }
    house.upgrade(changes)
    house.settled()  # those of before serve until they end
    fill = f"open('{folder}/filler', 'wb').write(bytes(2**25))"
    for pod in house.pods("ingestor"):
        _or_nothing("exec", "-n", RELEASE, str(pod["metadata"]["name"]), "--", "python", "-c", fill)
    began = {str(p["metadata"]["name"]): cluster.restarts(p) for p in house.pods()}
    with house.load("full", 20.0, 5.0) as loaded:
        pass
    documents = [o for o in loaded.operations if o.ask == "document"]
    others = [o for o in loaded.operations if o.ask != "document" and o.code != "OK"]
    unsure = [o for o in documents if o.code != "OK" and not o.typed]
    refusals = sorted({f"{o.code} {o.reason}: {o.detail}" for o in documents if o.code != "OK"})
    logged = [
        line
        for pod in house.pods("ingestor")
        for line in kubectl("logs", "-n", RELEASE, str(pod["metadata"]["name"]), "--since=60s").splitlines()
        if "blobs" in line and ("warn" in line.lower() or "error" in line.lower() or "room" in line)
    ]
    after = {str(p["metadata"]["name"]): cluster.restarts(p) for p in house.pods()}
    ended = [name for name, count in after.items() if count != began.get(name, count)]
    back_to_good(house, failed=False)
    house.settled()  # the ones with the full volume serve until they end, and the next case may write
    told = "; ".join(refusals) or "none was refused"
    return [
        Gate("a document is refused, with the store's name", "blobs" in told, f"`{shortened(told)}`"),
        Gate("no document is answered without a reason", not unsure, f"{len(unsure)} of {len(documents)}"),
        Gate("questions and reads go on", not others, f"{len(others)} of {len(loaded.operations)} failed"),
        Gate("a log line names the cause", bool(logged), f"`{shortened(logged[0])}`" if logged else "none"),
        Gate("no container ends", not ended, ", ".join(ended) or f"{len(after)} pods"),
    ]
