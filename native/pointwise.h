// 1x1 convolutions and linear layers: a matrix product with bias, residual and activation.
//
//   out[m, n] = act(sum_k x[m, k] * w[k, n] + bias[n]) (+ residual[m, n])
//
// x: pixels (M) by channels (K), channels last. The weights are packed in panels of PANEL output
// channels, [n / PANEL][k][PANEL], so that the innermost loop reads them in a line. A tile of
// TILE pixels by one panel stays in registers for the whole sum. Meanwhile it asks for lines of later layers'
// weights, the first of them at `soon` (ahead.h).
#pragma once

#include <utility>

#include "ahead.h"
#include "vec.h"

namespace hswish::HSWISH_LEVEL {

template <class V, int MR, int NV, Act act, bool residual>
static void tile(const float* x, long x_stride, const float* w, long k, const float* bias, float* out, long out_stride,
                 const float* res, long res_stride, const float* soon, long distance) {
  constexpr int L = LANES<V>;
  V sum[MR][NV];
#pragma GCC unroll 8
  for (int n = 0; n < NV; n++) {
    const V b = load<V>(bias + n * L);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) sum[m][n] = b;
  }
  for (long i = 0; i < k; i++, w += NV * L, soon += distance) {
    V row[NV];
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) row[n] = load<V>(w + n * L);
    prefetch(soon);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) {
      const V a = splat<V>(x[m * x_stride + i]);
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[m][n] += a * row[n];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) {
      V v = activate<act>(sum[m][n]);
      if constexpr (residual) v += load<V>(res + m * res_stride + n * L);
      store(out + m * out_stride + n * L, v);
    }
}

// One pixel (a linear layer) has no work to hide behind, only weights to read. Its sum is taken in four parts:
// one alone would wait for its last product longer than for the memory.
template <class V, int NV, Act act, bool residual>
static void single(const float* x, const float* w, long k, const float* bias, float* out, const float* res) {
  constexpr int L = LANES<V>, PARTS = 4;
  V sum[PARTS][NV] = {};
  long i = 0;
  for (; i + PARTS <= k; i += PARTS, w += PARTS * NV * L)
#pragma GCC unroll 4
    for (int p = 0; p < PARTS; p++) {
      const V a = splat<V>(x[i + p]);
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[p][n] += a * load<V>(w + (p * NV + n) * L);
    }
  for (; i < k; i++, w += NV * L)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) sum[0][n] += splat<V>(x[i]) * load<V>(w + n * L);
#pragma GCC unroll 8
  for (int n = 0; n < NV; n++) {
    V v = activate<act>((sum[0][n] + sum[1][n]) + (sum[2][n] + sum[3][n]) + load<V>(bias + n * L));
    if constexpr (residual) v += load<V>(res + n * L);
    store(out + n * L, v);
  }
}

// Runs `pixels` pixels through one panel of `NV` vectors, in tiles of nearly one size.
template <class V, int NV, Act act, bool residual, int... I>
static void panel(const float* x, long x_stride, const float* w, long k, const float* bias, float* out,
                  long out_stride, const float* res, long res_stride, long pixels, std::integer_sequence<int, I...>) {
  using Tile = void (*)(const float*, long, const float*, long, const float*, float*, long, const float*, long,
                        const float*, long);
  static constexpr Tile tiles[] = {tile<V, I + 1, NV, act, residual>...};
  constexpr long most = sizeof...(I);
  if (pixels == 1) return single<V, NV, act, residual>(x, w, k, bias, out, res);
  long tiles_left = (pixels + most - 1) / most, distance;
  const float* soon = claim(k * tiles_left, distance);
  for (; tiles_left > 0; tiles_left--) {
    const long m = (pixels + tiles_left - 1) / tiles_left;
    tiles[m - 1](x, x_stride, w, k, bias, out, out_stride, res, res_stride, soon, distance);
    soon += k * distance;
    x += m * x_stride, out += m * out_stride, pixels -= m;
    if (residual) res += m * res_stride;
  }
}

// Output channels [first, first + PANEL) (fewer at the end) of `pixels` pixels.
template <Act act, bool residual>
static void pointwise_panel(const Pointwise& op, long first, const float* x, long x_stride, float* out,
                            long out_stride, const float* res, long res_stride, long pixels) {
  const float* w = op.weights + first * op.k;
  const float* b = op.bias + first;
  const long width = op.n - first < PANEL ? op.n - first : PANEL;
  if (residual) res += first;
  constexpr auto most = std::make_integer_sequence<int, TILE>();
#define HSWISH_PANEL(V, NV) panel<V, NV, act, residual>(x, x_stride, w, op.k, b, out, out_stride, res, res_stride, pixels, most)
  if (width == PANEL) return HSWISH_PANEL(Vec, PANEL / LANES<Vec>);
  if constexpr (PANEL > 24)
    if (width == 24) return HSWISH_PANEL(f32x8, 3);
  if constexpr (PANEL > 16)
    if (width == 16) return HSWISH_PANEL(f32x8, 2);  // two halves: each broadcast then serves two products
  if constexpr (PANEL > 8)
    if (width == 8) return HSWISH_PANEL(f32x8, 1);
#undef HSWISH_PANEL
}

}  // namespace hswish::HSWISH_LEVEL
