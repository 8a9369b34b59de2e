// The contact sheets, and the list of clips with its filters. Counts are of all clips, not of those in detail alone.

const STEP = 60; // cards made at a time
const filters = { state: $("by-state"), code: $("by-code"), kind: $("by-kind"), source: $("by-source"), motion: $("by-motion") };
let matching = [];

function offer(select, values, none) {
  select.append(make("option", { value: "" }, none), ...values.map(([value, text]) => make("option", { value }, text)));
  select.disabled = values.length < 1;
}

function offerAll() {
  const present = (place) => [...new Set(content.combinations.map((row) => row[place]).filter(Boolean))];
  offer(filters.state, content.states.filter((state) => present(0).includes(state)).map((state) => [state, state]), "any");
  offer(filters.code, content.codes.map((code, k) => [String(k), code]), "any");
  ["kind", "source", "motion"].forEach((name, k) => {
    const names = content.names[name], more = present(2 + k).includes("other") && !names.includes("other") ? ["other"] : [];
    offer(filters[name], [...names, ...more].map((text) => [text, text || "not said"]), "any");
  });
}

const wanted = () => ({ key: $("by-key").value.trim().toLowerCase(), ...Object.fromEntries(Object.entries(filters).map(([name, select]) => [name, select.value])) });
const known = (name, value) => value === null || content.names[name].includes(value) ? value : "other";
const matches = (w, state, codes, kind, source, motion) =>
  (!w.state || w.state === state) && (!w.code || codes.includes(Number(w.code))) && (!w.kind || w.kind === kind) && (!w.source || w.source === source) && (!w.motion || w.motion === motion);

function apply() {
  const w = wanted(), orders = {
    worst: (a, b) => (a.probability ?? 2) - (b.probability ?? 2), best: (a, b) => (b.probability ?? -1) - (a.probability ?? -1), key: () => 0,
  };
  matching = items.filter((clip) => clip.key.toLowerCase().includes(w.key) && matches(w, clip.state, clip.codes, known("kind", clip.kindOfPoses), known("source", clip.source), known("motion", clip.motion)));
  matching.sort((a, b) => orders[$("order").value](a, b) || (a.key < b.key ? -1 : 1));
  const all = content.combinations.reduce((sum, row) => sum + (matches(w, ...row.slice(0, 5)) ? row[5] : 0), 0);
  const here = `${told(matching.length)} ${matching.length === 1 ? "clip" : "clips"} shown`;
  const whole = items.length === content.total ? ` of ${told(content.total)}` : w.key ? `; keys are searched among the ${told(items.length)} in detail` : `; ${told(all)} of all ${told(content.total)} match`;
  $("count").textContent = here + whole;
  $("cards").replaceChildren();
  more();
}

function more() {
  $("more")?.remove();
  const from = $("cards").childElementCount, next = matching.slice(from, from + STEP);
  $("cards").append(...next.map(card));
  if (from + next.length < matching.length) {
    const button = make("button", { type: "button", id: "more" }, `Show ${Math.min(STEP, matching.length - from - next.length)} more`);
    button.addEventListener("click", () => { more(); $("cards").children[from + next.length].firstChild.focus(); });
    $("cards").after(button);
  }
  return from;
}

function card(clip) {
  const picture = clip.pictures[Math.floor(clip.pictures.length / 2)];
  const said = [clip.motion, clip.reasonsTold[0]?.[1]].filter(Boolean).join(": ");
  const button = make("button", { type: "button" },
    picture ? make("img", { src: picture.src, alt: "", decoding: "async" }) : make("span", { class: "blank", "aria-hidden": "true" }, "no picture"),
    make("b", {}, clip.key), badge(clip.state), make("span", { class: "num" }, percent(clip.probability)), make("small", {}, said));
  button.addEventListener("click", () => open(clip, matching));
  return make("li", {}, button);
}

function sheetRow(clip, among) {
  const button = make("button", { type: "button" }, make("b", {}, clip.key), badge(clip.state), make("span", { class: "num" }, percent(clip.probability)), make("small", {}, clip.reasonsTold[0]?.[1] ?? clip.motion ?? ""));
  button.addEventListener("click", () => open(clip, among));
  const pictures = clip.pictures.map(({ at, src }) => make("img", { src, alt: `Frame ${clip.index[at]} of ${clip.key}`, decoding: "async" }));
  return make("li", {}, button, make("div", { class: "frames" }, ...pictures), clip.n ? plan(clip) : make("span", { class: "quiet" }, "no path"));
}

function fillSheet(list, keys) {
  const among = keys.map((key) => byKey.get(key));
  list.append(...among.map((clip) => sheetRow(clip, among)));
  if (!among.length) list.append(make("li", { class: "quiet" }, "No clip has a probability yet: run trajkit score."));
}

function readHash() {
  const key = new URLSearchParams(location.hash.slice(1)).get("clip");
  if (key && byKey.has(key)) open(byKey.get(key), [byKey.get(key)]);
}

offerAll();
fillSheet($("worst"), content.worst);
fillSheet($("median"), content.median);
const everything = items.length === content.total;
$("explore-lead").textContent = (everything ? "All clips are here in detail." : `${told(items.length)} of ${told(content.total)} clips are here in detail: the worst, the median, some at random of each reason and verdict. The figures count all.`)
  + (content.pictures < items.length ? ` Pictures of ${told(content.pictures)}.` : "");
for (const control of [...Object.values(filters), $("order")]) control.addEventListener("change", apply);
$("by-key").addEventListener("input", apply);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => setTimeout(apply));
for (const button of document.querySelectorAll("[data-open]")) button.addEventListener("click", () => open(byKey.get(button.dataset.open), [byKey.get(button.dataset.open)]));
for (const button of document.querySelectorAll("[data-reason]")) {
  button.addEventListener("click", () => {
    $("filters").reset();
    filters.code.value = String(content.codes.indexOf(button.dataset.reason));
    setTimeout(() => { apply(); $("explore").scrollIntoView(); filters.code.focus({ preventScroll: true }); });
  });
}
apply();
window.addEventListener("hashchange", readHash);
readHash();
document.documentElement.dataset.ready = "true";
