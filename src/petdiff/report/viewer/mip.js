"use strict";
// A rotating projection: of every ray the largest value. Of a difference it is the mean, in a window a tenth
// as wide: the largest difference on a ray is mostly a peak of noise that was removed.
// It has a row for each slice and is enlarged afterwards: between voxels noise would cancel, and
// draw a pattern of its own. One WebGL2 context draws all images in turn; each is copied to a canvas of its own.
window.Projector = class {
  constructor(shape, spacing) {
    this.shape = shape;
    this.size = shape.map((n, axis) => n * spacing[axis]);
    this.step = Math.min(...spacing);
    this.canvas = document.createElement("canvas");
    this.gl = this.canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("no WebGL2");
    const gl = this.gl;
    this.program = this.link(Projector.VERTEX, Projector.FRAGMENT);
    gl.useProgram(this.program);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  }

  link(vertex, fragment) {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "corner");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(gl.getProgramInfoLog(program));
    }
    return program;
  }

  // Layer by layer, since a volume in float32 is twice as large as it came.
  texture(steps, stepSuv) {
    const gl = this.gl;
    const [nx, ny, nz] = this.shape;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R16F, nx, ny, nz);
    const layer = new Float32Array(nx * ny);
    for (let z = 0; z < nz; z++) {
      for (let i = 0; i < layer.length; i++) layer[i] = steps[z * layer.length + i] * stepSuv;
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, z, nx, ny, 1, gl.RED, gl.FLOAT, layer);
    }
    for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) {
      gl.texParameteri(gl.TEXTURE_3D, axis, gl.CLAMP_TO_EDGE);
    }
    gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_3D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  ramp(colours) {
    const gl = this.gl;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colours);
    for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
      gl.texParameteri(gl.TEXTURE_2D, axis, gl.CLAMP_TO_EDGE);
    }
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    return texture;
  }

  // Millimetres from the middle that a place on a canvas stands for, and millimetres a pixel.
  frame(width, height) {
    const scale = Math.max(Math.max(this.size[0], this.size[1]) / width, this.size[2] / height) * 1.02;
    return { scale, halfWidth: (width / 2) * scale, halfHeight: (height / 2) * scale };
  }

  draw(image, angle, [low, high], target) {
    const gl = this.gl;
    const { width, height } = target;
    if (!width || !height) return;
    const rays = Math.ceil(Math.max(this.size[0], this.size[1]) / this.step);
    this.canvas.width = rays;
    this.canvas.height = this.shape[2];
    gl.viewport(0, 0, rays, this.shape[2]);
    const [halfWidth, halfHeight] = [(rays * this.step) / 2, this.size[2] / 2];
    const put = (name) => gl.getUniformLocation(this.program, name);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, image.texture);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, image.ramp);
    gl.uniform1i(put("volume"), 0);
    gl.uniform1i(put("ramp"), 1);
    gl.uniform2f(put("half_mm"), halfWidth, halfHeight);
    gl.uniform3f(put("size_mm"), ...this.size);
    gl.uniform1f(put("angle"), angle);
    gl.uniform1f(put("step_mm"), this.step);
    gl.uniform2f(put("range"), low, high);
    gl.uniform1i(put("is_signed"), low < 0 ? 1 : 0);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    const { scale } = this.frame(width, height);
    const [across, down] = [(2 * halfWidth) / scale, (2 * halfHeight) / scale];
    const paper = target.getContext("2d");
    paper.fillStyle = image.empty;
    paper.fillRect(0, 0, width, height);
    paper.imageSmoothingEnabled = low >= 0;
    paper.imageSmoothingQuality = "high";
    paper.drawImage(this.canvas, (width - across) / 2, (height - down) / 2, across, down);
  }

  // The voxel of the largest magnitude on the ray through a place (0 to 1 across and down).
  pick(steps, angle, across, down, width, height) {
    const { halfWidth, halfHeight } = this.frame(width, height);
    const u = (2 * across - 1) * halfWidth;
    const z = Math.floor((((1 - 2 * down) * halfHeight) / this.size[2] + 0.5) * this.shape[2]);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const reach = Math.hypot(this.size[0], this.size[1]) / 2;
    let best = null;
    let most = -1;
    for (let t = -reach; t <= reach; t += this.step / 2) {
      const x = Math.floor(((-u * cos + t * sin) / this.size[0] + 0.5) * this.shape[0]);
      const y = Math.floor(((-u * sin - t * cos) / this.size[1] + 0.5) * this.shape[1]);
      if (x < 0 || y < 0 || z < 0 || x >= this.shape[0] || y >= this.shape[1] || z >= this.shape[2]) continue;
      const value = Math.abs(steps[x + this.shape[0] * (y + this.shape[1] * z)]);
      if (value > most) [most, best] = [value, [x, y, z]];
    }
    return best;
  }
};

Projector.VERTEX = `#version 300 es
in vec2 corner;
out vec2 place;
void main() { place = corner; gl_Position = vec4(corner, 0.0, 1.0); }`;

// At angle 0 one looks at the patient's front: right on the left, as readers do.
Projector.FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler3D volume;
uniform sampler2D ramp;
uniform vec2 half_mm, range;
uniform vec3 size_mm;
uniform float angle, step_mm;
uniform bool is_signed;
in vec2 place;
out vec4 colour;
void main() {
  vec2 at = place * half_mm;
  vec2 across = vec2(-cos(angle), -sin(angle)), along = vec2(sin(angle), -cos(angle));
  float reach = length(size_mm.xy) * 0.5, most = 0.0, total = 0.0, count = 0.0;
  float z = at.y / size_mm.z + 0.5;
  if (z >= 0.0 && z <= 1.0) {
    for (float t = -reach; t <= reach; t += step_mm) {
      vec2 xy = (at.x * across + t * along) / size_mm.xy + 0.5;
      if (any(lessThan(xy, vec2(0.0))) || any(greaterThan(xy, vec2(1.0)))) continue;
      float value = texture(volume, vec3(xy, z)).r;
      most = max(most, value);
      total += value;
      count += 1.0;
    }
  }
  if (is_signed) most = 10.0 * total / max(count, 1.0);
  float share = clamp((most - range.x) / (range.y - range.x), 0.0, 1.0);
  colour = vec4(texture(ramp, vec2((share * 255.0 + 0.5) / 256.0, 0.5)).rgb, 1.0);
}`;
