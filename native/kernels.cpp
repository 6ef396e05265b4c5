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
  if (op.depthwise.kernel == 3)
    (op.act == Act::relu ? block_rows<3, Act::relu> : block_rows<3, Act::hard_swish>)(op, state);
  else
    (op.act == Act::relu ? block_rows<5, Act::relu> : block_rows<5, Act::hard_swish>)(op, state);
}

static void scale(float* x, const float* gate, long channels, long pixels) {
  for (long p = 0; p < pixels; p++, x += channels)
    for (long c = 0; c < channels; c += 8) store(x + c, load<f32x8>(x + c) * load<f32x8>(gate + c));
}

static void scale_panel(float* out, const float* w, const float* gate, long k, long width) {
  for (long i = 0; i < k; i++)
    for (long c = 0; c < width; c += 8) store(out + i * width + c, load<f32x8>(w + i * width + c) * gate[i]);
}

static void mean(const float* x, long channels, long pixels, float* out) {
  for (long c = 0; c < channels; c += 8) {
    f32x8 sum{};
    for (long p = 0; p < pixels; p++) sum += load<f32x8>(x + p * channels + c);
    store(out + c, sum * (1.0f / pixels));
  }
}

static void h_sigmoid_all(float* x, long n) {
  for (long i = 0; i < n; i += 8) store(x + i, h_sigmoid(load<f32x8>(x + i)));
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const Kernels table = {
    TEXT(HSWISH_LEVEL), PANEL,       pointwise, block_rows_any, block_work, stem_row_any, stem_work, scale,
    scale_panel,        mean,        h_sigmoid_all, upsample_add_row, upsample_planes_row, upsample_mask_row,
};

}  // namespace HSWISH_LEVEL
}  // namespace hswish
