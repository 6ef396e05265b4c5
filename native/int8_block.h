// Expansion and depthwise convolution of a block on bytes, fused: block.h for one panel of 32 channels.
//
// The expanded rows live in a ring of as many as the depthwise kernel reaches over, 32 bytes a column: a dozen
// kilobytes for the widest map of a 224-pixel picture, so they stay in the first-level cache.
#pragma once

#include "int8_depthwise.h"
#include "int8_pointwise.h"

namespace hswish::HSWISH_LEVEL {

struct Ring {
  long phases;   // of columns: dilation D keeps columns 0, D, 2D, ... side by side, then 1, D + 1, ...
  long columns;  // of a phase of a padded row, with what the last tile reads beyond it
  long rows;

  Ring(const DepthwiseInt8& dw, const Geometry& g) {
    phases = dw.dilation;
    const long outputs = (g.out_width + phases - 1) / phases, inputs = (g.left + g.width + phases - 1) / phases;
    const long read = (outputs + 7) * dw.stride + round_up(dw.kernel, 4);
    columns = read > inputs ? read : inputs;
    rows = (dw.kernel - 1) * dw.dilation + 1;
  }
  long phase() const { return columns * LANE; }
  long plane() const { return phases * phase(); }  // 16 channels of a row
  long row() const { return 2 * plane(); }
};

static long int8_block_work(const DepthwiseInt8& dw, const Geometry& g) {
  const Ring ring(dw, g);
  return (ring.rows + 1) * ring.row();  // one row of padding
}

template <Act act>
static void int8_make_row(const BlockRowsInt8& op, const Ring& ring, long row, uint8_t* to) {
  const uint8_t* x = op.x + row * op.geometry.width * op.x_stride;
  to += op.geometry.left / ring.phases * LANE;  // what is left of the map is a multiple of the dilation
  for (long phase = 0; phase < ring.phases; phase++, x += op.x_stride, to += ring.phase()) {
    const long count = (op.geometry.width - phase + ring.phases - 1) / ring.phases, stride = ring.phases * op.x_stride;
    if (op.expand.quads) {
      const BytesOut out{to, LANE, ring.plane(), nullptr, 0};
      int8_pointwise<act, false>(op.expand, op.first, x, stride, out, count);
      continue;
    }
    if (stride == LANE) {
      std::memcpy(to, x, count * LANE);
      continue;
    }
    for (long c = 0; c < INT8_PANEL && op.first + c < op.depthwise.channels; c += LANE) {
      const uint8_t* from = x + op.first + c;
      uint8_t* const end = to + c / LANE * ring.plane() + count * LANE;
      for (uint8_t* at = end - count * LANE; at < end; at += LANE, from += stride) put(at, take<u8x16>(from));
    }
  }
}

template <int K>
static void int8_block_rows_of(const BlockRowsInt8& op, long& made) {
  const DepthwiseInt8& dw = op.depthwise;
  const Geometry& g = op.geometry;
  const Ring ring(dw, g);
  const long vectors = dw.channels - op.first > LANE ? 2 : 1, phases = ring.phases;
  const auto make = op.act == Act::hard_swish ? int8_make_row<Act::hard_swish> : int8_make_row<Act::none>;
  const auto filter = op.depthwise_act == Act::hard_swish
                          ? (dw.stride == 2 ? int8_depthwise_row<K, 2, Act::hard_swish> : int8_depthwise_row<K, 1, Act::hard_swish>)
                          : (dw.stride == 2 ? int8_depthwise_row<K, 2, Act::none> : int8_depthwise_row<K, 1, Act::none>);
  uint8_t* const padding = op.work + ring.rows * ring.row();
  if (made < 0) {
    std::memset(op.work, op.padding, (ring.rows + 1) * ring.row());
    const long above = op.from * dw.stride - g.top;
    made = above > 0 ? above : 0;
    if (op.sums) std::memset(op.sums + op.first, 0, sizeof(int32_t) * vectors * LANE);
  }
  for (long y = op.from; y < op.to; y++) {
    const long top = y * dw.stride - g.top, bottom = top + ring.rows;
    for (const long end = bottom < g.height ? bottom : g.height; made < end; made++)
      make(op, ring, made, op.work + made % ring.rows * ring.row());
    uint8_t* const out = op.out + (y - op.from) * g.out_width * op.out_stride;
    for (long v = 0; v < vectors; v++)
      for (long phase = 0; phase < phases; phase++) {
        const uint8_t* rows[K];
        for (int ky = 0; ky < K; ky++) {
          const long source = top + ky * dw.dilation;
          const uint8_t* row = source < 0 || source >= g.height ? padding : op.work + source % ring.rows * ring.row();
          rows[ky] = row + v * ring.plane() + phase * ring.phase();
        }
        const long channel = op.first + v * LANE;
        filter({rows, dw.weights + channel * PRODUCTS.of_depthwise(K), dw.bias + channel, dw.rescale, dw.rescale.scale + channel,
                out + phase * op.out_stride + channel, op.sums ? op.sums + channel : nullptr,
                (g.out_width - phase + phases - 1) / phases, phases * op.out_stride});
      }
  }
}

}  // namespace hswish::HSWISH_LEVEL
