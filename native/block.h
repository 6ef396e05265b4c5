// Expansion and depthwise convolution of a block, fused (Figure 4 of the paper, left half).
//
//   x [H, W, in] --1x1, NL--> panel of rows, in cache --kxk, NL--> out [H/s, W/s, expand]
//
// The expanded tensor is the largest in the network and is never stored: one panel of its channels
// is made a few rows at a time, and the depthwise convolution takes the rows while they are in cache.
#pragma once

#include <algorithm>
#include <cstring>

#include "depthwise.h"
#include "pointwise.h"

namespace hswish::HSWISH_LEVEL {

constexpr long MAX_ROWS = 32;             // of output in a strip
constexpr long STRIP_FLOATS = 24 * 1024;  // about what stays in the second-level cache beside the rest

struct Strip {
  long columns;  // of a padded row
  long rows;     // that the buffer holds
  long outputs;  // rows of output that one strip makes

  Strip(const Depthwise& dw, const Geometry& g, long width) {
    const long reach = (dw.kernel - 1) * dw.dilation;
    columns = std::max((g.out_width - 1) * dw.stride + reach + 1, g.left + g.width);
    const long fits = std::max(STRIP_FLOATS / (columns * width), reach + 1);
    outputs = std::min({g.out_height, (fits - reach - 1) / dw.stride + 1, MAX_ROWS});
    rows = (outputs - 1) * dw.stride + reach + 1;
  }
};

static long expand_depthwise_work(const Depthwise& dw, const Geometry& g) {
  const Strip strip(dw, g, PANEL);
  return (strip.rows + 1) * strip.columns * PANEL;  // one row of zeros
}

template <int K, Act act>
static void expand_depthwise(const Pointwise& expand, const Depthwise& dw, const Geometry& g, long first,
                             const float* x, long x_stride, float* out, float* sums, float* work) {
  const long width = std::min<long>(PANEL, dw.channels - first);
  const Strip strip(dw, g, width);
  const long row_size = strip.columns * width;
  float* const zeros = work + strip.rows * row_size;
  std::memset(work, 0, sizeof(float) * (strip.rows + 1) * row_size);
  if (sums) std::memset(sums + first, 0, sizeof(float) * width);

  const float* rows[MAX_ROWS * K];
  DepthwiseRows op{rows, dw.weights + first * K * K, dw.bias + first, nullptr, sums ? sums + first : nullptr,
                   0,    g.out_width, dw.channels, width};
  long base = 0, made = 0;  // input row at the start of the buffer; first input row not made yet
  for (long y = 0; y < g.out_height; y += strip.outputs) {
    const long last = std::min(y + strip.outputs, g.out_height) - 1;
    const long from = std::max(0L, y * dw.stride - g.top);
    const long to = std::min(g.height, last * dw.stride - g.top + (K - 1) * dw.dilation + 1);
    if (from > base && made > from) std::memmove(work, work + (from - base) * row_size, sizeof(float) * (made - from) * row_size);
    if (from > base) base = from;
    for (made = std::max(made, from); made < to; made++) {
      float* row = work + (made - base) * row_size + g.left * width;
      const float* pixels = x + made * g.width * x_stride;
      if (expand.k)
        pointwise_panel<act, false>(expand, first, pixels, x_stride, row, width, nullptr, 0, g.width);
      else
        for (long i = 0; i < g.width; i++) std::memcpy(row + i * width, pixels + i * x_stride + first, sizeof(float) * width);
    }
    op.count = last - y + 1;
    for (long row = 0; row < op.count; row++)
      for (int ky = 0; ky < K; ky++) {
        const long source = (y + row) * dw.stride - g.top + ky * dw.dilation;
        rows[row * K + ky] = source < 0 || source >= g.height ? zeros : work + (source - base) * row_size;
      }
    op.out = out + y * g.out_width * dw.channels + first;
    depthwise<K, act>(op, dw.stride, dw.dilation);
  }
}

}  // namespace hswish::HSWISH_LEVEL
