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

static void expand_depthwise_any(const Pointwise& expand, const Depthwise& dw, Act act, const Geometry& g, long first,
                                 const float* x, long x_stride, float* out, float* sums, float* work) {
  const auto run = dw.kernel == 3 ? (act == Act::relu ? expand_depthwise<3, Act::relu> : expand_depthwise<3, Act::hard_swish>)
                                  : (act == Act::relu ? expand_depthwise<5, Act::relu> : expand_depthwise<5, Act::hard_swish>);
  run(expand, dw, g, first, x, x_stride, out, sums, work);
}

static void stem_any(const Stem& op, Act act, const Geometry& g, const float* x, long row, float* out, float* work) {
  (act == Act::relu ? stem_row<Act::relu> : stem_row<Act::hard_swish>)(op, g, x, row, out, work);
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
    TEXT(HSWISH_LEVEL), PANEL,       pointwise, expand_depthwise_any, expand_depthwise_work, stem_any, stem_work, scale,
    scale_panel,        mean,        h_sigmoid_all, upsample_add_row, upsample_planes_row, upsample_mask_row,
};

}  // namespace HSWISH_LEVEL
}  // namespace hswish
