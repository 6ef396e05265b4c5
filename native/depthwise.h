// Depthwise convolution of one panel of channels.
//
// The panel's rows are dense floats, [row][column][width], with zero columns at both sides, so that a
// row of output needs only the k row pointers: no test for the border in the inner loop. T: what comes out.
#pragma once

#include "vec.h"

namespace hswish::HSWISH_LEVEL {

template <class T>
struct DepthwiseRows {
  const float* const* rows;  // k pointers to padded input rows for each row of output, [count][k]
  const float* weights;      // [k * k][width]
  const float* bias;         // [width]
  T* out;                    // [count][columns][out_stride], `width` of each written
  float* sums;               // [width], what squeeze-and-excitation averages; or null
  long count, columns, out_stride, width;
  bool far;  // out is not in the nearer caches: lines of the next tile are fetched while one is computed
};

// OUT neighbouring outputs of one vector of channels. Each column of the input is loaded once and
// serves all the taps that meet it; the sums stay in registers.
template <class V, int K, int S, int D, Act act, int OUT, class T>
static inline void depthwise_tile(const float* const* rows, const float* weights, V bias, long width, long column,
                                  T* out, long out_stride, bool far, V& total) {
  if (far)
    for (int o = OUT; o < 2 * OUT; o++) prefetch_to_write(out + o * out_stride);
  V sum[OUT];
#pragma GCC unroll 16
  for (int o = 0; o < OUT; o++) sum[o] = bias;
#pragma GCC unroll 5
  for (int ky = 0; ky < K; ky++) {
    V w[K];
#pragma GCC unroll 5
    for (int kx = 0; kx < K; kx++) w[kx] = load<V>(weights + (ky * K + kx) * width);
    const float* x = rows[ky] + column * S * width;
#pragma GCC unroll 64
    for (int c = 0; c <= (OUT - 1) * S + (K - 1) * D; c++) {
      const V v = load<V>(x + c * width);
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++) {
        const int at = c - kx * D;
        if (at >= 0 && at % S == 0 && at / S < OUT) sum[at / S] += v * w[kx];
      }
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < OUT; o++) {
    const V v = activate<act>(sum[o]);
    total += v;
    store(out + o * out_stride, v);
  }
}

template <class V, int K, int S, int D, Act act, class T>
static void depthwise_channels(const DepthwiseRows<T>& op, long channel) {
  V total{};
  const V bias = load<V>(op.bias + channel);
  const float* weights = op.weights + channel;
  for (long row = 0; row < op.count; row++) {
    const float* rows[K];
    for (int ky = 0; ky < K; ky++) rows[ky] = op.rows[row * K + ky] + channel;
    T* out = op.out + row * op.columns * op.out_stride + channel;
    long column = 0;
    const auto run = [&](auto outputs) {
      constexpr int OUT = decltype(outputs)::value;
      for (; column + OUT <= op.columns; column += OUT)
        depthwise_tile<V, K, S, D, act, OUT>(rows, weights, bias, op.width, column, out + column * op.out_stride,
                                             op.out_stride, op.far, total);
    };
    if constexpr (TILE >= 14) run(std::integral_constant<int, 14>());
    run(std::integral_constant<int, 7>());
    run(std::integral_constant<int, 4>());
    run(std::integral_constant<int, 1>());
  }
  if (op.sums) store(op.sums + channel, load<V>(op.sums + channel) + total);
}

// A vector of channels goes through all the rows before the next: its columns stay in the first-level cache.
template <int K, int S, int D, Act act, class T>
static void depthwise_rows(const DepthwiseRows<T>& op) {
  long channel = 0;
  for (; channel + LANES<Vec> <= op.width; channel += LANES<Vec>) depthwise_channels<Vec, K, S, D, act>(op, channel);
  for (; channel + 8 <= op.width; channel += 8) depthwise_channels<f32x8, K, S, D, act>(op, channel);
}

template <int K, Act act, class T>
static void depthwise(const DepthwiseRows<T>& op, long stride, long dilation) {
  if (stride == 2) return depthwise_rows<K, 2, 1, act>(op);
  if (dilation == 1) return depthwise_rows<K, 1, 1, act>(op);
  if (dilation == 2) return depthwise_rows<K, 1, 2, act>(op);
  return depthwise_rows<K, 1, 4, act>(op);
}

}  // namespace hswish::HSWISH_LEVEL
