// Bilinear resizing of score maps: at the head's join, and to the picture's own size.
#pragma once

#include <cstdint>

#include "vec.h"

namespace hswish::HSWISH_LEVEL {

// One row of `out`, combined with the resized row of `x` (both channels last): out has across.count pixels.
template <class T, class Combine>
static void resize_row(const Axis& down, const Axis& across, long row, const float* x, long width, long channels,
                       T* out, const Combine& combine) {
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

template <class T>
static void upsample_multiply_row(const Axis& down, const Axis& across, long row, const float* x, long width,
                                  long channels, T* out) {
  resize_row(down, across, row, x, width, channels, out, [](f32x8 a, f32x8 b) { return a * b; });
}

// The rows above and below, mixed: line[c][column] of x[c][height][width].
static void mix_rows(const Axis& down, long row, const float* x, long height, long width, long used, float* line) {
  const float t = down.weight[row];
  for (long c = 0; c < used; c++, x += height * width, line += width) {
    const float* top = x + down.first[row] * width;
    const float* bottom = x + down.second[row] * width;
    for (long i = 0; i < width; i++) line[i] = top[i] + (bottom[i] - top[i]) * t;
  }
}

typedef int32_t Places __attribute__((vector_size(sizeof(Vec))));
typedef uint8_t Classes __attribute__((vector_size(sizeof(Vec) / 4)));

// A vector of columns from `i` on. Each is a mix of two of the cells that follow the first one's, which one load holds.
struct Columns {
  long base;
  Places first, second;
  Vec weight;

  static bool fit(const Axis& across, long i) {
    constexpr long L = LANES<Vec>;
    return i + L <= across.count && across.second[i + L - 1] - across.first[i] < L;
  }
  Columns(const Axis& across, long i) : base(across.first[i]), weight(load<Vec>(across.weight + i)) {
    std::memcpy(&first, across.first + i, sizeof first);
    std::memcpy(&second, across.second + i, sizeof second);
    first -= static_cast<int32_t>(base), second -= static_cast<int32_t>(base);
  }
  Vec of(const float* line) const {
    const Vec cells = load<Vec>(line + base);
    const Vec a = permuted(cells, first);
    return a + (permuted(cells, second) - a) * weight;
  }
};

// One column-resized line: out[i] = mix of line[first[i]] and line[second[i]]. `past`: it goes past the caches.
template <bool past>
static void stretch(const Axis& across, const float* line, float* out) {
  long i = 0;
  if constexpr (LANES<Vec> > 4) {
    for (; Columns::fit(across, i); i += LANES<Vec>) {
      const Vec v = Columns(across, i).of(line);
      past ? store_past(out + i, v) : store(out + i, v);
    }
  } else if (across.run) {  // narrow vectors are slow to permute: runs of pixels between two cells, four at a time
    for (; i < across.count; i += across.run) {
      const float a = line[across.first[i]], step = line[across.second[i]] - a;
      for (long j = 0; j < across.run; j += 4) store(out + i + j, a + step * load<f32x4>(across.weight + i + j));
    }
  }
  for (; i < across.count; i++) {
    const float a = line[across.first[i]];
    out[i] = a + (line[across.second[i]] - a) * across.weight[i];
  }
}

// What is larger than this will not be in the caches when it is read.
constexpr long CACHED_FLOATS = 4 << 20;

// Row `row` of every plane of logits (used, height, across.count).
static void upsample_planes_row(const Axis& down, const Axis& across, long row, const float* x, long height, long width,
                                long used, float* out, float* work) {
  mix_rows(down, row, x, height, width, used, work);
  const bool aligned = reinterpret_cast<uintptr_t>(out) % sizeof(Vec) == 0 && across.count % LANES<Vec> == 0;
  const bool past = aligned && used * down.count * across.count > CACHED_FLOATS;
  for (long c = 0; c < used; c++)
    (past ? stretch<true> : stretch<false>)(across, work + c * width, out + (c * down.count + row) * across.count);
  if (past) finish_stores();
}

// The highest class of a vector of pixels.
static void highest(const Columns& columns, const float* lines, long width, long used, uint8_t* out) {
  Vec best = columns.of(lines);
  Places chosen{};
  for (long c = 1; c < used; c++) {
    const Vec score = columns.of(lines + c * width);
    const Places higher = score > best;
    best = higher ? score : best;
    chosen = higher ? Places{} + static_cast<int32_t>(c) : chosen;
  }
  const Classes bytes = __builtin_convertvector(chosen, Classes);
  std::memcpy(out, &bytes, sizeof bytes);
}

// Row `row` of the mask: the class with the highest resized score; no full-size scores are stored.
static void upsample_mask_row(const Axis& down, const Axis& across, long row, const float* x, long height, long width,
                              long used, uint8_t* out, float* work) {
  mix_rows(down, row, x, height, width, used, work);
  long i = 0;
  for (; Columns::fit(across, i); i += LANES<Vec>) highest(Columns(across, i), work, width, used, out + i);
  for (; i < across.count; i++) {
    float best = 0;
    for (long c = 0; c < used; c++) {
      const float a = work[c * width + across.first[i]], b = work[c * width + across.second[i]];
      const float score = a + (b - a) * across.weight[i];
      if (c == 0 || score > best) best = score, out[i] = static_cast<uint8_t>(c);
    }
  }
}

}  // namespace hswish::HSWISH_LEVEL
