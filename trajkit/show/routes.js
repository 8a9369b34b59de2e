// The chosen path, the others of its scene, and where a path was refused. Accepted paths are solid, refused ones dashed
// with a cross at the frame to blame: told apart without colour.

// A path's line; colourOf(i) is that of the step from pose i. A dash goes on from step to step.
function paintLine(view, eye, clip, { from = 0, colourOf, thickness, dashed = false }) {
  const { context } = view;
  let travelled = 0;
  context.lineCap = dashed ? "butt" : "round";
  if (dashed) context.setLineDash([7, 5]);
  for (let i = from; i + 1 < clip.n; i++) {
    const ends = view.segment(eye, centreOf(clip.poses, i), centreOf(clip.poses, i + 1));
    if (!ends) continue;
    context.lineDashOffset = travelled;
    view.line(ends, colourOf(i), thickness);
    travelled += Math.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]);
  }
  context.setLineDash([]);
  context.lineCap = "round";
}

function paintOthers(view, eye) {
  for (const other of view.others) {
    if (!view.shown[other.kind]) continue;
    const last = Math.max(other.n - 1, 1), refused = other.kind === "refused";
    view.context.globalAlpha = 0.6;
    paintLine(view, eye, other, { colourOf: () => view.theme.sky, thickness: 4 });
    view.context.globalAlpha = 1;
    paintLine(view, eye, other, { colourOf: refused ? () => view.theme.bad : (i) => view.colourAt(i / last), thickness: 1.6, dashed: refused });
    if (refused) for (const frame of blamed(other).keys()) paintCross(view, eye, other, frame, 4);
  }
}

// Of a refused path: frame -> what was measured there.
function blamed(clip) {
  const names = new Map();
  for (const { name, frame } of clip.reasons || []) names.set(frame, [...(names.get(frame) || []), name]);
  return names;
}

function paintCross(view, eye, clip, frame, size) {
  const [x, y, z] = view.project(eye, centreOf(clip.poses, frame));
  if (z < eye.near) return null;
  for (const [colour, thickness] of [[view.theme.sky, 5], [view.theme.bad, 2.2]]) {
    view.line([[x - size, y - size], [x + size, y + size]], colour, thickness);
    view.line([[x - size, y + size], [x + size, y - size]], colour, thickness);
  }
  return [x, y];
}

// The cameras to blame of the chosen path; where one is the current frame, with what is wrong there.
function paintBlamed(view, eye) {
  const { clip } = view;
  for (const [frame, names] of blamed(clip)) {
    const points = view.corners(clip.poses, frame, clip.intrinsics(frame), clip.width, clip.height, view.radius * 0.12);
    view.frustum(eye, points, view.theme.sky, 4.5);
    view.frustum(eye, points, view.theme.bad, 2);
    const at = paintCross(view, eye, clip, frame, 7);
    if (at && frame === view.frame) view.label(names.join(", "), at[0] + 12, at[1]);
  }
}
