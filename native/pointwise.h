// 1x1 convolutions and linear layers: a matrix product with bias, residual and activation.
//
//   out[m, n] = act(sum_k x[m, k] * w[k, n] + bias[n]) (+ residual[m, n])
//
// x: pixels (M) by channels (K), channels last. The weights are packed in panels of PANEL output
// channels, [n / PANEL][k][PANEL], so that the innermost loop reads them in a line. A tile of
// TILE pixels by one panel stays in registers for the whole sum. Meanwhile it asks for lines of later layers'
// weights, the first of them at `soon` (ahead.h).
//
// x and w are stored as T: floats, or halves, of which one instruction multiplies two input channels at a time. What
// comes out is stored as Y.
#pragma once

#include <utility>

#include "ahead.h"
#include "vec.h"

namespace hswish::HSWISH_LEVEL {

// The panel is NV vectors wide and, with `half`, half a vector more (24 channels of AVX-512).
template <class V, int MR, int NV, bool half, Act act, bool residual, class T, class Y>
static void tile(const T* x, long x_stride, const T* w, long k, const float* bias, Y* out, long out_stride,
                 const Y* res, long res_stride, const float* soon, long distance) {
  constexpr int L = LANES<V>, G = GROUP<T>, WIDTH = NV * L + (half ? 8 : 0);
  V sum[MR][NV];
  f32x8 rest[MR];
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++) {
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) sum[m][n] = load<V>(bias + n * L);
    if constexpr (half) rest[m] = load<f32x8>(bias + NV * L);
  }
  for (long i = 0; i < k; i += G, w += WIDTH * G, soon += distance) {
    decltype(factors<V>(w)) row[NV];
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) row[n] = factors<V>(w + n * L * G);
    decltype(factors<f32x8>(w)) row_rest;
    if constexpr (half) row_rest = factors<f32x8>(w + NV * L * G);
    prefetch(soon);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) {
      const auto a = every<V>(x + m * x_stride + i);
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[m][n] = multiply_add(sum[m][n], a, row[n]);
      if constexpr (half) rest[m] = multiply_add(rest[m], lower(a), row_rest);
    }
  }
  const auto finish = [](auto v, Y* to, const Y* from) {
    v = activate<act>(v);
    if constexpr (residual) v += load<decltype(v)>(from);
    store(to, v);
  };
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++) {
    Y* const to = out + m * out_stride;
    const Y* const from = res + (residual ? m * res_stride : 0);
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) finish(sum[m][n], to + n * L, from + (residual ? n * L : 0));
    if constexpr (half) finish(rest[m], to + NV * L, from + (residual ? NV * L : 0));
  }
}

// A step of one pixel's sum: what GROUP numbers add to as many sums.
template <class V, int NV, class T>
static inline void add_products(V (*sum)[NV], const float* x, const T* w) {
#pragma GCC unroll 8
  for (int n = 0; n < NV; n++) {
    const auto row = factors<V>(w + n * LANES<V> * GROUP<T>);
    sum[0][n] += splat<V>(x[0]) * part<0, V>(row);
    if constexpr (GROUP<T> == 2) sum[1][n] += splat<V>(x[1]) * part<1, V>(row);
  }
}

// One pixel (a linear layer) has no work to hide behind, only weights to read. Its sum is taken in four parts:
// one alone would wait for its last product longer than for the memory.
template <class V, int NV, Act act, bool residual, class T>
static void single(const float* x, const T* w, long k, const float* bias, float* out, const float* res) {
  constexpr int L = LANES<V>, PARTS = 4;
  V sum[PARTS][NV] = {};
  long i = 0;
  for (; i + PARTS <= k; i += PARTS, w += PARTS * NV * L)
#pragma GCC unroll 4
    for (int p = 0; p < PARTS; p += GROUP<T>) add_products(sum + p, x + i + p, w + p * NV * L);
  for (; i < k; i += GROUP<T>, w += NV * L * GROUP<T>) add_products(sum, x + i, w);
#pragma GCC unroll 8
  for (int n = 0; n < NV; n++) {
    V v = activate<act>((sum[0][n] + sum[1][n]) + (sum[2][n] + sum[3][n]) + load<V>(bias + n * L));
    if constexpr (residual) v += load<V>(res + n * L);
    store(out + n * L, v);
  }
}

}  // namespace hswish::HSWISH_LEVEL

#if defined(__AMX_BF16__)
#include "amx.h"
#endif

namespace hswish::HSWISH_LEVEL {

// Runs `pixels` pixels through one panel of `NV` vectors, in tiles of nearly one size.
template <class V, int NV, Act act, bool residual, class T, class Y, int... I>
static void panel(const T* x, long x_stride, const T* w, long k, const float* bias, Y* out, long out_stride,
                  const Y* res, long res_stride, long pixels, std::integer_sequence<int, I...>) {
#if defined(__AMX_BF16__)
  if constexpr (std::is_same_v<T, Bf16>)
    return tile_panel<V, NV, act, residual>(x, x_stride, w, k, bias, out, out_stride, res, res_stride, pixels);
#endif
  using Tile = void (*)(const T*, long, const T*, long, const float*, Y*, long, const Y*, long, const float*, long);
  constexpr bool half = LANES<V> < LANES<Vec> && NV * LANES<V> > LANES<Vec>;
  using Wide = std::conditional_t<half, Vec, V>;
  static constexpr Tile tiles[] = {tile<Wide, I + 1, half ? 1 : NV, half, act, residual, T, Y>...};
  constexpr long most = sizeof...(I);
  if constexpr (std::is_same_v<T, float>)
    if (pixels == 1) return single<V, NV, act, residual>(x, w, k, bias, out, res);
  long tiles_left = (pixels + most - 1) / most, distance;
  const long steps = k / GROUP<T>;
  const float* soon = claim(steps * tiles_left, LANES<Vec> == 8 ? 4 : 16, distance);
  for (; tiles_left > 0; tiles_left--) {
    const long m = (pixels + tiles_left - 1) / tiles_left;
    tiles[m - 1](x, x_stride, w, k, bias, out, out_stride, res, res_stride, soon, distance);
    soon += steps * distance;
    x += m * x_stride, out += m * out_stride, pixels -= m;
    if (residual) res += m * res_stride;
  }
}

// call(a vector, how many of them make up a panel of `width` channels).
template <class Call>
static inline void by_width(long width, const Call& call) {
  if (width == PANEL) return call(Vec{}, std::integral_constant<int, PANEL / LANES<Vec>>());
  if constexpr (PANEL > 24)
    if (width == 24) return call(f32x8{}, std::integral_constant<int, 3>());
  if constexpr (PANEL > 16)
    if (width == 16) return call(Vec{}, std::integral_constant<int, 1>());
  if constexpr (PANEL > 8)
    if (width == 8) return call(f32x8{}, std::integral_constant<int, 1>());
}

// Output channels [first, first + PANEL) (fewer at the end) of `pixels` pixels.
template <Act act, bool residual, class T, class Y>
static void pointwise_panel(const PointwiseOf<T>& op, long first, const T* x, long x_stride, Y* out, long out_stride,
                            const Y* res, long res_stride, long pixels) {
  if (residual) res += first;
  by_width(op.n - first < PANEL ? op.n - first : PANEL, [&](auto vector, auto count) {
    panel<decltype(vector), decltype(count)::value, act, residual>(
        x, x_stride, op.weights + first * op.k, op.k, op.bias + first, out, out_stride, res, res_stride, pixels,
        std::make_integer_sequence<int, TILE>());
  });
}

// The same for vectors of floats, whatever the weights are stored as.
template <Act act, class T>
static void linear_panel(const PointwiseOf<T>& op, long first, const float* x, long x_stride, float* out,
                         long out_stride, long pixels) {
  by_width(op.n - first < PANEL ? op.n - first : PANEL, [&](auto vector, auto count) {
    for (long p = 0; p < pixels; p++)
      single<decltype(vector), decltype(count)::value, act, false>(
          x + p * x_stride, op.weights + first * op.k, op.k, op.bias + first, out + p * out_stride, nullptr);
  });
}

}  // namespace hswish::HSWISH_LEVEL
