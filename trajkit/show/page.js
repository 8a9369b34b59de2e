// The page: list, picture, time line, facts and table around one View. Strings from the data only ever become text.

const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const SVG = document.querySelector("svg").namespaceURI; // so that the page holds no address at all

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function draw(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

window.addEventListener("error", (event) => {
  $("failure").textContent = `The page's script failed: ${event.message}`;
  $("failure").hidden = false;
  document.documentElement.dataset.error = event.message;
});

content.ramp.forEach((rgb, k) => document.documentElement.style.setProperty(`--t${k}`, `rgb(${rgb.join(" ")})`));
const lensOf = (rows) => (i) => rows[Math.min(i, rows.length - 1)];
const items = content.items.map((clip) => ({ ...clip, poses: floats(clip.poses), n: clip.times.length, intrinsics: lensOf(clip.intrinsics) }));
const places = content.places.map((place) => ({
  ...place,
  cameras: place.cameras && { ...place.cameras, poses: floats(place.cameras.poses), intrinsics: lensOf(place.cameras.intrinsics) },
  cloud: place.cloud && openCloud(place.cloud),
}));

const view = new View($("view"), content.ramp);
const film = $("video"), still = $("still"), scrub = $("scrub");
let chosen = null, frame = 0, playing = 0;

// ---- numbers ---------------------------------------------------------------------------------------------------

const short = (x) => (x === null ? "\u221e" : Math.abs(x) >= 1000 ? x.toFixed(0) : String(Number(x.toPrecision(3))));
const span = (clip) => clip.times[clip.n - 1] - clip.times[0];

// ---- one clip --------------------------------------------------------------------------------------------------

function select(clip) {
  if (clip === chosen) return;
  pause();
  for (const node of document.querySelectorAll("nav [aria-current], tbody [aria-current]")) node.removeAttribute("aria-current");
  clip.item.firstChild.setAttribute("aria-current", "true");
  if (clip.row) clip.row.setAttribute("aria-current", "true");
  chosen = clip;
  const place = places[clip.place], others = items.filter((other) => other !== clip && other.place === clip.place && other.kind !== "cameras");
  $("key").textContent = clip.id;
  $("path").textContent = clip.path;
  $("caption").textContent = clip.caption;
  $("place").textContent = [place.quality && `Scene ${place.id}: ${place.quality}`, place.tally].filter(Boolean).join(". ");
  for (const kind of ["clip", "refused"]) {
    const count = others.filter((other) => other.kind === kind).length, word = kind === "clip" ? "other clips" : clip.kind === "refused" ? "other refused" : "refused";
    $(`legend-${kind}`).hidden = !count;
    $(`count-${kind}`).textContent = `${word} (${count})`;
  }
  $("facts").replaceChildren(...clip.facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  $("legend-seen").hidden = !place.cameras;
  $("legend-points").hidden = !place.cloud;
  $("points-source").textContent = place.cloud ? place.cloud.source : "";
  $("view").setAttribute("aria-label", `3D view: the ${clip.kind === "refused" ? "refused " : ""}path of ${clip.id}, ${clip.n} cameras` + (place.cameras ? `, among ${place.cameras.n} captured cameras` : ""));
  scrub.max = clip.n - 1;
  buildPicture(clip);
  buildStrip(clip);
  view.show(clip, place, others);
  buildPlots();
  seek(clip.reasons?.[0]?.frame ?? 0);
  history.replaceState(null, "", `#clip=${encodeURIComponent(clip.id)}`);
}

function buildPicture(clip) {
  film.hidden = !clip.video;
  still.hidden = Boolean(clip.video);
  document.querySelector(".screen").hidden = !clip.video && !clip.thumbs.length;
  if (film.src) URL.revokeObjectURL(film.src);
  film.removeAttribute("src");
  if (clip.video) film.src = URL.createObjectURL(new Blob([bytes(clip.video)], { type: "video/mp4" }));
  clip.stills = clip.thumbs.map((source) => Object.assign(new Image(), { src: source, onload: () => view.draw() }));
}

function buildStrip(clip) {
  const word = clip.kind === "cameras" ? "camera" : "frame";
  $("strip").hidden = !clip.thumbs.length;
  $("strip").replaceChildren(...clip.thumbs.map((source, k) => {
    const at = clip.thumb_at[k], button = make("button", { type: "button", "aria-label": `Go to ${word} ${clip.index[at]}` }, make("img", { src: source, alt: "" }));
    button.addEventListener("click", () => { pause(); seek(at); });
    return button;
  }));
}

function nearest(clip, at) {
  let best = 0;
  clip.thumb_at.forEach((t, k) => { if (Math.abs(t - at) < Math.abs(clip.thumb_at[best] - at)) best = k; });
  return best;
}

// What the picture is, in words.
function pictureNote(k) {
  const { index, frames, thumbs } = chosen, at = `${chosen.kind === "cameras" ? "Camera" : "Frame"} ${index[frame]} of ${frames}.`;
  if (chosen.video) return at;
  if (!thumbs.length) return chosen.kind === "refused" ? `${at} Never rendered: through the lens, the scene's points show what it would see.` : at;
  const nearby = `${at} The nearest of ${thumbs.length} stills, that of ${index[chosen.thumb_at[k]]}`;
  return chosen.kind === "clip" ? `${nearby}; ${content.video_note}.` : `${nearby}.`;
}

// Goes to pose `at`; the film follows unless it is what leads.
function seek(at, led = false) {
  frame = clamp(at, 0, chosen.n - 1);
  const k = nearest(chosen, frame), cameras = chosen.kind === "cameras";
  if (chosen.video && !led) film.currentTime = (chosen.index[frame] + 0.5) / chosen.fps;
  if (!chosen.video && chosen.thumbs.length) still.src = chosen.thumbs[k];
  $("picture-note").textContent = pictureNote(k);
  still.alt = `Frame ${chosen.index[chosen.thumb_at[k]]} of ${chosen.id}`;
  [...$("strip").children].forEach((node, j) => { if (j === k) node.setAttribute("aria-current", "true"); else node.removeAttribute("aria-current"); });
  scrub.value = frame;
  const rate = (series, unit) => (series.length ? `${short(series[Math.min(frame, series.length - 1)])} ${unit}` : "");
  const words = [`frame ${chosen.index[frame]}`, `${(chosen.times[frame] - chosen.times[0]).toFixed(2)} s`, rate(chosen.speeds, `${chosen.unit}/s`), rate(chosen.turns, "\u00b0/s")];
  $("now").textContent = cameras ? `camera ${frame}` : [...words, ...(blamed(chosen).get(frame) || []).map((name) => `refused: ${name}`)].filter(Boolean).join("   ");
  scrub.setAttribute("aria-valuetext", cameras ? `camera ${frame}` : words.slice(0, 2).join(", "));
  for (const line of document.querySelectorAll("#plots .now")) {
    const x = timeToX(chosen.times[frame], Number(line.dataset.width));
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
  const live = chosen.video && film.readyState >= 2, picture = chosen.stills[k];
  view.setFrame(frame, live ? film : picture && picture.complete ? picture : null);
}

// ---- playing ---------------------------------------------------------------------------------------------------

function play() {
  if (frame === chosen.n - 1) seek(0);
  $("play").textContent = "\u275a\u275a";
  $("play").setAttribute("aria-label", "Pause");
  const began = performance.now(), from = chosen.times[frame];
  // a pause before the film has begun ends the promise with an AbortError, which is no failure
  if (chosen.video) film.play().catch((error) => { if (error.name !== "AbortError") throw error; });
  const tick = (now) => {
    const video = chosen.video, time = from + (now - began) / 1000;
    const picture = Math.floor(film.currentTime * chosen.fps + 1e-3);
    let at = frame;
    while (at + 1 < chosen.n && (video ? chosen.index[at + 1] <= picture : chosen.times[at + 1] <= time)) at++;
    seek(at, true);
    if (at === chosen.n - 1 || (video && film.ended)) pause();
    else playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
}

function pause() {
  if (playing) cancelAnimationFrame(playing);
  playing = 0;
  film.pause();
  $("play").textContent = "\u25b6";
  $("play").setAttribute("aria-label", "Play");
}

// ---- plots: same width and margins as the slider ---------------------------------------------------------------

const HALF_THUMB = 7, PLOT = { height: 86, top: 20, bottom: 4 };
const timeToX = (time, width) => {
  const total = span(chosen);
  return HALF_THUMB + (total ? (time - chosen.times[0]) / total : 0) * (width - 2 * HALF_THUMB);
};

function buildPlots() {
  const width = $("plots").clientWidth;
  if (!chosen || !width) return;
  $("plots").replaceChildren();
  if (!span(chosen) || chosen.kind === "cameras") return;
  for (const [name, series, facts, unit] of [["Speed", chosen.speeds, chosen.speed, `${chosen.unit}/s`], ["Turn rate", chosen.turns, chosen.turn, "\u00b0/s"]]) {
    $("plots").append(plot(name, series, facts, unit, width));
  }
}

function plot(name, series, facts, unit, width) {
  const finite = series.filter((x) => x !== null), peak = Math.max(...finite, 1e-12), low = PLOT.height - PLOT.bottom;
  const y = (x) => (x === null ? PLOT.top : low - (x / peak) * (low - PLOT.top));
  const told = `mean ${short(facts.mean)}, max ${short(facts.max)} ${unit}`;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${PLOT.height}`, role: "img", "aria-label": `${name} over time: ${told}` });
  const gradient = draw("linearGradient", { id: `g-${name[0]}`, gradientUnits: "userSpaceOnUse", x1: HALF_THUMB, x2: width - HALF_THUMB });
  content.ramp.forEach((rgb, k) => gradient.append(draw("stop", { offset: k / (content.ramp.length - 1), "stop-color": `rgb(${rgb.join(",")})` })));
  const edges = [HALF_THUMB, width - HALF_THUMB], colour = `url(#g-${name[0]})`;
  const points = series.map((x, k) => [timeToX((chosen.times[k] + chosen.times[k + 1]) / 2, width), y(x)]);
  const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ");
  svg.append(
    gradient,
    draw("line", { x1: edges[0], x2: edges[1], y1: low, y2: low, stroke: "var(--line)" }),
    draw("polygon", { points: `${points[0][0]},${low} ${line} ${points[points.length - 1][0]},${low}`, fill: colour, "fill-opacity": 0.13 }),
    draw("line", { x1: edges[0], x2: edges[1], y1: y(facts.mean), y2: y(facts.mean), stroke: "var(--quiet)", "stroke-dasharray": "2 4" }),
    draw("polyline", { points: line, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" }),
    draw("text", { class: "name", x: edges[0], y: 11 }, name),
    draw("text", { x: edges[1], y: 11, "text-anchor": "end" }, told),
    draw("line", { class: "now", "data-width": width, x1: 0, x2: 0, y1: PLOT.top - 4, y2: low, stroke: "var(--ink)", "stroke-width": 1.5 }),
  );
  for (const at of blamed(chosen).keys()) {
    const x = timeToX(chosen.times[at], width);
    svg.append(draw("line", { class: "blamed", x1: x, x2: x, y1: PLOT.top - 4, y2: low, stroke: "var(--bad)", "stroke-width": 1.5, "stroke-dasharray": "4 3" }));
  }
  const go = (event) => {
    const share = (event.clientX - svg.getBoundingClientRect().left - HALF_THUMB) / (width - 2 * HALF_THUMB);
    const time = chosen.times[0] + share * span(chosen);
    let at = 0;
    chosen.times.forEach((t, k) => { if (Math.abs(t - time) < Math.abs(chosen.times[at] - time)) at = k; });
    pause();
    seek(at);
  };
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); go(event); });
  svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) go(event); });
  return svg;
}

// ---- hands -----------------------------------------------------------------------------------------------------

function setMode(mode) {
  for (const button of document.querySelectorAll(".modes button")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  $("grid").hidden = mode === "lens";
  view.setMode(mode);
}

function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  select(items.find((clip) => clip.id === wanted.get("clip")) || chosen || items[0]);
  if (["orbit", "top", "lens"].includes(wanted.get("view"))) setMode(wanted.get("view"));
  if (wanted.has("frame")) seek(Math.max(0, chosen.index.indexOf(Number(wanted.get("frame")))));
}

view.onscale = (step) => { $("grid").textContent = `grid ${short(step * chosen.factor)} ${chosen.unit}`; };
for (const button of document.querySelectorAll(".modes button")) button.addEventListener("click", () => setMode(button.dataset.mode));
scrub.addEventListener("input", () => { pause(); seek(Number(scrub.value)); });
for (const kind of ["clip", "refused"]) $(`show-${kind}`).addEventListener("change", (event) => { view.shown[kind] = event.target.checked; view.draw(); });
$("play").addEventListener("click", () => (playing ? pause() : play()));
film.addEventListener("seeked", () => view.draw());
film.addEventListener("loadeddata", () => seek(frame));
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("button, input, .scroller")) return;
  event.preventDefault();
  if (playing) pause(); else play();
});
window.addEventListener("hashchange", readHash);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.readTheme());
matchMedia("print").addEventListener("change", () => { view.readTheme(); view.paint(); });
new ResizeObserver(() => { buildPlots(); if (chosen) seek(frame, true); }).observe($("plots"));

$("summary").textContent = content.summary;
buildList();
buildTables();
readHash();
document.documentElement.dataset.ready = "true";
