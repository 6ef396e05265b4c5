// Bilinear resizing of score maps: at the head's join, and to the picture's own size.
#pragma once

#include <cstdint>

#include "vec.h"

namespace hswish::HSWISH_LEVEL {

// One row of `out`, combined with the resized row of `x` (both channels last): out has across.count pixels.
template <class Combine>
static void resize_row(const Axis& down, const Axis& across, long row, const float* x, long width, long channels,
                       float* out, const Combine& combine) {
  const float* top = x + down.first[row] * width * channels;
  const float* bottom = x + down.second[row] * width * channels;
  const float ty = down.weight[row];
  for (long i = 0; i < across.count; i++, out += channels) {
    const long a = across.first[i] * channels, b = across.second[i] * channels;
    const float tx = across.weight[i];
    for (long c = 0; c < channels; c += 8) {
      const f32x8 tl = load<f32x8>(top + a + c), tr = load<f32x8>(top + b + c);
      const f32x8 bl = load<f32x8>(bottom + a + c), br = load<f32x8>(bottom + b + c);
      const f32x8 t = tl + (tr - tl) * tx, u = bl + (br - bl) * tx;
      store(out + c, combine(load<f32x8>(out + c), t + (u - t) * ty));
    }
  }
}

static void upsample_add_row(const Axis& down, const Axis& across, long row, const float* x, long width, long channels,
                             Act act, float* out) {
  if (act == Act::relu)
    resize_row(down, across, row, x, width, channels, out, [](f32x8 a, f32x8 b) { return activate<Act::relu>(a + b); });
  else
    resize_row(down, across, row, x, width, channels, out, [](f32x8 a, f32x8 b) { return a + b; });
}

static void upsample_multiply_row(const Axis& down, const Axis& across, long row, const float* x, long width,
                                  long channels, float* out) {
  resize_row(down, across, row, x, width, channels, out, [](f32x8 a, f32x8 b) { return a * b; });
}

// The rows above and below, mixed, planar: line[c][column].
static void mix_rows(const Axis& down, long row, const float* x, long width, long channels, long used, float* line) {
  const float* top = x + down.first[row] * width * channels;
  const float* bottom = x + down.second[row] * width * channels;
  const float t = down.weight[row];
  for (long i = 0; i < width; i++)
    for (long c = 0; c < used; c++) {
      const float a = top[i * channels + c], b = bottom[i * channels + c];
      line[c * width + i] = a + (b - a) * t;
    }
}

// One column-resized line: out[i] = mix of line[first[i]] and line[second[i]].
static void stretch(const Axis& across, const float* line, float* out) {
  if (across.run) {  // runs of pixels between two cells: a vector for each piece
    for (long i = 0; i < across.count; i += across.run) {
      const float a = line[across.first[i]], step = line[across.second[i]] - a;
      for (long j = 0; j < across.run; j += 4) store(out + i + j, a + step * load<f32x4>(across.weight + i + j));
    }
    return;
  }
  for (long i = 0; i < across.count; i++) {
    const float a = line[across.first[i]];
    out[i] = a + (line[across.second[i]] - a) * across.weight[i];
  }
}

// Row `row` of every plane of logits (used, height, across.count).
static void upsample_planes_row(const Axis& down, const Axis& across, long row, const float* x, long width,
                                long channels, long used, float* out, float* work) {
  mix_rows(down, row, x, width, channels, used, work);
  for (long c = 0; c < used; c++) stretch(across, work + c * width, out + (c * down.count + row) * across.count);
}

// Row `row` of the mask: the class with the highest resized score; no full-size scores are stored.
static void upsample_mask_row(const Axis& down, const Axis& across, long row, const float* x, long width, long channels,
                              long used, uint8_t* out, float* work) {
  float* line = work + used * width;
  float* best = line + round_up(across.count, 16);
  mix_rows(down, row, x, width, channels, used, work);
  stretch(across, work, best);
  for (long i = 0; i < across.count; i++) out[i] = 0;
  for (long c = 1; c < used; c++) {
    stretch(across, work + c * width, line);
    for (long i = 0; i < across.count; i++) {
      const bool higher = line[i] > best[i];
      best[i] = higher ? line[i] : best[i];
      out[i] = higher ? static_cast<uint8_t>(c) : out[i];
    }
  }
}

}  // namespace hswish::HSWISH_LEVEL
