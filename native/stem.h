// The stem: a full 3x3 convolution that reads a picture and writes channels last.
//
// It reads the picture's own rows where these are floats, away from its edges. Elsewhere the three rows that it looks at
// are copied with zeros at both ends; the copy also turns a camera's bytes into normalised floats, so that they are
// read once. Meanwhile the rows of the next call are asked for: nobody has read the picture yet, and short rows of
// three planes are no stream that a processor would follow by itself.
#pragma once

#include <cstring>

#include "vec.h"

namespace hswish::HSWISH_LEVEL {

static long stem_work(const Stem& op, const Geometry& g) {
  return op.in_channels * 3 * (op.stride * (g.out_width - 1) + 3);
}

// Three rows of each plane.
struct Rows {
  const float* first;
  long width, plane;  // floats from a row to the next, from a plane to the next

  Rows at(long column) const { return {first + column, width, plane}; }
};

template <class V, int MR, int NV, int stride, Act act, class T>
static void stem_tile(const Rows& x, const Rows& next, long channels, const float* w, const float* bias, T* out, long n) {
  constexpr int L = LANES<V>;
  V sum[MR][NV];
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) sum[m][v] = load<V>(bias + v * L);
  for (long c = 0; c < channels; c++)
    for (int ky = 0; ky < 3; ky++, w += 3 * n) {
      const float *row = x.first + c * x.plane + ky * x.width, *soon = next.first + c * next.plane + ky * next.width;
      for (int i = 0; i < MR * stride; i += 16) prefetch(soon + i);
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; kx++) {
        V weight[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) weight[v] = load<V>(w + kx * n + v * L);
#pragma GCC unroll 16
        for (int m = 0; m < MR; m++) {
          const V a = splat<V>(row[m * stride + kx]);
#pragma GCC unroll 2
          for (int v = 0; v < NV; v++) sum[m][v] += a * weight[v];
          if constexpr (LANES<Vec> < 16) settle(sum[m]);
        }
      }
    }
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) store(out + m * n + v * L, activate<act>(sum[m][v]));
}

// `picture` begins at the picture's first column, `padded` with the zeros before it.
template <class V, int NV, int stride, Act act, class T>
static void stem_channels(const Stem& op, const Geometry& g, const Rows& picture, const Rows& padded, const Rows& next,
                          long channel, T* out) {
  long column = 0;
  const auto run = [&](auto tile, long count) {
    for (; column + count <= g.out_width; column += count) {
      const long from = column * stride, to = from + (count - 1) * stride + 3;
      const bool inside = picture.first && from >= g.left && to <= g.left + g.width;
      tile(inside ? picture.at(from - g.left) : padded.at(from), next.at(from), op.in_channels, op.weights + channel,
           op.bias + channel, out + column * op.n + channel, op.n);
    }
  };
  run(stem_tile<V, TILE, NV, stride, act, T>, TILE);
  run(stem_tile<V, 4, NV, stride, act, T>, 4);
  run(stem_tile<V, 1, NV, stride, act, T>, 1);
}

// Columns [from, to) of row y of plane c as floats.
static void copy_row(const Stem& op, const Geometry& g, const Picture& x, long c, long y, long from, long to, float* out) {
  if (x.floats) {
    std::memcpy(out, x.floats + (c * g.height + y) * g.width + from, sizeof(float) * (to - from));
    return;
  }
  const uint8_t* bytes = x.bytes + y * g.width * op.in_channels + c;
  const float* table = x.table + c * 256;
  for (long i = from; i < to; i++) out[i - from] = table[bytes[i * op.in_channels]];
}

// Columns [from, to) of a row with zeros around it.
static void pad_row(const Stem& op, const Geometry& g, const Picture& x, long c, long y, long from, long to, float* row) {
  const auto within = [&](long column) { return column < from ? from : column > to ? to : column; };
  const bool outside = y < 0 || y >= g.height;
  const long first = outside ? to : within(g.left), last = outside ? to : within(g.left + g.width);
  for (long i = from; i < first; i++) row[i] = 0;
  if (first < last) copy_row(op, g, x, c, y, first - g.left, last - g.left, row + first);
  for (long i = last; i < to; i++) row[i] = 0;
}

template <Act act, class T>
static void stem_row(const Stem& op, const Geometry& g, const Picture& x, long row, T* out, float* work) {
  const long width = op.stride * (g.out_width - 1) + 3;  // of a padded row
  const auto rows = [&](long y) {
    const bool there = x.floats && y >= 0 && y + 3 <= g.height;
    return there ? Rows{x.floats + y * g.width, g.width, g.height * g.width} : Rows{nullptr, 0, 0};
  };
  const long y = row * op.stride - g.top;
  const Rows padded{work, width, 3 * width}, picture = rows(y), below = rows(y + op.stride);
  const Rows next = below.first ? below : Rows{work, 0, 0};
  // Of rows that are read in place the copy holds what tiles at the ends read.
  const long reach = picture.first ? (TILE - 1) * op.stride + 3 : width;
  const long head = reach < width ? reach : width, tail = width - reach - 2 > head ? width - reach - 2 : head;
  for (long c = 0; c < op.in_channels; c++)
    for (int ky = 0; ky < 3; ky++) {
      float* const to = work + (3 * c + ky) * width;
      pad_row(op, g, x, c, y + ky, 0, head, to);
      if (g.left + g.width < width) pad_row(op, g, x, c, y + ky, tail, width, to);
    }
  using Wide = std::conditional_t<LANES<Vec> == 16, Vec, f32x8>;  // a picture has few channels: two vectors, or one of 16
  constexpr int NV = 16 / LANES<Wide>;
  const auto two = op.stride == 2 ? stem_channels<Wide, NV, 2, act, T> : stem_channels<Wide, NV, 1, act, T>;
  const auto one = op.stride == 2 ? stem_channels<f32x8, 1, 2, act, T> : stem_channels<f32x8, 1, 1, act, T>;
  long channel = 0;
  for (; channel + 16 <= op.n; channel += 16) two(op, g, picture, padded, next, channel, out);
  if (channel < op.n) one(op, g, picture, padded, next, channel, out);
}

template <class T>
static void stem_row_any(const Stem& op, Act act, const Geometry& g, const Picture& x, long row, T* out, float* work) {
  (act == Act::relu ? stem_row<Act::relu, T> : stem_row<Act::hard_swish, T>)(op, g, x, row, out, work);
}

}  // namespace hswish::HSWISH_LEVEL
