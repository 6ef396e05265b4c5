// Depthwise convolution of 16 channels on bytes: four neighbouring taps of a row are one sum of products.
//
// Rows are dense, [column][16], with the byte for zero at both sides. A load of 64 bytes holds four columns;
// one permutation brings the four taps of a channel together. A 5x5 kernel's fifth tap of a row is the first
// of the four columns that start four further on, which the tile makes for another output anyway.
// A kernel with holes (dilation D) sees every D-th column: the block keeps the columns that meet side by side.
#pragma once

#include "bytes.h"

namespace hswish::HSWISH_LEVEL {

struct DepthwiseRowInt8 {
  const uint8_t* const* rows;  // k pointers
  const int8_t* weights;       // [k][quads][16][4]
  const int32_t* bias;         // [16]
  const Rescale& rescale;
  const float* scale;  // [16]
  uint8_t* out;        // [columns][out_stride]
  int32_t* sums;       // [16], or null
  long columns, out_stride;
};

template <int K, int S, Act act, int OUT>
static inline void int8_depthwise_tile(const DepthwiseRowInt8& op, long column, long count, i32x16& total) {
  constexpr int QUADS = (K + 3) / 4;
  i32x16 sum[OUT];
  const i32x16 bias = take<i32x16>(op.bias);
#pragma GCC unroll 16
  for (int o = 0; o < OUT; o++) sum[o] = bias;
#pragma GCC unroll 5
  for (int ky = 0; ky < K; ky++) {
    i32x16 w[QUADS];
#pragma GCC unroll 2
    for (int q = 0; q < QUADS; q++) w[q] = take<i32x16>(op.weights + (ky * QUADS + q) * 4 * LANE);
    const uint8_t* x = op.rows[ky] + column * S * LANE;
#pragma GCC unroll 64
    for (int c = 0; c <= (OUT - 1) * S + (QUADS - 1) * 4; c += S) {
      const i32x16 taps = columns4(x + c * LANE, LANE);
#pragma GCC unroll 2
      for (int q = 0; q < QUADS; q++) {
        const int at = c - q * 4;
        if (at >= 0 && at / S < OUT) sum[at / S] = dot4(sum[at / S], taps, w[q]);
      }
    }
  }
  const f32x16 factor = take<f32x16>(op.scale);
#pragma GCC unroll 4
  for (int o = 0; o < OUT; o += 4) {
    const long left = count - o < 4 ? count - o : 4;
    if (left <= 0) break;
    f32x16 v[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) v[p] = rescaled<act>(sum[o + p], factor);
    u8x64 q = bytes4(v, op.rescale.inverse, op.rescale.zero, op.rescale.low);
    uint8_t* to = op.out + (column + o) * op.out_stride;
    put4(to, op.out_stride, q, left);
    if (op.sums) {
      alignas(64) uint8_t kept[64];
      put(kept, q);
      if (left < 4) std::memset(kept + left * LANE, 0, (4 - left) * LANE);
      total = sum4(total, columns4(kept, LANE));
    }
  }
}

template <int K, int S, Act act>
static void int8_depthwise_row(const DepthwiseRowInt8& op) {
  i32x16 total = every(0);
  long column = 0;
  if constexpr (TILE8 > 4)
    for (; op.columns - column > 4; column += 8)
      int8_depthwise_tile<K, S, act, 8>(op, column, op.columns - column, total);
  for (; column < op.columns; column += 4) int8_depthwise_tile<K, S, act, 4>(op, column, op.columns - column, total);
  if (op.sums) put(op.sums, take<i32x16>(op.sums) + total);
}

}  // namespace hswish::HSWISH_LEVEL
