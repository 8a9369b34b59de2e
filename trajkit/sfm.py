"""Cameras of photos without poses: structure from motion by pycolmap. What it finds is an estimate, and says so."""

import dataclasses
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from trajkit import files
from trajkit import options as options_
from trajkit.errors import TrajkitError
from trajkit.fit import Watch
from trajkit.poses import colmap
from trajkit.scene import Scene
from trajkit.scenes._photos import SHOWN, distorted, photo_size, select, warning
from trajkit.scenes._stance import extent_of, read_points, unit_of, upward
from trajkit.scenes.photos import FEWEST, Options
from trajkit.sparse import quiet_pycolmap

RECORD = "sfm.json"
EXHAUSTIVE = 80  # photos up to which each is matched with each other; beyond, with those that follow it
LARGEST = 1600  # px, longest side that features are looked for in
ENOUGH = 0.5  # share of the photos that must fit together


def posed(scene: Scene, folder: Path, watch: Watch | None = None) -> Scene:
    """The scene with cameras. One that has them, or has no photos, comes back as it is.

    Photos of a `photos:` scene go through SIFT, matching and mapping, in one thread and with fixed seeds, so that the
    same photos give the same poses. The COLMAP model is kept in folder/<scene.id>.sfm, whole or absent; where it is
    there and of the same photos and options, nothing is estimated again. `assets["sfm"]` tells that poses were
    estimated, and the trajectory's scale is "sfm". Photos that did not fit in are dropped (finding not-registered).
    `watch` passes the stages on and may show them. Raises TrajkitError where fewer than half of the photos, or fewer
    than three, fit together.
    """
    if scene.seen is not None or not scene.photos:
        return scene
    name, text = options_.split_spec(scene.source)
    if name != "photos":
        raise TrajkitError(f"scene {scene.id}", "has photos without poses", "give them as photos:FOLDER")
    options = options_.parse(Options, text.partition(";")[2], where=scene.source)
    model = folder / f"{scene.id}.sfm"
    wanted = {
        "photos": {photo.name: files.sha256(photo) for photo in scene.photos},
        "options": {key: value for key, value in options_.as_dict(options).items() if key != "licence"},
    }
    if not _finished(model, wanted):
        _estimate(scene, options, model, wanted, watch)
    return _with_cameras(scene, model)


def estimator(scene: Scene) -> str:
    """What the scene's poses come from, for records: "" where they were given with the photos."""
    if "sfm" not in scene.assets:
        return ""
    record = files.read_json(scene.assets["sfm"] / RECORD)
    return f"pycolmap {record['versions']['pycolmap']}, {record['mapper']} mapper"


def _finished(model: Path, wanted: dict[str, Any]) -> bool:
    if not (model / RECORD).is_file():
        return False
    record = files.read_json(model / RECORD)
    return all(record.get(key) == value for key, value in wanted.items())


def _with_cameras(scene: Scene, model: Path) -> Scene:
    """The scene with the model's cameras and those photos that have one."""
    seen, points = colmap.read(model), read_points(model)
    paths = {photo.name: photo for photo in scene.photos}
    missing = sorted(set(paths) - set(seen.names))
    shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    if len(seen) < max(FEWEST, ENOUGH * len(paths)):
        problem = f"only {len(seen)} of {len(paths)} photos fit together; not {shown}"
        raise TrajkitError(f"scene {scene.id}", problem, "take sharper photos that overlap more, of one place")
    kept, photos, findings = select(seen, [paths[name] for name in seen.names], FEWEST, model)
    wrong = [finding for finding in findings if finding.level == "error"]
    if wrong:
        raise TrajkitError(wrong[0].where, wrong[0].message, f"remove {model} and run the same command again")
    unit = unit_of(kept, points)
    lost = [warning("not-registered", model, f"{len(missing)} of {len(paths)} photos: {shown}")] if missing else []
    return dataclasses.replace(
        scene,
        up=upward(kept),
        extent=extent_of(kept, points, unit),
        unit=unit,
        seen=kept,
        photos=photos,
        assets={**scene.assets, "sfm": model},
        findings=(*scene.findings, *lost, *findings, *distorted(kept, model)),
    )


def _estimate(scene: Scene, options: Options, model: Path, wanted: dict[str, Any], watch: Watch | None) -> None:
    """Writes the folder `model`: COLMAP's files and RECORD. Raises TrajkitError where no photos fit together."""
    where = f"scene {scene.id}"
    pycolmap = quiet_pycolmap(where)
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value  # a mapper that fails is an outcome, told below
    mappers = ("incremental", "global") if options.mapper == "both" else (options.mapper,)
    stages, found = ("features", "matches", *mappers), []
    with tempfile.TemporaryDirectory(prefix="trajkit-") as name:
        for stage in watch(range(len(stages)), len(stages), "stage") if watch else range(len(stages)):
            if stage == 0:
                _extract(pycolmap, scene, options, Path(name))
            elif stage == 1:
                _match(pycolmap, scene, Path(name))
            else:
                found += [(stages[stage], one) for one in _mapped(pycolmap, scene, stages[stage], Path(name))]
    if not found:
        problem = f"none of its {len(scene.photos)} photos fit together"
        raise TrajkitError(where, problem, "take sharper photos that overlap more, of one place with some texture")
    # a mapper that went wrong can still place every photo, but then fewer of the matches fit
    mapper, best = max(found, key=lambda each: (each[1].num_reg_images(), each[1].compute_num_observations()))
    facts = {
        "mapper": mapper,
        "registered": best.num_reg_images(),
        "points": len(best.points3D),
        "reprojection_error_px": round(best.compute_mean_reprojection_error(), 4),
        "versions": {"pycolmap": version("pycolmap")},
    }
    part = model.with_name(model.name + files.PART)
    for stale in (part, model):
        if stale.exists():
            shutil.rmtree(stale)
    part.mkdir(parents=True)
    best.write_binary(part)
    files.write_bytes(part / RECORD, files.json_bytes(wanted | facts))
    part.rename(model)
    files.sync_folder(model.parent)


def _extract(pycolmap: ModuleType, scene: Scene, options: Options, folder: Path) -> None:
    """Fills folder/database.db with the one lens and each photo's features."""
    reader, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
    reader.camera_model, reader.camera_params = options.lens, _prior(scene, options)
    extraction.num_threads, extraction.max_image_size = 1, LARGEST
    pycolmap.extract_features(
        folder / "database.db",
        scene.photos[0].parent,
        image_names=[photo.name for photo in scene.photos],
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )


def _match(pycolmap: ModuleType, scene: Scene, folder: Path) -> None:
    """Adds the verified matches of pairs of photos to folder/database.db."""
    matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, verification.ransac.random_seed = 1, 0
    match = pycolmap.match_exhaustive if len(scene.photos) <= EXHAUSTIVE else pycolmap.match_sequential
    match(
        folder / "database.db",
        matching_options=matching,
        verification_options=verification,
        device=pycolmap.Device.cpu,
    )


def _prior(scene: Scene, options: Options) -> str:
    """COLMAP's parameters of the lens with the given focal length, principal point in the middle; "" without one."""
    if options.focal_px is None:
        return ""
    width, height = photo_size(scene.photos[0]) or (0, 0)
    count = dict(colmap.MODELS.values())[options.lens]
    focal = [options.focal_px] * (2 if options.lens in ("PINHOLE", "OPENCV") else 1)
    values = [*focal, width / 2, height / 2]
    return ",".join(f"{value:.17g}" for value in values + [0.0] * (count - len(values)))


def _mapped(pycolmap: ModuleType, scene: Scene, mapper: str, folder: Path) -> list[Any]:
    """pycolmap's models, each in a world of its own."""
    if mapper == "global":
        pipeline = pycolmap.GlobalPipelineOptions()
        inner = pipeline.mapper
        stages = [inner, inner.rotation_averaging, inner.global_positioning, inner.retriangulation]
        run = pycolmap.global_mapping
    else:
        pipeline = pycolmap.IncrementalPipelineOptions()
        stages = [pipeline.mapper, pipeline.triangulation]
        run = pycolmap.incremental_mapping
    pipeline.min_model_size = FEWEST
    for stage in (pipeline, *stages):
        stage.random_seed = 0
        if hasattr(stage, "num_threads"):
            stage.num_threads = 1
    (folder / mapper).mkdir()
    found = run(folder / "database.db", scene.photos[0].parent, folder / mapper, options=pipeline)
    return [found[key] for key in sorted(found)]
