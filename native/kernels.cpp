// Compiled once for each instruction set, with -DHSWISH_LEVEL=name and the compiler's flags for it.
#include "kernels.h"

#include "block.h"
#include "pointwise.h"
#include "resize.h"
#include "stem.h"

namespace hswish {
namespace HSWISH_LEVEL {

static void pointwise(const Pointwise& op, Act act, long first, const float* x, long x_stride, float* out,
                      long out_stride, const float* residual, long pixels) {
  out += first;
  if (residual) return pointwise_panel<Act::none, true>(op, first, x, x_stride, out, out_stride, residual, out_stride, pixels);
  switch (act) {
    case Act::none: return pointwise_panel<Act::none, false>(op, first, x, x_stride, out, out_stride, nullptr, 0, pixels);
    case Act::relu: return pointwise_panel<Act::relu, false>(op, first, x, x_stride, out, out_stride, nullptr, 0, pixels);
    case Act::hard_swish: return pointwise_panel<Act::hard_swish, false>(op, first, x, x_stride, out, out_stride, nullptr, 0, pixels);
  }
}

static void block_rows_any(const BlockRows& op, BlockState& state) {
  (op.depthwise.kernel == 3 ? block_rows<3> : block_rows<5>)(op, state);
}

template <Act act>
static void scale_and(float* x, const float* gate, long channels, long pixels) {
  for (long p = 0; p < pixels; p++, x += channels)
    for (long c = 0; c < channels; c += 8) store(x + c, activate<act>(load<f32x8>(x + c) * load<f32x8>(gate + c)));
}

static void scale(float* x, const float* gate, long channels, long pixels, Act act) {
  switch (act) {
    case Act::none: return scale_and<Act::none>(x, gate, channels, pixels);
    case Act::relu: return scale_and<Act::relu>(x, gate, channels, pixels);
    case Act::hard_swish: return scale_and<Act::hard_swish>(x, gate, channels, pixels);
  }
}

static void scale_panel(float* out, const float* w, const float* gate, long k, long width) {
  for (long i = 0; i < k; i++)
    for (long c = 0; c < width; c += 8) store(out + i * width + c, load<f32x8>(w + i * width + c) * gate[i]);
}

// Summed row by row: a sum of hundreds of thousands of floats in a line would lose their last digits.
template <int N>  // channels at a time, in eights
static void mean_of(const float* x, long channels, long rows, long columns, long row_stride, float* out) {
  f32x8 sum[N] = {};
  for (long row = 0; row < rows; row++) {
    f32x8 line[N] = {};
    for (long p = 0; p < columns; p++)
      for (int i = 0; i < N; i++) line[i] += load<f32x8>(x + row * row_stride + p * channels + i * 8);
    for (int i = 0; i < N; i++) sum[i] += line[i];
  }
  for (int i = 0; i < N; i++) store(out + i * 8, sum[i] * (1.0f / (rows * columns)));
}

static void mean(const float* x, long channels, long rows, long columns, long row_stride, float* out) {
  long c = 0;
  for (; c + 64 <= channels; c += 64) mean_of<8>(x + c, channels, rows, columns, row_stride, out + c);
  for (; c < channels; c += 8) mean_of<1>(x + c, channels, rows, columns, row_stride, out + c);
}

static void h_sigmoid_all(float* x, long n) {
  for (long i = 0; i < n; i += 8) store(x + i, h_sigmoid(load<f32x8>(x + i)));
}

static long multiply_adds(long rounds, float* out) {
  constexpr int NV = PANEL / LANES<Vec>;
  const Vec a = load<Vec>(out);
  Vec sum[TILE][NV], total{};
#pragma GCC unroll 16
  for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) sum[m][n] = a + static_cast<float>(m * NV + n);  // no two sums alike
  for (long i = 0; i < rounds; i++)
#pragma GCC unroll 16
    for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[m][n] += sum[m][n] * a;
#pragma GCC unroll 16
  for (int m = 0; m < TILE; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) total += sum[m][n];
  store(out, total);
  return rounds * TILE * PANEL;
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const Kernels table = {
    TEXT(HSWISH_LEVEL), PANEL,       pointwise,     block_rows_any,   block_work,
    stem_row_any,       stem_work,   scale,         scale_panel,      mean,
    h_sigmoid_all,      upsample_add_row, upsample_multiply_row, upsample_planes_row, upsample_mask_row,
    multiply_adds,
};

}  // namespace HSWISH_LEVEL
}  // namespace hswish
