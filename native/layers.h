// The layers of a plan: shapes and packed weights, the same for every instruction set.
#pragma once

#include <cstdint>

namespace hswish {

enum class Act { none, relu, hard_swish };

// bfloat16: the upper half of a float. Maps and weights may be stored so; sums are floats in any case.
struct Bf16 {
  uint16_t bits;
};

// Input channels that one step of a sum multiplies: one float, or two halves that lie side by side.
template <class T>
constexpr long GROUP = sizeof(float) / sizeof(T);

// 1x1 convolution or linear layer; T: how its weights are stored.
template <class T>
struct PointwiseOf {
  const T* weights = nullptr;   // panels of output channels, [n / panel][k / GROUP][panel][GROUP]; the last may be narrower
  const float* bias = nullptr;  // [n]
  long k = 0, n = 0;            // input and output channels; k is a multiple of GROUP, n of 8
};
using Pointwise = PointwiseOf<float>;

// k x k depthwise convolution.
struct Depthwise {
  const float* weights = nullptr;  // panels, [channels / panel][kernel * kernel][panel]
  const float* bias = nullptr;     // [channels]
  long channels = 0, kernel = 3, stride = 1, dilation = 1;
};

// Stem: a full 3x3 convolution of a planar picture.
struct Stem {
  const float* weights = nullptr;  // [in_channels * 9][n]
  const float* bias = nullptr;
  long in_channels = 3, n = 0, stride = 2;
};

// What a network looks at: planes of floats, (planes, height, width); or a camera's bytes,
// (height, width, planes), each to be looked up in its plane's table of 256 values (the normalisation).
struct Picture {
  const float* floats = nullptr;
  const uint8_t* bytes = nullptr;
  const float* table = nullptr;  // [planes][256]
};

// Where a convolution reads and writes: sizes, and the zeros above and to the left.
struct Geometry {
  long height, width, out_height, out_width, top, left;
};

// Rows [from, to) of a block's depthwise output, for one panel of channels; T: how maps are stored.
template <class T>
struct BlockRowsOf {
  const PointwiseOf<T>& expand;  // k is 0 where the block has none
  const Depthwise& depthwise;
  Act act;            // after the expansion
  Act depthwise_act;  // after the depthwise convolution; none where squeeze-and-excitation comes first
  Geometry geometry;
  long first;      // of the panel's channels
  const T* x;      // [height][width][x_stride]; null where the stem makes the rows
  long x_stride;
  T* out;  // row `from`, this panel's first channel
  long out_stride;
  float* sums;  // [channels], for squeeze-and-excitation; or null
  float* work;
  long from, to;
  const Stem* stem = nullptr;  // only where all its channels are one panel
  const Picture* picture = nullptr;
  Act stem_act = Act::none;
  Geometry stem_geometry{};
  float* stem_work = nullptr;
  T* rows_out = nullptr;  // [height][width][channels]: gets the stem's rows [rows_from, rows_to), for a residual; or null
  long rows_from = 0, rows_to = 0;
  bool far = false;  // out is a map that the nearer caches do not hold
};
using BlockRows = BlockRowsOf<float>;

// The input rows before `made` that a block's buffer in `work` still needs are in it; made < 0: nothing is there yet.
struct BlockState {
  long made = -1;
};

// One side of a bilinear resize: for each output position, two cells and the second's weight.
struct Axis {
  const int* first = nullptr;
  const int* second = nullptr;
  const float* weight = nullptr;
  long count = 0;
  long run = 0;  // positions are in runs of this length (a multiple of 4) over one pair of cells; or 0
};

static inline long round_up(long n, long to) { return (n + to - 1) / to * to; }

}  // namespace hswish
