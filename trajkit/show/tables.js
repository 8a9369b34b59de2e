// The list beside the view and the tables below it.

const COLUMNS = [ // title, value to sort by, text to show, "number" or "text"
  ["Clip", (c) => c.id, (c) => c.id, "text"],
  ["Path", (c) => c.path, (c) => c.path, "text"],
  ["Scene", (c) => c.scene, (c) => c.scene, "text"],
  ["Frames", (c) => c.frames, (c) => String(c.frames), "number"],
  ["Size", (c) => c.width * c.height, (c) => `${c.width}\u00d7${c.height}`, "number"],
  ["fps", (c) => c.fps, (c) => short(c.fps), "number"],
  ["Scale", (c) => c.scale, (c) => c.scale, "text"],
  ["Length", (c) => c.length, (c) => `${short(c.length)} ${c.unit}`, "number"],
  ["Mean speed", (c) => c.speed.mean, (c) => `${short(c.speed.mean)} ${c.unit}/s`, "number"],
  ["Max speed", (c) => c.speed.max ?? Infinity, (c) => `${short(c.speed.max)} ${c.unit}/s`, "number"],
  ["Mean turn", (c) => c.turn.mean, (c) => `${short(c.turn.mean)} \u00b0/s`, "number"],
  ["Max turn", (c) => c.turn.max ?? Infinity, (c) => `${short(c.turn.max)} \u00b0/s`, "number"],
  ["Caption", (c) => c.caption, (c) => c.caption, "text"],
];

const ofReasons = (text) => (c) => c.reasons.map(text).join("\n"); // one line for each of a path's reasons
const firstOf = (name) => (c) => (c.reasons.length ? c.reasons[0][name] : "");
const REFUSED_COLUMNS = [
  ["Refused", (c) => c.id, (c) => c.id, "text"],
  ["Path", (c) => c.path, (c) => c.path, "text"],
  ["Scene", (c) => c.scene, (c) => c.scene, "text"],
  ["Reason", (c) => c.caption, (c) => c.caption, "text"],
  ["Measure", firstOf("name"), ofReasons((r) => r.name), "text"],
  ["Value", firstOf("value"), ofReasons((r) => short(r.value)), "number"],
  ["Threshold", firstOf("threshold"), ofReasons((r) => short(r.threshold)), "number"],
  ["Frame", firstOf("frame"), ofReasons((r) => String(r.frame)), "number"],
  ["Tries", (c) => c.tries, (c) => String(c.tries), "number"],
];

function buildList() {
  for (const clip of items) {
    const refused = clip.kind === "refused";
    const picture = clip.thumbs.length ? make("img", { src: clip.thumbs[0], alt: "", loading: "lazy" }) : make("span", { class: refused ? "cross" : "blank", "aria-hidden": "true" });
    const button = make("button", { type: "button" }, picture, make("b", {}, clip.id));
    const lines = { clip: [clip.path, `${clip.frames} frames, ${short(clip.length)} ${clip.unit}`], refused: [clip.path, clip.caption], cameras: ["scene", `${clip.n} cameras`] };
    button.append(make("code", {}, lines[clip.kind][0]), make("small", {}, lines[clip.kind][1]));
    button.title = clip.caption || clip.id;
    button.addEventListener("click", () => select(clip));
    clip.item = make("li", {}, button);
    $(refused ? "refused" : "clips").append(clip.item);
  }
  $("refused-title").hidden = !items.some((clip) => clip.kind === "refused");
  $("filter").hidden = items.length < 6;
  $("filter").addEventListener("input", () => {
    const words = $("filter").value.toLowerCase().split(/\s+/);
    const found = items.filter((clip) => {
      const text = `${clip.id} ${clip.path} ${clip.caption}`.toLowerCase();
      clip.item.hidden = !words.every((word) => text.includes(word));
      return !clip.item.hidden;
    });
    $("none").hidden = found.length > 0;
  });
  document.querySelector(".layout").classList.toggle("single", items.length === 1);
}

function buildTables() {
  const clips = items.filter((clip) => clip.kind === "clip");
  const names = [...new Set(clips.flatMap((clip) => Object.keys(clip.checks)))].sort();
  const tell = (value) => (typeof value === "number" ? short(value) : String(value ?? ""));
  const checks = names.map((name) => [name, (c) => c.checks[name] ?? "", (c) => tell(c.checks[name]), "number"]);
  buildTable($("table"), [...COLUMNS.slice(0, -1), ...checks, ...COLUMNS.slice(-1)], clips);
  buildTable($("refused-table"), REFUSED_COLUMNS, items.filter((clip) => clip.kind === "refused"));
  $("refused-note").textContent = content.refused_note;
  $("unreadable").hidden = !content.unreadable.length;
  for (const reason of content.unreadable) $("unreadable").querySelector("ul").append(make("li", {}, reason));
}

function buildTable(table, columns, rows) {
  table.closest("div.tabled").hidden = !rows.length;
  const shown = columns.filter(([, , text]) => rows.some((clip) => text(clip)));
  const body = table.tBodies[0];
  for (const clip of rows) {
    clip.row = make("tr");
    shown.forEach(([, , text, kind], k) => {
      const cell = make("td", { class: kind }, k ? text(clip) : make("button", { type: "button" }, clip.id));
      if (!k) cell.firstChild.addEventListener("click", () => { select(clip); $("view").scrollIntoView({ block: "center" }); });
      clip.row.append(cell);
    });
    body.append(clip.row);
  }
  for (const [title, value, , kind] of shown) {
    const button = make("button", { type: "button" }, title), head = make("th", { class: kind, scope: "col", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1);
      body.append(...[...rows].sort(order).map((clip) => clip.row));
    });
    table.tHead.rows[0].append(head);
  }
}
