"use strict";
// Linked slices by NiiVue, projections by mip.js. Positions are voxels [x, y, z] of the page's own
// volumes, which run to the patient's right, front and head.
(async () => {
  const RAMPS = {
    grey: [[255, 255, 255], [0, 0, 0]],
    change: [[11, 60, 120], [79, 147, 200], [255, 255, 255], [224, 123, 95], [140, 20, 32]],
    hot: [[0, 0, 0], [130, 0, 0], [255, 70, 0], [255, 200, 0], [255, 255, 255]],
  };
  const PRESETS = [["0–5", 5], ["0–10", 10], ["0–20", 20], ["auto", null]];
  // Names, and the axes that run across, up and through each plane on the screen.
  const VIEWS = [
    { name: "Three planes" },
    { name: "Coronal", slice: 1 },
    { name: "Sagittal", slice: 2 },
    { name: "Axial", slice: 0 },
    { name: "Projection" },
  ];
  const PLANES = { 0: { across: [0, -1], up: [1, 1], through: [2, 1] },
                   1: { across: [0, -1], up: [2, 1], through: [1, 1] },
                   2: { across: [1, -1], up: [2, 1], through: [0, 1] } };
  const $ = (id) => document.getElementById(id);

  const geometry = JSON.parse($("geometry").textContent);
  const { shape, spacing_mm: spacing, step, to_file: toFile, to_mm: toMm } = geometry;
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const images = [];
  let projector = null;
  let view = 0;
  let plane = 1;
  let angle = 0;
  let playing = null;
  const at = shape.map((n) => Math.floor(n / 2));
  const { unit, in_suv: inSuv } = geometry;
  const presets = PRESETS.filter(([, top]) => inSuv || top === null);
  const tops = { suv: geometry.auto.shown, change: geometry.auto.change / 2, spread: 1 };

  function trouble(text) {
    $("trouble").textContent = text;
    document.body.classList.remove("ready");
    $("viewer").hidden = true;
  }

  // All low bytes come before all high ones.
  async function unpack(text) {
    const deflated = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const steps = new Int16Array(bytes.length / 2);
    for (let i = 0; i < steps.length; i++) steps[i] = bytes[i] | (bytes[i + steps.length] << 8);
    return steps;
  }

  // NIfTI-1, as NiiVue reads it; the axes are the patient's, so that slices are the file's own.
  function nifti(steps) {
    const buffer = new ArrayBuffer(352 + steps.byteLength);
    const header = new DataView(buffer);
    header.setInt32(0, 348, true);
    [3, ...shape, 1, 1, 1, 1].forEach((n, i) => header.setInt16(40 + 2 * i, n, true));
    header.setInt16(70, 4, true);
    header.setInt16(72, 16, true);
    [1, ...spacing, 1, 1, 1, 1].forEach((n, i) => header.setFloat32(76 + 4 * i, n, true));
    header.setFloat32(108, 352, true);
    header.setFloat32(112, step, true);
    header.setUint8(123, 2);
    header.setInt16(254, 1, true);
    spacing.forEach((mm, axis) => header.setFloat32(280 + 16 * axis + 4 * axis, mm, true));
    [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => header.setUint8(344 + i, byte));
    new Int16Array(buffer, 352).set(steps);
    return buffer;
  }

  function colours(stops) {
    const table = new Uint8Array(1024);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (stops.length - 1);
      const first = Math.min(Math.floor(place), stops.length - 2);
      for (let c = 0; c < 3; c++) {
        table[4 * i + c] = Math.round(stops[first][c] + (place - first) * (stops[first + 1][c] - stops[first][c]));
      }
      table[4 * i + 3] = 255;
    }
    return table;
  }

  function element(tag, className, parent, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function addColumn(name, steps, ramp, window_, unit) {
    const figure = element("figure", "image", $("columns"));
    figure.dataset.name = name;
    const caption = element("figcaption", "", figure);
    element("span", "", caption, name);
    const output = element("output", "", caption);
    const stage = element("div", "stage", figure);
    const slices = element("canvas", "slices", stage);
    const turning = element("canvas", "turning", stage);
    turning.hidden = true;
    const scale = element("div", "scale", figure);
    const low = element("span", "", scale);
    element("span", "ramp", scale).style.background =
      `linear-gradient(to right, ${RAMPS[ramp].map((rgb) => `rgb(${rgb})`).join(", ")})`;
    const high = element("span", "", scale);
    const image = { name, steps, ramp, window: window_, unit, output, slices, turning, low, high };
    slices.setAttribute("aria-label", `${name}: slices`);
    turning.setAttribute("aria-label", `${name}: rotating projection`);
    images.push(image);
    listen(image);
    return image;
  }

  async function addViewer(image) {
    const viewer = new niivue.Niivue({
      backColor: [1, 1, 1, 1],
      crosshairColor: [0.1, 0.45, 0.85, 0.8],
      fontColor: [0.35, 0.4, 0.45, 1],
      crosshairWidth: 0.5,
      crosshairGap: 8,
      fontMinPx: 12,
      fontSizeScaling: 0.3,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isForceMouseClickToVoxelCenters: true,
      isOrientCube: false,
      multiplanarShowRender: 0,
      dragMode: 3,
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "error",
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
    });
    await viewer.attachToCanvas(image.slices);
    const stops = RAMPS[image.ramp];
    viewer.addColormap(image.ramp, {
      R: stops.map((rgb) => rgb[0]), G: stops.map((rgb) => rgb[1]), B: stops.map((rgb) => rgb[2]),
      A: stops.map(() => 255), I: stops.map((_, i) => Math.round((255 * i) / (stops.length - 1))),
    });
    const [low, high] = image.window();
    const volume = await niivue.NVImage.new(
      nifti(image.steps), `${image.name}.nii`, image.ramp, 1, null, low, high);
    viewer.addVolume(volume);
    viewer.onLocationChange = (place) => {
      if (place.vox && place.axCorSag >= 0 && place.axCorSag <= 2) plane = place.axCorSag;
      if (place.vox) moveTo(place.vox.map(Math.round), image);
    };
    image.viewer = viewer;
    image.volume = volume;
  }

  function moveTo(voxel, from = null) {
    voxel.forEach((index, axis) => { at[axis] = Math.min(Math.max(index, 0), shape[axis] - 1); });
    const share = at.map((index, axis) => (index + 0.5) / shape[axis]);
    for (const image of images) {
      if (image !== from && image.viewer) {
        image.viewer.scene.crosshairPos = share.slice();
        if (from) image.viewer.scene.pan2Dxyzmm = from.viewer.scene.pan2Dxyzmm.slice();
        if (view !== 4) image.viewer.drawScene();
      }
    }
    read();
  }

  // The page's voxel at a voxel of the file: each axis of the one runs along one of the other.
  function fromFile(file) {
    const found = at.slice();
    toFile.slice(0, 3).forEach((row, axis) => {
      const own = [0, 1, 2].reduce((best, a) => (Math.abs(row[a]) > Math.abs(row[best]) ? a : best), 0);
      found[own] = Math.round((file[axis] - row[3]) / row[own]);
    });
    return found;
  }

  const apply = (rows, [x, y, z]) => rows.slice(0, 3).map(([a, b, c, d]) => a * x + b * y + c * z + d);

  function read() {
    const index = at[0] + shape[0] * (at[1] + shape[1] * at[2]);
    for (const image of images) {
      const value = image.steps[index] * step;
      const sign = image.name === "difference" && value > 0 ? "+" : "";
      image.output.replaceChildren(`${sign}${value.toFixed(decimals)} `.replace("-", "−"));
      element("small", "", image.output, image.unit);
    }
    const file = apply(toFile, at);
    const [x, y, z] = apply(toMm, file);
    const side = (mm, plus, minus) => `${mm < 0 ? minus : plus} ${Math.abs(mm).toFixed(1)}`;
    const which = geometry.block > 1 ? "around voxel" : "voxel";
    const shown = file.map((f) => (geometry.block % 2 ? Math.round(f) : f.toFixed(1)));
    $("place").textContent = `${which} (${shown.join(", ")}) of the file, counted from 0 · ` +
      `${side(x, "R", "L")}  ${side(y, "A", "P")}  ${side(z, "S", "I")} mm`;
    $("place").dataset.voxel = JSON.stringify(shown.map(Number));
  }

  function rewindow() {
    const text = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
    for (const image of images) {
      const [low, high] = image.window();
      [image.low.textContent, image.high.textContent] = [text(low), text(high)];
      if (image.volume && (image.volume.cal_min !== low || image.volume.cal_max !== high)) {
        [image.volume.cal_min, image.volume.cal_max] = [low, high];
        image.viewer.updateGLVolume();
      }
    }
    for (const [name, top] of Object.entries(tops)) $(`top-${name}`).value = Number(top.toPrecision(3));
    [...$("windows").children].forEach((button, i) => {
      button.setAttribute("aria-pressed", (presets[i][1] ?? geometry.auto.suv) === tops.suv);
    });
    project();
  }

  function project() {
    if (view !== 4) return;
    for (const image of images) {
      const box = image.turning.parentElement.getBoundingClientRect();
      const sharp = Math.min(window.devicePixelRatio || 1, 2);
      [image.turning.width, image.turning.height] = [Math.round(box.width * sharp), Math.round(box.height * sharp)];
      image.texture ??= projector.texture(image.steps, step);
      image.ramps ??= projector.ramp(colours(RAMPS[image.ramp]));
      const empty = `rgb(${RAMPS[image.ramp][image.ramp === "change" ? 2 : 0]})`;
      projector.draw({ texture: image.texture, ramp: image.ramps, empty }, angle, image.window(), image.turning);
    }
  }

  function show(chosen) {
    view = chosen;
    [...$("views").children].forEach((button, i) => button.setAttribute("aria-pressed", i === view));
    $("play").hidden = view !== 4;
    $("columns").classList.toggle("low", view === 3);
    if (view !== 4) play(false);
    for (const image of images) {
      image.slices.hidden = view === 4;
      image.turning.hidden = view !== 4;
      if (view === 0) arrange(image);
      else if (view !== 4) {
        image.viewer.clearCustomLayout();
        image.viewer.setSliceType(VIEWS[view].slice);
        plane = VIEWS[view].slice;
      }
    }
    project();
  }

  // Coronal and sagittal side by side, axial below, all at one scale.
  function arrange(image) {
    const [x, y, z] = shape.map((n, axis) => n * spacing[axis]);
    const across = x / (x + y);
    const down = z / (z + y);
    image.viewer.setSliceType(3);
    image.viewer.setCustomLayout([
      { sliceType: 1, position: [0, 0, across, down] },
      { sliceType: 2, position: [across, 0, 1 - across, down] },
      { sliceType: 0, position: [0, down, across, 1 - down] },
    ]);
  }

  function play(on) {
    if (playing !== null) cancelAnimationFrame(playing);
    playing = null;
    $("play").setAttribute("aria-pressed", on);
    if (!on) return;
    let last = performance.now();
    const turn = (now) => {
      angle += ((now - last) / 1000) * 0.7;
      last = now;
      project();
      playing = requestAnimationFrame(turn);
    };
    playing = requestAnimationFrame(turn);
  }

  function listen(image) {
    let held = null;
    image.turning.addEventListener("pointerdown", (event) => {
      held = { x: event.clientX, angle, moved: false };
      image.turning.setPointerCapture(event.pointerId);
      play(false);
    });
    image.turning.addEventListener("pointermove", (event) => {
      if (!held) return;
      held.moved ||= Math.abs(event.clientX - held.x) > 3;
      angle = held.angle + (event.clientX - held.x) * 0.01;
      if (held.moved) project();
    });
    image.turning.addEventListener("pointerup", (event) => {
      const box = image.turning.getBoundingClientRect();
      const found = !held.moved && projector.pick(image.steps, angle,
        (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, box.width, box.height);
      if (found) moveTo(found);
      held = null;
    });
  }

  function press(event) {
    if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const { across, up, through } = PLANES[plane];
    const move = ([axis, sign], by) => moveTo(at.map((index, a) => index + (a === axis ? sign * by : 0)));
    const turn = (by) => { play(false); angle += by; project(); };
    const keys = {
      ArrowLeft: () => (view === 4 ? turn(-0.1) : move(across, -1)),
      ArrowRight: () => (view === 4 ? turn(0.1) : move(across, 1)),
      ArrowUp: () => move(up, 1),
      ArrowDown: () => move(up, -1),
      PageUp: () => move(through, 1),
      PageDown: () => move(through, -1),
      "[": () => { tops.suv /= 1.25; rewindow(); },
      "]": () => { tops.suv *= 1.25; rewindow(); },
    };
    const digit = Number(event.key);
    if (digit >= 1 && digit <= VIEWS.length) show(digit - 1);
    else if (event.key === " " && view === 4 && !event.target.matches("button")) play(playing === null);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function wire() {
    const button = (parent, text, act) => {
      const made = element("button", "", $(parent), text);
      made.type = "button";
      made.addEventListener("click", act);
    };
    VIEWS.forEach(({ name }, i) => button("views", name, () => show(i)));
    presets.forEach(([name, top]) => button("windows", name, () => { tops.suv = top ?? geometry.auto.suv; rewindow(); }));
    for (const name of Object.keys(tops)) {
      $(`top-${name}`).addEventListener("change", (event) => {
        const top = Number(event.target.value);
        if (top > 0 && Number.isFinite(top)) tops[name] = top;
        rewindow();
      });
    }
    for (const link of document.querySelectorAll("button.to-place")) {
      link.addEventListener("click", () => {
        moveTo(fromFile(link.dataset.fileVoxel.split(",").map(Number)));
        $("columns").scrollIntoView({ block: "nearest" });
      });
    }
    $("play").addEventListener("click", () => play(playing === null));
    $("reset").addEventListener("click", () => {
      angle = 0;
      for (const image of images) image.viewer.scene.pan2Dxyzmm = [0, 0, 0, 1];
      moveTo(shape.map((n) => Math.floor(n / 2)));
      project();
    });
    window.addEventListener("keydown", press, true);
    window.addEventListener("resize", project);
  }

  async function start() {
    const volumes = {};
    $("trouble").textContent = "The viewer is unpacking the images …";
    for (const block of document.querySelectorAll("script.volume")) {
      volumes[block.dataset.name] = await unpack(block.textContent);
      block.remove();
    }
    const { measured, denoised, spread } = volumes;
    const change = denoised.map((value, i) => Math.min(Math.max(value - measured[i], -32767), 32767));
    $("viewer").hidden = false;
    const suv = () => [0, tops.suv];
    addColumn("measured", measured, "grey", suv, unit);
    addColumn("denoised", denoised, "grey", suv, unit);
    addColumn("difference", change, "change", () => [-tops.change, tops.change], unit);
    if (spread) {
      tops.spread = geometry.auto.spread;
      addColumn("uncertainty", spread, "hot", () => [0, tops.spread], `${unit}, 1 SD`);
    }
    for (const label of document.querySelectorAll("label.spread")) label.hidden = !spread;
    projector = new Projector(shape, spacing);
    document.body.classList.add("ready");
    for (const image of images) await addViewer(image);
    wire();
    show(0);
    moveTo(at.slice());
    rewindow();
    document.body.dataset.state = "drawn";
  }

  const probe = document.createElement("canvas").getContext("webgl2");
  if (!probe) return trouble("This browser has no WebGL 2, which the viewer draws with; pictures of projections show the scans instead.");
  probe.getExtension("WEBGL_lose_context")?.loseContext();
  try {
    await start();
  } catch (problem) {
    console.error(problem);
    trouble(`The viewer could not start (${problem.message}); pictures of projections show the scans instead.`);
  }
})();
