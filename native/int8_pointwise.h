// 1x1 convolutions and linear layers on bytes: pointwise.h with four input channels at a time.
//
//   sum[m, n] = bias[n] + sum_k x[m, k] * w[n, k]        exact, 32 bits
//
// Each step loads four input channels of a pixel into all lanes and four weights of 16 output channels, and
// adds 64 products with one instruction (VNNI). The sums leave the registers as bytes.
#pragma once

#include <utility>

#include "bytes.h"
#include "products.h"

namespace hswish::HSWISH_LEVEL {

// Where a tile's sums go: MR pixels of NV vectors.
struct BytesOut {
  uint8_t* out;
  long stride, vector_stride;  // bytes from a pixel to the next, from 16 channels to the next
  const uint8_t* residual;     // or null; 16 channels on from each other
  long residual_stride;

  void advance(long pixels) {
    out += pixels * stride;
    if (residual) residual += pixels * residual_stride;
  }
  void next_vector() {
    out += vector_stride;
    if (residual) residual += LANE;
  }
  template <Act act, bool added, int MR, int NV>
  void finish(const i32x16 (&sum)[MR][NV], const Rescale& r, const float* scale) const {
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) {
      const f32x16 factor = take<f32x16>(scale + n * LANE);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m += 4) {
        f32x16 v[4];
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
          v[p] = m + p < MR ? rescaled<act>(sum[m + p < MR ? m + p : 0][n], factor) : every(0.0f);
          if constexpr (added)
            if (m + p < MR) {
              const i32x16 q = widened(residual + (m + p) * residual_stride + n * LANE) - r.residual_zero;
              v[p] = v[p] + to_floats(q) * r.residual_scale;
            }
        }
        put4(out + m * stride + n * vector_stride, stride, bytes4(v, r.inverse, r.zero, r.low), MR - m < 4 ? MR - m : 4);
      }
    }
  }
};

struct FloatsOut {
  float* out;
  long stride;

  void advance(long pixels) { out += pixels * stride; }
  void next_vector() { out += LANE; }
  template <Act act, bool, int MR, int NV>
  void finish(const i32x16 (&sum)[MR][NV], const Rescale&, const float* scale) const {
    for (int n = 0; n < NV; n++)
      for (int m = 0; m < MR; m++) {
        const f32x16 y = rescaled<act>(sum[m][n], take<f32x16>(scale + n * LANE));
        put(out + m * stride + n * LANE, act == Act::relu ? max(every(0.0f), y) : y);
      }
  }
};

template <class Out, int MR, int NV, Act act, bool added>
static void int8_tile(const uint8_t* x, long x_stride, const PointwiseInt8& op, long first, const Out& out) {
  i32x16 sum[MR][NV];
#pragma GCC unroll 8
  for (int n = 0; n < NV; n++) {
    const i32x16 b = take<i32x16>(op.bias + first + n * LANE);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) sum[m][n] = b;
  }
  const long group = op.quads * 4 * LANE;
  const int8_t* w = op.weights + first / LANE * group;
  for (long k = 0; k < op.quads; k++, w += 4 * LANE, x += 4) {
    Weights4 row[NV];
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) row[n] = weights4(w + n * group);
    // The next panel's weights come while this one's are at work.
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) __builtin_prefetch(w + (NV + n) * group, 0, 2);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) {
      const Four a = four(x + m * x_stride);
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[m][n] = dot4(sum[m][n], a, row[n]);
    }
  }
  out.template finish<act, added, MR, NV>(sum, op.rescale, op.rescale.scale + first);
}

template <class Out, int NV, Act act, bool added, int... I>
static void int8_panel(const uint8_t* x, long x_stride, const PointwiseInt8& op, long first, Out out, long pixels,
                       std::integer_sequence<int, I...>) {
  using Tile = void (*)(const uint8_t*, long, const PointwiseInt8&, long, const Out&);
  static constexpr Tile tiles[] = {int8_tile<Out, I + 1, NV, act, added>...};
  constexpr long most = sizeof...(I);
  for (long left = (pixels + most - 1) / most; left > 0; left--) {  // tiles of nearly one size
    const long m = (pixels + left - 1) / left;
    tiles[m - 1](x, x_stride, op, first, out);
    x += m * x_stride, pixels -= m;
    out.advance(m);
  }
}

// Output channels [first, first + INT8_PANEL), or the last 16.
template <Act act, bool added, class Out>
static void int8_pointwise(const PointwiseInt8& op, long first, const uint8_t* x, long x_stride, Out out, long pixels) {
  constexpr auto most = std::make_integer_sequence<int, TILE8>();
  const long end = op.n - first < INT8_PANEL ? op.n : first + INT8_PANEL;
  if constexpr (TILE8_VECTORS == 2)
    if (end - first == INT8_PANEL) return int8_panel<Out, 2, act, added>(x, x_stride, op, first, out, pixels, most);
  for (; first < end; first += LANE, out.next_vector())
    int8_panel<Out, 1, act, added>(x, x_stride, op, first, out, pixels, most);
}

}  // namespace hswish::HSWISH_LEVEL
