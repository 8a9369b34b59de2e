// Elements, small charts, and words for numbers. Strings of the data only ever become text.

const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const SVG = document.querySelector("svg").namespaceURI; // so that the page holds no address
const MARKS = { accepted: "\u2713", undetermined: "?", rejected: "\u2715", unjudged: "\u00b7" };

const filled = (node, attributes, children) => {
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  node.append(...children.filter((child) => child !== null));
  return node;
};
const make = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const shape = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

window.addEventListener("error", (event) => {
  const said = `The page's script failed: ${event.message}`;
  filled($("failure"), {}, [said]).hidden = false;
  document.documentElement.dataset.error = said;
});

content.ramp.forEach((rgb, k) => document.documentElement.style.setProperty(`--t${k}`, `rgb(${rgb.join(" ")})`));

function told(x, unit = "") {
  if (x === null || x === undefined) return "\u2013";
  const text = Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en").replaceAll(",", "\u202f") : String(Number(x.toPrecision(3)));
  return unit ? `${text} ${unit}` : text;
}
const percent = (x) => (x === null || x === undefined ? "\u2013" : `${Number((100 * x).toPrecision(3))}\u202f%`);
const badge = (state) => make("span", { class: `badge ${state}` }, make("span", { "aria-hidden": "true" }, MARKS[state]), ` ${state}`);

const rampAt = (share) => {
  const at = share * (content.ramp.length - 1), i = Math.min(Math.floor(at), content.ramp.length - 2);
  return `rgb(${content.ramp[i].map((x, k) => Math.round(x + (content.ramp[i + 1][k] - x) * (at - i))).join(" ")})`;
};

// The path from above, the first view's direction up: hollow start, solid end.
function plan(clip, size = 84) {
  const said = `Path of ${clip.key} from above` + (clip.motion ? `: ${clip.motion}, ${clip.direction || ""}, turning ${clip.turn || ""}` : "");
  const svg = shape("svg", { viewBox: `0 0 ${size} ${size}`, class: "plan", role: "img", "aria-label": said });
  if (!clip.n) return svg;
  const up = unit(clip.up), ahead = axisOf(clip.poses, 0, 2), level = add(ahead, up, -dot(ahead, up));
  const north = unit(Math.hypot(...level) > 1e-6 ? level : axisOf(clip.poses, 0, 0)), east = cross(north, up);
  const flat = Array.from({ length: clip.n }, (_, i) => [dot(centreOf(clip.poses, i), east), -dot(centreOf(clip.poses, i), north)]);
  const ends = [0, 1].map((k) => [Math.min(...flat.map((p) => p[k])), Math.max(...flat.map((p) => p[k]))]);
  const span = Math.max(...ends.map(([low, high]) => high - low)), room = size - 24;
  const placed = flat.map((p) => p.map((x, k) => Number((size / 2 + (span > 1e-9 ? ((x - (ends[k][0] + ends[k][1]) / 2) / span) * room : 0)).toFixed(1))));
  placed.slice(1).forEach(([x, y], i) => {
    svg.append(shape("line", { x1: placed[i][0], y1: placed[i][1], x2: x, y2: y, stroke: rampAt(i / clip.n), "stroke-width": 3, "stroke-linecap": "round" }));
  });
  for (const [i, fill] of [[0, "none"], [clip.n - 1, rampAt(1)]]) {
    svg.append(shape("circle", { cx: placed[i][0], cy: placed[i][1], r: 4.5, fill, stroke: rampAt(i ? 1 : 0), "stroke-width": 2 }));
  }
  return svg;
}

// Pose numbers of each stretch of frames to blame: [first, last].
function blamedPoses(clip) {
  return clip.blamed.map(([first, last]) => {
    const inside = clip.index.map((frame, i) => [frame, i]).filter(([frame]) => frame >= first && frame <= last).map(([, i]) => i);
    return inside.length ? [inside[0], inside[inside.length - 1]] : null;
  }).filter(Boolean);
}

// One metric over time: a line, the frames to blame shaded and ruled, the threshold dashed.
function course(clip, one, threshold, width) {
  const height = 84, top = 22, foot = height - 6, n = one.course.length, x = (i) => 7 + (n > 1 ? i / (n - 1) : 0.5) * (width - 14);
  const known = one.course.map((value, i) => [value, i]).filter(([value]) => value !== null);
  const low = Math.min(0, ...known.map(([value]) => value)), high = Math.max(...known.map(([value]) => value), threshold ?? 0, low + 1e-12);
  const y = (value) => foot - ((value - low) / (high - low)) * (foot - top);
  const worst = known.reduce((a, b) => ((one.better === "higher" ? b[0] < a[0] : b[0] > a[0]) ? b : a), known[0]);
  const said = `worst ${told(worst[0], one.unit)} at frame ${clip.index[worst[1]] ?? worst[1]}`;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${one.metric} over time: ${said}` });
  for (const [first, last] of blamedPoses(clip)) {
    const left = x(first) - 3, wide = Math.max(x(last) - x(first) + 6, 6);
    svg.append(shape("rect", { x: left, y: top - 4, width: wide, height: foot - top + 4, class: "blamed" }));
    svg.append(shape("line", { x1: left, x2: left + wide, y1: top - 4, y2: top - 4, class: "blamed-rule" }));
  }
  svg.append(shape("line", { x1: 7, x2: width - 7, y1: foot, y2: foot, class: "axis" }));
  if (threshold !== null) svg.append(shape("line", { x1: 7, x2: width - 7, y1: y(threshold), y2: y(threshold), class: "threshold" }));
  let piece = [];
  const end = () => { if (piece.length) svg.append(shape("polyline", { points: piece.join(" "), class: "course" })); piece = []; };
  one.course.forEach((value, i) => { if (value === null) end(); else piece.push(`${x(i).toFixed(1)},${y(value).toFixed(1)}`); });
  end();
  svg.append(shape("circle", { cx: x(worst[1]), cy: y(worst[0]), r: 3.5, class: "peak" }));
  svg.append(shape("line", { x1: 0, x2: 0, y1: top - 4, y2: foot, class: "cursor", "data-width": width, "data-n": n }));
  svg.append(shape("text", { x: 7, y: 13, class: "name" }, one.metric), shape("text", { x: width - 7, y: 13, "text-anchor": "end" }, said));
  return svg;
}
