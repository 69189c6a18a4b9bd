"""Models: families, releases, their manifests and reports, and where they run.

Promises: reads only; what is shown was checked as devices check it, each time.
Leaves out: publishing and revoking, which need keys that the service does not have (`edge publish`, `edge revoke`).
Thread: any of the pool's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Response

from edge.central.access.roles import Scope
from edge.central.api.context import Backend, BackendOf, ReaderOf, needs
from edge.central.api.shapes import Told
from edge.central.store.device_pages import runs
from edge.contract.layout import blob_path, target_file
from edge.contract.manifest import Manifest, decode_manifest
from edge.contract.trust import target_path
from edge.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from edge.central.registry.place import Place
    from edge.central.registry.releases import Release

__all__ = ["router"]

router = APIRouter(tags=["models"], dependencies=[needs(Scope.MODELS_READ)])

_Family = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_Number = Annotated[int, Path(ge=1, le=1 << 31)]


class ReleaseTold(Told):
    """A signed release. `slots` is on how many it is active; `target` is what slots and rollouts name it by."""

    family: str
    release: int
    target: str
    name: str
    version: str
    made_ms: int
    sha256: str
    revoked: str
    floor: int
    is_startable: bool
    slots: int


class ReleaseWhole(ReleaseTold):
    """A release with its manifest: variants, files, steps, labels."""

    manifest: dict[str, Any]


@router.get("/models")
def list_models(backend: BackendOf, reader: ReaderOf) -> list[ReleaseTold]:
    """Every release of every family."""
    running = runs(reader)
    return [_told(each, running) for each in _releases(_place(backend))]


@router.get("/models/{family}")
def list_releases(family: _Family, backend: BackendOf, reader: ReaderOf) -> list[ReleaseTold]:
    """The releases of a family."""
    running = runs(reader)
    found = [_told(each, running) for each in _releases(_place(backend)) if each.family == family]
    if not found:
        raise NotFoundError(f"there is no family {family} with releases")
    return found


@router.get("/models/{family}/{release}")
def show_release(family: _Family, release: _Number, backend: BackendOf, reader: ReaderOf) -> ReleaseWhole:
    """One release with its manifest."""
    place = _place(backend)
    found = _release(place, family, release)
    manifest = msgspec.json.decode(msgspec.json.encode(_manifest(place, found)))
    return ReleaseWhole(**_told(found, runs(reader)).model_dump(), manifest=manifest)


@router.get("/models/{family}/{release}/files/{role}")
def show_file(
    family: _Family,
    release: _Number,
    role: Literal["labels", "vocabulary", "golden", "validation", "card"],
    backend: BackendOf,
) -> Response:
    """A file of its bundle: its validation report (`validation`), its labels, its card."""
    place = _place(backend)
    manifest = _manifest(place, _release(place, family, release))
    for listed in manifest.files:
        if listed.role == role:
            is_json = listed.file.endswith(".json")
            headers = {"Content-Disposition": f'attachment; filename="{family}-{release}-{role}"'}
            return Response(
                place.read(blob_path(listed.sha256)),
                media_type="application/json" if is_json else "application/octet-stream",
                headers=headers,
            )
    raise NotFoundError(f"release {release} of {family} has no {role}")


def _place(backend: Backend) -> Place:
    if backend.place is None:
        raise InputError("this service keeps no models; name a registry as [registry] path in its config")
    return backend.place


def _releases(place: Place) -> list[Release]:
    from edge.central.registry.releases import releases_of
    from edge.central.registry.roles import load

    held = load(place)
    return [each for family in sorted(held.families) for each in releases_of(held, family)]


def _release(place: Place, family: str, release: int) -> Release:
    for each in _releases(place):
        if (each.family, each.release) == (family, release):
            return each
    raise NotFoundError(f"there is no release {release} of {family}")


def _manifest(place: Place, release: Release) -> Manifest:
    return decode_manifest(place.read(target_file(release.family, release.release, release.sha256)))


def _told(release: Release, running: dict[str, int]) -> ReleaseTold:
    target = target_path(release.family, release.release)
    return ReleaseTold(
        family=release.family,
        release=release.release,
        target=target,
        name=release.name,
        version=release.version,
        made_ms=release.made_ms,
        sha256=release.sha256,
        revoked=release.revoked,
        floor=release.floor,
        is_startable=release.is_startable,
        slots=running.get(target, 0),
    )
