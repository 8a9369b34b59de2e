// One clip, opened: its path in 3D, its pictures, its evidence over time, its verdict.

const lensOf = (rows) => (i) => rows[Math.min(i, rows.length - 1)];
const items = content.items.map((clip) => ({
  ...clip,
  kindOfPoses: clip.kind,
  kind: "clip", // what the 3D view draws it as
  poses: clip.n ? floats(clip.poses) : null,
  intrinsics: clip.n ? lensOf(clip.lens) : null,
}));
for (const clip of items) {
  clip.reasonsTold = clip.reasons;
  clip.reasons = blamedPoses(clip).map(([first]) => ({ name: "", frame: first })); // crosses in the 3D view
}
const byKey = new Map(items.map((clip) => [clip.key, clip]));

const dialog = $("clip"), scrub = $("clip-scrub");
let view = null, opened = null, pose = 0, opener = null, sequence = [];

function open(clip, among) {
  if (!dialog.open) {
    opener = document.activeElement;
    dialog.showModal();
  }
  opened = clip;
  sequence = among.includes(clip) ? among : [clip];
  $("clip-key").textContent = clip.key;
  $("clip-state").replaceChildren(badge(clip.state));
  const interval = clip.low === null ? "" : `; error ${told(clip.low)} to ${told(clip.high)} px (90 %)`;
  $("clip-probability").textContent = clip.probability === null ? "" : `poses good with probability ${percent(clip.probability)}${interval}`;
  fillReasons(clip);
  fillPictures(clip);
  fillMetrics(clip);
  fillFacts(clip);
  $("clip-view-figure").hidden = !clip.n;
  if (clip.n) {
    view ??= startView();
    const place = { up: clip.up, box: clip.box, floor: null, cameras: null, cloud: null };
    view.canvas.setAttribute("aria-label", `3D view: the path of ${clip.key}, ${clip.n} cameras`);
    view.show(clip, place, []);
  }
  scrub.max = Math.max(0, Math.max(clip.n, ...clip.evidence.map((one) => one.course.length)) - 1);
  fillCourses(clip);
  seek(blamedPoses(clip)[0]?.[0] ?? 0);
  dialog.scrollTop = 0;
  $("clip-close").focus();
  history.replaceState(null, "", `#clip=${encodeURIComponent(clip.key)}`);
}

function startView() {
  const made = new View($("clip-view"), content.ramp);
  made.onscale = (step) => { $("clip-grid").textContent = `grid ${told(step)}`; };
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("[data-mode]")) other.setAttribute("aria-pressed", String(other === button));
      made.setMode(button.dataset.mode);
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => made.readTheme());
  return made;
}

function fillReasons(clip) {
  $("clip-reasons").replaceChildren(...clip.reasonsTold.map(([code, message, value, threshold, unit]) => {
    const figures = value === null ? "" : ` ${told(value, unit)}${threshold === null ? "" : `, threshold ${told(threshold, unit)}`}`;
    return make("li", {}, make("code", {}, code), ` ${message}`, figures ? make("span", { class: "quiet" }, figures) : null);
  }));
  const stretches = clip.blamed.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  if (stretches.length) $("clip-reasons").append(make("li", {}, `Frames to blame: ${stretches.join(", ")}`));
}

function fillPictures(clip) {
  document.querySelector("dialog .picture").hidden = !clip.pictures.length;
  clip.stills = clip.pictures.map(({ src }) => Object.assign(new Image(), { src, onload: () => view?.draw() }));
  $("clip-strip").replaceChildren(...clip.pictures.map(({ at, src }) => {
    const button = make("button", { type: "button", "aria-label": `Go to frame ${clip.index[at]}` }, make("img", { src, alt: "" }));
    button.addEventListener("click", () => seek(at));
    return button;
  }));
}

function fillMetrics(clip) {
  document.querySelector("#clip-metrics").parentNode.hidden = !clip.evidence.length;
  $("clip-metrics").tBodies[0].replaceChildren(...clip.evidence.map((one) => make("tr", {},
    make("th", { scope: "row" }, make("code", {}, one.metric)), make("td", { class: "number" }, told(one.value)), make("td", {}, one.unit), make("td", { class: "quiet" }, one.why))));
}

function fillFacts(clip) {
  const words = { Poses: clip.kindOfPoses, Source: clip.source, Scene: clip.scene, Scale: clip.scale, Licence: clip.licence, Motion: [clip.motion, clip.direction, clip.turn && `turn ${clip.turn}`].filter(Boolean).join(", "), Decided: clip.stage, "Shown as": clip.why };
  const figures = { "Path length": told(clip.path_length, "units"), Speed: told(clip.speed, "units/s"), "Turn rate": told(clip.turn_rate_deg, "\u00b0/s"), "Field of view": told(clip.fov_deg, "\u00b0 vertical") };
  const pairs = [...Object.entries(words), ...clip.facts, ...Object.entries(figures)].filter(([, text]) => text && text !== "\u2013");
  $("clip-facts").replaceChildren(...pairs.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
  $("clip-caption").textContent = clip.caption;
  $("clip-missing").replaceChildren(...clip.missing.map((line) => make("li", {}, line)));
}

function fillCourses(clip) {
  const accused = (one) => clip.reasonsTold.some(([code]) => code === one.metric), width = $("clip-courses").clientWidth;
  // those that reasons name come first; a metric that stays the same is in the table of metrics
  const charted = clip.evidence.filter((one) => new Set(one.course.filter((value) => value !== null)).size > 1).sort((a, b) => accused(b) - accused(a));
  const limitOf = (one) => clip.reasonsTold.find(([code, , , threshold, unit]) => code === one.metric && threshold !== null && unit === one.unit)?.[3] ?? null;
  document.querySelector("dialog .time").hidden = !(charted.length || clip.n > 1);
  $("clip-courses").replaceChildren(...charted.map((one) => course(clip, one, limitOf(one), Math.max(width, 240))));
  $("clip-table").hidden = !charted.length;
  $("clip-table").open = false;
  $("clip-table").lastElementChild.replaceChildren();
}

function fillTable() {
  const charted = opened.evidence.filter((one) => one.course.length), head = ["Frame", ...charted.map((one) => `${one.metric} ${one.unit}`)];
  if (!$("clip-table").open || !charted.length) return;
  const rows = Array.from({ length: Math.max(...charted.map((one) => one.course.length)) }, (_, i) =>
    make("tr", {}, make("th", { scope: "row" }, String(opened.index[i] ?? i)), ...charted.map((one) => make("td", { class: "number" }, told(one.course[i])))));
  const table = make("table", {}, make("caption", {}, "Evidence per frame"), make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows));
  $("clip-table").lastElementChild.replaceChildren(table);
}

function seek(at) {
  pose = clamp(at, 0, Number(scrub.max));
  scrub.value = pose;
  const frame = opened.index[pose] ?? pose, blamed = opened.blamed.some(([first, last]) => frame >= first && frame <= last);
  const said = `frame ${frame}${opened.fps ? `, ${(frame / opened.fps).toFixed(2)} s` : ""}${blamed ? ", to blame" : ""}`;
  scrub.setAttribute("aria-valuetext", said);
  const k = nearestPicture(), picture = opened.pictures[k];
  if (picture) {
    $("clip-picture").src = picture.src;
    $("clip-picture").alt = `Frame ${opened.index[picture.at]} of ${opened.key}`;
  }
  $("clip-now").textContent = picture ? `${said}; picture of frame ${opened.index[picture.at]}` : said;
  [...$("clip-strip").children].forEach((node, j) => (j === k ? node.setAttribute("aria-current", "true") : node.removeAttribute("aria-current")));
  for (const line of document.querySelectorAll("#clip-courses .cursor")) {
    const n = Number(line.dataset.n), at = 7 + (n > 1 ? Math.min(pose, n - 1) / (n - 1) : 0.5) * (Number(line.dataset.width) - 14);
    filled(line, { x1: at, x2: at }, []);
  }
  if (opened.n) view.setFrame(Math.min(pose, opened.n - 1), opened.stills[k]?.complete ? opened.stills[k] : null);
}

function nearestPicture() {
  const away = opened.pictures.map(({ at }) => Math.abs(at - pose));
  return away.indexOf(Math.min(...away));
}

function step(by) {
  const at = sequence.indexOf(opened) + by;
  if (sequence[at]) open(sequence[at], sequence);
}

scrub.addEventListener("input", () => seek(Number(scrub.value)));
$("clip-table").addEventListener("toggle", fillTable);
$("clip-close").addEventListener("click", () => dialog.close());
$("clip-previous").addEventListener("click", () => step(-1));
$("clip-next").addEventListener("click", () => step(1));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  history.replaceState(null, "", "#explore");
  if (opener?.isConnected) opener.focus();
});
new ResizeObserver(() => { if (opened && dialog.open) { const at = pose; fillCourses(opened); seek(at); } }).observe($("clip-courses"));
