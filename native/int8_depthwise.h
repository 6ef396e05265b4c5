// Depthwise convolution of 16 channels on bytes: four neighbouring taps of a row are one sum of products, or two of a
// column.
//
// Rows are dense, [column][16], with the byte for zero at both sides. A load of 64 bytes holds four columns;
// one permutation brings the four taps of a channel together. A 5x5 kernel's fifth tap of a row is the first
// of the four columns that start four further on, which the tile makes for another output anyway.
// Where products come in pairs, a column of two rows is made once and serves all the taps that meet it.
// A kernel with holes (dilation D) sees every D-th column: the block keeps the columns that meet side by side.
#pragma once

#include "bytes.h"
#include "products.h"

namespace hswish::HSWISH_LEVEL {

struct DepthwiseRowInt8 {
  const uint8_t* const* rows;  // k pointers
  const int8_t* weights;       // see DepthwiseInt8
  const int32_t* bias;         // [16]
  const Rescale& rescale;
  const float* scale;  // [16]
  uint8_t* out;        // [columns][out_stride]
  int32_t* sums;       // [16], or null
  long columns, out_stride;
};

#if defined(HSWISH_PAIRS)

// A register of channels at a time, so that its weights for two rows stay in registers too. The last row of an odd
// kernel pairs with itself, by weights of zero.
template <int K, int S, int OUT>
static inline void add_rows(const DepthwiseRowInt8& op, long column, i32x16 (&sums)[OUT]) {
  typedef i32x16::Part V;
  constexpr int CHANNELS = LANE / PARTS;
#pragma GCC unroll 4
  for (int part = 0; part < PARTS; part++) {
    V sum[OUT];
#pragma GCC unroll 8
    for (int o = 0; o < OUT; o++) sum[o] = sums[o].part[part];
    const int8_t* weights = op.weights + part * REGISTER;
#pragma GCC unroll 3
    for (int pair = 0; pair < (K + 1) / 2; pair++) {
      const long at = column * S * LANE + part * CHANNELS;
      const uint8_t *const upper = op.rows[2 * pair] + at, *const lower = op.rows[2 * pair + 1 < K ? 2 * pair + 1 : K - 1] + at;
      V w[K];
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++, weights += 4 * LANE) w[kx] = take<V>(weights);
#pragma GCC unroll 32
      for (int c = 0; c < (OUT - 1) * S + K; c++) {
        const V both = channels2(upper + c * LANE, lower + c * LANE);
#pragma GCC unroll 5
        for (int kx = 0; kx < K; kx++) {
          const int o = c - kx;
          if (o >= 0 && o % S == 0 && o / S < OUT) sum[o / S] = dot2(sum[o / S], both, w[kx]);
        }
        settle(sum);
      }
    }
#pragma GCC unroll 8
    for (int o = 0; o < OUT; o++) sums[o].part[part] = sum[o];
  }
}

#else

template <int K, int S, int OUT>
static inline void add_rows(const DepthwiseRowInt8& op, long column, i32x16 (&sum)[OUT]) {
  constexpr int QUADS = (K + 3) / 4;
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
}

#endif

template <int K, int S, Act act, int OUT>
static inline void int8_depthwise_tile(const DepthwiseRowInt8& op, long column, long count, i32x16& total) {
  i32x16 sum[OUT];
  const i32x16 bias = take<i32x16>(op.bias);
#pragma GCC unroll 16
  for (int o = 0; o < OUT; o++) sum[o] = bias;
  add_rows<K, S>(op, column, sum);
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
      total = sum4(total, kept, LANE);
    }
  }
}

template <int K, int S, Act act>
static void int8_depthwise_row(const DepthwiseRowInt8& op) {
  i32x16 total = every(0);
  long column = 0;
  if constexpr (TILE8 > 4 || PRODUCTS.pairs)
    for (; op.columns - column > 4; column += 8)
      int8_depthwise_tile<K, S, act, 8>(op, column, op.columns - column, total);
  for (; column < op.columns; column += 4) int8_depthwise_tile<K, S, act, 4>(op, column, op.columns - column, total);
  if (op.sums) put(op.sums, take<i32x16>(op.sums) + total);
}

}  // namespace hswish::HSWISH_LEVEL
