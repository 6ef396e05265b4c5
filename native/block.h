// Expansion and depthwise convolution of a block, fused (Figure 4 of the paper, left half).
//
//   x [H, W, in] --1x1, NL--> panel of rows, in cache --kxk, NL--> out [H/s, W/s, expand]
//
// The expanded tensor is the largest in the network and is never stored: one panel of its channels
// is made a few rows at a time, and the depthwise convolution takes the rows while they are in cache.
// The first block has no expansion: its rows are the stem's, made on the spot, and kept where a residual wants them.
// The panel's rows are floats however x and out are stored (T).
#pragma once

#include <cstring>

#include "depthwise.h"
#include "pointwise.h"
#include "stem.h"

namespace hswish::HSWISH_LEVEL {

static inline long smaller(long a, long b) { return a < b ? a : b; }
static inline long larger(long a, long b) { return a > b ? a : b; }

constexpr long MAX_ROWS = 32;             // of output in a strip
constexpr long STRIP_FLOATS = 12 * 1024;  // about what stays in the caches beside the rest

struct Strip {
  long columns;  // of a padded row
  long rows;     // that the buffer holds
  long outputs;  // rows of output that one strip makes

  Strip(const Depthwise& dw, const Geometry& g, long width) {
    const long reach = (dw.kernel - 1) * dw.dilation;
    columns = larger((g.out_width - 1) * dw.stride + reach + 1, g.left + g.width);
    const long fits = larger(STRIP_FLOATS / (columns * width), reach + 1);
    outputs = smaller(smaller(g.out_height, (fits - reach - 1) / dw.stride + 1), MAX_ROWS);
    rows = (outputs - 1) * dw.stride + reach + 1;
  }
};

// For any of the panels: the last may be narrower, and its strips have more rows.
static long block_work(const Depthwise& dw, const Geometry& g) {
  long most = 0;
  const long widths[] = {smaller(PANEL, dw.channels), dw.channels % PANEL};
  for (const long width : widths) {
    if (!width) continue;
    const Strip strip(dw, g, width);
    most = larger(most, (strip.rows + 1) * strip.columns * width);  // one row of zeros
  }
  return most;
}

// One row of the panel, without its padding.
template <Act act, class T>
static void make_row(const BlockRowsOf<T>& op, long row, long width, float* to) {
  const Geometry& g = op.geometry;
  if (op.stem) {
    stem_row_any(*op.stem, op.stem_act, op.stem_geometry, *op.picture, row, to, op.stem_work);
    if (op.rows_out && row >= op.rows_from && row < op.rows_to)
      for (long i = 0; i < g.width * width; i += 8) store(op.rows_out + row * g.width * width + i, load<f32x8>(to + i));
    return;
  }
  const T* pixels = op.x + row * g.width * op.x_stride;
  const float* none = nullptr;
  if (op.expand.k) return pointwise_panel<act, false>(op.expand, op.first, pixels, op.x_stride, to, width, none, 0, g.width);
  for (long i = 0; i < g.width; i++)
    for (long c = 0; c < width; c += 8) store(to + i * width + c, load<f32x8>(pixels + i * op.x_stride + op.first + c));
}

template <int K, class T>
static void block_rows(const BlockRowsOf<T>& op, BlockState& state) {
  const Depthwise& dw = op.depthwise;
  const Geometry& g = op.geometry;
  const long width = smaller(PANEL, dw.channels - op.first);
  const Strip strip(dw, g, width);
  const auto make = op.act == Act::relu ? make_row<Act::relu, T> : make_row<Act::hard_swish, T>;
  const auto filter = op.depthwise_act == Act::none   ? depthwise<K, Act::none, T>
                      : op.depthwise_act == Act::relu ? depthwise<K, Act::relu, T>
                                                      : depthwise<K, Act::hard_swish, T>;
  const long row_size = strip.columns * width;
  float* const zeros = op.work + strip.rows * row_size;
  const auto row_at = [&](long row) { return op.work + row % strip.rows * row_size; };
  if (state.made < 0) {  // the buffer's padding stays zero from here on
    const long left = g.left * width, filled = g.width * width;
    std::memset(zeros, 0, sizeof(float) * row_size);
    for (float* row = op.work; row < zeros; row += row_size) {
      std::memset(row, 0, sizeof(float) * left);
      std::memset(row + left + filled, 0, sizeof(float) * (row_size - left - filled));
    }
    state.made = 0;
    if (op.sums) std::memset(op.sums + op.first, 0, sizeof(float) * width);
  }
  const float* rows[MAX_ROWS * K];
  DepthwiseRows<T> out{rows, dw.weights + op.first * K * K, dw.bias + op.first, op.out, op.sums ? op.sums + op.first : nullptr,
                       0,    g.out_width, op.out_stride, width, op.far};
  for (long y = op.from; y < op.to; y += out.count) {
    out.count = smaller(strip.outputs, op.to - y);
    const long from = y * dw.stride - g.top, to = from + (out.count - 1) * dw.stride + (K - 1) * dw.dilation + 1;
    for (state.made = larger(state.made, from); state.made < smaller(g.height, to); state.made++)
      make(op, state.made, width, row_at(state.made) + g.left * width);
    for (long row = 0; row < out.count; row++)
      for (int ky = 0; ky < K; ky++) {
        const long source = from + row * dw.stride + ky * dw.dilation;
        rows[row * K + ky] = source < 0 || source >= g.height ? zeros : row_at(source);
      }
    filter(out, dw.stride, dw.dilation);
    out.out += out.count * g.out_width * op.out_stride;
  }
}

}  // namespace hswish::HSWISH_LEVEL
