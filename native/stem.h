// The stem: a full 3x3 convolution that reads a picture and writes channels last.
//
// The three rows that it looks at are copied with zeros at both ends; the copy also turns a camera's
// bytes into normalised floats, so that they are read once. Meanwhile the rows of the next call are asked for: nobody
// has read the picture yet, and short rows of three planes are no stream that a processor would follow by itself.
#pragma once

#include <cstring>

#include "vec.h"

namespace hswish::HSWISH_LEVEL {

static long stem_work(const Stem& op, const Geometry& g) {
  return op.in_channels * 3 * (op.stride * (g.out_width - 1) + 3);
}

// Where the rows of the next call begin, and how far it is to the next row and the next plane.
struct Next {
  const float* row;
  long width, plane;
};

template <class V, int MR, int NV, int stride, Act act, class T>
static void stem_tile(const float* x, long x_stride, long channels, const float* w, const float* bias, T* out, long n,
                      const float* soon, const Next& next) {
  constexpr int L = LANES<V>;
  V sum[MR][NV];
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) sum[m][v] = load<V>(bias + v * L);
  for (long c = 0; c < channels; c++, soon += next.plane)
    for (int ky = 0; ky < 3; ky++, w += 3 * n, x += x_stride) {
      for (int i = 0; i < MR * stride; i += 16) prefetch(soon + ky * next.width + i);
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; kx++) {
        V weight[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) weight[v] = load<V>(w + kx * n + v * L);
#pragma GCC unroll 16
        for (int m = 0; m < MR; m++) {
          const V a = splat<V>(x[m * stride + kx]);
#pragma GCC unroll 2
          for (int v = 0; v < NV; v++) sum[m][v] += a * weight[v];
        }
      }
    }
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 2
    for (int v = 0; v < NV; v++) store(out + m * n + v * L, activate<act>(sum[m][v]));
}

template <class V, int NV, int stride, Act act, class T>
static void stem_channels(const Stem& op, const Geometry& g, const float* padded, long padded_width, long channel,
                          T* out, const Next& next) {
  constexpr int MOST = TILE;
  long column = 0;
  const auto run = [&](auto tile, long count) {
    for (; column + count <= g.out_width; column += count)
      tile(padded + column * stride, padded_width, op.in_channels, op.weights + channel, op.bias + channel,
           out + column * op.n + channel, op.n, next.row + column * stride, next);
  };
  run(stem_tile<V, MOST, NV, stride, act, T>, MOST);
  run(stem_tile<V, 4, NV, stride, act, T>, 4);
  run(stem_tile<V, 1, NV, stride, act, T>, 1);
}

// Row y of plane c as floats.
static void copy_row(const Stem& op, const Geometry& g, const Picture& x, long c, long y, long count, float* to) {
  if (x.floats) {
    std::memcpy(to, x.floats + (c * g.height + y) * g.width, sizeof(float) * count);
    return;
  }
  const uint8_t* from = x.bytes + y * g.width * op.in_channels + c;
  const float* table = x.table + c * 256;
  for (long i = 0; i < count; i++) to[i] = table[from[i * op.in_channels]];
}

template <Act act, class T>
static void stem_row(const Stem& op, const Geometry& g, const Picture& x, long row, T* out, float* work) {
  const long padded_width = op.stride * (g.out_width - 1) + 3;
  const long count = padded_width - g.left < g.width ? padded_width - g.left : g.width;
  float* to = work;
  for (long c = 0; c < op.in_channels; c++)
    for (int ky = 0; ky < 3; ky++, to += padded_width) {
      const long y = row * op.stride - g.top + ky;
      const bool outside = y < 0 || y >= g.height;
      for (long i = 0; i < (outside ? padded_width : g.left); i++) to[i] = 0;
      if (!outside) copy_row(op, g, x, c, y, count, to + g.left);
      for (long i = g.left + count; i < padded_width; i++) to[i] = 0;
    }
  const long below = (row + 1) * op.stride - g.top;
  const bool last = below < 0 || below + 3 > g.height;
  const Next next = x.floats && !last ? Next{x.floats + below * g.width, g.width, g.height * g.width} : Next{work, 0, 0};
  using Wide = std::conditional_t<LANES<Vec> == 16, Vec, f32x8>;  // a picture has few channels: two vectors, or one of 16
  constexpr int NV = 16 / LANES<Wide>;
  const auto two = op.stride == 2 ? stem_channels<Wide, NV, 2, act, T> : stem_channels<Wide, NV, 1, act, T>;
  const auto one = op.stride == 2 ? stem_channels<f32x8, 1, 2, act, T> : stem_channels<f32x8, 1, 1, act, T>;
  long channel = 0;
  for (; channel + 16 <= op.n; channel += 16) two(op, g, work, padded_width, channel, out, next);
  if (channel < op.n) one(op, g, work, padded_width, channel, out, next);
}

template <class T>
static void stem_row_any(const Stem& op, Act act, const Geometry& g, const Picture& x, long row, T* out, float* work) {
  (act == Act::relu ? stem_row<Act::relu, T> : stem_row<Act::hard_swish, T>)(op, g, x, row, out, work);
}

}  // namespace hswish::HSWISH_LEVEL
