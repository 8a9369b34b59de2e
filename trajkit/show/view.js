"use strict";
// A small 3D view on a 2D canvas: points through a depth buffer, lines and frusta over them.
// Poses are rows of camera_to_world (3x4, OpenCV axes: x right, y down, z forward) in one Float32Array.

const FOV_DEG = 40;

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const add = (a, b, s = 1) => [a[0] + b[0] * s, a[1] + b[1] * s, a[2] + b[2] * s];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const n = Math.hypot(...a) || 1; return [a[0] / n, a[1] / n, a[2] / n]; };
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

function bytes(base64) {
  const text = atob(base64), out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

const floats = (base64) => new Float32Array(bytes(base64).buffer);
const centreOf = (poses, i) => [poses[12 * i + 3], poses[12 * i + 7], poses[12 * i + 11]];
const axisOf = (poses, i, k) => [poses[12 * i + k], poses[12 * i + 4 + k], poses[12 * i + 8 + k]];

// The cloud as the page carries it: positions quantised to 16 bits in a box, radii on a log scale of 8 bits.
function openCloud(cloud) {
  const packed = new Uint16Array(bytes(cloud.points).buffer), n = packed.length / 3, at = new Float32Array(3 * n);
  for (let i = 0; i < 3 * n; i++) at[i] = cloud.low[i % 3] + (packed[i] / 65535) * (cloud.high[i % 3] - cloud.low[i % 3]);
  const steps = bytes(cloud.radii), radius = new Float32Array(n);
  for (let i = 0; i < n; i++) radius[i] = cloud.smallest * Math.pow(cloud.largest / cloud.smallest, steps[i] / 255);
  return { n, at, radius, colour: bytes(cloud.colours), seer: bytes(cloud.seer), centres: new Float32Array(cloud.centres.flat()), source: cloud.source };
}

class View {
  constructor(canvas, ramp) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.ramp = ramp;
    this.mode = "orbit";
    this.onscale = () => {};
    this.others = []; // paths beside the chosen one
    this.shown = { clip: true, refused: true }; // which kinds of them
    this.orbit = { yaw: 0, pitch: 0.5, distance: 1, target: [0, 0, 0] };
    this.listen();
    this.readTheme();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  readTheme() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    this.theme = { sky: value("--sky"), ink: value("--ink"), line: value("--line"), seen: value("--seen"), quiet: value("--quiet"), bad: value("--bad") };
    this.draw();
  }

  // clip: {kind, n, poses, intrinsics(i), width, height, reasons}; place: {up, box, cameras, cloud} of its scene
  show(clip, place, others) {
    this.clip = clip;
    this.others = others;
    this.place = place;
    this.frame = 0;
    const up = unit(place.up), side = Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    const east = unit(add(side, up, -dot(side, up)));
    this.basis = { up, east, north: cross(up, east) };
    const path = this.ball(clip), all = this.ball(clip, place.box);
    // a short path in a large place would be a dot: go closer to it, but keep half of the place in view
    this.radius = Math.max(Math.min(all.radius, Math.max(4 * path.radius, all.radius / 2)), 1e-6);
    this.middle = add(path.middle, add(all.middle, path.middle, -1), all.radius ? this.radius / all.radius : 0);
    this.floor = place.floor ?? dot(up, path.middle) - 0.6 * this.radius;
    this.fit();
  }

  ball(clip, box = null) { // around the box of the clip's centres, and of `box`
    const low = box ? [...box[0]] : [Infinity, Infinity, Infinity], high = box ? [...box[1]] : [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < clip.n; i++) {
      centreOf(clip.poses, i).forEach((x, k) => { low[k] = Math.min(low[k], x); high[k] = Math.max(high[k], x); });
    }
    return { middle: low.map((x, k) => (x + high[k]) / 2), radius: Math.hypot(...low.map((x, k) => high[k] - x)) / 2 };
  }

  fit() {
    if (!this.clip) return;
    const { east, north } = this.basis;
    let forward = [0, 0, 0];
    for (let i = 0; i < this.clip.n; i++) forward = add(forward, axisOf(this.clip.poses, i, 2));
    const behind = Math.atan2(-dot(forward, north), -dot(forward, east));
    const aspect = this.canvas.clientWidth / Math.max(this.canvas.clientHeight, 1);
    const half = Math.tan((FOV_DEG * Math.PI) / 360) * Math.min(1, aspect);
    const top = this.mode === "top";
    this.orbit = { yaw: top ? behind : behind + 0.6, pitch: top ? 1.5533 : 0.5, distance: (0.95 * this.radius) / Math.sin(Math.atan(half)), target: [...this.middle] };
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    if (mode === "lens") this.draw(); else this.fit();
  }

  setFrame(frame, picture) {
    this.frame = frame;
    this.picture = picture;
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.paint(); });
  }

  // ---- cameras -------------------------------------------------------------------------------------------------

  eyeOfOrbit(width, height) {
    const { up, east, north } = this.basis, { yaw, pitch, distance, target } = this.orbit;
    const flat = add(east.map((x) => x * Math.cos(yaw)), north, Math.sin(yaw));
    const back = add(flat.map((x) => x * Math.cos(pitch)), up, Math.sin(pitch));
    const forward = back.map((x) => -x), right = unit(cross(forward, up));
    const focal = height / 2 / Math.tan((FOV_DEG * Math.PI) / 360);
    return { at: add(target, back, distance), right, down: cross(forward, right), forward, fx: focal, fy: focal, cx: width / 2, cy: height / 2, near: distance * 0.01 };
  }

  eyeOfLens(width, height) {
    const { clip, frame } = this, [fx, fy, cx, cy] = clip.intrinsics(frame);
    const s = Math.min(width / clip.width, height / clip.height), left = (width - s * clip.width) / 2, top = (height - s * clip.height) / 2;
    const axis = (k) => axisOf(clip.poses, frame, k);
    return { at: centreOf(clip.poses, frame), right: axis(0), down: axis(1), forward: axis(2), fx: s * fx, fy: s * fy, cx: left + s * cx, cy: top + s * cy, near: this.radius * 0.004, window: [left, top, s * clip.width, s * clip.height] };
  }

  project(eye, p) {
    const d = add(p, eye.at, -1), z = dot(d, eye.forward);
    return [(dot(d, eye.right) * eye.fx) / z + eye.cx, (dot(d, eye.down) * eye.fy) / z + eye.cy, z];
  }

  segment(eye, p, q) { // projected ends of a line, cut where it passes behind the eye; null if all of it does
    let a = dot(add(p, eye.at, -1), eye.forward), b = dot(add(q, eye.at, -1), eye.forward);
    if (a < eye.near && b < eye.near) return null;
    if (a < eye.near) p = add(p, add(q, p, -1), (eye.near - a) / (b - a));
    else if (b < eye.near) q = add(q, add(p, q, -1), (eye.near - b) / (a - b));
    return [this.project(eye, p), this.project(eye, q)];
  }

  // ---- painting ------------------------------------------------------------------------------------------------

  paint() {
    const { canvas, context } = this, density = Math.min(window.devicePixelRatio || 1, 2);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!this.clip || !width) return;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = this.layer.width = Math.round(width * density);
      canvas.height = this.layer.height = Math.round(height * density);
    }
    const lens = this.mode === "lens", eye = lens ? this.eyeOfLens(width, height) : this.eyeOfOrbit(width, height);
    context.setTransform(density, 0, 0, density, 0, 0);
    context.fillStyle = this.theme.sky;
    context.fillRect(0, 0, width, height);
    context.lineJoin = context.lineCap = "round";
    if (!lens) this.paintGrid(eye);
    if (this.place.cloud) this.paintCloud(eye, density, lens);
    if (!lens) {
      this.paintSeen(eye);
      paintOthers(this, eye);
    }
    this.paintPath(eye, lens);
    if (lens) return this.paintWindow(eye, width, height);
    paintBlamed(this, eye);
    this.paintCurrent(eye);
    this.paintEnds(eye);
  }

  stroke(eye, p, q, colour, thickness) {
    const ends = this.segment(eye, p, q);
    if (ends) this.line(ends, colour, thickness);
  }

  line(ends, colour, thickness) { // between two points of the canvas
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.beginPath();
    context.moveTo(ends[0][0], ends[0][1]);
    context.lineTo(ends[1][0], ends[1][1]);
    context.stroke();
  }

  paintGrid(eye) {
    const { up, east, north } = this.basis, raw = this.radius / 3, ten = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5].map((k) => k * ten).filter((x) => x <= raw).pop() || ten;
    const base = add(this.middle, up, this.floor - dot(up, this.middle));
    const x0 = Math.round(dot(base, east) / step) * step, y0 = Math.round(dot(base, north) / step) * step, reach = 8;
    const point = (x, y) => add(add(up.map((u) => u * this.floor), east, x), north, y);
    for (let i = -reach; i <= reach; i++) {
      this.context.globalAlpha = 0.85 * (1 - Math.abs(i) / (reach + 1));
      for (let j = -reach; j < reach; j++) {
        if (i * i + j * j > reach * reach) continue;
        this.stroke(eye, point(x0 + i * step, y0 + j * step), point(x0 + i * step, y0 + (j + 1) * step), this.theme.line, 1);
        this.stroke(eye, point(x0 + j * step, y0 + i * step), point(x0 + (j + 1) * step, y0 + i * step), this.theme.line, 1);
      }
    }
    this.context.globalAlpha = 1;
    this.onscale(step);
  }

  paintCloud(eye, density, lens) {
    const { layer } = this, w = layer.width, h = layer.height, brush = layer.getContext("2d"), cloud = this.place.cloud;
    if (!this.buffer || this.buffer.width !== w || this.buffer.height !== h) {
      this.buffer = brush.createImageData(w, h);
      this.pixels = new Uint32Array(this.buffer.data.buffer);
      this.depth = new Float32Array(w * h);
    }
    const { pixels, depth } = this;
    pixels.fill(0);
    depth.fill(Infinity);
    const [ex, ey, ez] = eye.at, [rx, ry, rz] = eye.right, [dx, dy, dz] = eye.down, [fx, fy, fz] = eye.forward;
    const opaque = (lens ? 255 : 215) << 24, focal = eye.fx * density, limit = (lens ? 18 : 9) * density;
    for (let i = 0; i < cloud.n; i++) {
      const x = cloud.at[3 * i] - ex, y = cloud.at[3 * i + 1] - ey, z = cloud.at[3 * i + 2] - ez;
      const away = x * fx + y * fy + z * fz, k = 3 * cloud.seer[i];
      if (away < eye.near) continue;
      // a point turns to the camera that saw it: from behind it is left out, so that one looks into a room from outside
      if (!lens && (x + ex - cloud.centres[k]) * x + (y + ey - cloud.centres[k + 1]) * y + (z + ez - cloud.centres[k + 2]) * z < 0) continue;
      const u = ((x * rx + y * ry + z * rz) * focal) / away + eye.cx * density;
      const v = ((x * dx + y * dy + z * dz) * eye.fy * density) / away + eye.cy * density;
      const r = clamp((cloud.radius[i] * focal) / away, 0.7 * density, limit);
      if (u < -r || v < -r || u > w + r || v > h + r) continue;
      const colour = opaque | (cloud.colour[3 * i + 2] << 16) | (cloud.colour[3 * i + 1] << 8) | cloud.colour[3 * i];
      const top = Math.max(0, Math.round(v - r)), bottom = Math.min(h, Math.round(v + r) || 1);
      for (let row = top; row < bottom; row++) {
        const chord = r < 2 ? r : Math.sqrt(Math.max(0, r * r - (row + 0.5 - v) * (row + 0.5 - v)));
        const end = row * w + Math.min(w, Math.round(u + chord));
        for (let k = row * w + Math.max(0, Math.round(u - chord)); k < end; k++) if (away < depth[k]) { depth[k] = away; pixels[k] = colour; }
      }
    }
    brush.putImageData(this.buffer, 0, 0);
    this.context.drawImage(layer, 0, 0, w / density, h / density);
  }

  colourAt(share) {
    const at = clamp(share, 0, 1) * (this.ramp.length - 1), i = Math.min(Math.floor(at), this.ramp.length - 2), s = at - i;
    return `rgb(${this.ramp[i].map((x, k) => Math.round(x + (this.ramp[i + 1][k] - x) * s)).join(" ")})`;
  }

  corners(poses, i, [fx, fy, cx, cy], width, height, length) {
    const at = centreOf(poses, i), [right, down, forward] = [0, 1, 2].map((k) => axisOf(poses, i, k));
    const corner = (u, v) => add(add(add(at, forward, length), right, ((u - cx) / fx) * length), down, ((v - cy) / fy) * length);
    return [at, corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
  }

  frustum(eye, points, colour, thickness) {
    for (let k = 1; k < 5; k++) {
      this.stroke(eye, points[0], points[k], colour, thickness);
      this.stroke(eye, points[k], points[(k % 4) + 1], colour, thickness);
    }
  }

  paintSeen(eye) {
    const seen = this.place.cameras;
    if (!seen) return;
    this.context.globalAlpha = 0.75;
    for (let i = 0; i < seen.n; i++) this.frustum(eye, this.corners(seen.poses, i, seen.intrinsics(i), seen.width, seen.height, this.radius * 0.045), this.theme.seen, 1);
    this.context.globalAlpha = 1;
  }

  paintPath(eye, lens) {
    const { clip } = this, last = Math.max(clip.n - 1, 1), stride = Math.max(1, Math.round(clip.n / 10));
    paintLine(this, eye, clip, { from: lens ? this.frame + 1 : 0, colourOf: (i) => this.colourAt(i / last), thickness: lens ? 2 : 3, dashed: clip.kind === "refused" });
    if (lens) return;
    for (let i = 0; i < clip.n; i += stride) {
      if (i !== this.frame) this.frustum(eye, this.corners(clip.poses, i, clip.intrinsics(i), clip.width, clip.height, this.radius * 0.06), this.colourAt(i / last), 1.25);
    }
  }

  paintEnds(eye) {
    const { clip, context } = this;
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const [i, word] of [[0, "start"], [clip.n - 1, "end"]]) {
      const [x, y, z] = this.project(eye, centreOf(clip.poses, i));
      if (z < eye.near) continue;
      context.beginPath();
      context.arc(x, y, 4.5, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = this.colourAt(i ? 1 : 0);
      context.fillStyle = i ? this.colourAt(1) : this.theme.sky; // hollow start, solid end: told apart without colour
      context.fill();
      context.stroke();
      this.label(word, x + 9, y + (i ? 9 : -9));
    }
  }

  label(word, x, y) {
    const { context } = this;
    context.lineWidth = 4;
    context.strokeStyle = this.theme.sky;
    context.strokeText(word, x, y);
    context.fillStyle = this.theme.ink;
    context.fillText(word, x, y);
  }

  paintCurrent(eye) {
    const { clip, frame } = this, points = this.corners(clip.poses, frame, clip.intrinsics(frame), clip.width, clip.height, this.radius * 0.17);
    if (this.picture) this.paintPicture(points.slice(1).map((p) => this.project(eye, p)), eye);
    this.frustum(eye, points, this.theme.sky, 4.5);
    this.frustum(eye, points, this.colourAt(frame / Math.max(clip.n - 1, 1)), 2.25);
  }

  paintPicture(quad, eye) { // the frame on its image plane: two affine halves of the projected rectangle
    if (quad.some((p) => p[2] < eye.near)) return;
    const { context, picture } = this, w = picture.videoWidth || picture.naturalWidth, h = picture.videoHeight || picture.naturalHeight;
    if (!w || !h) return;
    const [a, b, c, d] = quad;
    const halves = [
      [[a, b, d], a, add(b, a, -1), add(d, a, -1)],
      [[b, c, d], add(add(b, d), c, -1), add(c, d, -1), add(c, b, -1)],
    ];
    for (const [triangle, origin, across, down] of halves) {
      context.save();
      context.beginPath();
      for (const [x, y] of triangle) context.lineTo(x, y);
      context.clip();
      context.transform(across[0] / w, across[1] / w, down[0] / h, down[1] / h, origin[0], origin[1]);
      context.drawImage(picture, 0, 0, w, h);
      context.restore();
    }
  }

  paintWindow(eye, width, height) { // dims what the lens does not see
    const [left, top, w, h] = eye.window, { context } = this;
    context.fillStyle = this.theme.sky;
    context.globalAlpha = 0.82;
    context.beginPath();
    context.rect(0, 0, width, height);
    context.rect(left, top, w, h);
    context.fill("evenodd");
    context.globalAlpha = 1;
    context.strokeStyle = this.colourAt(this.frame / Math.max(this.clip.n - 1, 1));
    context.lineWidth = 2;
    context.strokeRect(left + 1, top + 1, w - 2, h - 2);
  }

  // ---- hands ---------------------------------------------------------------------------------------------------

  turn(yaw, pitch) {
    this.orbit.yaw += yaw;
    this.orbit.pitch = clamp(this.orbit.pitch + pitch, -1.5533, 1.5533);
    this.draw();
  }

  zoom(factor) {
    this.orbit.distance = clamp(this.orbit.distance * factor, this.radius * 0.05, this.radius * 50);
    this.draw();
  }

  pan(x, y) {
    const eye = this.eyeOfOrbit(this.canvas.clientWidth, this.canvas.clientHeight), s = this.orbit.distance / eye.fx;
    this.orbit.target = add(add(this.orbit.target, eye.right, -x * s), eye.down, -y * s);
    this.draw();
  }

  listen() {
    const { canvas } = this, held = new Map();
    const spread = () => { const [p, q] = [...held.values()]; return { x: (p.x + q.x) / 2, y: (p.y + q.y) / 2, apart: Math.hypot(p.x - q.x, p.y - q.y) }; };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before || this.mode === "lens" || !this.clip) return;
      const pinch = held.size === 2 ? spread() : null, x = event.clientX - before.x, y = event.clientY - before.y;
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pinch) {
        const now = spread();
        this.zoom(pinch.apart / Math.max(now.apart, 1));
        this.pan(now.x - pinch.x, now.y - pinch.y);
      } else if (event.shiftKey || event.buttons & 2) this.pan(x, y);
      else this.turn(-x * 0.008, y * 0.008);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => held.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      if (this.mode === "lens" || !this.clip) return;
      event.preventDefault();
      this.zoom(Math.exp(clamp(event.deltaY, -120, 120) * 0.0018));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: () => this.turn(-0.1, 0), ArrowRight: () => this.turn(0.1, 0), ArrowUp: () => this.turn(0, 0.1), ArrowDown: () => this.turn(0, -0.1),
        "+": () => this.zoom(0.87), "=": () => this.zoom(0.87), "-": () => this.zoom(1.15), 0: () => this.fit(),
      };
      const shifted = { ArrowLeft: () => this.pan(-30, 0), ArrowRight: () => this.pan(30, 0), ArrowUp: () => this.pan(0, -30), ArrowDown: () => this.pan(0, 30) };
      const move = (event.shiftKey && shifted[event.key]) || moves[event.key];
      if (!move || this.mode === "lens" || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move();
    });
  }
}
